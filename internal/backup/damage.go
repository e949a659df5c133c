package backup

import "time"

// A Damage is something that the vault should hold, and does not as it was
// written.
type Damage struct {
	ID      DamageID
	Tenant  TenantID
	Unit    UnitID
	Drive   DriveID
	Item    ItemID // empty where it is not one file: a folder's list, an index
	Path    string // as the newest point has it
	Content string // in the vault
	Reason  string // in a sentence
	Found   time.Time
	Healed  time.Time // zero as long as it is not
}
