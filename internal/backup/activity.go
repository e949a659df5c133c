package backup

import "time"

// An ActivityResult says how an activity ended.
type ActivityResult string

const (
	ActivitySucceeded          ActivityResult = "succeeded"
	ActivityFailed             ActivityResult = "failed"
	ActivityPartiallySucceeded ActivityResult = "partiallySucceeded" // some of its items failed
)

// What the service does by itself, as activities name it. What callers do has
// the names of the operations of the API.
const (
	UnitOffboardedActivity  = "UnitOffboarded"  // its backups were destroyed
	RestoreFinishedActivity = "RestoreFinished" // the last artifact of a session came to its end
	RuleAppliedActivity     = "RuleApplied"
	AllProtectedActivity    = "AllProtected"         // units joined, or left, a policy that protects all there is
	PointsLostActivity      = "RestorePointsLost"    // the vault no longer holds them whole
	PointsFoundActivity     = "RestorePointsFound"   // it does again
	PointsTakenUpActivity   = "RestorePointsTakenUp" // the vault held them, and the catalog did not know them
	DamageFoundActivity     = "VaultDamageFound"
	DamageHealedActivity    = "VaultDamageHealed"
	VaultKnownActivity      = "VaultKnown"      // a tenant's vault was noted by its id
	VaultAcceptedActivity   = "VaultAccepted"   // another was put in its place on purpose
	VaultRepairedActivity   = "VaultRepaired"   // what kept it from opening was mended
	CatalogRebuiltActivity  = "CatalogRebuilt"  // it was brought up to what the vault knows
	CatalogBackedUpActivity = "CatalogBackedUp" // with the keys, into an archive
	CatalogRestoredActivity = "CatalogRestored" // it was put back from an archive
	TenantImportedActivity  = "TenantImported"  // what the vault keeps of policies and units came into the catalog
	RetentionActivity       = "RetentionChanged"
	ExportedActivity        = "BackupExported" // files of a backup were written out

	ApprovalAskedActivity     = "ApprovalAsked" // something waits for another person's approval
	ApprovalExpiredActivity   = "ApprovalExpired"
	ApprovalWithdrawnActivity = "ApprovalWithdrawn"
	ApprovalVoidedActivity    = "ApprovalVoided"      // what was to be approved had changed
	ApprovalRuleActivity      = "ApprovalRuleChanged" // the configuration says otherwise than before what is to be approved
)

// MaxActivityUnits is how many units an activity names.
const MaxActivityUnits = 50

// An ActivityUnit is a unit whose backups an activity concerned, with whose it was and
// what that one was called then.
type ActivityUnit struct {
	ID      UnitID    `json:"id"`
	Subject SubjectID `json:"owner"`
	Address string    `json:"address,omitempty"`
}

// An Activity is an entry of the audit log: who did what, when, to what, and
// how that ended. It holds no secrets and nothing that was backed up.
type Activity struct {
	ID        ActivityID     `json:"id"`
	Tenant    TenantID       `json:"tenant"`
	At        time.Time      `json:"time"`
	Workload  Workload       `json:"workload,omitempty"` // "" where it is of none
	By        IdentitySet    `json:"actor"`              // empty: the service itself
	Operation string         `json:"operation"`
	Target    string         `json:"target,omitempty"` // the address that was called
	Object    string         `json:"object,omitempty"` // the id of what it was done to, as far as there is one
	Units     []ActivityUnit `json:"units,omitempty"`  // whose backups it concerned: the first MaxActivityUnits
	Result    ActivityResult `json:"result"`
	Problem   *Problem       `json:"error,omitempty"`
	Request   string         `json:"requestId,omitempty"`
}
