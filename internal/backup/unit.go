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
