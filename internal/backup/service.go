package backup

import (
	"slices"
	"time"
)

// A ServiceStatus says what a tenant's backup service lets be changed. What
// there is can always be read.
type ServiceStatus string

const (
	ServiceDisabled               ServiceStatus = "disabled"
	ServiceEnabled                ServiceStatus = "enabled"
	ServiceProtectionChangeLocked ServiceStatus = "protectionChangeLocked"
	ServiceRestoreLocked          ServiceStatus = "restoreLocked"
)

// Why a service is not enabled.
const (
	DisabledForNoReason = "none"
	DisabledByUser      = "userRequested"
)

// An Area is what an operation changes.
type Area string

const (
	AreaNone       Area = "" // nothing that the service's status guards
	AreaProtection Area = "protection"
	AreaRestore    Area = "restore"
)

// serviceForbids says which changes each status forbids.
var serviceForbids = map[ServiceStatus][]Area{
	ServiceEnabled:                {},
	ServiceDisabled:               {AreaProtection},
	ServiceProtectionChangeLocked: {AreaProtection},
	ServiceRestoreLocked:          {AreaProtection, AreaRestore},
}

const (
	// removalGrace is how long the controller stays when it is deleted.
	removalGrace = 7 * 24 * time.Hour
	// lockedGrace is how long restores are possible in a service that has lost
	// its controller.
	lockedGrace = 30 * 24 * time.Hour
	// A change of controller takes effect no sooner and no later than this.
	earliestChange, latestChange = 7 * 24 * time.Hour, 30 * 24 * time.Hour
)

// A Service is the state of a tenant's backup service, with the applications
// registered to control it. Those are few.
type Service struct {
	Status        ServiceStatus
	DisableReason string
	Modified      Stamp // zero until somebody or something changed it
	Apps          []ServiceApp
}

// RestoreEnds is until when a locked service allows restores; zero in any
// other.
func (s *Service) RestoreEnds() time.Time {
	if s.Status != ServiceProtectionChangeLocked && s.Status != ServiceRestoreLocked || s.Modified.At.IsZero() {
		return time.Time{}
	}
	return s.Modified.At.Add(lockedGrace)
}

// Allows reports, as an error, why app may not make a change in area now. An
// application that is registered but does not control the service may only
// read while another does; one that never registered is not bound by that.
func (s *Service) Allows(area Area, app string) error {
	if slices.Contains(serviceForbids[s.Status], area) {
		return Fail(OperationNotAllowed, "The backup service is "+string(s.Status)+", which does not allow this change. Enable the service and try again.")
	}
	i := slices.IndexFunc(s.Apps, func(a ServiceApp) bool { return a.Application.ID == app })
	if area != AreaNone && i >= 0 && !s.Apps[i].Status.controls() && s.controller(s.Apps[i].ID) != nil {
		return Fail(AccessDenied, "Another application controls the backup service, and this one may only read. Activate it, and wait until that has taken effect.")
	}
	return nil
}

// A ServiceAppStatus says whether an application controls the service.
type ServiceAppStatus string

const (
	ServiceAppInactive        ServiceAppStatus = "inactive"
	ServiceAppActive          ServiceAppStatus = "active"
	ServiceAppPendingActive   ServiceAppStatus = "pendingActive"   // takes over at its effective time
	ServiceAppPendingInactive ServiceAppStatus = "pendingInactive" // controls until another takes over
	serviceAppGone            ServiceAppStatus = "gone"
)

func (s ServiceAppStatus) controls() bool {
	return s == ServiceAppActive || s == ServiceAppPendingInactive
}

// A ServiceApp is an application that registered to control the service.
type ServiceApp struct {
	ID          ServiceAppID
	Application Identity
	Status      ServiceAppStatus
	Effective   time.Time // when its last activation takes or took effect; zero without one
	Removal     time.Time // when it goes; zero while it stays
	Registered  time.Time
	Modified    Stamp
}

// A ServiceAppOperation is what may be asked of a service app.
type ServiceAppOperation string

const (
	ActivateApp   ServiceAppOperation = "activate"
	DeactivateApp ServiceAppOperation = "deactivate"
	DeleteApp     ServiceAppOperation = "delete"
)

// serviceAppMoves says which status an operation leads to from each. What is
// not here is refused. Where nobody controls the service an application that
// is activated does so at once; a controller that is deleted goes later.
var serviceAppMoves = map[ServiceAppStatus]map[ServiceAppOperation]ServiceAppStatus{
	ServiceAppInactive:        {ActivateApp: ServiceAppPendingActive, DeactivateApp: ServiceAppInactive, DeleteApp: serviceAppGone},
	ServiceAppPendingActive:   {DeactivateApp: ServiceAppInactive, DeleteApp: serviceAppGone},
	ServiceAppPendingInactive: {DeactivateApp: ServiceAppPendingInactive},
	ServiceAppActive:          {ActivateApp: ServiceAppActive, DeleteApp: ServiceAppActive},
}

// controller is the application that controls the service, other than id.
func (s *Service) controller(id ServiceAppID) *ServiceApp {
	for i := range s.Apps {
		if s.Apps[i].ID != id && s.Apps[i].Status.controls() {
			return &s.Apps[i]
		}
	}
	return nil
}

// Enable lets everything be changed again. It may be repeated.
func (s *Service) Enable(by Stamp) {
	if s.Status != ServiceEnabled || s.Modified.At.IsZero() {
		s.Status, s.DisableReason, s.Modified = ServiceEnabled, DisabledForNoReason, by
	}
}

// Register adds an application, or finds the one that is there.
func (s *Service) Register(app Identity, by Stamp) ServiceApp {
	for _, a := range s.Apps {
		if a.Application.ID == app.ID {
			return a
		}
	}
	a := ServiceApp{ID: NewID[ServiceAppID](), Application: app, Status: ServiceAppInactive, Registered: by.At, Modified: by}
	s.Apps = append(s.Apps, a)
	return a
}

// Do applies an operation to one of the applications and returns it as it is
// then; effective is of an activation only. ItemNotFound, OperationNotAllowed,
// InvalidRequest. The service has been settled.
func (s *Service) Do(op ServiceAppOperation, id ServiceAppID, effective time.Time, by Stamp) (ServiceApp, *Error) {
	i := slices.IndexFunc(s.Apps, func(a ServiceApp) bool { return a.ID == id })
	if i < 0 {
		return ServiceApp{}, Fail(ItemNotFound, "There is no such service app.").On("id")
	}
	a := &s.Apps[i]
	to, ok := serviceAppMoves[a.Status][op]
	if !ok {
		return *a, Fail(OperationNotAllowed, "A service app that is "+string(a.Status)+" does not allow the operation "+string(op)+".").On("status")
	}
	switch other := s.controller(id); {
	case op == ActivateApp && a.Status == ServiceAppActive:
		if a.Removal.IsZero() {
			return *a, nil
		}
		a.Removal = time.Time{}
	case op == ActivateApp && other == nil:
		if slices.ContainsFunc(s.Apps, func(o ServiceApp) bool { return o.Status == ServiceAppPendingActive }) {
			return *a, pendingChange()
		}
		to = ServiceAppActive
		a.Effective = effective
	case op == ActivateApp && other.Status == ServiceAppPendingInactive:
		return *a, pendingChange()
	case op == ActivateApp:
		if effective.Before(by.At.Add(earliestChange)) || effective.After(by.At.Add(latestChange)) {
			return *a, Fail(InvalidRequest, "Another application controls the service, so this one can take over between 7 and 30 days from now. Give a date in that time.").On("effectiveDateTime")
		}
		a.Effective = effective
		other.Status, other.Modified = ServiceAppPendingInactive, by
	case a.Status == ServiceAppPendingActive: // the change is called off
		if other != nil {
			other.Status, other.Modified = ServiceAppActive, by
		}
		a.Effective = time.Time{}
	case op == DeleteApp && a.Status == ServiceAppActive:
		if a.Removal.IsZero() {
			a.Removal = by.At.Add(removalGrace)
		}
	case to == a.Status:
		return *a, nil
	}
	a.Status, a.Modified = to, by
	done := *a
	if to == serviceAppGone {
		s.Apps = slices.Delete(s.Apps, i, i+1)
	}
	return done, nil
}

func pendingChange() *Error {
	return Fail(OperationNotAllowed, "A change of the application that controls the service is pending. Wait until it has taken effect, or deactivate the application that waits.").On("status")
}

// Settle brings s to where it stands at a time: pending changes that are due
// have taken effect, a deleted controller is gone, and a service that thereby
// lost its controller is locked.
func (s *Service) Settle(now time.Time) {
	for i := range s.Apps {
		a := &s.Apps[i]
		if a.Status == ServiceAppPendingActive && !a.Effective.After(now) {
			for other := s.controller(a.ID); other != nil; other = s.controller(a.ID) {
				other.Status, other.Modified.At = ServiceAppInactive, a.Effective
				if !other.Removal.IsZero() { // it need not be waited for any more
					other.Removal = a.Effective
				}
			}
			a.Status, a.Modified.At = ServiceAppActive, a.Effective
		}
	}
	s.Apps = slices.DeleteFunc(s.Apps, func(a ServiceApp) bool {
		gone := !a.Removal.IsZero() && !a.Removal.After(now)
		if gone && a.Status.controls() && s.Status == ServiceEnabled {
			s.Status, s.DisableReason = ServiceProtectionChangeLocked, DisabledByUser
			s.Modified = Stamp{By: a.Modified.By, At: a.Removal}
		}
		return gone
	})
	if s.Status == ServiceProtectionChangeLocked && !s.Modified.At.IsZero() && !s.RestoreEnds().After(now) {
		s.Status = ServiceRestoreLocked
	}
}

// An EmailSetting says whom the service writes to, and about what.
type EmailSetting struct {
	Enabled    bool
	Events     string // flags, as on the wire
	Role       string // flags, as on the wire
	Recipients []Identity
}

// DefaultEmailSetting is that of a tenant that never set one: nobody.
var DefaultEmailSetting = EmailSetting{Events: "none", Role: "none"}
