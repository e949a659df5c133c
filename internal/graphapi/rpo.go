package graphapi

import (
	"cmp"
	"net/http"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/odata"
)

// maxWorst is how many units the RPO names.
const maxWorst = 20

// getRPO serves holdfast.rpo, a function of ours on backupRestoreRoot: how many
// protected units have a newest point that is older than promised, and which are
// the worst.
func (s *Server) getRPO(x *exchange) (reply, error) {
	r, err := s.catalog.RPO(x.ctx(), x.tenant(), maxWorst)
	if err != nil {
		return reply{}, err
	}
	ids := make([]backup.UnitID, len(r.Worst))
	for i, w := range r.Worst {
		ids[i] = w.Unit
	}
	units, err := s.catalog.UnitsByID(x.ctx(), x.tenant(), ids)
	if err != nil {
		return reply{}, err
	}
	now := s.cfg.Clock()
	worst := make([]odata.Entity, len(r.Worst))
	for i, w := range r.Worst {
		e, u := &worst[i], units[w.Unit]
		words := wordsOf(u.Workload)
		e.Add("workload", u.Workload)
		e.Add("protectionUnitId", w.Unit)
		e.Add(words.subject, cmp.Or(u.SourceID, string(u.Subject)))
		if x.caller.Delegated {
			addText(e, words.called[0], u.Name)
			addText(e, words.called[1], u.Address)
		}
		e.Add("newestDateTime", odata.FormatTime(w.Newest))
		e.Add("age", isoDuration(now.Sub(w.Newest)))
		e.Add("promised", isoDuration(w.Promised))
		e.Add("every", isoDuration(w.Every))
		e.Add("isMissed", w.Overdue(now))
		e.Add("pointCount", w.Points)
		e.Add("latePointCount", w.Late)
		e.Add("longest", isoDuration(w.Longest))
	}
	e := odata.Entity{}
	e.Add("protectedUnitCount", r.Units)
	e.Add("missedUnitCount", r.Missed)
	addTime(&e, "lastDateTime", r.Last)
	e.Add("worst", worst)
	f := x.form()
	body, err := f.Entity(f.Context("holdfast.rpo", false), e)
	return reply{status: http.StatusOK, body: body}, err
}

// isoDuration writes a length of time in whole seconds, as ISO 8601 does.
func isoDuration(d time.Duration) string {
	if d < time.Second {
		return "PT0S"
	}
	return backup.Span{Time: d.Truncate(time.Second)}.String()
}
