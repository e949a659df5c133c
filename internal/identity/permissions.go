package identity

// An Operation is one thing the API can be asked to do. Several routes may be
// the same operation; none is without one.
type Operation string

// The operations, in the order of Microsoft's documentation.
const (
	CreatePolicy     Operation = "CreatePolicy"
	UpdatePolicy     Operation = "UpdatePolicy"
	ListPolicies     Operation = "ListPolicies"
	GetPolicy        Operation = "GetPolicy"
	DeletePolicy     Operation = "DeletePolicy"
	ActivatePolicy   Operation = "ActivatePolicy"
	DeactivatePolicy Operation = "DeactivatePolicy"

	ListUnits Operation = "ListUnits"
	GetUnit   Operation = "GetUnit"

	OffboardUnit       Operation = "OffboardUnit"
	CancelOffboardUnit Operation = "CancelOffboardUnit"

	CreateBulkJob Operation = "CreateBulkJob"
	ListBulkJobs  Operation = "ListBulkJobs"
	GetBulkJob    Operation = "GetBulkJob"

	CreateExclusionJob Operation = "CreateExclusionJob" // beta
	ListExclusions     Operation = "ListExclusions"     // beta
	GetExclusion       Operation = "GetExclusion"       // beta

	ListRules   Operation = "ListRules"
	CreateRule  Operation = "CreateRule"
	GetRule     Operation = "GetRule"
	UpdateRule  Operation = "UpdateRule"
	DeleteRule  Operation = "DeleteRule"
	RunRule     Operation = "RunRule"
	ReleaseRule Operation = "ReleaseRule" // deleteAndUnprotect
	Explain     Operation = "Explain"     // ours

	ListPoints   Operation = "ListPoints"
	GetPoint     Operation = "GetPoint"
	SearchPoints Operation = "SearchPoints"

	CreateSession   Operation = "CreateSession"
	UpdateSession   Operation = "UpdateSession"
	ListSessions    Operation = "ListSessions"
	GetSession      Operation = "GetSession"
	DeleteSession   Operation = "DeleteSession"
	ActivateSession Operation = "ActivateSession"
	PauseSession    Operation = "PauseSession"  // ours
	ResumeSession   Operation = "ResumeSession" // ours
	CancelSession   Operation = "CancelSession" // ours
	ListArtifacts   Operation = "ListArtifacts"
	GetArtifact     Operation = "GetArtifact"

	ListGranularArtifacts Operation = "ListGranularArtifacts"
	CreateBulkRestore     Operation = "CreateBulkRestore"
	ListBulkRestores      Operation = "ListBulkRestores"
	GetBulkRestore        Operation = "GetBulkRestore"
	DeleteBulkRestore     Operation = "DeleteBulkRestore"

	CreateBrowseSession Operation = "CreateBrowseSession"
	ListBrowseSessions  Operation = "ListBrowseSessions"
	GetBrowseSession    Operation = "GetBrowseSession"
	DeleteBrowseSession Operation = "DeleteBrowseSession"
	Browse              Operation = "Browse"
	ReadContent         Operation = "ReadContent" // ours
	Find                Operation = "Find"        // ours

	ListApprovals Operation = "ListApprovals" // ours, as the next three
	GetApproval   Operation = "GetApproval"
	Approve       Operation = "Approve"
	Deny          Operation = "Deny"

	GetService           Operation = "GetService"
	EnableService        Operation = "EnableService"
	ListServiceApps      Operation = "ListServiceApps"
	CreateServiceApp     Operation = "CreateServiceApp"
	GetServiceApp        Operation = "GetServiceApp"
	DeleteServiceApp     Operation = "DeleteServiceApp"
	ActivateServiceApp   Operation = "ActivateServiceApp"
	DeactivateServiceApp Operation = "DeactivateServiceApp"
	GetEmailSetting      Operation = "GetEmailSetting"
	UpdateEmailSetting   Operation = "UpdateEmailSetting"
	ListActivities       Operation = "ListActivities"
	GetActivity          Operation = "GetActivity"
)

// A Requirement says which permissions suffice for an operation, each alone,
// the least first. A kind of caller whose list is empty is never allowed.
type Requirement struct {
	Delegated   []Permission
	Application []Permission
	Reads       bool // it changes nothing, whatever its method and permission
	NoShell     bool // Microsoft's PowerShell clients may not, whatever they are granted
}

// Least is the least permission that suffices.
func (r Requirement) Least() Permission { return r.Delegated[0] }

// reading is r for an operation that changes nothing.
func reading(r Requirement) Requirement {
	r.Reads = true
	return r
}

// notByShell is r for an operation that PowerShell clients may not do.
func notByShell(r Requirement) Requirement {
	r.NoShell = true
	return r
}

// anyCaller is the requirement of an operation that asks the same of users and
// of applications, as nearly all do.
func anyCaller(suffices ...Permission) Requirement {
	return Requirement{Delegated: suffices, Application: suffices}
}

// usersOnly is the requirement of an operation that no application may do for
// itself.
func usersOnly(suffices ...Permission) Requirement { return Requirement{Delegated: suffices} }

// Table says what suffices for each operation. The router is built from
// routes that name their operation, and refuses one that has no row here.
var Table = map[Operation]Requirement{
	CreatePolicy:     anyCaller(ConfigurationWrite),
	UpdatePolicy:     anyCaller(ConfigurationWrite),
	ListPolicies:     anyCaller(ConfigurationRead, ConfigurationWrite),
	GetPolicy:        anyCaller(ConfigurationRead, ConfigurationWrite),
	DeletePolicy:     anyCaller(ConfigurationWrite),
	ActivatePolicy:   anyCaller(ConfigurationWrite),
	DeactivatePolicy: anyCaller(ConfigurationWrite),

	ListUnits: anyCaller(ConfigurationRead, ConfigurationWrite),
	GetUnit:   anyCaller(ConfigurationRead, ConfigurationWrite),

	OffboardUnit:       usersOnly(ConfigurationWrite),
	CancelOffboardUnit: usersOnly(ConfigurationWrite),

	CreateBulkJob: anyCaller(ConfigurationWrite),
	ListBulkJobs:  anyCaller(ConfigurationRead, ConfigurationWrite),
	GetBulkJob:    anyCaller(ConfigurationRead, ConfigurationWrite),

	CreateExclusionJob: anyCaller(ConfigurationWrite),
	ListExclusions:     anyCaller(ConfigurationRead, ConfigurationWrite),
	GetExclusion:       anyCaller(ConfigurationRead, ConfigurationWrite),

	ListRules:   anyCaller(ConfigurationRead, ConfigurationWrite),
	CreateRule:  anyCaller(ConfigurationWrite),
	GetRule:     anyCaller(ConfigurationRead, ConfigurationWrite),
	UpdateRule:  anyCaller(ConfigurationWrite),
	DeleteRule:  anyCaller(ConfigurationWrite),
	RunRule:     anyCaller(ConfigurationWrite),
	ReleaseRule: anyCaller(ConfigurationWrite),
	Explain:     anyCaller(ConfigurationRead, ConfigurationWrite),

	ListPoints:   anyCaller(SearchRead),
	GetPoint:     anyCaller(SearchRead),
	SearchPoints: anyCaller(SearchRead),

	CreateSession:   anyCaller(RestoreWrite),
	UpdateSession:   anyCaller(RestoreWrite),
	ListSessions:    anyCaller(RestoreRead, RestoreWrite),
	GetSession:      anyCaller(RestoreRead, RestoreWrite),
	DeleteSession:   anyCaller(RestoreWrite),
	ActivateSession: anyCaller(RestoreWrite),
	PauseSession:    anyCaller(RestoreWrite),
	ResumeSession:   anyCaller(RestoreWrite),
	CancelSession:   anyCaller(RestoreWrite),
	ListArtifacts:   anyCaller(RestoreRead, RestoreWrite),
	GetArtifact:     anyCaller(RestoreRead, RestoreWrite),

	ListGranularArtifacts: anyCaller(RestoreWrite),
	CreateBulkRestore:     anyCaller(RestoreWrite),
	ListBulkRestores:      anyCaller(RestoreRead, RestoreWrite),
	GetBulkRestore:        anyCaller(RestoreRead, RestoreWrite),
	DeleteBulkRestore:     anyCaller(RestoreWrite),

	CreateBrowseSession: anyCaller(RestoreWrite),
	ListBrowseSessions:  anyCaller(RestoreWrite),
	GetBrowseSession:    anyCaller(RestoreWrite),
	DeleteBrowseSession: anyCaller(RestoreWrite),
	Browse:              reading(anyCaller(RestoreWrite)),
	ReadContent:         reading(anyCaller(RestoreWrite)),
	Find:                reading(anyCaller(RestoreWrite)),

	// What is asked of retention takes more than is written here: see CheckApproval.
	ListApprovals: anyCaller(RestoreRead, RestoreWrite, ConfigurationRead, ConfigurationWrite),
	GetApproval:   anyCaller(RestoreRead, RestoreWrite, ConfigurationRead, ConfigurationWrite),
	Approve:       usersOnly(RestoreWrite, ConfigurationWrite),
	Deny:          usersOnly(RestoreWrite, ConfigurationWrite),

	GetService:           notByShell(anyCaller(ControlRead, ControlWrite)),
	EnableService:        notByShell(anyCaller(ControlWrite)),
	ListServiceApps:      anyCaller(ControlRead, ControlWrite),
	CreateServiceApp:     notByShell(anyCaller(ControlWrite)),
	GetServiceApp:        anyCaller(ControlRead, ControlWrite),
	DeleteServiceApp:     notByShell(anyCaller(ControlWrite)),
	ActivateServiceApp:   usersOnly(ControlWrite),
	DeactivateServiceApp: usersOnly(ControlWrite),
	GetEmailSetting:      anyCaller(ControlWrite),
	UpdateEmailSetting:   usersOnly(ControlWrite),
	ListActivities:       anyCaller(ControlRead, ControlWrite),
	GetActivity:          anyCaller(ControlRead, ControlWrite),
}
