package catalog_test

import (
	"context"
	"errors"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
)

// activities is what the log of contoso says, oldest first.
func (w *world) activities() (all []backup.Activity) {
	w.t.Helper()
	ok(w.t, w.ExportActivities(w.t.Context(), contoso, w.now.AddDate(-1, 0, 0), func(a backup.Activity) error {
		all = append(all, a)
		return nil
	}))
	return all
}

// What a caller changes and the trace of it are there together or not at all.
func TestAuditGoesWithTheChange(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		doing := func(operation string) (context.Context, *catalog.Audit) {
			a := &catalog.Audit{Activity: backup.Activity{Tenant: contoso, Operation: operation, By: w.by().By, Request: "r"}}
			return catalog.WithAudit(t.Context(), a), a
		}
		ctx, a := doing("CreatePolicy")
		p := must[backup.Policy](t)(w.CreatePolicy(ctx, contoso, catalog.NewPolicy{Workload: backup.OneDrive, DisplayName: "p", Units: []backup.SubjectID{owner(1)}, By: w.by()}))
		if !a.Written() {
			t.Error("a policy was made without a trace")
		}
		if log := w.activities(); len(log) != 1 || log[0].Object != string(p.ID) || log[0].Result != backup.ActivitySucceeded || log[0].By.Application.ID != "app" {
			t.Errorf("log = %+v", log)
		}
		// One call leaves one entry, however many transactions it takes.
		must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))
		ctx, a = doing("DeletePolicy")
		fails(t, "delete", w.DeletePolicy(ctx, contoso, p.ID), backup.PolicyActionNotAllowed)
		if a.Written() || len(w.activities()) != 1 {
			t.Errorf("a refusal was written as a change: %+v", w.activities())
		}
		// A transaction that is rolled back takes its trace with it.
		gone, cancel := context.WithCancelCause(ctx)
		cancel(errors.New("gone"))
		if err := w.DeletePolicy(gone, contoso, p.ID); err == nil || len(w.activities()) != 1 {
			t.Errorf("cancelled: %v, %+v", err, w.activities())
		}
	})
}

// The end of a restore is in the log, with how it went.
func TestRestoresEndInTheLog(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s := w.session(w.points(2)...)
		must[backup.Session](t)(w.ActivateSession(ctx, contoso, s.ID, w.by()))
		work := w.claim(jobs.Restore)
		for i, a := range w.artifacts(s.ID) {
			var problem *backup.Problem
			if i == 1 {
				problem = &backup.Problem{Code: backup.ArtifactCannotBeRestored, Message: "No."}
			}
			ok(t, w.StartArtifact(ctx, work[string(a.ID)], a.ID))
			if log := w.activities(); len(log) != 0 {
				t.Errorf("before the end: %+v", log)
			}
			ok(t, w.FinishArtifact(ctx, work[string(a.ID)], a.ID, catalog.Restored{}, problem))
		}
		log := w.activities()
		if len(log) != 1 || log[0].Operation != backup.RestoreFinishedActivity || log[0].Object != string(s.ID) ||
			log[0].Result != backup.ActivityPartiallySucceeded || log[0].Problem.Code != backup.ArtifactCannotBeRestored {
			t.Errorf("log = %+v", log)
		}
	})
}
