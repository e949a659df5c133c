package jobs

// The kinds of job there are. A kind is stored with its jobs, so its text
// outlives renames in the code. A process leaves kinds that it does not know to those of a
// newer version, and passes over arguments that it does not know: what must not be passed
// over is a kind of its own.
const (
	// Settle brings a policy's units from the states that were asked for to
	// those that need no drive: unprotected, removed. Key: the policy's id.
	Settle Kind = "settle"
	// BulkAdd resolves the entries of a bulk addition job and adds the units.
	// Key: the bulk job's id.
	BulkAdd Kind = "bulkAdd"
	// Rule evaluates an inclusion rule, a dynamic one again and again, and lets
	// go the units of one that is to vanish. Key: the rule's id.
	Rule Kind = "rule"
	// All brings all that there is of a workload into the policy that protects that,
	// and lets go what is gone, again and again. Key: the policy's id.
	All Kind = "all"
	// Backup takes the next restore point of a unit, again and again for as
	// long as the unit is wanted. Key: the unit's id.
	Backup Kind = "backup"
	// Restore brings back one artifact of an activated restore session.
	// Key: the artifact's id.
	Restore Kind = "restore"
	// RestoreItem brings back one file or folder of an activated restore
	// session. Key: the granular artifact's id.
	RestoreItem Kind = "restoreItem"
	// BulkRestore finds the restore points that a bulk restore request means
	// and restores them. Key: the request's id.
	BulkRestore Kind = "bulkRestore"
	// Expire removes a tenant's restore points that are past their time, again
	// and again. Key: the tenant's id.
	Expire Kind = "expire"
	// Maintain keeps a tenant's vault in order, again and again. Key: the
	// tenant's id.
	Maintain Kind = "maintain"
	// Verify reads a tenant's vault back, a part at a time, again and again. Key:
	// the tenant's id.
	Verify Kind = "verify"
	// Record keeps in a tenant's vault what its catalog knows and no drive's
	// points carry, soon after it has changed. Key: the tenant's id.
	Record Kind = "record"
	// Offboard ends a unit's offboarding: it destroys the backups when the grace
	// period is over and forgets the unit later, or calls it off. Key: the
	// unit's id.
	Offboard Kind = "offboard"
	// Approval ends what nobody has approved in time. Key: the approval's id.
	Approval Kind = "approval"
	// Mirror brings what is known of a tenant's users and sites up to date, again and
	// again. Key: the tenant's id.
	Mirror Kind = "mirror"
	// Groups reads who is in the groups that roles in a tenant are limited to, again and
	// again. Key: the tenant's id.
	Groups Kind = "groups"
	// Subscribe has the source tell of changes in a tenant's drives, and looks after
	// that again and again. Key: the tenant's id.
	Subscribe Kind = "subscribe"
	// Measure notes how a tenant stands, again and again. Key: the tenant's id.
	Measure Kind = "measure"
	// Watch looks at what people are to be told of in a tenant, again and again.
	// Key: the tenant's id.
	Watch Kind = "watch"
	// Tell sends what waits to be sent to one destination. Key: the tenant's id and
	// the destination's name.
	Tell Kind = "tell"
	// Ship hands a tenant's audit log on to one outlet. Key: the tenant's id and the
	// outlet's name.
	Ship Kind = "ship"
)

// patientAtFirst are the kinds whose jobs come again and again, and of which the
// first run may take very much longer than the others.
var patientAtFirst = map[Kind]bool{Backup: true}
