package graphapi

import (
	"cmp"

	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

// listCoverage serves holdfast.coverage, a function of ours on backupRestoreRoot: how
// each unit stands, and which users and sites no unit is of.
func (s *Server) listCoverage(x *exchange) (reply, error) {
	now := s.cfg.Clock()
	return list(s, x, listing[catalog.Coverage]{
		set: "holdfast.coverage",
		fetch: func(p catalog.Page) (catalog.List[catalog.Coverage], error) {
			return s.catalog.Coverage(x.ctx(), x.tenant(), p)
		},
		view: func(v catalog.Coverage) (odata.Entity, error) {
			var e odata.Entity
			e.Add("workload", v.Workload)
			e.Add("subjectId", cmp.Or(v.Subject.SourceID, string(v.Subject.ID)))
			if x.caller.Delegated { // as in units
				addText(&e, "displayName", v.Subject.DisplayName)
				addText(&e, "address", v.Subject.Address)
			}
			if v.Unit == nil {
				e.Add("status", "none")
				return e, nil
			}
			e.Add("status", v.Unit.Status)
			e.Add("protectionUnitId", v.Unit.ID)
			addText(&e, "policyId", string(v.Unit.Policy))
			addText(&e, "policyName", v.Policy)
			e.Add("error", v.Unit.Problem)
			f := v.Figures
			if f.At.IsZero() {
				return e, nil
			}
			e.Add("newestDateTime", odata.FormatTime(f.At))
			e.Add("fileCount", f.Files)
			e.Add("size", f.Bytes)
			if f.Before >= 0 {
				e.Add("sizeMonthAgo", f.Before)
			}
			e.Add("unreadItemCount", f.Unread)
			if r := f.RPO; r != nil {
				e.Add("promised", isoDuration(r.Promised))
				e.Add("isMissed", r.Overdue(now))
				e.Add("pointCount", r.Points)
				e.Add("latePointCount", r.Late)
			}
			return e, nil
		},
	})
}
