package graphapi

import (
	"time"

	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

// listDays serves holdfast.days, a function of ours on backupRestoreRoot: how the tenant
// stood with each workload on each day that was measured, the newest first.
func (s *Server) listDays(x *exchange) (reply, error) {
	return list(s, x, listing[catalog.DayFigure]{
		set: "holdfast.days",
		fetch: func(p catalog.Page) (catalog.List[catalog.DayFigure], error) {
			return s.catalog.Days(x.ctx(), x.tenant(), p)
		},
		view: func(f catalog.DayFigure) (odata.Entity, error) {
			var e odata.Entity
			e.Add("day", f.Day.Format(time.DateOnly))
			e.Add("workload", f.Workload)
			e.Add("measureCount", f.Measured)
			e.Add("promisedCount", f.Units)
			e.Add("missedCount", f.Missed)
			e.Add("itemCount", f.Items)
			e.Add("size", f.Bytes)
			return e, nil
		},
	})
}
