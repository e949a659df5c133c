package identity

// A Reach says how far an operation goes for somebody whose role is limited to a
// scope: some policies, and the units of some owners.
type Reach int

const (
	// WithinScope is an operation on units and on what is made of them. Whoever is
	// limited sees those in the scope; the others answer as if they were not there.
	WithinScope Reach = iota + 1
	// OfTheTenant is one that shows or changes nothing that is of anybody's.
	OfTheTenant
	// Unlimited is one that only a role without a scope may do: what it does cannot be
	// held to a part of the tenant.
	Unlimited
)

// Reaches says of each operation how far it goes. The router refuses one that has no
// row here.
var Reaches = map[Operation]Reach{
	CreatePolicy:     Unlimited,
	UpdatePolicy:     WithinScope,
	ListPolicies:     WithinScope,
	GetPolicy:        WithinScope,
	DeletePolicy:     WithinScope,
	ActivatePolicy:   WithinScope,
	DeactivatePolicy: WithinScope,

	ListUnits:          WithinScope,
	GetUnit:            WithinScope,
	OffboardUnit:       WithinScope,
	CancelOffboardUnit: WithinScope,

	// Who is meant is found out later, in the whole directory.
	CreateBulkJob:      Unlimited,
	ListBulkJobs:       Unlimited,
	GetBulkJob:         Unlimited,
	CreateExclusionJob: Unlimited,
	ListExclusions:     WithinScope,
	GetExclusion:       WithinScope,

	ListRules:   WithinScope,
	CreateRule:  Unlimited,
	GetRule:     WithinScope,
	UpdateRule:  Unlimited,
	DeleteRule:  Unlimited,
	RunRule:     Unlimited,
	ReleaseRule: Unlimited,
	Explain:     WithinScope,

	ListPoints:   WithinScope,
	GetPoint:     WithinScope,
	SearchPoints: WithinScope,

	CreateSession:         WithinScope,
	UpdateSession:         WithinScope,
	ListSessions:          WithinScope,
	GetSession:            WithinScope,
	DeleteSession:         WithinScope,
	ActivateSession:       WithinScope,
	PauseSession:          WithinScope,
	ResumeSession:         WithinScope,
	CancelSession:         WithinScope,
	ListArtifacts:         WithinScope,
	GetArtifact:           WithinScope,
	ListGranularArtifacts: WithinScope,
	CreateBulkRestore:     Unlimited, // as with bulk addition jobs
	ListBulkRestores:      WithinScope,
	GetBulkRestore:        WithinScope,
	DeleteBulkRestore:     WithinScope,

	CreateBrowseSession: WithinScope,
	ListBrowseSessions:  WithinScope,
	GetBrowseSession:    WithinScope,
	DeleteBrowseSession: WithinScope,
	Browse:              WithinScope,
	ReadContent:         WithinScope,
	Find:                WithinScope,

	ListApprovals: WithinScope,
	GetApproval:   WithinScope,
	Approve:       WithinScope,
	Deny:          WithinScope,

	GetService:           OfTheTenant,
	EnableService:        Unlimited,
	ListServiceApps:      OfTheTenant,
	CreateServiceApp:     Unlimited,
	GetServiceApp:        OfTheTenant,
	DeleteServiceApp:     Unlimited,
	ActivateServiceApp:   Unlimited,
	DeactivateServiceApp: Unlimited,
	GetEmailSetting:      Unlimited,
	UpdateEmailSetting:   Unlimited,
	ListActivities:       WithinScope,
	GetActivity:          WithinScope,
}

// A Limited is a role that somebody has within a scope, by that one's name.
type Limited struct {
	Role  Role
	Scope string
}

// Scopes are the names of the scopes to which the caller is limited in op, and whether
// they are limited at all: not where a role without a scope suffices.
func (c Caller) Scopes(op Operation) (names []string, limited bool) {
	if !c.Narrowed {
		return nil, false
	}
	for _, r := range c.Roles {
		if r.Allows(op) {
			return nil, false
		}
	}
	for _, l := range c.Limited {
		if l.Role.Allows(op) {
			names = append(names, l.Scope)
		}
	}
	return names, true
}
