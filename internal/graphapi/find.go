package graphapi

import (
	"cmp"
	"errors"
	"strconv"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

// maxFound is how many items a page of holdfast.find has at most: of each, the vault is
// asked where it was.
const maxFound = 100

// find serves holdfast.find, a function of ours on a protection unit: what its restore
// points hold by a name, and which of them.
func (s *Server) find(x *exchange) (reply, error) {
	u, err := s.catalog.Unit(x.ctx(), x.tenant(), guid[unitID](x, "id"))
	if err != nil {
		return reply{}, err
	}
	catalog.AuditedUnits(x.ctx(), u.ID)
	return list(s, x, listing[catalog.Found]{
		set: "holdfast.find",
		fetch: func(p catalog.Page) (catalog.List[catalog.Found], error) {
			if p.Limit > maxFound {
				p.Limit = maxFound
			}
			got, err := s.catalog.Find(x.ctx(), x.tenant(), u, x.r.PathValue("name"), p)
			if got.Unsearched {
				x.note = "Some restore points cannot be searched, since they were made before the index was, or while it could not be written. The next backup that finds a change indexes them, those of a mailbox from then on."
			}
			return got.List, err
		},
		view: func(f catalog.Found) (odata.Entity, error) { return s.foundView(x, u, f) },
	})
}

// foundView shows an item that was found. What the vault does not give of it is not shown,
// and why is the note of the answer.
func (s *Server) foundView(x *exchange, u backup.Unit, f catalog.Found) (e odata.Entity, err error) {
	e.Add("firstSeenDateTime", odata.FormatTime(f.First.At))
	e.Add("lastSeenDateTime", odata.FormatTime(f.Last.At))
	e.Add("isInNewest", f.Newest)
	e.Add("restorePointId", f.Last.ID)
	if f.Browsable != nil {
		e.Add("browsableRestorePointId", f.Browsable.ID)
		e.Add("browsableDateTime", odata.FormatTime(f.Browsable.At))
	}
	if m := f.Mail; m != nil {
		e.Add("itemKey", backup.KeyOf(x.tenant(), f.Last.Drive, f.Item))
		e.Add("type", m.Kind)
		e.Add("name", m.Subject)
		e.Add("path", m.Folder)
		addText(&e, "sender", m.Sender.String())
		addTime(&e, "itemDateTime", m.At)
		e.Add("sizeInBytes", strconv.FormatInt(m.Size, 10))
		return e, nil
	}
	e.Add("itemKey", backup.KeyOf(x.tenant(), f.Last.Drive, f.Item))
	item, err := s.cfg.Browser.Item(x.ctx(), f.Last, backup.RefOf(f.Item))
	if err != nil {
		told, ok := errors.AsType[*backup.Error](err)
		if !ok || x.ctx().Err() != nil {
			return e, err
		}
		e.Add("name", f.Name)
		x.note = cmp.Or(x.note, "Of some items the vault does not say where they were: "+told.Message)
		return e, nil
	}
	e.Add("type", item.Kind)
	e.Add("name", item.Name)
	e.Add("path", item.Path)
	e.Add("sizeInBytes", strconv.FormatInt(item.Size, 10))
	return e, nil
}
