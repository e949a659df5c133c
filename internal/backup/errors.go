package backup

// A Code names one kind of failure, as clients of the API know it. A Code is
// itself an error, so that errors.Is(err, backup.PolicyNotFound) holds for any
// *Error of that code.
type Code string

func (c Code) Error() string { return string(c) }

// The codes a caller may meet, in the order of the operations that give them.
// Which HTTP status each becomes is one table in package graphapi.
const (
	// Of the request as a whole.
	BadRequest         Code = "BadRequest"
	InvalidRequest     Code = "invalidRequest"
	ItemNotFound       Code = "itemNotFound"
	NotAllowed         Code = "notAllowed"
	NotSupported       Code = "notSupported"
	NotAcceptable      Code = "notAcceptable"
	UnsupportedMedia   Code = "unsupportedMediaType"
	RequestTooLarge    Code = "requestTooLarge"
	GeneralException   Code = "generalException"
	ServiceUnavailable Code = "serviceNotAvailable"
	TooManyRequests    Code = "activityLimitReached"
	FailedDependency   Code = "FailedDependency"

	// Of who is asking.
	InvalidAuthenticationToken Code = "InvalidAuthenticationToken"
	AuthorizationDenied        Code = "Authorization_RequestDenied"
	AccessDenied               Code = "accessDenied"
	OperationNotAllowed        Code = "OperationNotAllowed"
	Forbidden                  Code = "Forbidden"
	InvalidAppOwnerTenantID    Code = "InvalidAppOwnerTenantId"

	// Of policies.
	InvalidCreateRequest      Code = "InvalidCreateRequest"
	InvalidPatchRequest       Code = "InvalidPatchRequest"
	InvalidDisplayName        Code = "InvalidDisplayName"
	InvalidPolicyID           Code = "InvalidPolicyId"
	PolicyNotFound            Code = "PolicyNotFound"
	PolicyActionNotAllowed    Code = "PolicyActionNotAllowed"
	PolicyCreationNotAllowed  Code = "PolicyCreationNotAllowed"
	PolicySaveFailed          Code = "PolicySaveFailed"
	InvalidStateForActivation Code = "invalidStateForActivation"

	// Of protection units.
	InvalidProtectionUnitID       Code = "InvalidProtectionUnitId"
	ProtectionUnitNotFound        Code = "ProtectionUnitNotFound"
	ProtectionUnitAlreadyExists   Code = "ProtectionUnitAlreadyExists"
	ProtectionUnitsLimitBreached  Code = "ProtectionUnitsLimitBreached"
	ProtectionUnitActionForbidden Code = "ProtectionUnitActionNotAllowed"
	DuplicateProtectionUnitInList Code = "DuplicateProtectionUnitInList"
	FilterLengthExceeded          Code = "FilterLengthExceeded"
	InvalidUnit                   Code = "Invalid" // of one item in a delta
	UnknownError                  Code = "UnknownError"

	// Of inclusion rules.
	InvalidInclusionRuleID      Code = "InvalidInclusionRuleId"
	InvalidRuleCreateRequest    Code = "InvalidInclusionRuleCreateRequest"
	InvalidRulePatchRequest     Code = "InvalidProtectionRulePatchRequest"
	InvalidRuleExpression       Code = "InvalidRuleExpression"
	RuleGroupLimitExceeded      Code = "InvalidRuleExpressionGroupLimitExceeded"
	ProtectionRuleNotFound      Code = "ProtectionRuleNotFound"
	PatchOfStaticRule           Code = "PatchNotAllowedForStaticRule"
	RuleStatusForUpdate         Code = "InvalidProtectionRuleStatusForUpdation"
	RuleStatusForDeletion       Code = "InvalidProtectionRuleStatusForDeletion"
	DynamicRuleStatusForEdit    Code = "InvalidProtectionRuleStatusForDynamicRuleEdit"
	DynamicRuleStatusForDelete  Code = "InvalidProtectionRuleStatusForDynamicRuleDeletion"
	DynamicRuleStatusForRelease Code = "InvalidProtectionRuleStatusForDynamicRuleDeleteAndUnprotectAll"
	RuleActionNotAllowed        Code = "ProtectionRuleActionNotAllowed"
	RunOfDynamicRule            Code = "RunNotAllowedForDynamicRule"

	// Of an inclusion rule's evaluation, inside the rule's error.
	InvalidGroupID Code = "invalidGroupId"

	// Of bulk addition jobs, inside the job's error.
	ProtectionResourcesNotFound Code = "ProtectionResourcesNotFound"
	EmailNotFound               Code = "EmailNotFound"
	SiteURLNotFound             Code = "SiteUrlNotFound"
	DirectoryObjectNotFound     Code = "DirectoryObjectNotFound"

	// Of a backup, inside the unit's error. Ours; see docs/divergences.md.
	DriveNotFound    Code = "DriveNotFound"
	DriveUnavailable Code = "DriveUnavailable"
	ItemsNotBackedUp Code = "ItemsNotBackedUp"
	VaultUnavailable Code = "VaultUnavailable"
	VaultDamaged     Code = "VaultDamaged"

	// Of one file, inside the details of ItemsNotBackedUp, as the source has it.
	MalwareDetected  Code = "malwareDetected"
	ResourceLocked   Code = "resourceLocked"
	ResourceModified Code = "resourceModified"
	// Ours: what the source says of the item, or hands out for it, cannot be
	// believed, or does not agree.
	ContentNotConfirmed Code = "ContentNotConfirmed"
	ContentNotFound     Code = "ContentNotFound"
	ItemIncomplete      Code = "ItemIncomplete"
	PlaceUnknown        Code = "PlaceUnknown"

	// Of restore points, sessions and artifacts.
	InvalidSearchRequest           Code = "InvalidSearchRequest"
	InvalidRestorePoint            Code = "InvalidRestorePoint"
	InvalidRestoreSessionID        Code = "InvalidRestoreSessionId"
	RestoreSessionNotFound         Code = "RestoreSessionNotFound"
	RestoreSessionActionNotAllowed Code = "RestoreSessionActionNotAllowed"
	InvalidPathType                Code = "InvalidPathType"
	InvalidArtifactRequest         Code = "InvalidArtifactRequest"
	DifferentRestoreDestination    Code = "DifferentRestoreDestinationType"
	DuplicateArtifactInList        Code = "DuplicateArtifactInList"
	DuplicateArtifactRestore       Code = "DuplicateArtifactRestoreRequest"
	RestoreArtifactsLimitBreached  Code = "RestoreArtifactsLimitBreached"
	TooManyActiveRestoreSessions   Code = "TooManyActiveRestoreSessions"
	IncompleteArtifactDeletion     Code = "IncompleteArtifactDeletion"
	InvalidRestoreTime             Code = "InvalidRestoreTime"
	ArtifactNotFound               Code = "ArtifactNotFound"
	ArtifactCannotBeRestored       Code = "ArtifactCannotBeRestored"
	// Ours, of an artifact that succeeded: what a person should know of it.
	RestoredWithRemarks Code = "RestoredWithRemarks"
	// Ours, of a session that was cancelled, and of what of it was not at its end.
	RestoreCancelled Code = "RestoreCancelled"
	// Ours, of a session that waited for an approval, and did not get it; and of an
	// approval that is decided, or past its time.
	RestoreNotApproved Code = "RestoreNotApproved"
	ApprovalNotWaiting Code = "ApprovalNotWaiting"
	// Ours, of one file or folder, inside the details.
	LeftAsItIs      Code = "LeftAsItIs"      // not touched, since no point holds what it is now
	RestoredChanged Code = "RestoredChanged" // the service keeps it otherwise than it was sent

	// Of bulk restore requests; the last two inside the request's error.
	InvalidBulkRestoreArtifactID Code = "InvalidBulkRestoreArtifactId"
	BulkRestoreInvalidCreate     Code = "BulkRestoreInvalidCreateRequest"
	BulkRestoreTooManyEntries    Code = "BulkRestoreRestorationResourcesCountExceedsLimit"
	BulkRestoreInvalidSiteURL    Code = "BulkRestoreInvalidCreateRequestSiteUrl"
	BulkRestoreInvalidEmail      Code = "BulkRestoreInvalidCreateRequestUserEmail"
	BulkRestoreArtifactsNotFound Code = "BulkRestoreArtifactsNotFound"
	InvalidBulkRequestDeletion   Code = "InvalidStateForBulkRequestDeletion"
	BulkRestoreNotResolved       Code = "BulkRestoreArtifactsNotResolved"
	UserNotBackedUp              Code = "UserNotBackedup"
)

// A Detail is one part of a problem: which entry, and what was wrong with it.
type Detail struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Target  string `json:"target,omitempty"`
}

// A Problem is a failure in words that a person may read: what happened, what
// it means, what to do next. Units, jobs, sessions and artifacts keep theirs
// in the catalog, in this form.
type Problem struct {
	Code    Code     `json:"code"`
	Message string   `json:"message"`
	Target  string   `json:"target,omitempty"` // the property, entry or file at fault
	Details []Detail `json:"details,omitempty"`

	Short *Shortfall `json:"-"` // of a restore that did most of what it was to do; nil: it did nothing, or it is not known
}

// An Error is a failure that the caller may be told about. Any other error is
// internal: it is logged in full and answered in general terms.
type Error struct {
	Problem
	Err error // for the log, if there is more to say
}

// Fail returns an *Error of code with a message in a sentence.
func Fail(code Code, message string) *Error {
	return &Error{Problem: Problem{Code: code, Message: message}}
}

// On returns e with the target set.
func (e *Error) On(target string) *Error {
	e.Target = target
	return e
}

func (e *Error) Error() string {
	if e.Err != nil {
		return string(e.Code) + ": " + e.Message + ": " + e.Err.Error()
	}
	return string(e.Code) + ": " + e.Message
}

// Is reports whether target is e's code.
func (e *Error) Is(target error) bool { return target == e.Code }

func (e *Error) Unwrap() error { return e.Err }
