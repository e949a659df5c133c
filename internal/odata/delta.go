package odata

import "strings"

// A Change is one element of a delta payload: an object to add, or one to
// remove.
type Change struct {
	*Object
	Removed   bool
	ID        string // id, or for a removal the last segment of @id
	ContentID string // the client's own name for the element, if it gave one
}

// Changes returns the elements of the delta payload that a member holds, such
// as "driveProtectionUnits@delta", in their order. It reports false when the
// member is absent.
func (o *Object) Changes(name string) ([]Change, bool, error) {
	objects, ok, err := o.Objects(name)
	if err != nil || !ok {
		return nil, ok, err
	}
	out := make([]Change, len(objects))
	for i, e := range objects {
		if out[i], err = e.change(); err != nil {
			return nil, false, err
		}
	}
	return out, true, nil
}

func (o *Object) change() (Change, error) {
	c := Change{Object: o}
	for _, name := range []string{"@removed", "@odata.removed"} {
		if !o.Has(name) {
			continue
		}
		removed, ok, err := o.Object(name)
		if err != nil || !ok {
			return c, o.wrongType(name, `an object such as {"reason": "changed"}`)
		}
		reason, ok, err := removed.String("reason")
		if err != nil {
			return c, err
		}
		if ok && reason != "changed" && reason != "deleted" {
			return c, o.wrong("The reason of a removal is 'changed' or 'deleted'.", name)
		}
		c.Removed = true
	}
	for _, name := range o.names {
		switch strings.ToLower(name) {
		case "@contentid", "@odata.contentid", "@core.contentid":
			id, _, err := o.String(name)
			if err != nil {
				return c, err
			}
			c.ContentID = id
		}
	}
	var err error
	if c.Removed {
		c.ID, _, err = o.Reference()
	} else {
		c.ID, _, err = o.String("id")
	}
	return c, err
}
