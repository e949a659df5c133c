package graphapi

import (
	"cmp"
	"context"
	"net/http"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

type unitID = backup.UnitID

// unitView shows a unit. What it is of is called by name only for callers that
// are users. contentID is the client's own name for it, if it was
// part of a delta.
func (s *Server) unitView(x *exchange, u backup.Unit, contentID string) odata.Entity {
	w := wordsOf(u.Workload)
	e := odata.Entity{Type: w.units.name, Path: root + "/" + unitSet + "('" + string(u.ID) + "')"}
	addContentID(&e, contentID)
	e.Add("id", u.ID)
	addText(&e, "policyId", string(u.Policy))
	e.Add(w.subject, cmp.Or(u.SourceID, string(u.Subject)))
	if x.caller.Delegated {
		addText(&e, w.called[0], u.Name)
		addText(&e, w.called[1], u.Address)
	}
	e.Add("status", evolved(s, x, u.Status, backup.UnitOffboardRequested, backup.UnitOffboarded, backup.UnitCancelOffboardRequested))
	e.Add("protectionSources", sources(u.Sources))
	addStamps(&e, u.Created, u.Modified, identities)
	e.Add("error", u.Problem)
	offboard := "0001-01-01T00:00:00.0000000Z"
	if !u.OffboardRequested.IsZero() {
		offboard = odata.FormatTime(u.OffboardRequested)
	}
	e.Add("offboardRequestedDateTime", offboard)
	addApproval(&e, u.Approval)
	return e
}

// sources is a protectionSource: flags, without a blank between them.
func sources(s backup.ProtectionSources) string {
	switch s {
	case backup.SourceManual:
		return "manual"
	case backup.SourceDynamicRule:
		return "dynamicRule"
	case backup.SourceManual | backup.SourceDynamicRule:
		return "manual,dynamicRule"
	}
	return "none"
}

func (s *Server) units(x *exchange, policy policyID) func(catalog.Page) (catalog.List[backup.Unit], error) {
	return func(p catalog.Page) (catalog.List[backup.Unit], error) {
		p.Workload = x.workload()
		return s.catalog.Units(x.ctx(), x.tenant(), catalog.UnitQuery{Policy: policy, Page: p})
	}
}

func (s *Server) unitList(x *exchange, set string, policy policyID) (reply, error) {
	return list(s, x, listing[backup.Unit]{
		set: set, fetch: s.units(x, policy),
		view: func(u backup.Unit) (odata.Entity, error) { return s.unitView(x, u, ""), nil },
	})
}

// listUnits serves protectionUnits, its casts, and the sets by workload: the
// units of the tenant.
func (s *Server) listUnits(x *exchange) (reply, error)  { return s.unitList(x, x.set(), "") }
func (s *Server) countUnits(x *exchange) (reply, error) { return count(x, s.units(x, "")) }

// listPolicyUnits serves the units of a policy.
func (s *Server) listPolicyUnits(x *exchange) (reply, error) {
	return s.unitList(x, x.route.of.units.set, guid[policyID](x, "id"))
}

func (s *Server) countPolicyUnits(x *exchange) (reply, error) {
	return count(x, s.units(x, guid[policyID](x, "id")))
}

// getUnit serves a unit of the tenant.
func (s *Server) getUnit(x *exchange) (reply, error) {
	u, err := s.catalog.Unit(x.ctx(), x.tenant(), guid[unitID](x, "id"))
	if err != nil {
		return reply{}, err
	}
	return show(x, http.StatusOK, x.set(), s.unitView(x, u, ""))
}

// getPolicyUnit serves a unit at the policy that it belongs to.
func (s *Server) getPolicyUnit(x *exchange) (reply, error) {
	policy := guid[policyID](x, "id")
	if _, err := s.catalog.Policy(x.ctx(), x.tenant(), policy); err != nil {
		return reply{}, err
	}
	u, err := s.catalog.Unit(x.ctx(), x.tenant(), guid[unitID](x, "unit"))
	if err != nil {
		return reply{}, err
	}
	if u.Policy != policy {
		return reply{}, backup.Fail(backup.ProtectionUnitNotFound, "There is no such unit in this policy.")
	}
	return show(x, http.StatusOK, x.route.of.units.set, s.unitView(x, u, ""))
}

// offboardUnit asks for the end of a unit's backups.
func (s *Server) offboardUnit(x *exchange) (reply, error) {
	return s.movedUnit(x, s.catalog.OffboardUnit)
}

// cancelOffboardUnit calls a unit's offboarding off.
func (s *Server) cancelOffboardUnit(x *exchange) (reply, error) {
	return s.movedUnit(x, s.catalog.CancelOffboardUnit)
}

func (s *Server) movedUnit(x *exchange, move func(context.Context, backup.TenantID, unitID, backup.Stamp) (backup.Unit, error)) (reply, error) {
	u, err := move(x.ctx(), x.tenant(), guid[unitID](x, "id"), s.stamp(x))
	if err != nil {
		return reply{}, err
	}
	r, err := show(x, http.StatusOK, unitSet, s.unitView(x, u, ""))
	r.content = root + "/" + unitSet + "('" + string(u.ID) + "')"
	return r, err
}
