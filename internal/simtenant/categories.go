package simtenant

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/backup"
)

// The categories of a user are a file of the mailbox's folder, which is no item.
const categoriesJSON = ".categories.json"

var writeSettings = permission{"ErrorAccessDenied", []string{"MailboxSettings.ReadWrite"}}

// category is one that a user has made, with its colour.
type category struct {
	ID    string `json:"id"`
	Name  string `json:"displayName"`
	Color string `json:"color"`
}

func categoryRoutes() []Route {
	at := onUserMail
	const all = "{user}/outlook/masterCategories"
	return []Route{
		{"GET", all, "The categories that a user has made: the file .categories.json.", "Those that every mailbox has.", "select top skip count", readMailSettings, at((*Service).listCategories)},
		{"POST", all, "Makes one, with a colour.", "", "", writeSettings, at((*Service).createCategory)},
		{"GET", all + "/{category}", "One of them.", "", "select", readMailSettings, at((*Service).getCategory)},
		{"PATCH", all + "/{category}", "Gives it another colour.", "", "", writeSettings, at((*Service).patchCategory)},
		{"DELETE", all + "/{category}", "Deletes it. Items keep its name.", "", "", writeSettings, at((*Service).deleteCategory)},
	}
}

func (m *mailbox) categoriesPath() string { return path.Join(m.d.place.folder(), categoriesJSON) }

func (m *mailbox) readCategories() ([]category, error) {
	data, err := m.d.svc.mailRoot.ReadFile(m.categoriesPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, onDisk(err)
	}
	var list []category
	if json.Unmarshal(data, &list) != nil {
		return nil, corruptItem()
	}
	return list, nil
}

func (m *mailbox) writeCategories(list []category) error {
	data, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	return m.writeBeside(m.categoriesPath(), data)
}

// writeBeside writes a file of the mailbox's folder that is no item.
func (m *mailbox) writeBeside(name string, data []byte) error {
	if err := errors.Join(m.d.svc.mailRoot.WriteFile(name+".new", append(data, '\n'), 0o644), m.d.svc.mailRoot.Rename(name+".new", name)); err != nil {
		return onDisk(err)
	}
	return nil
}

// check says what is wrong with a category.
func (c category) check() error {
	n, err := strconv.Atoi(strings.TrimPrefix(c.Color, "preset"))
	switch {
	case c.Name == "" || len(c.Name) > 255:
		return fail(http.StatusBadRequest, "ErrorInvalidRequest", "A category needs a displayName of 255 characters at most.")
	case c.Color != "none" && (err != nil || n < 0 || n > 24 || c.Color != "preset"+strconv.Itoa(n)):
		return fail(http.StatusBadRequest, "ErrorInvalidRequest", "A category's color is none, or preset0 to preset24.")
	}
	return nil
}

func (s *Service) listCategories(r *request, m *mailbox) error {
	list, err := m.readCategories()
	if err != nil {
		return err
	}
	return s.answerList(r, r.outlookContext("outlook/masterCategories"), r.outlook("outlook", "masterCategories"), len(list), func(i int) any { return list[i] })
}

// categoryAt finds the category that the address names, among all.
func (m *mailbox) categoryAt(r *request) (list []category, at int, err error) {
	if list, err = m.readCategories(); err != nil {
		return nil, 0, err
	}
	if at = slices.IndexFunc(list, func(c category) bool { return c.ID == r.vars["category"] }); at < 0 {
		return nil, 0, noMailItem()
	}
	return list, at, nil
}

func (r *request) answerCategory(c category, status int) {
	v := map[string]any{"id": c.ID, "displayName": c.Name, "color": c.Color, "@odata.context": r.base + "/$metadata#" + r.outlookContext("outlook/"+url.PathEscape("masterCategories")+"/$entity")}
	r.status, r.answer = status, project(v, selected(r.query))
}

func (s *Service) getCategory(r *request, m *mailbox) error {
	list, at, err := m.categoryAt(r)
	if err != nil {
		return err
	}
	r.answerCategory(list[at], http.StatusOK)
	return nil
}

func (s *Service) createCategory(r *request, m *mailbox) error {
	in := category{Color: "none"}
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	in.ID = backup.NewID[string]()
	if err := in.check(); err != nil {
		return err
	}
	list, err := m.readCategories()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(list, func(c category) bool { return strings.EqualFold(c.Name, in.Name) }) {
		return fail(http.StatusConflict, "ErrorCategoryExists", "There is a category of that name already.")
	}
	if err := m.writeCategories(append(list, in)); err != nil {
		return err
	}
	r.answerCategory(in, http.StatusCreated)
	return nil
}

func (s *Service) patchCategory(r *request, m *mailbox) error {
	list, at, err := m.categoryAt(r)
	if err != nil {
		return err
	}
	in := list[at]
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	if in.Name != list[at].Name {
		return fail(http.StatusBadRequest, "ErrorInvalidRequest", "A category's displayName cannot be changed.")
	}
	in.ID = list[at].ID
	if err := in.check(); err != nil {
		return err
	}
	list[at] = in
	if err := m.writeCategories(list); err != nil {
		return err
	}
	r.answerCategory(in, http.StatusOK)
	return nil
}

func (s *Service) deleteCategory(r *request, m *mailbox) error {
	list, at, err := m.categoryAt(r)
	if err != nil {
		return err
	}
	r.status = http.StatusNoContent
	return m.writeCategories(slices.Delete(list, at, at+1))
}
