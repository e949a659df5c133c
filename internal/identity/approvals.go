package identity

import "holdfast/internal/backup"

// Alone is of an operation that one person may always do.
const Alone backup.ApprovalKind = "alone"

// Approvals says of each operation that changes something whether a tenant may have
// another person approve it, and as what. The router refuses one that has no row here.
//
// A restore changes what is there only in place, and begins when its session is
// activated. Backups are destroyed, or kept for a shorter time, by an offboarding alone: a
// point stays under the retention of the policy that it was made under, whatever becomes
// of that policy and of its unit, and no operation changes a retention.
var Approvals = map[Operation]backup.ApprovalKind{
	ActivateSession: backup.ApprovalRestore,
	OffboardUnit:    backup.ApprovalOffboard,

	// Who makes or changes a draft changes nothing else, and had part in what is to be
	// approved.
	CreateSession:     Alone,
	UpdateSession:     Alone,
	DeleteSession:     Alone,
	CreateBulkRestore: Alone,
	DeleteBulkRestore: Alone,
	// What waits for an approval is not at work: it is not begun by being resumed.
	PauseSession:  Alone,
	ResumeSession: Alone,
	CancelSession: Alone,

	CreateBrowseSession: Alone,
	DeleteBrowseSession: Alone,

	// These say what is backed up from now on. The points that there are stay.
	CreatePolicy:       Alone,
	UpdatePolicy:       Alone,
	DeletePolicy:       Alone,
	ActivatePolicy:     Alone,
	DeactivatePolicy:   Alone,
	CreateBulkJob:      Alone,
	CreateExclusionJob: Alone,
	CreateRule:         Alone,
	UpdateRule:         Alone,
	DeleteRule:         Alone,
	RunRule:            Alone,
	ReleaseRule:        Alone,
	CancelOffboardUnit: Alone, // backups are kept for longer by it

	Approve: Alone,
	Deny:    Alone,

	EnableService:        Alone,
	CreateServiceApp:     Alone,
	DeleteServiceApp:     Alone,
	ActivateServiceApp:   Alone,
	DeactivateServiceApp: Alone,
	UpdateEmailSetting:   Alone,
}
