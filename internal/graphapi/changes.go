package graphapi

import (
	"cmp"
	"path"
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
	}
	for _, p := range []*backup.Point{&from, &to} {
		if err := p.Restorable(); err != nil {
			return reply{}, err
		}
	}
	var known [2]map[backup.ItemID]backup.MailItem // of from and of to, what the page shows
	return list(s, x, listing[backup.Change]{
		set: "holdfast.changes",
		fetch: func(page catalog.Page) (l catalog.List[backup.Change], err error) {
			begin, _ := strconv.Atoi(page.After) // ours, and sealed
			n := 0
			for c, err := range s.cfg.Browser.Changes(x.ctx(), unit.Workload, from, to) {
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
			if unit.Workload == backup.Exchange {
				known, err = s.mailOf(x, [2]backup.Point{from, to}, l.Items)
			}
			return l, err
		},
		view: func(c backup.Change) (odata.Entity, error) {
			if unit.Workload == backup.Exchange {
				return mailChangeView(x, to, c, known), nil
			}
			return changeView(x, to, c, kindOf(c)), nil
		},
	})
}

// changeView shows a change of an item of a type, with the item as it is in the point to, or
// as it was where that does not have it.
func changeView(x *exchange, to backup.Point, c backup.Change, typ string) (e odata.Entity) {
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
	e.Add("type", typ)
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

// kindOf is what a change is of, now if it is there.
func kindOf(c backup.Change) string {
	if c.To != nil {
		return string(c.To.Kind)
	}
	return string(c.From.Kind)
}

// mailOf returns what people know the items of some changes by, as far as the index of the
// mailbox has it: of each of the two points those that it holds.
func (s *Server) mailOf(x *exchange, points [2]backup.Point, changes []backup.Change) (known [2]map[backup.ItemID]backup.MailItem, err error) {
	var ids [2][]backup.ItemID
	for _, c := range changes {
		for side, item := range [2]*backup.Item{c.From, c.To} {
			if item != nil && item.Kind == backup.File {
				ids[side] = append(ids[side], item.ID)
			}
		}
	}
	for side := range points {
		if known[side], err = s.catalog.MailItems(x.ctx(), x.tenant(), points[side], ids[side]); err != nil {
			return known, err
		}
	}
	return known, nil
}

// mailChangeView shows a change in a mailbox: an item by its subject, in place of the file
// that it is in the vault.
func mailChangeView(x *exchange, to backup.Point, c backup.Change, known [2]map[backup.ItemID]backup.MailItem) odata.Entity {
	side, of := 1, c.To
	if of == nil {
		side, of = 0, c.From
	}
	if of.Kind != backup.File {
		return changeView(x, to, c, string(of.Kind))
	}
	m, indexed := known[side][of.ID]
	if !indexed {
		return changeView(x, to, c, "item")
	}
	named := func(item *backup.Item) *backup.Item {
		if item == nil {
			return nil
		}
		one := *item
		one.Name = cmp.Or(m.Subject, "(no subject)")
		one.Path = path.Dir(item.Path) + "/" + one.Name
		return &one
	}
	e := changeView(x, to, backup.Change{From: named(c.From), To: named(c.To), Content: c.Content}, string(m.Kind))
	addText(&e, "sender", m.Sender.String())
	addTime(&e, "itemDateTime", m.At)
	return e
}
