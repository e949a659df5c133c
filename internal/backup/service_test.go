package backup

import (
	"errors"
	"slices"
	"testing"
	"time"
)

var day = 24 * time.Hour

func now(days int) time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(days) * day)
}

// Every status of a service times every area.
func TestServiceAllows(t *testing.T) {
	for status, allowed := range map[ServiceStatus][]Area{
		ServiceEnabled:                {AreaNone, AreaProtection, AreaRestore},
		ServiceDisabled:               {AreaNone, AreaRestore},
		ServiceProtectionChangeLocked: {AreaNone, AreaRestore},
		ServiceRestoreLocked:          {AreaNone},
	} {
		for _, area := range []Area{AreaNone, AreaProtection, AreaRestore} {
			err := (&Service{Status: status}).Allows(area, "app")
			if want := slices.Contains(allowed, area); (err == nil) != want || !want && !errors.Is(err, OperationNotAllowed) {
				t.Errorf("%s, %q: %v", status, area, err)
			}
		}
	}
}

// Every status of a service app times every operation, with and without
// another that controls the service.
func TestServiceAppMoves(t *testing.T) {
	const refused = OperationNotAllowed
	type row struct {
		status, other                ServiceAppStatus // other "": there is none
		activate, deactivate, delete any              // status, or code
		then                         [3]ServiceAppStatus
	}
	inactive, active, coming, going := ServiceAppInactive, ServiceAppActive, ServiceAppPendingActive, ServiceAppPendingInactive
	seen := map[ServiceAppStatus]bool{}
	for _, r := range []row{
		{inactive, "", active, inactive, serviceAppGone, [3]ServiceAppStatus{}},
		{inactive, active, coming, inactive, serviceAppGone, [3]ServiceAppStatus{going, active, active}},
		{inactive, going, refused, inactive, serviceAppGone, [3]ServiceAppStatus{going, going, going}},
		{coming, going, refused, inactive, serviceAppGone, [3]ServiceAppStatus{going, active, active}},
		{going, coming, refused, going, refused, [3]ServiceAppStatus{coming, coming, coming}},
		{active, "", active, refused, active, [3]ServiceAppStatus{}},
		{active, inactive, active, refused, active, [3]ServiceAppStatus{inactive, inactive, inactive}},
	} {
		seen[r.status] = true
		for i, op := range []ServiceAppOperation{ActivateApp, DeactivateApp, DeleteApp} {
			want := []any{r.activate, r.deactivate, r.delete}[i]
			s := Service{Status: ServiceEnabled, Apps: []ServiceApp{{ID: "a", Status: r.status}}}
			if r.other != "" {
				s.Apps = append(s.Apps, ServiceApp{ID: "b", Status: r.other})
			}
			got, err := s.Do(op, "a", now(8), Stamp{At: now(0)})
			if code, refusal := want.(Code); refusal {
				if err == nil || !errors.Is(err, code) || s.Apps[0].Status != r.status {
					t.Errorf("%s in %s beside %q = %v, now %s", op, r.status, r.other, err, s.Apps[0].Status)
				}
			} else if err != nil || got.Status != want {
				t.Errorf("%s in %s beside %q = %v, %s, want %s", op, r.status, r.other, err, got.Status, want)
			}
			if r.other != "" {
				if last := s.Apps[len(s.Apps)-1].Status; last != r.then[i] {
					t.Errorf("%s in %s left %s, which was %s", op, r.status, last, r.other)
				}
			}
		}
	}
	for status := range serviceAppMoves {
		if !seen[status] {
			t.Errorf("no row for %s", status)
		}
	}
}

func TestServiceAppsInTime(t *testing.T) {
	s := Service{Status: ServiceEnabled, Apps: []ServiceApp{{ID: "a", Status: ServiceAppActive}, {ID: "b", Status: ServiceAppInactive}}}
	for _, when := range []time.Time{now(6), now(31), now(-1)} {
		if _, err := s.Do(ActivateApp, "b", when, Stamp{At: now(0)}); !errors.Is(err, InvalidRequest) {
			t.Errorf("to take over on %s: %v", when, err)
		}
	}
	if _, err := s.Do(ActivateApp, "b", now(8), Stamp{At: now(0)}); err != nil {
		t.Fatal(err)
	}
	s.Settle(now(7))
	if s.Apps[0].Status != ServiceAppPendingInactive || s.Apps[1].Status != ServiceAppPendingActive {
		t.Errorf("a day early: %+v", s.Apps)
	}
	s.Settle(now(8))
	if s.Apps[0].Status != ServiceAppInactive || s.Apps[1].Status != ServiceAppActive {
		t.Errorf("in time: %+v", s.Apps)
	}
	if _, err := s.Do(DeleteApp, "b", time.Time{}, Stamp{At: now(10)}); err != nil {
		t.Fatal(err)
	}
	s.Settle(now(16))
	if len(s.Apps) != 2 || s.Status != ServiceEnabled {
		t.Errorf("the controller went early: %+v", s)
	}
	for days, want := range map[int]ServiceStatus{17: ServiceProtectionChangeLocked, 46: ServiceProtectionChangeLocked, 47: ServiceRestoreLocked} {
		later := s
		later.Apps = slices.Clone(s.Apps)
		later.Settle(now(days))
		if len(later.Apps) != 1 || later.Status != want || !later.RestoreEnds().Equal(now(47)) {
			t.Errorf("on day %d: %+v, want %s", days, later, want)
		}
		if later.Enable(Stamp{At: now(days)}); later.Status != ServiceEnabled || !later.RestoreEnds().IsZero() {
			t.Errorf("enabled: %+v", later)
		}
	}
}
