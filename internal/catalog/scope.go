package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

// A Scope is a part of a tenant: the units of some policies, and those of some owners.
// It travels in the context of a call, as an Audit does, and what is outside is then as
// if it were not there: each list is read from the units of the scope, by their
// indexes, or if these are many looked through for what is of them, and each thing that is
// named is looked for among them. A list that does not say how it is held to a scope is
// refused to whoever has one.
//
// What is not known is outside: a group that could not be read for a day has no
// members, an address that the directory does not know is nobody's.
type Scope struct {
	Policies []backup.PolicyID
	Groups   []backup.ObjectID // of the directory: the units of their members
	Owners   []string          // the units of these: ids, or addresses of users and sites
	Caller   string            // whose drafts are theirs before they restore anything
}

type scopeKey struct{}

// WithScope returns a context whose calls see what is in the scope only.
func WithScope(ctx context.Context, s *Scope) context.Context {
	return context.WithValue(ctx, scopeKey{}, s)
}

// scopeOf returns the scope of a call, nil for none.
func scopeOf(ctx context.Context) *Scope {
	s, _ := ctx.Value(scopeKey{}).(*Scope)
	return s
}

// GroupsKnown is for how long what was read of a group's members is believed. After
// that nobody is known to be in it.
const GroupsKnown = 24 * time.Hour

// A scoped is a scope in a statement that is being made. What it has of parameters is
// made when it is first used, since PostgreSQL wants none that are not.
type scoped struct {
	*Scope
	d    database.Dialect
	args *scopeArgs
}

type scopeArgs struct {
	arg                              func(any) string
	of                               backup.TenantID
	fresh                            time.Time
	tenant, since                    string
	policies, groups, ids, addresses string
}

// in makes a scope part of a statement of a tenant, with parameters of its own.
func (s *Scope) in(c *Catalog, tenant backup.TenantID, arg func(any) string) scoped {
	return scoped{s, c.db.Dialect(), &scopeArgs{arg: arg, of: tenant, fresh: c.now().Add(-GroupsKnown)}}
}

func (s scoped) tenant() string {
	if s.args.tenant == "" {
		s.args.tenant = "CAST(" + s.args.arg(string(s.args.of)) + " AS TEXT)"
	}
	return s.args.tenant
}

func (s scoped) since() string {
	if s.args.since == "" {
		s.args.since = "CAST(" + s.args.arg(database.Micros(s.args.fresh)) + " AS BIGINT)"
	}
	return s.args.since
}

// values is a table of texts, value, each a parameter, so that PostgreSQL knows how few
// they are.
func values[T ~string](s scoped, to *string, all []T) string {
	if *to == "" {
		rows := make([]string, len(all))
		for i, v := range all {
			rows[i] = "(CAST(" + s.args.arg(string(v)) + " AS TEXT))"
		}
		*to = "(SELECT column1 AS value FROM (VALUES " + strings.Join(rows, ", ") + ") AS v)"
	}
	return *to
}

// byKind parts the owners that are named by their ids from those that are by addresses.
func (s scoped) byKind() (ids, addresses []string) {
	for _, o := range s.Owners {
		if id, ok := backup.SharePoint.ParseSubject(o); ok { // also of users
			ids = append(ids, string(id))
		} else {
			addresses = append(addresses, backup.FoldAddress(o))
		}
	}
	return ids, addresses
}

// any joins what selects by the parts of the scope that there are, or by none.
func anyOf(parts []string, between, none string) string {
	if len(parts) == 0 {
		return none
	}
	return strings.Join(parts, between)
}

// looked ends a query of whether there is something, so that PostgreSQL looks for each by
// an index, and does not read all there are to compare.
const looked = ` LIMIT 1 OFFSET 0`

const (
	noIDs = `SELECT CAST('' AS TEXT) AS id WHERE 1 = 0`
	union = "\n\t\tUNION "
)

// named are the owners that the scope names, as queries of their ids.
func (s scoped) named() (parts []string) {
	ids, addresses := s.byKind()
	if len(ids) > 0 {
		parts = append(parts, `SELECT e.value AS id FROM `+values(s, &s.args.ids, ids)+` AS e`)
	}
	if len(addresses) > 0 {
		parts = append(parts, `SELECT `+strings.ReplaceAll(ownerOfAddress, "$1", s.tenant())+` AS id FROM `+values(s, &s.args.addresses, addresses)+` AS e`)
	}
	return parts
}

// owners are all owners of the scope, but for those of its policies, as queries of
// their ids.
func (s scoped) owners() []string {
	parts := s.named()
	if len(s.Groups) > 0 {
		parts = append(parts, `SELECT m.subject AS id FROM `+values(s, &s.args.groups, s.Groups)+` AS e CROSS JOIN scope_group g CROSS JOIN scope_member m
			WHERE g.tenant = `+s.tenant()+` AND g.id = e.value AND g.read_at >= `+s.since()+` AND m.tenant = g.tenant AND m.group_id = g.id`)
	}
	return parts
}

// ownerIDs is owners as one query.
func (s scoped) ownerIDs() string { return anyOf(s.owners(), union, noIDs) }

// units are the units of the scope, as a query of their ids and policies. The tenant is
// compared in a way that no index serves, since a database that knows little of the table
// would read all units of it.
func (s scoped) units() string {
	var parts []string
	if len(s.Policies) > 0 {
		parts = append(parts, `SELECT u.id, u.policy FROM `+values(s, &s.args.policies, s.Policies)+` AS e CROSS JOIN unit u WHERE coalesce(u.tenant, '') = `+s.tenant()+` AND u.policy = e.value AND u.policy <> ''`)
	}
	if len(s.Groups)+len(s.Owners) > 0 {
		parts = append(parts, s.ofOwners())
	}
	return anyOf(parts, union, `SELECT CAST('' AS TEXT) AS id, CAST('' AS TEXT) AS policy WHERE 1 = 0`)
}

// ofOwners are the units of the scope's owners, as units has them.
func (s scoped) ofOwners() string {
	return `SELECT u.id, u.policy FROM (` + s.ownerIDs() + `) AS o CROSS JOIN unit u WHERE coalesce(u.tenant, '') = ` + s.tenant() + ` AND u.subject = o.id`
}

// owns is the condition that a subject is one of the scope's owners.
func (s scoped) owns(subject string) string {
	var ways []string
	if named := s.named(); len(named) > 0 {
		ways = append(ways, subject+` IN (SELECT n.id FROM (`+strings.Join(named, union)+`) AS n WHERE n.id IS NOT NULL)`)
	}
	if len(s.Groups) > 0 {
		ways = append(ways, `EXISTS (SELECT 1 FROM `+values(s, &s.args.groups, s.Groups)+` AS e CROSS JOIN scope_group g CROSS JOIN scope_member m
			WHERE g.tenant = `+s.tenant()+` AND g.id = e.value AND g.read_at >= `+s.since()+`
				AND m.tenant = g.tenant AND m.group_id = g.id AND m.subject = `+subject+looked+`)`)
	}
	return `(` + anyOf(ways, " OR ", "1 = 0") + `)`
}

// has is the condition that a unit u is in the scope.
func (s scoped) has(u string) string {
	owns := s.owns(u + ".subject")
	if len(s.Policies) == 0 {
		return owns
	}
	return `(` + u + `.policy <> '' AND ` + u + `.policy IN (SELECT e.value FROM ` + values(s, &s.args.policies, s.Policies) + ` AS e) OR ` + owns + `)`
}

// hasUnit is the condition that a unit of an id is in the scope.
func (s scoped) hasUnit(id string) string {
	return `EXISTS (SELECT 1 FROM unit u WHERE u.id = ` + id + ` AND u.tenant = ` + s.tenant() + ` AND ` + s.has("u") + looked + `)`
}

// session is the condition that a session may be seen: all that it restores is of
// units in the scope, and it restores something, or is the caller's.
func (s scoped) session(id, creator, caller string) string {
	of := func(table string) string {
		return `SELECT 1 FROM ` + table + ` z LEFT JOIN unit u ON u.id = z.unit WHERE z.session = ` + id
	}
	outside := ` AND (u.id IS NULL OR NOT ` + s.has("u") + `)` + looked
	return `NOT EXISTS (` + of("restore_artifact") + outside + `) AND NOT EXISTS (` + of("granular_artifact") + outside + `)
		AND (EXISTS (` + of("restore_artifact") + looked + `) OR EXISTS (` + of("granular_artifact") + looked + `) OR ` + creator + ` <> '' AND ` + creator + ` = ` + caller + `)`
}

// activity is the condition that an entry of the audit log is of units in the scope,
// and of no others.
func (s scoped) activity(id string) string {
	return `EXISTS (SELECT 1 FROM audit_unit z WHERE z.audit = ` + id + looked + `) AND NOT EXISTS (
		SELECT 1 FROM audit_unit z LEFT JOIN unit u ON u.id = z.unit WHERE z.audit = ` + id + ` AND (u.id IS NULL OR NOT ` + s.has("u") + `)` + looked + `)`
}

// A within is how a list is held to a scope.
type within struct {
	// among is a query of the ids of what may be in it, and what must be true of each
	// besides, "" for nothing.
	among func(s scoped, arg func(any) string) (ids, condition string)
	// each is what is true of those alone that are in it, found by an index for each; nil
	// where there is no such condition.
	each func(s scoped, arg func(any) string) string
}

// How lists are held to a scope. ofParent is for what is of something that was looked
// for in the scope; notListed is for what cannot be held to one, of which nothing is
// shown; ofTenant is for what is of nobody.
var (
	ofParent, ofTenant = within{among: everything}, within{among: everything}
	notListed          = within{among: func(scoped, func(any) string) (string, string) { return noIDs, "" }}
	unitsWithin        = within{
		func(s scoped, _ func(any) string) (string, string) {
			return `SELECT x.id FROM (` + s.units() + `) AS x`, ""
		},
		func(s scoped, _ func(any) string) string { return s.has("u") },
	}
	policiesWithin = within{among: func(s scoped, _ func(any) string) (string, string) {
		ids := `SELECT x.policy || '' AS id FROM (` + s.ofOwners() + `) AS x`
		if len(s.Policies) > 0 {
			ids += union + `SELECT e.value FROM ` + values(s, &s.args.policies, s.Policies) + ` AS e`
		}
		return ids, ""
	}}
	rulesWithin = within{among: func(s scoped, _ func(any) string) (string, string) {
		if len(s.Policies) == 0 {
			return noIDs, ""
		}
		return `SELECT r.id FROM ` + values(s, &s.args.policies, s.Policies) + ` AS e CROSS JOIN inclusion_rule r WHERE r.policy = e.value`, ""
	}}
	exclusionsWithin = within{
		func(s scoped, _ func(any) string) (string, string) {
			return `SELECT x.id FROM (` + s.ownerIDs() + `) AS o CROSS JOIN exclusion x WHERE coalesce(x.tenant, '') = ` + s.tenant() + ` AND x.subject = o.id`, ""
		},
		func(s scoped, _ func(any) string) string { return s.owns("x.subject") },
	}
	browsesWithin = within{
		func(s scoped, _ func(any) string) (string, string) {
			return `SELECT b.id FROM (` + s.units() + `) AS x CROSS JOIN browse_session b WHERE b.unit = x.id`, ""
		},
		func(s scoped, _ func(any) string) string { return s.hasUnit("b.unit") },
	}
	sessionsWithin = within{
		func(s scoped, arg func(any) string) (string, string) {
			caller := "CAST(" + arg(s.Caller) + " AS TEXT)"
			return `SELECT a.session AS id FROM (` + s.units() + `) AS x CROSS JOIN restore_artifact a WHERE a.unit = x.id
			UNION SELECT g.session FROM (` + s.units() + `) AS x CROSS JOIN granular_artifact g WHERE g.unit = x.id
			UNION SELECT m.id FROM restore_session m WHERE m.tenant = ` + s.tenant() + ` AND m.creator = ` + caller + ` AND m.creator <> ''`,
				s.session("s.id", "s.creator", caller)
		},
		func(s scoped, arg func(any) string) string {
			return s.session("s.id", "s.creator", "CAST("+arg(s.Caller)+" AS TEXT)")
		},
	}
)

// activitiesWithin is how a list of entries of the audit log is, whose ids are an expression.
func activitiesWithin(id string) within {
	return within{
		func(s scoped, _ func(any) string) (string, string) {
			return `SELECT z.audit AS id FROM (` + s.units() + `) AS x CROSS JOIN audit_unit z WHERE z.unit = x.id`, s.activity(id)
		},
		func(s scoped, _ func(any) string) string { return s.activity(id) },
	}
}

func everything(scoped, func(any) string) (string, string) { return "", "" }

// errOutside is what a list is answered with that does not say how it is held to a
// scope.
var errOutside = backup.Fail(backup.AccessDenied, "Your role is limited to a part of the tenant, and this list cannot be held to a part.")

// wide reports whether a scope has more owners, and units of its policies, than some.
func (c *Catalog) wide(ctx context.Context, tenant backup.TenantID, scope *Scope, some int) (bool, error) {
	var args []any
	arg := func(v any) string { args = append(args, v); return fmt.Sprintf("$%d", len(args)) }
	s := scope.in(c, tenant, arg)
	owners := `(SELECT count(*) FROM (SELECT 1 FROM (` + anyOf(s.owners(), " UNION ALL ", noIDs) + `) AS x LIMIT ` + arg(some+1) + `) AS c)`
	units := `0`
	if len(s.Policies) > 0 {
		units = `(SELECT coalesce(sum(n), 0) FROM unit_count WHERE tenant = ` + s.tenant() + ` AND policy IN (SELECT e.value FROM ` + values(s, &s.args.policies, s.Policies) + ` AS e))`
	}
	var n int
	if err := c.db.Read().QueryRowContext(ctx, `SELECT CAST(`+owners+` + `+units+` AS BIGINT)`, args...).Scan(&n); err != nil {
		return false, fmt.Errorf("look how much is in the scope: %w", err)
	}
	return n > some, nil
}

// whollyWithin returns the context without its scope if that has all that a policy has.
func whollyWithin(ctx context.Context, policy backup.PolicyID) context.Context {
	if s := scopeOf(ctx); s != nil && slices.Contains(s.Policies, policy) {
		return WithScope(ctx, nil)
	}
	return ctx
}

// limited reads a page of a list that is held to a scope that is not wide, and how many items the list
// has if that is asked for: from the scope's own items, which the database sorts, so
// that the cost is that of the scope and not of the tenant.
func (r *reading) limited(ctx context.Context, scope *Scope, p Page) (f found, total int64, err error) {
	s := r.statement()
	sc := scope.in(r.c, r.tenant(), s.arg)
	ids, condition := r.q.scope.among(sc, s.arg)
	s.where = append(s.where, r.q.id+" = c.id")
	for _, e := range r.q.within { // in a way that no index serves
		s.where = append(s.where, "coalesce("+e.column+", '') = "+s.arg(e.value))
	}
	if condition != "" {
		s.where = append(s.where, condition)
	}
	if err := s.meets(nil, r.terms); err != nil {
		return f, 0, err
	}
	from := ` FROM (` + ids + `) AS c CROSS JOIN ` + r.q.table + ` WHERE ` + strings.Join(s.where, " AND ")
	if p.Count {
		if err := r.c.db.Read().QueryRowContext(ctx, `SELECT count(*)`+from, s.args...).Scan(&total); err != nil || p.Bare {
			return f, total, err
		}
	}
	if r.from.after != nil {
		from += ` AND (` + s.behind(r.from.after) + `)`
	}
	by := make([]string, len(r.keys))
	for i, k := range r.keys {
		by[i] = s.sorted(k)
		if k.desc {
			by[i] += ` DESC`
		}
	}
	f.places, err = s.places(ctx, from+` ORDER BY `+strings.Join(by, ", ")+` LIMIT `+s.arg(r.limit+1)+` OFFSET `+s.arg(r.from.skip))
	return f, total, err
}

// countWithin returns how many items a list has that is held to a wide scope: by looking at
// each that is listed where these are not too many, or else, as narrow does, at the scope's
// own, as many as entries of an index would be counted.
func (r *reading) countWithin(ctx context.Context, narrow *reading, scope *Scope) (total int64, err error) {
	if total, err = r.count(ctx); err != errUncounted {
		return total, err
	}
	if wide, err := r.c.wide(ctx, r.q.tenant, scope, manyEntries*r.c.effort.count); err != nil || wide {
		return 0, cmp.Or(err, error(errUncounted))
	}
	_, total, err = narrow.limited(ctx, scope, Page{Count: true, Bare: true})
	return total, err
}

// sorted is a key by which texts are ordered by their bytes.
func (s *statement) sorted(k sortKey) string {
	if k.text {
		return s.d.Bytewise(k.expr)
	}
	return k.expr
}

// behind is the condition that an item comes after a place.
func (s *statement) behind(at place) string {
	var ways []string
	same := ""
	for i, k := range s.keys {
		v, way := s.arg(at[i]), " > "
		if k.desc {
			way = " < "
		}
		ways = append(ways, `(`+same+s.sorted(k)+way+v+`)`)
		same += k.expr + ` = ` + v + ` AND `
	}
	return strings.Join(ways, " OR ")
}

// tenant is whose list is read.
func (r *reading) tenant() backup.TenantID { return r.q.tenant }

// A held is a check of things of one kind against the scope of a call.
func (c *Catalog) within(ctx context.Context, db database.Queryer, tenant backup.TenantID, from func(s scoped, arg func(any) string) string) (bool, error) {
	var args []any
	arg := func(v any) string { args = append(args, v); return fmt.Sprintf("$%d", len(args)) }
	scope := scopeOf(ctx)
	text := from(scope.in(c, tenant, arg), arg)
	var is int
	if err := db.QueryRowContext(ctx, `SELECT CASE WHEN EXISTS (`+text+`) THEN 1 ELSE 0 END`, args...).Scan(&is); err != nil {
		return false, fmt.Errorf("look whether it is in the scope: %w", err)
	}
	return is == 1, nil
}

// only returns nil if a call without a scope, or what from selects is there in that
// of the call; else otherwise.
func (c *Catalog) only(ctx context.Context, db database.Queryer, tenant backup.TenantID, otherwise error, from func(s scoped, arg func(any) string) string) error {
	if scopeOf(ctx) == nil {
		return nil
	}
	in, err := c.within(ctx, db, tenant, from)
	if err == nil && !in {
		err = otherwise
	}
	return err
}

// onlyUnit returns otherwise unless a unit is in the scope of the call.
func (c *Catalog) onlyUnit(ctx context.Context, db database.Queryer, tenant backup.TenantID, id backup.UnitID, otherwise error) error {
	return c.only(ctx, db, tenant, otherwise, func(s scoped, arg func(any) string) string {
		return `SELECT 1 FROM unit u WHERE u.id = ` + arg(string(id)) + ` AND u.tenant = ` + s.tenant() + ` AND ` + s.has("u")
	})
}

// onlyPolicy returns otherwise unless a policy is in the scope of the call: it is named
// by it, or has a unit that is in it.
func (c *Catalog) onlyPolicy(ctx context.Context, db database.Queryer, tenant backup.TenantID, id backup.PolicyID, otherwise error) error {
	if s := scopeOf(ctx); s == nil || slices.Contains(s.Policies, id) {
		return nil
	}
	return c.only(ctx, db, tenant, otherwise, func(s scoped, arg func(any) string) string {
		return `SELECT 1 FROM (` + s.units() + `) AS x WHERE x.policy || '' = ` + arg(string(id)) // not by the index of the policy's units
	})
}

// wholePolicy refuses what would concern all units of a policy to whoever is limited to
// some of them.
func wholePolicy(ctx context.Context, id backup.PolicyID) error {
	if s := scopeOf(ctx); s == nil || slices.Contains(s.Policies, id) {
		return nil
	}
	return backup.Fail(backup.AccessDenied, "Your role is limited to some of this policy's units, and this would concern all of them. Ask somebody whose role is not limited.")
}

// onlySubject returns otherwise unless a subject is an owner of the scope of the call,
// or has a unit in it.
func (c *Catalog) onlySubject(ctx context.Context, db database.Queryer, tenant backup.TenantID, id backup.SubjectID, otherwise error) error {
	return c.only(ctx, db, tenant, otherwise, func(s scoped, arg func(any) string) string {
		subject := "CAST(" + arg(string(id)) + " AS TEXT)"
		return `SELECT 1 WHERE ` + s.owns(subject) + ` OR EXISTS (SELECT 1 FROM unit u WHERE u.tenant = ` + s.tenant() + ` AND u.subject = ` + subject + ` AND ` + s.has("u") + `)`
	})
}

// subjectsOutside are those of some subjects that are not in the scope of the call.
func (c *Catalog) subjectsOutside(ctx context.Context, db database.Queryer, tenant backup.TenantID, ids []backup.SubjectID) (map[backup.SubjectID]bool, error) {
	outside := map[backup.SubjectID]bool{}
	if scopeOf(ctx) == nil {
		return outside, nil
	}
	for _, id := range ids {
		err := c.onlySubject(ctx, db, tenant, id, errOutside)
		if err != nil && !errors.Is(err, errOutside) {
			return nil, err
		}
		outside[id] = err != nil
	}
	return outside, nil
}

// unitsWithin leaves of some units those that are in the scope of the call.
func (c *Catalog) unitsWithin(ctx context.Context, db database.Queryer, tenant backup.TenantID, ids []backup.UnitID) ([]backup.UnitID, error) {
	scope := scopeOf(ctx)
	if scope == nil || len(ids) == 0 {
		return ids, nil
	}
	var args []any
	arg := func(v any) string { args = append(args, v); return fmt.Sprintf("$%d", len(args)) }
	s := scope.in(c, tenant, arg)
	rows, err := db.QueryContext(ctx, `SELECT u.id FROM `+s.d.JSONEach("CAST("+arg(jsonList(ids))+" AS TEXT)")+` AS c CROSS JOIN unit u
		WHERE u.id = c.value AND coalesce(u.tenant, '') = `+s.tenant()+` AND `+s.has("u")+` ORDER BY c.n`, args...)
	in, err := collect(rows, err, func(r scanner) (id backup.UnitID, err error) { return id, r.Scan(&id) })
	if err != nil {
		return nil, fmt.Errorf("look which units are in the scope: %w", err)
	}
	return in, nil
}

// MayRestoreInto refuses a place that is named by its owner's id or address, or by a
// site's, if the call has a scope that it is not in.
func (c *Catalog) MayRestoreInto(ctx context.Context, tenant backup.TenantID, place string) error {
	if scopeOf(ctx) == nil {
		return nil
	}
	outside := backup.Fail(backup.AccessDenied, "Your role is limited to a part of the tenant, and the place to restore into is outside it, or is not known. Ask somebody whose role is not limited.")
	id, ok := backup.ParseGUID(place)
	if !ok {
		var args []any
		arg := func(v any) string { args = append(args, v); return fmt.Sprintf("$%d", len(args)) }
		s := (&Scope{Owners: []string{place}}).in(c, tenant, arg)
		rows, err := c.db.Read().QueryContext(ctx, `SELECT n.id FROM (`+anyOf(s.named(), union, noIDs)+`) AS n WHERE n.id IS NOT NULL`, args...)
		known, err := collect(rows, err, func(r scanner) (id string, err error) { return id, r.Scan(&id) })
		if err != nil {
			return fmt.Errorf("look whose place it is: %w", err)
		}
		if len(known) != 1 {
			return outside
		}
		id = known[0]
	}
	return c.onlySubject(ctx, c.db.Read(), tenant, backup.SubjectID(id), outside)
}

// NoteGroup records who is in a group of the directory, as it was read to the end from a
// time on. Who was in it and was not found is in it no more, unless broken tells that the
// members did not come to their end.
func (c *Catalog) NoteGroup(ctx context.Context, tenant backup.TenantID, group backup.ObjectID, began time.Time, members iter.Seq[backup.SubjectID], broken func() error) error {
	seen := database.Micros(began)
	write := func(part []backup.SubjectID) error {
		return c.db.Tx(ctx, func(tx *database.Tx) error {
			_, err := tx.ExecContext(ctx, `
				INSERT INTO scope_member (tenant, group_id, subject, seen)
				SELECT CAST($2 AS TEXT), CAST($3 AS TEXT), e.value, CAST($4 AS BIGINT) FROM `+tx.Dialect().JSONEach("$1")+` AS e WHERE true
				ON CONFLICT (tenant, group_id, subject) DO UPDATE SET seen = excluded.seen`,
				jsonList(part), string(tenant), string(group), seen)
			return err
		})
	}
	var part []backup.SubjectID
	for id := range members {
		if part = append(part, id); len(part) == c.batch {
			slices.Sort(part)
			if err := write(slices.Compact(part)); err != nil {
				return fmt.Errorf("note members of group %s: %w", group, err)
			}
			part = part[:0]
		}
	}
	slices.Sort(part)
	if err := write(slices.Compact(part)); err != nil {
		return fmt.Errorf("note members of group %s: %w", group, err)
	}
	if err := broken(); err != nil {
		return fmt.Errorf("read members of group %s: %w", group, err)
	}
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM scope_member WHERE tenant = $1 AND group_id = $2 AND seen < $3`, string(tenant), string(group), seen); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO scope_group (tenant, id, read_at) VALUES ($1, $2, $3) ON CONFLICT (tenant, id) DO UPDATE SET read_at = excluded.read_at`,
			string(tenant), string(group), seen)
		return err
	})
	if err != nil {
		return fmt.Errorf("note members of group %s: %w", group, err)
	}
	return nil
}

// ForgetGroups forgets who is in groups other than these.
func (c *Catalog) ForgetGroups(ctx context.Context, tenant backup.TenantID, but []backup.ObjectID) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		others := ` NOT IN (SELECT e.value FROM ` + tx.Dialect().JSONEach("$2") + ` AS e)`
		if _, err := tx.ExecContext(ctx, `DELETE FROM scope_group WHERE tenant = $1 AND id`+others, string(tenant), jsonList(but)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM scope_member WHERE tenant = $1 AND group_id`+others, string(tenant), jsonList(but))
		return err
	})
	if err != nil {
		return fmt.Errorf("forget groups: %w", err)
	}
	return nil
}
