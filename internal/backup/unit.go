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

// A Unit is one drive under protection, named by its owner.
type Unit struct {
	ID                UnitID
	Tenant            TenantID
	Policy            PolicyID // empty when the unit is in no policy
	Directory         ObjectID // the owner
	DisplayName       string   // the owner's, where the directory mirror knows it
	Email             string   // the owner's, where the directory mirror knows it
	Status            UnitStatus
	Sources           ProtectionSources
	Problem           *Problem  // the last failure that still stands, or nil
	OffboardRequested time.Time // zero when offboarding was not asked for
	Created           Stamp
	Modified          Stamp
}

// Wanted reports whether a unit in status s is to be backed up.
func (s UnitStatus) Wanted() bool { return s == UnitProtectRequested || s == UnitProtected }

// Join brings u into p by hand, or brings it back there: an owner named again
// stays as it is, except that a removal is called off, and that a unit whose
// backup failed is tried again. It reports whether u changed. That the unit
// then settles as unprotected in a policy that is not in force is the
// worker's business.
func (u *Unit) Join(p *Policy, by Stamp) (changed bool, err *Error) {
	switch {
	case u.Status == UnitOffboardRequested || u.Status == UnitCancelOffboardRequested:
		return false, Fail(OperationNotAllowed, "The backups of this owner are being offboarded, so it cannot be protected now. Cancel the offboarding and try again.").On("directoryObjectId")
	case u.Policy != "" && u.Policy != p.ID:
		return false, Fail(ProtectionUnitAlreadyExists, "This owner is already in another policy, and can be in one only. Remove it there first.").On("directoryObjectId")
	case u.Policy == p.ID && u.Status != UnitRemoveRequested && !(p.Enabled && u.Status == UnitUnprotected):
		return false, nil
	}
	u.Policy, u.Status, u.Modified, u.Problem = p.ID, UnitProtectRequested, by, nil
	u.Sources |= SourceManual
	return true, nil
}

// Leave asks for u's removal from p. A unit that is not in p is answered with
// InvalidUnit; one that a dynamic rule holds with
// ProtectionUnitActionForbidden, which is an error of the whole request.
func (u *Unit) Leave(p *Policy, by Stamp) *Error {
	switch {
	case u.Policy != p.ID:
		return NotInPolicy()
	case u.Sources&SourceDynamicRule != 0:
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
