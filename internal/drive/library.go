package drive

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"holdfast/internal/backup"
)

type wireDrive struct {
	ID     string
	Name   string
	WebURL string
	Owner  struct{ User struct{ ID string } }
	Quota  struct {
		Total, Used, Remaining int64
		State                  string
	}
	SharepointIDs struct{ SiteID string } // spelt sharePointIds here
}

func (w *wireDrive) key() string { return w.ID }
func (w *wireDrive) malformed()  {}

// take decodes an answer that is a drive: as much of it as can be understood.
// Without an id it is none.
func (w *wireDrive) take(body []byte) error {
	err := json.Unmarshal(body, w)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		err = nil
	}
	if err == nil && w.ID == "" {
		err = errors.New("it is not a drive")
	}
	return err
}

func (w *wireDrive) drive() Drive {
	return Drive{
		ID:     backup.DriveID(w.ID),
		Name:   w.Name,
		WebURL: w.WebURL,
		SiteID: w.SharepointIDs.SiteID,
		Owner:  backup.SubjectID(strings.ToLower(w.Owner.User.ID)),
		Quota:  Quota(w.Quota),
	}
}

// UserDrive returns a user's OneDrive. A user without one is ErrNoDrive; a user
// that the directory does not know is ErrNotFound.
func (c *Client) UserDrive(ctx context.Context, user backup.ObjectID) (Drive, error) {
	var w wireDrive
	k := &call{
		op:     "find the drive of user " + string(user),
		method: http.MethodGet,
		url:    c.at("users", string(user), "drive"),
		cost:   costGet,
	}
	_, err := c.do(ctx, k, &w)
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusNotFound && !e.has("Request_ResourceNotFound") {
		e.kind = ErrNoDrive
	}
	if err == nil && w.ID == "" {
		err = noAnswer(k.op, errors.New("it names no drive"))
	}
	return w.drive(), err
}

// Quota returns how full a drive is.
func (c *Client) Quota(ctx context.Context, d backup.DriveID) (Quota, error) {
	var w wireDrive
	k := &call{
		op:     "look how full drive " + string(d) + " is",
		method: http.MethodGet,
		url:    c.at("drives", string(d), "?$select=id,quota"),
		cost:   costGet,
		itemOf: d,
	}
	_, err := c.do(ctx, k, &w)
	if err == nil && !strings.EqualFold(w.ID, string(d)) {
		err = noAnswer(k.op, errors.New("it tells of another drive"))
	}
	return w.drive().Quota, err
}

// site returns the id of the site that a drive is a library of.
func (c *Client) site(ctx context.Context, d backup.DriveID) (string, error) {
	var w wireItem
	k := &call{
		op:     "find the site of drive " + string(d),
		method: http.MethodGet,
		url:    c.at("drives", string(d), "root", "?$select=id,parentReference,sharepointIds"),
		cost:   costGet,
	}
	if _, err := c.do(ctx, k, &w); err != nil {
		return "", err
	}
	for _, id := range []string{w.ParentReference.SiteID, w.SharepointIDs.SiteID} {
		if id != "" {
			return id, nil
		}
	}
	return "", &Error{Op: k.op, Err: errors.New("the source does not say"), kind: ErrNotFound}
}

// CreateLibrary makes a new, empty library in the site of a drive. If the name
// is taken there, it is ErrExists; see FindLibrary for what took it.
func (c *Client) CreateLibrary(ctx context.Context, beside backup.DriveID, name string) (Drive, error) {
	site, err := c.site(ctx, beside)
	if err != nil {
		return Drive{}, err
	}
	type list struct {
		Template string `json:"template"`
	}
	k := &call{
		op:     "create a library beside drive " + string(beside),
		method: http.MethodPost,
		url:    c.at("sites", site, "lists"),
		cost:   costWrite,
		json: struct {
			Name string `json:"displayName"`
			List list   `json:"list"`
		}{name, list{"documentLibrary"}},
	}
	var made struct{ ID string }
	if _, err := c.do(ctx, k, &made); err != nil {
		// The refusal of a taken name has several forms.
		if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusBadRequest {
			if _, there, lookErr := c.findLibrary(ctx, site, beside, name); lookErr == nil && there {
				e.kind = ErrExists
			}
		}
		return Drive{}, err
	}
	if made.ID == "" {
		return Drive{}, noAnswer(k.op, errors.New("it names no list"))
	}
	return c.libraryDrive(ctx, site, made.ID, beside)
}

// libraryDrive returns the drive of a library just made, which the source may
// need a moment to know.
func (c *Client) libraryDrive(ctx context.Context, site, list string, beside backup.DriveID) (Drive, error) {
	for try := 1; ; try++ {
		var w wireDrive
		k := &call{
			op:     "find the drive of the library created beside drive " + string(beside),
			method: http.MethodGet,
			url:    c.at("sites", site, "lists", list, "drive"),
			cost:   costGet,
		}
		_, err := c.do(ctx, k, &w)
		e, ok := errors.AsType[*Error](err)
		if ok && e.kind == ErrNotFound && try < c.cfg.Tries {
			if err := c.again(ctx, k, e, try, 0); err != nil {
				return Drive{}, err
			}
			continue
		}
		d := w.drive()
		if d.SiteID == "" {
			d.SiteID = site
		}
		return d, err
	}
}

// FindLibrary returns the library of that name in the site of a drive, if there
// is one. Names are compared as the source does, without regard to case.
func (c *Client) FindLibrary(ctx context.Context, beside backup.DriveID, name string) (Drive, bool, error) {
	site, err := c.site(ctx, beside)
	if err != nil {
		return Drive{}, false, err
	}
	return c.findLibrary(ctx, site, beside, name)
}

func (c *Client) findLibrary(ctx context.Context, site string, beside backup.DriveID, name string) (Drive, bool, error) {
	op := "look for a library beside drive " + string(beside)
	for p, err := range pages[wireDrive](ctx, c, call{op: op, url: c.at("sites", site, "drives"), cost: costList}) {
		if err != nil {
			return Drive{}, false, err
		}
		for i := range p.Value {
			if strings.EqualFold(p.Value[i].Name, name) {
				d := p.Value[i].drive()
				if d.SiteID == "" {
					d.SiteID = site
				}
				return d, true, nil
			}
		}
	}
	return Drive{}, false, nil
}
