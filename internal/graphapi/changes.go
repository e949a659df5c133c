package graphapi

import (
	"strconv"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

// listChanges serves holdfast.changes, a function of ours on a restore point: how what it
// holds differs from what another point of the same unit does. The points are compared
// anew for each page, as far as that is.
func (s *Server) listChanges(x *exchange) (reply, error) {
	to, _, err := s.point(x)
	if err != nil {
		return reply{}, err
	}
	id, ok := backup.ParseGUID(x.r.PathValue("since"))
	if !ok {
		return reply{}, unknown()
	}
	from, err := s.catalog.Point(x.ctx(), x.tenant(), backup.PointID(id))
	if err != nil {
		return reply{}, err
	}
	unit, err := s.catalog.Unit(x.ctx(), x.tenant(), to.Unit)
	if err != nil {
		return reply{}, err
	}
	catalog.AuditedUnits(x.ctx(), to.Unit)
	switch {
	case from.Unit != to.Unit:
		return reply{}, backup.Fail(backup.InvalidRequest, "The two restore points are of different units. Only points of one are compared.").On("since")
	case unit.Workload == backup.Exchange:
		return reply{}, backup.Fail(backup.InvalidRequest, "Points of mailboxes are not compared. Search them instead, or find by a subject what is gone.").On("id")
	}
	for _, p := range []*backup.Point{&from, &to} {
		if err := p.Restorable(); err != nil {
			return reply{}, err
		}
	}
	return list(s, x, listing[backup.Change]{
		set: "holdfast.changes",
		fetch: func(page catalog.Page) (l catalog.List[backup.Change], err error) {
			begin, _ := strconv.Atoi(page.After) // ours, and sealed
			n := 0
			for c, err := range s.cfg.Browser.Changes(x.ctx(), from, to) {
				if err != nil {
					return l, err
				}
				switch {
				case n < begin, page.Bare:
				case len(l.Items) < page.Limit:
					l.Items = append(l.Items, c)
				default:
					l.Next = strconv.Itoa(begin + len(l.Items))
				}
				if n++; l.Next != "" && !page.Count {
					break
				}
			}
			l.Total = int64(n)
			return l, nil
		},
		view: func(c backup.Change) (odata.Entity, error) { return changeView(x, to, c), nil },
	})
}

// changeView shows a change, with the item as it is in the point to, or as it was where
// that does not have it.
func changeView(x *exchange, to backup.Point, c backup.Change) (e odata.Entity) {
	item, kind := c.To, "changed"
	switch {
	case c.To == nil:
		item, kind = c.From, "deleted"
	case c.From == nil:
		kind = "added"
	case c.Moved():
		kind = "moved"
	}
	e.Add("change", kind)
	e.Add("type", item.Kind)
	e.Add("name", item.Name)
	e.Add("path", item.Path)
	if kind == "moved" {
		e.Add("previousPath", c.From.Path)
	}
	if item.Kind == backup.File {
		e.Add("sizeInBytes", strconv.FormatInt(item.Size, 10))
	}
	if c.From != nil && c.To != nil {
		e.Add("isContentChanged", c.Content)
		if c.Content {
			e.Add("previousSizeInBytes", strconv.FormatInt(c.From.Size, 10))
		}
	}
	e.Add("itemKey", backup.KeyOf(x.tenant(), to.Drive, item.ID))
	return e
}
