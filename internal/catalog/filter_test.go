package catalog_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/odata"
)

// A row is what filters may ask of an item: strings, times, nil for what is
// absent.
type modelRow map[string]any

// holds is what filters mean, said once more in Go.
func (r modelRow) holds(e odata.Expr) bool {
	switch e := e.(type) {
	case odata.And:
		return !slices.ContainsFunc(e, func(e odata.Expr) bool { return !r.holds(e) })
	case odata.Or:
		return slices.ContainsFunc(e, r.holds)
	case odata.Not:
		return !r.holds(e.X)
	case odata.Compare:
		n, known := r.compare(e.Property, e.Value)
		switch e.Op {
		case "eq":
			return known && n == 0
		case "ne":
			return !known || n != 0
		case "lt":
			return known && n < 0
		case "le":
			return known && n <= 0
		case "gt":
			return known && n > 0
		default:
			return known && n >= 0
		}
	case odata.In:
		return slices.ContainsFunc(e.Values, func(v odata.Value) bool { n, known := r.compare(e.Property, v); return known && n == 0 })
	case odata.Match:
		s, ok := r[e.Property.Name].(string)
		if e.Property.Type == odata.Folded {
			s = strings.ToLower(s)
		}
		does := map[string]func(string, string) bool{"contains": strings.Contains, "startswith": strings.HasPrefix, "endswith": strings.HasSuffix}[e.Func]
		return ok && does(s, e.Text)
	}
	panic(fmt.Sprintf("%T", e))
}

// compare compares a row's value with a literal, and reports whether they can
// be compared.
func (r modelRow) compare(p odata.Property, v odata.Value) (int, bool) {
	switch have := r[p.Name].(type) {
	case nil:
		return 0, v.Null
	case time.Time:
		return have.Compare(v.Time), !v.Null
	case string:
		if p.Type == odata.Folded {
			have = strings.ToLower(have)
		}
		return cmp.Compare(have, v.Text), !v.Null
	}
	panic("a value of no type")
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func unitRow(u backup.Unit) modelRow {
	problem := ""
	if u.Problem != nil {
		problem = string(u.Problem.Code)
	}
	return modelRow{"error": orNil(problem), "id": string(u.ID), "policyId": orNil(string(u.Policy)), "status": string(u.Status), "directoryObjectId": string(u.Subject),
		"email": orNil(u.Address), "displayName": orNil(u.Name), "createdDateTime": u.Created.At, "lastModifiedDateTime": u.Modified.At,
		"offboardRequestedDateTime": u.OffboardRequested}
}

// filterWorld fills a catalog with units and policies in all sorts of states.
func filterWorld(t testing.TB, db *database.DB) (*world, []backup.Unit) {
	w := newWorld(t, db, 0)
	names := []string{"", "Ann", "ann", "ÄNNE", "änne", "it's", "100%", "a_b", "zoë ZOË", "Ω", "x y"}
	var users []backup.Subject
	for i := range 24 {
		if i%5 == 4 {
			continue // an owner that the directory does not know
		}
		u := backup.Subject{ID: owner(i), Address: fmt.Sprintf("User%d@contoso.com", i), DisplayName: names[i%len(names)]}
		if i%3 == 0 {
			u.Mail = fmt.Sprintf("Mail%d@Contoso.COM", i)
		}
		users = append(users, u)
	}
	ok(t, w.ApplyDirectory(t.Context(), contoso, catalog.DirectoryChange{Users: users}))
	ok(t, w.ApplyDirectory(t.Context(), fabrikam, catalog.DirectoryChange{Users: users}))
	states := []string{"protectRequested", "protected", "unprotectRequested", "unprotected", "removeRequested", "offboardRequested"}
	for p := range 6 {
		w.pass(time.Second + 250*time.Nanosecond)
		made := w.policy(names[p+1])
		for i := range 4 {
			w.pass(time.Duration(i) * 333 * time.Microsecond)
			w.add(made.ID, owner(4*p+i))
		}
		if p%2 == 0 {
			_, err := w.ActivatePolicy(t.Context(), contoso, made.ID, w.by())
			ok(t, err)
		}
	}
	// Units keep up with the directory: names change, owners leave and come back.
	users[0].DisplayName, users[7].DisplayName = "Renamed", ""
	ok(t, w.ApplyDirectory(t.Context(), contoso, catalog.DirectoryChange{Users: users[:12], Removed: []backup.SubjectID{users[12].ID, users[13].ID}}))
	w.pass(time.Second)
	ok(t, w.ApplyDirectory(t.Context(), contoso, catalog.DirectoryChange{Users: users[:14], Since: w.now}))
	ok(t, db.Tx(t.Context(), func(tx *database.Tx) error {
		for i := range 24 {
			modified := w.now.Add(time.Duration(i%4) * time.Minute)
			offboard := time.Time{}
			if i%6 == 5 {
				offboard = w.now.Add(-time.Duration(i) * time.Hour)
			}
			var problem any
			if i%5 == 2 {
				problem = `{"code":"x"}`
			}
			_, err := tx.ExecContext(t.Context(), `UPDATE unit SET status = $1, modified = $2, offboard_requested = $3, problem = $4 WHERE subject = $5`,
				states[i%len(states)], database.Micros(modified), database.Micros(offboard), problem, string(owner(i)))
			if err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(t.Context(), `UPDATE unit SET policy = '', sources = 0 WHERE status = 'unprotected'`)
		return err
	}))
	l := must[catalog.List[backup.Unit]](t)(w.Units(t.Context(), contoso, catalog.UnitQuery{Page: catalog.Page{Limit: 1000}}))
	if len(l.Items) != 24 {
		t.Fatalf("%d units", len(l.Items))
	}
	return w, l.Items
}

// A filterMaker writes filters by the grammar, about things that there are.
type filterMaker struct {
	*rand.Rand
	properties []odata.Property
	rows       []modelRow
}

func (m filterMaker) pick(of ...string) string { return of[m.IntN(len(of))] }

func (m filterMaker) make(depth int) string {
	if depth > 0 && m.IntN(3) > 0 {
		switch m.IntN(4) {
		case 0:
			return "not (" + m.make(depth-1) + ")"
		case 1:
			return "(" + m.make(depth-1) + ")"
		default:
			return m.make(depth-1) + m.pick(" and ", " or ", "  or ") + m.make(depth-1)
		}
	}
	p := m.properties[m.IntN(len(m.properties))]
	for !p.Filters {
		p = m.properties[m.IntN(len(m.properties))]
	}
	name := m.pick(p.Name, strings.ToUpper(p.Name))
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	literal := func() string {
		have := m.rows[m.IntN(len(m.rows))][p.Name]
		switch p.Type {
		case odata.Time:
			at := m.rows[m.IntN(len(m.rows))]["createdDateTime"].(time.Time)
			if t, ok := have.(time.Time); ok {
				at = t
			}
			return at.Add(time.Duration(m.IntN(3)-1) * 500 * time.Nanosecond).Format(time.RFC3339Nano)
		case odata.Enum:
			if len(p.Values) == 0 {
				return "null"
			}
			return quote(p.Values[m.IntN(len(p.Values))])
		case odata.GUID:
			if have == nil {
				return quote(backup.NewID[string]())
			}
			return quote(m.pick(have.(string), strings.ToUpper(have.(string))))
		}
		if have == nil {
			return quote(m.pick("", "x"))
		}
		return quote(m.pick(have.(string), strings.ToUpper(have.(string)), have.(string)+"x"))
	}
	if p.Type != odata.Enum && p.Type != odata.Time && m.IntN(3) == 0 {
		part := "x"
		if have, ok := m.rows[m.IntN(len(m.rows))][p.Name].(string); ok {
			runes := []rune(have)
			a := m.IntN(len(runes) + 1)
			part = string(runes[a : a+m.IntN(len(runes)-a+1)])
		}
		return m.pick("contains", "startswith", "endswith") + "(" + name + "," + m.pick("", " ") + quote(part) + ")"
	}
	if m.IntN(8) == 0 {
		return name + m.pick(" eq ", " ne ") + "null"
	}
	if m.IntN(6) == 0 {
		return name + " in (" + literal() + "," + m.pick(" null", literal()) + ")"
	}
	if p.Type == odata.Enum {
		return name + m.pick(" eq ", " ne ") + literal()
	}
	return name + m.pick(" eq ", " ne ", " lt ", " le ", " gt ", " ge ") + literal()
}

func TestFiltersMeanWhatTheModelMeans(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w, units := filterWorld(t, db)
		var rows []modelRow
		for _, u := range units {
			rows = append(rows, unitRow(u))
		}
		m := filterMaker{rand.New(rand.NewPCG(1, 2)), catalog.UnitProperties, rows}
		hits := 0
		for i := range 400 {
			if i == 200 {
				w.SetEffort(2, 3, 100)
			}
			text := m.make(3)
			e, err := odata.ParseFilter(text, catalog.UnitProperties)
			if errors.Is(err, backup.FilterLengthExceeded) {
				continue
			}
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			hits += judge(t, w, units, text, e)
		}
		if hits < 400 {
			t.Errorf("the filters met %d units in all: they are too narrow to prove anything", hits)
		}

		w.SetEffort(500, 20_000, 50_000)
		policies := must[catalog.List[backup.Policy]](t)(w.Policies(t.Context(), contoso, catalog.Page{})).Items
		rows = nil
		for _, p := range policies {
			rows = append(rows, modelRow{"id": string(p.ID), "displayName": p.DisplayName, "status": string(p.Status),
				"createdDateTime": p.Created.At, "lastModifiedDateTime": p.Modified.At})
		}
		m.properties, m.rows = catalog.PolicyProperties, rows
		for range 200 {
			text := m.make(2)
			e := must[odata.Expr](t)(odata.ParseFilter(text, catalog.PolicyProperties))
			l := must[catalog.List[backup.Policy]](t)(w.Policies(t.Context(), contoso, catalog.Page{Filter: e}))
			for i, p := range policies {
				if got := slices.ContainsFunc(l.Items, func(g backup.Policy) bool { return g.ID == p.ID }); got != rows[i].holds(e) {
					t.Errorf("%s: policy %v: %t", text, rows[i], got)
				}
			}
		}
		for _, status := range []string{"inactive", "updating"} {
			e := must[odata.Expr](t)(odata.ParseFilter("status eq '"+status+"'", catalog.PolicyProperties))
			if l := must[catalog.List[backup.Policy]](t)(w.Policies(t.Context(), contoso, catalog.Page{Filter: e, Count: true})); l.Total == 0 {
				t.Errorf("no policy is %s", status)
			}
		}
	})
}

// judge reports units that a filter finds and the model does not, or the other
// way round, and returns how many it finds.
func judge(t testing.TB, w *world, units []backup.Unit, text string, e odata.Expr) int {
	t.Helper()
	l, err := w.Units(t.Context(), contoso, catalog.UnitQuery{Page: catalog.Page{Limit: 7, Filter: e, Count: true}})
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	found := map[backup.UnitID]bool{}
	for total := l.Total; ; {
		for _, u := range l.Items {
			if found[u.ID] {
				t.Errorf("%q: %s comes twice", text, u.ID)
			}
			found[u.ID] = true
		}
		if l.Next == "" {
			l.Total = total
			break
		}
		l = must[catalog.List[backup.Unit]](t)(w.Units(t.Context(), contoso, catalog.UnitQuery{Page: catalog.Page{Limit: 7, Filter: e, After: l.Next}}))
	}
	if l.Total != int64(len(found)) {
		t.Errorf("%q: %d units are counted as %d", text, len(found), l.Total)
	}
	for _, u := range units {
		if r := unitRow(u); found[u.ID] != r.holds(e) {
			t.Errorf("%q: found = %t for %v", text, found[u.ID], r)
		}
	}
	return len(found)
}

func TestOrdersHoldStill(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w, _ := filterWorld(t, db)
		ordersHoldStill(t, w, "policyId ne null or policyId eq null")
		w.SetEffort(2, 3, 100) // most groups have more
		ordersHoldStill(t, w, "")
		ordersHoldStill(t, w, "contains(email,'o') or email eq null")
		order := must[[]odata.Order](t)(odata.ParseOrder("displayName", catalog.UnitProperties))
		for _, after := range []string{"x", "[]", "[1,2]", `["a"]`, `["a",1]`, `["a","b","c"]`, `["a","b",{"skip":-1}]`, `[null,"b"]`, "1,b"} {
			_, err := w.Units(t.Context(), contoso, catalog.UnitQuery{Page: catalog.Page{After: after, Order: order}})
			fails(t, "a page after "+after, err, backup.InvalidRequest)
		}
	})
}

// ordersHoldStill checks each order of all units, which a filter must mean that
// no index answers.
func ordersHoldStill(t *testing.T, w *world, filter string) {
	t.Helper()
	var e odata.Expr
	if filter != "" {
		e = must[odata.Expr](t)(odata.ParseFilter(filter, catalog.UnitProperties))
	}
	for skip := range 3 {
		for _, text := range []string{"displayName desc,lastModifiedDateTime", "lastModifiedDateTime,createdDateTime",
			"createdDateTime", "createdDateTime desc", "lastModifiedDateTime", "lastModifiedDateTime desc", "displayName", "DISPLAYNAME desc",
			"displayName,createdDateTime desc", "lastModifiedDateTime desc, displayName asc, createdDateTime"} {
			order := must[[]odata.Order](t)(odata.ParseOrder(text, catalog.UnitProperties))
			var got []backup.Unit
			page := catalog.UnitQuery{Page: catalog.Page{Limit: 5, Order: order, Filter: e, Skip: 11 * skip}}
			for {
				l := must[catalog.List[backup.Unit]](t)(w.Units(t.Context(), contoso, page))
				got = append(got, l.Items...)
				page.Skip = 0
				if page.After = l.Next; l.Next == "" {
					break
				}
			}
			if len(got) != 24-11*skip {
				t.Errorf("%s: %d units", text, len(got))
			}
			before := func(a, b backup.Unit) int {
				n := 0
				for _, o := range append(slices.Clone(order), odata.Order{Property: odata.Property{Name: "id"}, Desc: order[len(order)-1].Desc}) {
					switch have := unitRow(a)[o.Property.Name].(type) {
					case time.Time:
						n = have.Compare(unitRow(b)[o.Property.Name].(time.Time))
					default:
						x, _ := have.(string)
						y, _ := unitRow(b)[o.Property.Name].(string)
						n = cmp.Compare(strings.ToLower(x), strings.ToLower(y))
					}
					if o.Desc {
						n = -n
					}
					if n != 0 {
						break
					}
				}
				return n
			}
			if !slices.IsSortedFunc(got, before) {
				t.Errorf("%s: not in order", text)
			}
		}
	}
}

func FuzzFilter(f *testing.F) {
	w, units := filterWorld(f, dbtest.Open(f, database.SQLite))
	var rows []modelRow
	for _, u := range units {
		rows = append(rows, unitRow(u))
	}
	m := filterMaker{rand.New(rand.NewPCG(3, 4)), catalog.UnitProperties, rows}
	for range 20 {
		f.Add(m.make(2))
	}
	for _, s := range []string{"", "(", "not", "not not id eq null", strings.Repeat("(", 2000), "contains(displayName,'%_\\')", "displayName eq ''''", "status in (null)",
		"displayName eq 'x\x00'", "createdDateTime gt 9999-12-31T23:59:59.9999999Z", "createdDateTime gt 0001-01-01T00:00:00Z", "id eq 'x' or", "policyId in ()", "1 eq 1", "tolower(displayName) eq 'x'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := odata.ParseFilter(text, catalog.UnitProperties)
		if err == nil {
			judge(t, w, units, text, e)
		} else if _, told := errors.AsType[*backup.Error](err); !told {
			t.Errorf("%q: %v", text, err)
		}
	})
}
