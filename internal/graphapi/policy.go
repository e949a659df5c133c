package graphapi

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

type policyID = backup.PolicyID

// policyView shows a policy.
func (s *Server) policyView(x *exchange, p backup.Policy) (odata.Entity, error) {
	w := wordsOf(p.Workload)
	e := odata.Entity{Type: w.policies.name, Path: root + "/" + policySet + "('" + string(p.ID) + "')"}
	e.Add("id", p.ID)
	e.Add("displayName", p.DisplayName)
	e.Add("status", p.Status)
	e.Add("isEnabled", p.Status != backup.PolicyInactive)
	if x.inBeta() {
		e.Add("protectionMode", protectionMode(p))
	}
	addStamps(&e, p.Created, p.Modified, identities)
	e.Add("retentionSettings", p.Retention.Shown())
	if slices.Contains(x.options.Select, "protectionPolicyArtifactCount") { // only when asked for: it is counted
		n, err := s.catalog.PolicyUnitCounts(x.ctx(), p.Tenant, p.ID)
		if err != nil {
			return e, err
		}
		e.Add("protectionPolicyArtifactCount", map[string]int64{
			"completed": n.Protected, "failed": n.ProtectedFailing + n.UnprotectFailing,
			"inProgress": n.Protecting + n.Unprotecting + n.Removing, "total": n.Total,
		})
	}
	return e, s.expandPolicy(x, w, p, &e)
}

// expandPolicy adds what $expand asks for: the first page of each.
func (s *Server) expandPolicy(x *exchange, w *workload, p backup.Policy, e *odata.Entity) (err error) {
	page := catalog.Page{Limit: odata.DefaultPage}
	for _, name := range x.expand {
		var items []odata.Entity
		next := ""
		switch name {
		case w.units.set:
			items, next, err = views(s.units(x, p.ID), page, func(u backup.Unit) odata.Entity { return s.unitView(x, u, "") })
		case w.rules.set:
			items, next, err = views(s.rules(x, p.ID), page, func(r backup.Rule) odata.Entity { return s.ruleView(x, w, r) })
		case w.bulkJobs.set, w.exclusionJobs.set:
			purpose := w.purpose(name)
			items, next, err = views(s.bulkJobs(x, p.ID, purpose), page, func(j backup.BulkJob) odata.Entity { return bulkJobView(w, j, true) })
		case w.exclusions.set:
			items, next, err = views(s.exclusions(x, p.ID), page, func(u backup.Exclusion) odata.Entity { return exclusionView(x, u, "") })
		}
		if err != nil {
			return err
		}
		if next != "" {
			path := "/" + root + "/" + w.policies.set + "/" + string(p.ID) + "/" + name
			e.Add(name+"@odata.nextLink", s.tokens.NextLink(string(x.tenant()), x.base, path, odata.Options{}, next))
		}
		e.Add(name, items)
	}
	return nil
}

// views shows one page of a list.
func views[T any](fetch func(catalog.Page) (catalog.List[T], error), page catalog.Page, view func(T) odata.Entity) ([]odata.Entity, string, error) {
	l, err := fetch(page)
	items := make([]odata.Entity, len(l.Items))
	for i, item := range l.Items {
		items[i] = view(item)
	}
	return items, l.Next, err
}

// expandedPolicies is how many policies one page shows with all that is in
// them.
const expandedPolicies = 20

func (s *Server) policies(x *exchange) func(catalog.Page) (catalog.List[backup.Policy], error) {
	return func(p catalog.Page) (catalog.List[backup.Policy], error) {
		p.Workload = x.workload()
		return s.catalog.Policies(x.ctx(), x.tenant(), p)
	}
}

// listPolicies serves protectionPolicies and its sets by workload.
func (s *Server) listPolicies(x *exchange) (reply, error) {
	size := 0
	if x.expand != nil {
		size = expandedPolicies
	}
	return list(s, x, listing[backup.Policy]{
		set: x.set(), fetch: s.policies(x), size: size,
		view: func(p backup.Policy) (odata.Entity, error) { return s.policyView(x, p) },
	})
}

func (s *Server) countPolicies(x *exchange) (reply, error) { return count(x, s.policies(x)) }

// workload is the one that the address is of, "" for all.
func (x *exchange) workload() backup.Workload {
	if x.route.of == nil {
		return ""
	}
	return x.route.of.kind
}

// set is the set that the address of a list or of one of its entities names.
func (x *exchange) set() string {
	first, rest, _ := strings.Cut(x.route.path, "/")
	if typ, cast := strings.CutPrefix(rest, "graph."); cast {
		return first + "/microsoft.graph." + typ
	}
	return first
}

// showPolicy answers with a policy at its own address.
func (s *Server) showPolicy(x *exchange, status int, p backup.Policy) (reply, error) {
	e, err := s.policyView(x, p)
	if err != nil {
		return reply{}, err
	}
	return show(x, status, x.set(), e)
}

func (s *Server) getPolicy(x *exchange) (reply, error) {
	p, err := s.catalog.Policy(x.ctx(), x.tenant(), guid[policyID](x, "id"))
	if err != nil {
		return reply{}, err
	}
	return s.showPolicy(x, http.StatusOK, p)
}

// createPolicy serves POST of a policy. Policies begin inactive.
func (s *Server) createPolicy(x *exchange) (reply, error) {
	w, err := s.posted(x, policiesOf, backup.InvalidCreateRequest)
	if err != nil {
		return reply{}, err
	}
	members := append(readOnly, "displayName", "isEnabled", "retentionSettings", "protectionPolicyArtifactCount", w.units.set)
	if x.inBeta() {
		members = append(members, "protectionMode")
	}
	if err := x.body.Only(w.policies.name, members...); err != nil {
		return reply{}, err
	}
	mode, err := readProtectionMode(x.body, backup.InvalidCreateRequest)
	if err != nil {
		return reply{}, err
	}
	name, _, err := x.body.String("displayName")
	if err != nil {
		return reply{}, err
	}
	given, _, err := x.body.Objects(w.units.set)
	if err != nil {
		return reply{}, err
	}
	n := catalog.NewPolicy{Workload: w.kind, DisplayName: name, FullService: mode == fullServiceMode, By: s.stamp(x)}
	owners := make([]string, len(given))
	for i, u := range given {
		if owners[i], err = w.owned(u, w.units); err != nil {
			return reply{}, err
		}
	}
	if len(owners) > backup.MaxUnitsPerRequest {
		return reply{}, w.tooManyUnits()
	}
	if err := checkDisplayName(name); err != nil {
		return reply{}, err
	}
	for _, o := range owners {
		id, ok := w.kind.ParseSubject(o)
		if !ok {
			return reply{}, w.invalidOwner()
		}
		n.Units = append(n.Units, id)
		if full := w.kind.SourceID(o); full != "" {
			if n.SourceIDs == nil {
				n.SourceIDs = map[backup.SubjectID]string{}
			}
			n.SourceIDs[id] = full
		}
	}
	p, err := s.catalog.CreatePolicy(x.ctx(), x.tenant(), n)
	if err != nil {
		return reply{}, err
	}
	e, err := s.policyView(x, p)
	if err != nil {
		return reply{}, err
	}
	r, err := created(x, w.policies.set, w.policies.set+"/"+string(p.ID), e)
	r.content = root + "/" + policySet + "/" + string(p.ID)
	return r, err
}

// owned reads what a new unit of a collection is of.
func (w *workload) owned(u *odata.Object, in collection) (string, error) {
	names := []string{w.subject}
	if w.formerly != "" {
		names = append(names, w.formerly)
	}
	if err := u.Only(in.name, slices.Concat(names, readOnly, w.called[:], []string{"policyId", "protectionSources", "offboardRequestedDateTime"})...); err != nil {
		return "", err
	}
	for _, name := range names {
		if id, ok, err := u.String(name); err != nil || ok {
			return id, err
		}
	}
	return "", nil
}

func checkDisplayName(name string) error {
	if n := utf8.RuneCountInString(name); n < 1 || n > backup.MaxDisplayName {
		return backup.Fail(backup.InvalidDisplayName, "The displayName must have 1 to 1,024 characters.").On("displayName")
	}
	return nil
}

func (w *workload) tooManyUnits() error {
	return backup.Fail(backup.ProtectionUnitsLimitBreached, "One request may name at most 50 units. Send several, or a bulk addition job.").On(w.units.set)
}

func (w *workload) invalidOwner() error {
	return backup.Fail(backup.InvalidProtectionUnitID, "A unit to add is named by "+w.subject+", "+w.meaning+".").On(w.subject)
}

// updatePolicy serves PATCH of a policy: a new name, and units to add and
// remove. An item that fails is told in its place; the others are done.
func (s *Server) updatePolicy(x *exchange) (reply, error) {
	id := guid[policyID](x, "id")
	w, err := s.wordsOfPolicy(x, id)
	if err != nil {
		return reply{}, err
	}
	edit, err := s.policyEdit(x, w)
	if err != nil {
		// That there is no such policy comes before what is wrong with the change.
		if e, ok := errors.AsType[*semantic](err); ok {
			if _, err := s.catalog.Policy(x.ctx(), x.tenant(), id); err != nil {
				return reply{}, err
			}
			return reply{}, e.error
		}
		return reply{}, err
	}
	if edit.mode != "" {
		p, err := s.catalog.Policy(x.ctx(), x.tenant(), id)
		if err != nil {
			return reply{}, err
		}
		if protectionMode(p) != edit.mode {
			return reply{}, backup.Fail(backup.InvalidPatchRequest, "The protectionMode of a policy stays as it was created. Create another policy.").On("protectionMode")
		}
	}
	if edit.excludes {
		return s.updateExclusions(x, w, id, edit)
	}
	patch := catalog.PolicyPatch{DisplayName: edit.name, By: s.stamp(x)}
	results := make([]odata.Entity, len(edit.changes))
	var at []int // where the results of patch.Units belong
	for i, c := range edit.changes {
		if c.refused != nil {
			results[i] = w.unitFailure(c, c.refused)
			continue
		}
		patch.Units = append(patch.Units, c.unit)
		at = append(at, i)
	}
	p, outcomes, err := s.catalog.UpdatePolicy(x.ctx(), x.tenant(), id, patch)
	if err != nil {
		return reply{}, err
	}
	for n, o := range outcomes {
		c := edit.changes[at[n]]
		if o.Err != nil {
			results[at[n]] = w.unitFailure(c, o.Err)
			continue
		}
		results[at[n]] = s.unitView(x, o.Unit, c.ContentID)
	}
	if !edit.delta {
		results = nil
	}
	return s.updated(x, p, w.units, results)
}

// updated answers a change of a policy with what became of the items of the delta of a
// collection; nil is that there was none.
func (s *Server) updated(x *exchange, p backup.Policy, of collection, results []odata.Entity) (reply, error) {
	if x.prefer.Minimal && results == nil {
		return reply{status: http.StatusNoContent, wrote: true}, nil
	}
	e, err := s.policyView(x, p)
	if err != nil {
		return reply{}, err
	}
	if results != nil {
		e.Add(of.delta(), results)
	}
	r, err := show(x, http.StatusOK, x.set(), e)
	r.wrote = !x.prefer.Minimal
	return r, err
}

// A semantic error is one of meaning: the request is well formed, and what it
// names must exist before its meaning is judged.
type semantic struct{ error }

func (e *semantic) Unwrap() error { return e.error }

// A policyEdit is what a PATCH asks of a policy.
type policyEdit struct {
	name    *string
	delta   bool // it has a delta, be it empty
	changes []unitChange

	excludes bool   // the delta is of what is excluded
	mode     string // the protectionMode that it repeats; "" if it has none
}

type unitChange struct {
	odata.Change
	owner   string // as it was sent
	unit    catalog.UnitChange
	refused *backup.Error // why this item cannot be done
}

func (s *Server) policyEdit(x *exchange, w *workload) (edit policyEdit, err error) {
	b, unitDelta := x.body, w.units.delta()
	if b.Has(w.units.set) {
		return edit, backup.Fail(backup.InvalidPatchRequest, "The units of a policy are changed with '"+unitDelta+"', which says what to add and what to remove. The whole list cannot be replaced.").On(w.units.set)
	}
	members := append(readOnly, "displayName", "isEnabled", "retentionSettings", "protectionPolicyArtifactCount", unitDelta)
	named := w.units
	if x.inBeta() {
		members = append(members, "protectionMode", w.exclusions.delta())
		if edit.excludes = b.Has(w.exclusions.delta()); edit.excludes {
			named = w.exclusions
		}
	}
	if err := b.Only(w.policies.name, members...); err != nil {
		return edit, err
	}
	if edit.excludes && b.Has(unitDelta) {
		return edit, backup.Fail(backup.InvalidPatchRequest, "A policy either protects what is added to it or all but what is excluded: send '"+unitDelta+"' or '"+named.delta()+"', not both.").On(named.delta())
	}
	if edit.mode, err = readProtectionMode(b, backup.InvalidPatchRequest); err != nil {
		return edit, err
	}
	if b.Has("displayName") {
		name, _, err := b.String("displayName")
		if err != nil {
			return edit, err
		}
		edit.name = &name
	}
	items, delta, err := b.Changes(named.delta())
	if err != nil {
		return edit, err
	}
	edit.delta = delta
	for _, item := range items {
		o, err := w.owned(item.Object, named)
		if err != nil {
			return edit, err
		}
		edit.changes = append(edit.changes, unitChange{Change: item, owner: o})
	}
	if edit.name == nil && !delta {
		return edit, backup.Fail(backup.InvalidPatchRequest, "The request changes nothing: send displayName, '"+unitDelta+"', or both.")
	}
	if err := s.resolve(x, w, &edit); err != nil {
		if _, ok := errors.AsType[*backup.Error](err); ok {
			err = &semantic{err}
		}
		return edit, err
	}
	return edit, nil
}

// resolve finds out which unit or owner each change means.
func (s *Server) resolve(x *exchange, w *workload, edit *policyEdit) error {
	if len(edit.changes) > backup.MaxUnitsPerRequest {
		return w.tooManyUnits()
	}
	if edit.name != nil {
		if err := checkDisplayName(*edit.name); err != nil {
			return err
		}
	}
	var attached []backup.UnitID // existing units that are named by their ids
	for i := range edit.changes {
		c := &edit.changes[i]
		switch {
		case edit.excludes && !c.Removed && c.owner == "":
			return w.invalidOwner()
		case c.Removed && c.ID == "" && c.owner != "":
			c.refused = backup.Fail(backup.InvalidUnit, "A unit is removed by its id, not by its "+w.owner+"'s. Send the id of the unit.")
		case c.ID != "" && (c.Removed || c.owner == ""):
			id, ok := backup.ParseGUID(c.ID)
			if !ok {
				return backup.Fail(backup.InvalidProtectionUnitID, "The id of a unit is a GUID.").On("id")
			}
			c.unit.Remove = backup.UnitID(id)
			if !c.Removed {
				attached = append(attached, c.unit.Remove)
			}
		default:
			id, ok := w.kind.ParseSubject(c.owner)
			if !ok {
				return w.invalidOwner()
			}
			c.unit.Add, c.unit.SourceID = id, w.kind.SourceID(c.owner)
		}
	}
	if len(attached) == 0 {
		return nil
	}
	known, err := s.catalog.UnitsByID(x.ctx(), x.tenant(), attached)
	if err != nil {
		return err
	}
	for i := range edit.changes {
		c := &edit.changes[i]
		if c.Removed || c.unit.Remove == "" {
			continue
		}
		u, ok := known[c.unit.Remove]
		if !ok {
			c.refused = backup.Fail(backup.InvalidUnit, "There is no such unit to add. Name its "+w.owner+" by "+w.subject+".")
			c.refused.Details = []backup.Detail{{Code: backup.ProtectionUnitNotFound, Message: "There is no unit with this id."}}
		}
		c.unit = catalog.UnitChange{Add: u.Subject}
	}
	return nil
}

// unitFailure shows an item of a policy's delta that was not done.
func (w *workload) unitFailure(c unitChange, err *backup.Error) odata.Entity {
	e := failed(c.Change, w.inWords(err).(*backup.Error))
	switch {
	case c.Removed && c.ID == "", !c.Removed && c.owner != "":
		e.Add(w.subject, c.owner)
	default:
		e.Add("id", c.ID)
	}
	return e
}

func (s *Server) deletePolicy(x *exchange) (reply, error) {
	if err := s.catalog.DeletePolicy(x.ctx(), x.tenant(), guid[policyID](x, "id")); err != nil {
		return reply{}, err
	}
	return s.deleted(x)
}

// activatePolicy serves protectionPolicyBase: activate.
func (s *Server) activatePolicy(x *exchange) (reply, error) {
	p, err := s.catalog.ActivatePolicy(x.ctx(), x.tenant(), guid[policyID](x, "id"), s.stamp(x))
	return s.acted(x, p, err)
}

// deactivatePolicy serves protectionPolicyBase: deactivate.
func (s *Server) deactivatePolicy(x *exchange) (reply, error) {
	p, err := s.catalog.DeactivatePolicy(x.ctx(), x.tenant(), guid[policyID](x, "id"), s.stamp(x))
	return s.acted(x, p, err)
}

// acted answers an action on a policy that was accepted.
func (s *Server) acted(x *exchange, p backup.Policy, err error) (reply, error) {
	if err != nil {
		return reply{}, err
	}
	r, err := s.showPolicy(x, http.StatusAccepted, p)
	r.content = root + "/" + policySet + "('" + string(p.ID) + "')"
	return r, err
}
