package backup

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// ApprovalID names an approval, a lower-case GUID.
type ApprovalID string

// An ApprovalKind is what may be to be approved.
type ApprovalKind string

const (
	ApprovalRestore   ApprovalKind = "restoreInPlace" // of a session: live data becomes what it was
	ApprovalOffboard  ApprovalKind = "offboard"       // of a unit: its backups are destroyed
	ApprovalRetention ApprovalKind = "retention"      // of a policy, or the tenant: points go earlier
)

// An ApprovalState is where an approval stands. From waiting each other is reached, and
// from those none.
type ApprovalState string

const (
	ApprovalWaiting   ApprovalState = "waiting"
	ApprovalApproved  ApprovalState = "approved"
	ApprovalDenied    ApprovalState = "denied"
	ApprovalExpired   ApprovalState = "expired"
	ApprovalWithdrawn ApprovalState = "withdrawn" // it is not asked for any more
	ApprovalVoided    ApprovalState = "voided"    // what is there is not what was asked for any more
)

// An ApprovalRule says what nobody of a tenant may do alone. The zero rule is nothing.
type ApprovalRule struct {
	RestoreInPlace bool
	Retention      bool          // all by which backups are kept for a shorter time, offboarding too
	Expires        time.Duration // how long an approval is waited for
}

// Needs reports whether what is of a kind is to be approved.
func (r ApprovalRule) Needs(kind ApprovalKind) bool {
	if kind == ApprovalRestore {
		return r.RestoreInPlace
	}
	return r.Retention
}

// String says in words what r is.
func (r ApprovalRule) String() string {
	var of []string
	if r.RestoreInPlace {
		of = append(of, "restores in place")
	}
	if r.Retention {
		of = append(of, "what has backups be kept for a shorter time")
	}
	if len(of) == 0 {
		return "nothing is to be approved"
	}
	return strings.Join(of, " and ") + ": to be approved within " + cmp.Or(r.Expires, ApprovalLife).String()
}

const (
	// ApprovalLife is how long an approval is waited for where nobody says otherwise.
	ApprovalLife = 24 * time.Hour
	// MaxApprovalLife is how long that may be: what was asked for longer ago nobody
	// remembers.
	MaxApprovalLife = 30 * 24 * time.Hour
	// MaxApprovalComment is how many characters whoever decides may say.
	MaxApprovalComment = 1000
)

// An Approval is something that waits until another person has approved it, or did.
type Approval struct {
	ID       ApprovalID
	Tenant   TenantID
	Kind     ApprovalKind
	Object   string   // the id of the session, unit or policy; "" is the tenant's own retention
	Workload Workload // "" where it is of none
	What     string   // would be done, in words
	Hash     string   // of all that would be
	Actors   []string // who had part in it, by IdentitySet.Actor
	Asked    Stamp
	Expires  time.Time
	State    ApprovalState
	Decided  Stamp // zero while it waits; by nobody where the service ended it
	Comment  string
}

// Decide approves or denies a, or says why it cannot. That whoever decided says the same
// again is a repetition, which changes nothing. Only a person decides, and none who had
// part in what is to be approved: by whichever application they speak, they are the same.
func (a *Approval) Decide(to ApprovalState, by Stamp, comment string) (repeated bool, err error) {
	person := by.By.User.ID
	switch {
	case person == "":
		return false, Fail(AuthorizationDenied, "Only a person can approve or deny this, and the token speaks for none. Sign in as one.")
	case a.State == to && strings.EqualFold(a.Decided.By.User.ID, person):
		return true, nil
	case a.State != ApprovalWaiting:
		return false, Fail(ApprovalNotWaiting, "It does not wait for a decision any more: it is "+string(a.State)+a.Decided.inWords()+".").On("state")
	case to == ApprovalApproved && slices.ContainsFunc(a.Actors, func(one string) bool { return strings.EqualFold(one, person) }):
		return false, Fail(AccessDenied, "You had part in what is to be approved, so that another person has to approve it.")
	}
	a.State, a.Decided, a.Comment = to, by, comment
	return false, nil
}

// Over reports whether a can be decided no more at a time.
func (a *Approval) Over(now time.Time) bool { return !a.Expires.After(now) }

// inWords says when something was done and by whom, as the end of a sentence.
func (s Stamp) inWords() (text string) {
	if s.At.IsZero() {
		return ""
	}
	if who := s.By.Who(); who != "" {
		text = ", by " + who
	}
	return text + ", since " + s.At.UTC().Format("2006-01-02 15:04 MST")
}

// Who is who acts, as people know them: the user, or else the application.
func (i IdentitySet) Who() string {
	for _, name := range []string{i.User.Email, i.User.DisplayName, i.User.ID, i.Application.DisplayName, i.Application.ID} {
		if name != "" {
			return name
		}
	}
	return ""
}
