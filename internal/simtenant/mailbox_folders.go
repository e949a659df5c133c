package simtenant

import (
	"net/http"
	"strings"
)

var (
	writeMailFolders = permission{"ErrorAccessDenied", []string{"MailboxFolder.ReadWrite.All", "MailboxFolder.ReadWrite"}}
	writeMailItems   = permission{"ErrorAccessDenied", []string{"MailboxItem.ImportExport.All", "MailboxItem.ImportExport", "Mail.ReadWrite"}}
)

// folderClasses are the types that a folder may have.
var folderClasses = []string{"IPF.Note", "IPF.Appointment", "IPF.Contact", "IPF.Task", "IPF.StickyNote", "IPF.Journal"}

// folderBody is what a client says of a folder. Type is of the import and export
// API.
type folderBody struct {
	DisplayName string `json:"displayName"`
	Type        string `json:"type"`
}

// createMailboxFolder makes a folder, in the one that the address names or at the
// top.
func (s *Service) createMailboxFolder(r *request, m *mailbox) error {
	var in folderBody
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	class := ""
	for _, c := range folderClasses {
		if strings.EqualFold(in.Type, c) || len(in.Type) > len(c) && strings.EqualFold(in.Type[:len(c)+1], c+".") {
			class = in.Type
		}
	}
	if in.DisplayName == "" || class == "" {
		return fail(http.StatusBadRequest, "ErrorInvalidRequest", "A folder needs displayName and type, such as IPF.Note.")
	}
	parent := m.top
	if id := r.vars["folder"]; id != "" {
		var err error
		if parent, err = m.folder(id); err != nil {
			return err
		}
	}
	f, err := m.makeFolder(r.Context(), parent, in.DisplayName, class)
	if err != nil {
		return err
	}
	r.status, r.answer = http.StatusCreated, m.folderView(r, f, m.children())
	return nil
}

func (s *Service) patchMailboxFolder(r *request, m *mailbox) error {
	var in folderBody
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	f, err := m.folder(r.vars["folder"])
	if err != nil {
		return err
	}
	if in.DisplayName != "" {
		if err := m.renameFolder(r.Context(), f, f.parent, in.DisplayName); err != nil {
			return err
		}
	}
	r.status, r.answer = http.StatusOK, m.folderView(r, f, m.children())
	return nil
}

func (s *Service) deleteMailboxFolder(r *request, m *mailbox) error {
	f, err := m.folder(r.vars["folder"])
	if err != nil {
		return err
	}
	r.status = http.StatusNoContent
	return m.removeFolder(r.Context(), f)
}

func (s *Service) deleteMailboxItem(r *request, m *mailbox) error {
	it, err := m.inFolder(r)
	if err != nil {
		return err
	}
	r.status = http.StatusNoContent
	return m.remove(r.Context(), it)
}
