package backup

import (
	"errors"
	"testing"
)

// Every state of a unit times every operation.
func TestUnitMoves(t *testing.T) {
	policy := &Policy{ID: "p", Enabled: true}
	type state struct {
		status   UnitStatus
		inPolicy bool
	}
	type row struct {
		state
		add, remove, offboard, cancel any // the status it leads to, or the code that refuses it
	}
	const refused = OperationNotAllowed
	rows := []row{
		{state{UnitProtectRequested, true}, UnitProtectRequested, UnitRemoveRequested, refused, refused},
		{state{UnitProtected, true}, UnitProtected, UnitRemoveRequested, refused, refused},
		{state{UnitUnprotectRequested, true}, UnitUnprotectRequested, UnitRemoveRequested, refused, refused},
		{state{UnitUnprotected, true}, UnitProtectRequested, UnitRemoveRequested, refused, refused},
		{state{UnitRemoveRequested, true}, UnitProtectRequested, UnitRemoveRequested, refused, refused},
		{state{UnitUnprotected, false}, UnitProtectRequested, InvalidUnit, UnitOffboardRequested, refused},
		{state{UnitOffboardRequested, false}, refused, InvalidUnit, refused, UnitCancelOffboardRequested},
		{state{UnitCancelOffboardRequested, false}, refused, InvalidUnit, refused, refused},
		{state{UnitOffboarded, false}, refused, InvalidUnit, refused, refused},
	}
	seen := map[UnitStatus]bool{}
	for _, r := range rows {
		seen[r.status] = true
		for operation, want := range map[UnitOperation]any{AddUnit: r.add, RemoveUnit: r.remove, OffboardUnit: r.offboard, CancelOffboardUnit: r.cancel} {
			u := Unit{Status: r.status}
			if r.inPolicy {
				u.Policy, u.Sources = policy.ID, SourceManual
			}
			before := u
			var err *Error
			switch operation {
			case AddUnit:
				_, err = u.Join(policy, Stamp{})
			case RemoveUnit:
				err = u.Leave(policy, Stamp{})
			case OffboardUnit:
				err = u.Offboard(Stamp{})
			case CancelOffboardUnit:
				err = u.CancelOffboard(Stamp{})
			}
			if code, refusal := want.(Code); refusal {
				if err == nil || !errors.Is(err, code) || u != before {
					t.Errorf("%s in %s (in a policy: %v) = %v, now %s, want %s and no change", operation, r.status, r.inPolicy, err, u.Status, code)
				}
			} else if err != nil || u.Status != want {
				t.Errorf("%s in %s (in a policy: %v) = %v, now %s, want %s", operation, r.status, r.inPolicy, err, u.Status, want)
			}
		}
	}
	for status := range unitMoves {
		if !seen[status] {
			t.Errorf("no row for %s", status)
		}
	}
}
