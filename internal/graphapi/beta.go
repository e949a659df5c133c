package graphapi

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/identity"
	"holdfast/internal/odata"
)

// beta is the routes that only Microsoft's beta version has.
func beta(served []*workload) []route {
	const log = activitySet
	table := exclusionRoutes(exclusionSet, nil, served)
	for _, w := range served {
		table = slices.Concat(table, exclusionRoutes(w.exclusions.set, w, served), w.excludes())
	}
	table = append(table, []route{
		{method: "GET", path: log, op: identity.ListActivities, handle: (*Server).listActivities, entity: activityType, options: queried},
		{method: "GET", path: log + "/{id}", op: identity.GetActivity, handle: (*Server).getActivity, entity: activityType, options: single,
			keys: []key{{"id", backup.InvalidRequest}}},
		{method: "GET", path: "reports/getStatisticsByPolicy/{policyId}", op: identity.GetPolicy, handle: (*Server).getStatisticsByPolicy, entity: reportType,
			keys: []key{{"policyId", backup.InvalidPolicyID}}},
	}...)
	for i := range table {
		table[i].beta = true
	}
	return table
}

// exclusionSet holds what is excluded of every workload.
const exclusionSet = "exclusionUnits"

// exclusionRoutes is what is excluded from policies that protect all there is.
func exclusionRoutes(set string, w *workload, served []*workload) []route {
	entity := either(w, served, "exclusionUnitBase", exclusionsOf)
	return []route{
		{method: "GET", path: set, of: w, op: identity.ListExclusions, handle: (*Server).listExclusions, entity: entity, options: queried},
		{method: "GET", path: set + "/$count", of: w, op: identity.ListExclusions, handle: (*Server).countExclusions, entity: entity, options: counted, plain: true},
		{method: "GET", path: set + "/{exclusion}", of: w, op: identity.GetExclusion, handle: (*Server).getExclusion, entity: entity, options: single, keys: []key{exclusionKey}},
	}
}

var exclusionKey = key{"exclusion", backup.InvalidRequest}

// excludes is what is excluded from a policy of w, and the jobs that exclude more.
func (w *workload) excludes() []route {
	at := w.policies.set + "/{id}/"
	units, jobs := w.exclusions, w.exclusionJobs
	job := key{"job", backup.InvalidRequest}
	return []route{
		{method: "GET", path: at + units.set, of: w, op: identity.ListExclusions, handle: (*Server).listExclusions, entity: units.entityType, options: queried, keys: []key{policyKey}},
		{method: "GET", path: at + units.set + "/$count", of: w, op: identity.ListExclusions, handle: (*Server).countExclusions, entity: units.entityType, options: counted, keys: []key{policyKey}, plain: true},
		{method: "GET", path: at + units.set + "/{exclusion}", of: w, op: identity.GetExclusion, handle: (*Server).getExclusion, entity: units.entityType, options: single, keys: []key{policyKey, exclusionKey}},

		{method: "GET", path: at + jobs.set, of: w, op: identity.ListExclusions, handle: (*Server).listPolicyBulkJobs, entity: jobs.entityType, options: queried, keys: []key{policyKey}},
		{method: "GET", path: at + jobs.set + "/$count", of: w, op: identity.ListExclusions, handle: (*Server).countPolicyBulkJobs, entity: jobs.entityType, options: counted, keys: []key{policyKey}, plain: true},
		{method: "POST", path: at + jobs.set, of: w, op: identity.CreateExclusionJob, handle: (*Server).createBulkJob, keys: []key{policyKey},
			body: requiredBody, limit: bulkBodyLimit, badBody: backup.InvalidCreateRequest, creates: true},
		{method: "GET", path: at + jobs.set + "/{job}", of: w, op: identity.GetExclusion, handle: (*Server).getPolicyBulkJob, entity: jobs.entityType, options: single, keys: []key{policyKey, job}},
		{method: "GET", path: jobs.set, of: w, op: identity.ListExclusions, handle: (*Server).listBulkJobs, entity: jobs.entityType, options: queried},
		{method: "GET", path: jobs.set + "/$count", of: w, op: identity.ListExclusions, handle: (*Server).countBulkJobs, entity: jobs.entityType, options: counted, plain: true},
		{method: "GET", path: jobs.set + "/{job}", of: w, op: identity.GetExclusion, handle: (*Server).getBulkJob, entity: jobs.entityType, options: single, keys: []key{job}},
	}
}

// The modes of protection.
const (
	standardMode    = "standard"
	fullServiceMode = "fullServiceBackup"
)

func protectionMode(p backup.Policy) string {
	if p.FullService {
		return fullServiceMode
	}
	return standardMode
}

// readProtectionMode reads a mode of protection; "" is that it is not given.
func readProtectionMode(b *odata.Object, code backup.Code) (string, error) {
	mode, given, err := b.String("protectionMode")
	if err != nil || !given {
		return "", err
	}
	for _, known := range []string{standardMode, fullServiceMode} {
		if strings.EqualFold(mode, known) {
			return known, nil
		}
	}
	return "", backup.Fail(code, "The protectionMode is standard or fullServiceBackup.").On("protectionMode")
}

// exclusionView shows an exclusion. contentID is the client's own name for it, if it
// was part of a delta.
func exclusionView(x *exchange, u backup.Exclusion, contentID string) odata.Entity {
	w := wordsOf(u.Workload)
	e := odata.Entity{Type: w.exclusions.name, Path: root + "/" + exclusionSet + "('" + string(u.ID) + "')"}
	addContentID(&e, contentID)
	e.Add("id", u.ID)
	e.Add("policyId", u.Policy)
	e.Add(w.subject, cmp.Or(u.SourceID, string(u.Subject)))
	if x.caller.Delegated {
		addText(&e, w.called[0], u.Name)
		addText(&e, w.called[1], u.Address)
	}
	addStamps(&e, u.Created, u.Created, identities)
	return e
}

func (s *Server) exclusions(x *exchange, policy policyID) func(catalog.Page) (catalog.List[backup.Exclusion], error) {
	return func(p catalog.Page) (catalog.List[backup.Exclusion], error) {
		p.Workload = x.workload()
		return s.catalog.Exclusions(x.ctx(), x.tenant(), policy, p)
	}
}

// listExclusions serves exclusionUnits and its sets by workload, of the tenant or of a
// policy.
func (s *Server) listExclusions(x *exchange) (reply, error) {
	return list(s, x, listing[backup.Exclusion]{
		set: x.exclusionSet(), fetch: s.exclusions(x, guid[policyID](x, "id")),
		view: func(u backup.Exclusion) (odata.Entity, error) { return exclusionView(x, u, ""), nil },
	})
}

func (s *Server) countExclusions(x *exchange) (reply, error) {
	return count(x, s.exclusions(x, guid[policyID](x, "id")))
}

// exclusionSet is the set of exclusions that the address names.
func (x *exchange) exclusionSet() string {
	if id := x.r.PathValue("id"); id != "" {
		return x.route.of.exclusions.of(x.route.of.policies, id)
	}
	return x.set()
}

func (s *Server) getExclusion(x *exchange) (reply, error) {
	u, err := s.catalog.Exclusion(x.ctx(), x.tenant(), guid[policyID](x, "id"), guid[backup.ExclusionID](x, "exclusion"))
	if isUnknown(err) {
		return reply{}, unknown()
	}
	if err != nil {
		return reply{}, err
	}
	return show(x, http.StatusOK, x.exclusionSet(), exclusionView(x, u, ""))
}

// updateExclusions serves PATCH of a policy that protects all there is: a new name,
// and what to exclude and what no more.
func (s *Server) updateExclusions(x *exchange, w *workload, id policyID, edit policyEdit) (reply, error) {
	patch := catalog.ExclusionPatch{DisplayName: edit.name, By: s.stamp(x)}
	results := make([]odata.Entity, len(edit.changes))
	var at []int // where the results of patch.Exclusions belong
	for i, c := range edit.changes {
		if c.refused != nil {
			results[i] = w.unitFailure(c, c.refused)
			continue
		}
		patch.Exclusions = append(patch.Exclusions, catalog.ExclusionChange{Add: c.unit.Add, SourceID: c.unit.SourceID, Remove: backup.ExclusionID(c.unit.Remove)})
		at = append(at, i)
	}
	p, outcomes, err := s.catalog.UpdateExclusions(x.ctx(), x.tenant(), id, patch)
	if err != nil {
		return reply{}, err
	}
	for n, o := range outcomes {
		c := edit.changes[at[n]]
		if o.Err != nil {
			results[at[n]] = w.unitFailure(c, o.Err)
			continue
		}
		results[at[n]] = exclusionView(x, o.Exclusion, c.ContentID)
	}
	return s.updated(x, p, w.exclusions, results)
}

// getStatisticsByPolicy says how the protection of a policy's units stands. It is
// counted as it changes, so that it is always of now.
func (s *Server) getStatisticsByPolicy(x *exchange) (reply, error) {
	id := policyID(x.r.PathValue("policyId"))
	p, err := s.catalog.Policy(x.ctx(), x.tenant(), id)
	if err != nil {
		return reply{}, err
	}
	n, err := s.catalog.PolicyUnitCounts(x.ctx(), x.tenant(), id)
	if err != nil {
		return reply{}, err
	}
	report := odata.Entity{Type: "backupPolicyReport"}
	report.Add("backupPolicyId", p.ID)
	report.Add("displayName", p.DisplayName)
	report.Add("countStatistics", map[string]any{
		"total":                 n.Total,
		"protectedInProgress":   n.Protecting,
		"protectedCompleted":    n.Protected,
		"protectedFailed":       n.ProtectedFailing,
		"unprotectedInProgress": n.Unprotecting + n.Removing,
		"unprotectedCompleted":  n.Unprotected,
		"unprotectedFailed":     n.UnprotectFailing,
		"removed":               0, // a unit that was removed is none of the policy's
		"offboardRequested":     n.Offboarding,
		"lastComputedDateTime":  odata.FormatTime(s.clock()),
	})
	f := x.form()
	body, err := f.Entity(f.Context("microsoft.graph."+report.Type, false), report)
	return reply{status: http.StatusOK, body: body}, err
}
