package backup

import "time"

// A UnitStatus is where a protection unit stands.
type UnitStatus string

const (
	UnitProtectRequested        UnitStatus = "protectRequested"
	UnitProtected               UnitStatus = "protected"
	UnitUnprotectRequested      UnitStatus = "unprotectRequested"
	UnitUnprotected             UnitStatus = "unprotected"
	UnitRemoveRequested         UnitStatus = "removeRequested"
	UnitOffboardRequested       UnitStatus = "offboardRequested"
	UnitOffboarded              UnitStatus = "offboarded"
	UnitCancelOffboardRequested UnitStatus = "cancelOffboardRequested"
)

// ProtectionSources says what holds a unit in its policy, as a set of flags.
// None of them means that the unit is in no policy.
type ProtectionSources int

const (
	SourceManual      ProtectionSources = 1
	SourceDynamicRule ProtectionSources = 2
)

// A Unit is one thing under protection: of a workload, and named by its subject.
type Unit struct {
	ID                UnitID
	Tenant            TenantID
	Workload          Workload
	Policy            PolicyID  // empty when the unit is in no policy
	Subject           SubjectID // of a drive, its owner
	Name              string    // the subject's, where the directory mirror knows it
	Address           string    // the subject's, where the directory mirror knows it
	SourceID          string    // of a site: what the source calls it in full, where that is known
	Status            UnitStatus
	Sources           ProtectionSources
	Problem           *Problem  // the last failure that still stands, or nil
	OffboardRequested time.Time // zero when offboarding was not asked for
	Offboarded        time.Time // zero until its backups were given up
	Created           Stamp
	Modified          Stamp
	Approval          *Approval // that its offboarding waits for, as far as that was looked for
}

// Wanted reports whether a unit in status s is to be backed up.
func (s UnitStatus) Wanted() bool { return s == UnitProtectRequested || s == UnitProtected }

// Join brings u into p by hand, or brings it back there: an owner named again
// stays as it is, except that a removal is called off, and that a unit whose
// backup failed is tried again. It reports whether u changed. That the unit
// then settles as unprotected in a policy that is not in force is the
// worker's business.
func (u *Unit) Join(p *Policy, by Stamp) (changed bool, err *Error) {
	return u.JoinAs(SourceManual, p, by)
}

// JoinAs is Join for the sake of source. What holds a unit already is no
// matter: source is added to it. What held one that was leaving holds it no
// more. A rule does not try failed backups again, for it is evaluated again
// and again.
func (u *Unit) JoinAs(source ProtectionSources, p *Policy, by Stamp) (changed bool, err *Error) {
	_, allowed := unitMoves[u.Status][AddUnit]
	switch {
	case !allowed:
		return false, Fail(OperationNotAllowed, "The backups of this "+u.Workload.Subject()+" are being offboarded, so it cannot be protected now. Cancel the offboarding and try again.").On("subject")
	case u.Policy != "" && u.Policy != p.ID:
		return false, Fail(ProtectionUnitAlreadyExists, "This "+u.Workload.Subject()+" is already in another policy, and can be in one only. Remove it there first.").On("subject")
	case u.Policy == p.ID && u.Status != UnitRemoveRequested && !(p.Enabled && u.Status == UnitUnprotected && source == SourceManual):
		changed = u.Sources&source == 0
		if u.Sources |= source; changed {
			u.Modified = by
		}
		return changed, nil
	case u.Status == UnitRemoveRequested:
		u.Sources = 0
	}
	u.Policy, u.Status, u.Modified, u.Problem = p.ID, UnitProtectRequested, by, nil
	u.Sources |= source
	return true, nil
}

// Leave asks for u's removal from p. A unit that is not in p is answered with
// InvalidUnit; one that a dynamic rule holds with
// ProtectionUnitActionForbidden, which is an error of the whole request.
func (u *Unit) Leave(p *Policy, by Stamp) *Error {
	switch {
	case u.Policy != p.ID:
		return NotInPolicy()
	case p.FullService && u.Status != UnitRemoveRequested:
		return Fail(ProtectionUnitActionForbidden, "The policy protects all there is, and this unit with it. Exclude the "+u.Workload.Subject()+" instead.").On("id")
	case u.Sources&SourceDynamicRule != 0 && u.Status != UnitRemoveRequested:
		return Fail(ProtectionUnitActionForbidden, "A dynamic rule holds this unit in the policy. Change or delete the rule.").On("id")
	}
	u.Status, u.Modified = UnitRemoveRequested, by
	return nil
}

// NotInPolicy is the answer to the removal of a unit that the policy does not
// hold, or that does not exist.
func NotInPolicy() *Error {
	e := Fail(InvalidUnit, "The policy holds no such unit. Nothing was removed; list the policy's units to see which it holds.").On("id")
	e.Details = []Detail{{Code: ProtectionUnitNotFound, Message: "The unit is not in the policy.", Target: "id"}}
	return e
}

// A UnitOperation is what may be asked of a unit.
type UnitOperation string

const (
	AddUnit            UnitOperation = "add"
	RemoveUnit         UnitOperation = "remove"
	OffboardUnit       UnitOperation = "offboard"
	CancelOffboardUnit UnitOperation = "cancelOffboard"
)

// unitMoves says which status an operation leads to from each. What is not
// here is refused. A unit that is in a policy is neither offboarded nor added
// to another, and one that is in none is not removed, whatever its status.
var unitMoves = map[UnitStatus]map[UnitOperation]UnitStatus{
	UnitProtectRequested:        {AddUnit: UnitProtectRequested, RemoveUnit: UnitRemoveRequested},
	UnitProtected:               {AddUnit: UnitProtected, RemoveUnit: UnitRemoveRequested},
	UnitUnprotectRequested:      {AddUnit: UnitUnprotectRequested, RemoveUnit: UnitRemoveRequested},
	UnitUnprotected:             {AddUnit: UnitProtectRequested, RemoveUnit: UnitRemoveRequested, OffboardUnit: UnitOffboardRequested},
	UnitRemoveRequested:         {AddUnit: UnitProtectRequested, RemoveUnit: UnitRemoveRequested},
	UnitOffboardRequested:       {CancelOffboardUnit: UnitCancelOffboardRequested},
	UnitCancelOffboardRequested: {},
	UnitOffboarded:              {},
}

// Offboard asks for the end of u's backups: allowed for a unit that is in no
// policy, and is not on its way out already.
func (u *Unit) Offboard(by Stamp) *Error {
	to, ok := unitMoves[u.Status][OffboardUnit]
	switch {
	case u.Policy != "":
		return Fail(OperationNotAllowed, "The unit is in a policy, so its backups cannot be offboarded. Remove it from the policy, wait until that is done, and try again.").On("policyId")
	case !ok:
		return Fail(OperationNotAllowed, "A unit can be offboarded only while it is unprotected; this one is "+string(u.Status)+".").On("status")
	}
	u.Status, u.Modified, u.OffboardRequested = to, by, by.At
	return nil
}

// CancelOffboard calls u's offboarding off: allowed while it is requested, and
// its grace period is not over.
func (u *Unit) CancelOffboard(by Stamp) *Error {
	to, ok := unitMoves[u.Status][CancelOffboardUnit]
	if !ok {
		return Fail(OperationNotAllowed, "Only an offboarding that is requested can be cancelled; this unit is "+string(u.Status)+".").On("status")
	}
	u.Status, u.Modified = to, by
	return nil
}
