package simtenant

import "net/http"

// A file that somebody has checked out is theirs to write until they check it in.

// key tells callers apart: it is the user's id, or that of the application that
// acts for itself.
func (c caller) key() string {
	switch {
	case c.user != nil:
		return string(c.user.ID)
	case c.app != nil:
		return c.app.AppID
	}
	return ""
}

// free refuses a change of what somebody else has checked out, or of a folder in
// which such a file is.
func (it *item) free(by string) error {
	if it.extra().holder != "" && it.extra().holder != by {
		return fail(http.StatusLocked, "notAllowed", "The file is checked out or locked for editing by another user.").because("resourceLocked")
	}
	for _, child := range it.children {
		if err := child.free(by); err != nil {
			return err
		}
	}
	return nil
}

type publicationView struct {
	Level        string        `json:"level"`
	VersionID    string        `json:"versionId"`
	CheckedOutBy *identityView `json:"checkedOutBy,omitempty"`
}

func (it *item) publication(t *tenant) *publicationView {
	v := &publicationView{Level: "published", VersionID: versionID(it.ctag)}
	if it.extra().holder == "" {
		return v
	}
	v.Level = "checkout"
	v.CheckedOutBy = t.identityBy(it.extra().holder)
	return v
}

// identityBy is who a caller's key is of; nil if that is nobody.
func (t *tenant) identityBy(key string) *identityView {
	if key == "" {
		return nil
	}
	if u := t.users[key]; u != nil {
		return new(identityOf(u))
	} else if app := t.app(key); app != nil {
		return &identityView{Application: object{"id": app.AppID, "displayName": app.DisplayName}}
	}
	return nil
}

// keepFor gives a file a holder, or none.
func (s *Service) keepFor(r *request, p place, t target, holder string) error {
	return s.on(r, p, func(d *drive) error {
		it, err := d.findTo(r.Context(), t, false)
		if err != nil {
			return err
		}
		if it.kind != isFile {
			return badRequest("A folder cannot be checked out.")
		}
		if err := it.free(r.who.key()); err != nil {
			return err
		}
		if holder == "" && it.extra().holder == "" {
			return badRequest("The file is not checked out.")
		}
		it.extend(func(x *extras) { x.holder = holder })
		d.touch(it)
		r.status = http.StatusNoContent
		return nil
	})
}

func (s *Service) checkout(r *request, p place, t target) error {
	return s.keepFor(r, p, t, r.who.key())
}

func (s *Service) checkin(r *request, p place, t target) error { return s.keepFor(r, p, t, "") }
