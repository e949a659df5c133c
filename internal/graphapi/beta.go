package graphapi

import (
	"net/http"

	"holdfast/internal/backup"
	"holdfast/internal/identity"
	"holdfast/internal/odata"
)

// beta is the routes that only Microsoft's beta version has. Their paths are whole.
func beta() []route {
	const top = "/beta/" + root + "/"
	const log = top + activitySet
	return []route{
		{method: "GET", path: log, op: identity.ListActivities, handle: (*Server).listActivities, entity: activityType, options: queried},
		{method: "GET", path: log + "/{id}", op: identity.GetActivity, handle: (*Server).getActivity, entity: activityType, options: single,
			keys: []key{{"id", backup.InvalidRequest}}},
		{method: "GET", path: top + "reports/getStatisticsByPolicy/{policyId}", op: identity.GetPolicy, handle: (*Server).getStatisticsByPolicy,
			keys: []key{{"policyId", backup.InvalidPolicyID}}},
	}
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
