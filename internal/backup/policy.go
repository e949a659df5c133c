package backup

import (
	"context"
	"regexp"
	"strings"
	"time"
)

// A PolicyStatus says whether a policy is in force and how its units fare. It
// is never stored: it follows from Policy.Enabled and the states of the units.
type PolicyStatus string

const (
	PolicyInactive         PolicyStatus = "inactive"
	PolicyActiveWithErrors PolicyStatus = "activeWithErrors"
	PolicyUpdating         PolicyStatus = "updating"
	PolicyActive           PolicyStatus = "active"
)

// A Workload is the kind of thing a policy protects.
type Workload string

// The workloads. What a unit is of, its subject, is the owner of a drive or a
// mailbox, by the owner's object id, or a site, by the id of its collection.
const (
	OneDrive   Workload = "oneDriveForBusiness" // users' drives
	SharePoint Workload = "sharePoint"          // sites
	Exchange   Workload = "exchange"            // users' mailboxes
)

// Subject says in a word what a unit of w is of.
func (w Workload) Subject() string {
	if w == SharePoint {
		return "site"
	}
	return "owner"
}

// Thing says in a word what is protected.
func (w Workload) Thing() string {
	switch w {
	case SharePoint:
		return "site"
	case Exchange:
		return "mailbox"
	}
	return "drive"
}

// ParseSubject returns what a unit of w is of in its canonical form, a lower-case
// GUID, and whether s is one. A site may be named as Graph names it, by its host,
// its collection and its web: what is protected is the collection, with all its
// webs.
func (w Workload) ParseSubject(s string) (SubjectID, bool) {
	if parts := strings.Split(s, ","); w == SharePoint && len(parts) == 3 {
		_, web := ParseGUID(parts[2])
		id, collection := ParseGUID(parts[1])
		return SubjectID(id), collection && web && parts[0] != ""
	}
	id, ok := ParseGUID(s)
	return SubjectID(id), ok
}

// siteHost is the host of a site, which may have a port.
var siteHost = regexp.MustCompile(`^[A-Za-z0-9.:-]{1,260}$`)

// SourceID returns s if it names a subject of w as the source spells it in full,
// which is more than the subject's id: a site by its host, collection and web.
func (w Workload) SourceID(s string) string {
	host, _, more := strings.Cut(s, ",")
	if _, ok := w.ParseSubject(s); !ok || !more || !siteHost.MatchString(host) {
		return ""
	}
	return s
}

// ParseAddress returns an address of a subject of w in the form in which addresses
// are compared, and whether s can be one: that of a user for mail or to sign in
// with, or a site's URL. It is generous: the directory decides.
func (w Workload) ParseAddress(s string) (string, bool) {
	key := FoldAddress(s)
	sign := "@"
	if w == SharePoint {
		sign = "://"
	}
	before, after, ok := strings.Cut(key, sign)
	if !ok || before == "" || after == "" || strings.ContainsAny(key, " \t\r\n\x00") {
		return "", false
	}
	return key, true
}

// FoldAddress returns an address of a subject in the form in which addresses are
// compared.
func FoldAddress(s string) string {
	return strings.TrimRight(strings.ToLower(strings.TrimSpace(s)), "/")
}

// A Policy is a rule under which units are protected.
type Policy struct {
	ID          PolicyID
	Tenant      TenantID
	Workload    Workload
	DisplayName string
	FullService bool // it protects all there is of its workload but what is excluded
	Enabled     bool // what was asked for last: activate or deactivate
	Status      PolicyStatus
	Retention   Retention // how its points are kept
	Created     Stamp
	Modified    Stamp
}

// A UnitTally says which states occur among a policy's units.
type UnitTally struct {
	Requested    bool // a unit is protectRequested, unprotectRequested or removeRequested
	Unprotecting bool // a unit is unprotectRequested
	Failing      bool // a unit has an error, or is unprotected
}

// StatusOf returns the status of a policy from what was asked of it and the
// states that occur among its units.
func StatusOf(enabled bool, t UnitTally) PolicyStatus {
	switch {
	case !enabled && t.Unprotecting:
		return PolicyUpdating
	case !enabled:
		return PolicyInactive
	case t.Requested:
		return PolicyUpdating
	case t.Failing:
		return PolicyActiveWithErrors
	}
	return PolicyActive
}

// Activate puts p in force: allowed when it is inactive, or active with errors
// to try the failed units again. A policy just activated is updating.
func (p *Policy) Activate(by Stamp) error {
	if p.Status != PolicyInactive && p.Status != PolicyActiveWithErrors {
		return wrongPolicyState("activated", "inactive or activeWithErrors", p.Status)
	}
	p.Enabled, p.Status, p.Modified = true, PolicyUpdating, by
	return nil
}

// Deactivate takes p out of force: backups stop, restore points stay.
func (p *Policy) Deactivate(by Stamp) error {
	if p.Status != PolicyActive && p.Status != PolicyActiveWithErrors {
		return wrongPolicyState("deactivated", "active or activeWithErrors", p.Status)
	}
	p.Enabled, p.Status, p.Modified = false, PolicyUpdating, by
	return nil
}

// Deletable reports, as an error, why p may not be deleted now.
func (p *Policy) Deletable() error {
	if p.Status != PolicyInactive {
		return Fail(PolicyActionNotAllowed, "A policy can be deleted only while it is inactive; this one is "+
			string(p.Status)+". Deactivate it and wait until it is inactive.").On("status")
	}
	return nil
}

// wrongPolicyState is the one answer to activate and deactivate in a wrong
// state: the code of Microsoft's page examples, and in a detail the code of
// their error table, which disagree.
func wrongPolicyState(action, allowed string, status PolicyStatus) error {
	e := Fail(InvalidStateForActivation, "A policy can be "+action+" only while it is "+allowed+
		"; this one is "+string(status)+".").On("status")
	e.Details = []Detail{{Code: PolicyActionNotAllowed, Message: "The action is not allowed in the policy's present status.", Target: "status"}}
	return e
}

// MaxDisplayName is the longest display name of a policy, in characters.
const MaxDisplayName = 1024

// MaxUnitsPerRequest is how many units one create or update of a policy may name.
const MaxUnitsPerRequest = 50

// MaxBulkEntries is how many entries one bulk addition job may name, in both
// of its lists together.
const MaxBulkEntries = 50_000

// A BulkJobStatus is where a bulk addition job stands.
type BulkJobStatus string

const (
	BulkJobActive              BulkJobStatus = "active"
	BulkJobCompleted           BulkJobStatus = "completed"
	BulkJobCompletedWithErrors BulkJobStatus = "completedWithErrors"
)

// A Purpose is what the subjects that a bulk addition job names are added for.
type Purpose string

const (
	ToProtect Purpose = "protect"
	ToExclude Purpose = "exclude" // from a policy that protects all there is
)

// A BulkJob adds the subjects it names to a policy. Its lists stay as they were
// sent, in order and case.
type BulkJob struct {
	Purpose     Purpose
	ID          BulkJobID
	Tenant      TenantID
	Workload    Workload
	Policy      PolicyID
	DisplayName string
	Status      BulkJobStatus
	Addresses   []string // nil where a listing leaves them out
	IDs         []string // nil where a listing leaves them out
	Problem     *Problem // one detail for each entry that failed
	Created     Stamp
	Modified    Stamp
}

// A Subject is what a unit may be of, as the source's directory knows it.
type Subject struct {
	ID          SubjectID
	Address     string // a user's name to sign in with, a site's URL
	Mail        string // a user's address for mail
	DisplayName string
	SourceID    string    // of a site: its host, collection and web, as the source spells them
	Modified    time.Time // when a site was last changed; zero where nobody knows
}

// Clock tells the time. Every part that needs it is given one, so that tests
// move it.
type Clock func() time.Time

// Sleep waits for a while, and not at all once ctx has ended, which is then its error.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
