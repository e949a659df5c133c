package backup

import "time"

// AlertID names an alert, MessageID one message to one recipient.
type (
	AlertID   string
	MessageID string
)

// An AlertKind is a state of affairs that a person is told of.
type AlertKind string

// The states of affairs, those first that are the most urgent.
const (
	AlertApprovalWaits    AlertKind = "approvalWaits" // something waits for another person's approval
	AlertVaultDamaged     AlertKind = "vaultDamaged"
	AlertVaultUnavailable AlertKind = "vaultUnavailable"
	AlertSourceRefused    AlertKind = "sourceRefused"      // the source does not let the server in
	AlertWorkWaits        AlertKind = "workWaits"          // jobs are due and nobody does them
	AlertRPOMissed        AlertKind = "rpoMissed"          // newest points are older than promised
	AlertUnitsFailing     AlertKind = "unitsFailing"       // whose runs have failed for long
	AlertItemsUnread      AlertKind = "itemsUnread"        // that have not been read for long
	AlertExpiring         AlertKind = "credentialExpiring" // a certificate or a secret of the source's application
	AlertAuditWaits       AlertKind = "auditNotTaken"      // an outlet of the audit log takes nothing
)

// AlertKinds are all of them, in their order.
var AlertKinds = []AlertKind{AlertApprovalWaits, AlertVaultDamaged, AlertVaultUnavailable, AlertSourceRefused, AlertWorkWaits, AlertRPOMissed, AlertUnitsFailing, AlertItemsUnread, AlertAuditWaits, AlertExpiring}

// A Condition is what stands of one kind in a tenant now: of how many things, and
// the first of them.
type Condition struct {
	Kind     AlertKind
	Count    int64
	More     bool // there are more than Count
	Examples []AlertExample
}

// An AlertExample is one of the things that a condition is of.
type AlertExample struct {
	Name  string    `json:"name,omitempty"` // the owner's address, the file's path
	Since time.Time `json:"since,omitzero"`
	Text  string    `json:"text,omitempty"` // what is wrong with it
}

// An Alert is a condition from when it was first seen until it was over. There is
// one of a kind and tenant at a time: what a thousand drives have in common is one
// alert.
type Alert struct {
	ID       AlertID
	Tenant   TenantID
	Kind     AlertKind
	Raised   time.Time
	Resolved time.Time // zero while it stands
	Absent   time.Time // since when it was not seen any more; zero while it is seen
	Count    int64
	More     bool
	Examples []AlertExample
	Told     time.Time // when people were last told of it
	TellOf   int64     // of how many things they were told then
}

// A News is why people are told of an alert.
type News string

const (
	NewsRaised   News = "raised"
	NewsMore     News = "more"     // it is of twice as many things as they were told
	NewsStill    News = "still"    // it has stood for another day
	NewsResolved News = "resolved" // it is over
)

// How alerts change.
const (
	// AlertOver is for how long a condition must not have been seen until its
	// alert is over, so that what comes and goes is one alert.
	AlertOver = 10 * time.Minute
	// alertMore is how long at least passes until people are told that an alert
	// has grown.
	alertMore = time.Hour
	// alertStill is after how long they are told of one that stands again.
	alertStill = 24 * time.Hour
)

// See brings an alert to what is now seen of its condition, nil for nothing, and
// says why people are to be told of it, "" if they are not.
func (a *Alert) See(c *Condition, now time.Time) (news News) {
	switch {
	case c == nil && a.Absent.IsZero():
		a.Absent = now
		return ""
	case c == nil && now.Sub(a.Absent) < AlertOver:
		return ""
	case c == nil:
		a.Resolved = now
		if a.Told.IsZero() {
			return ""
		}
		news = NewsResolved
	default:
		a.Absent, a.Count, a.More, a.Examples = time.Time{}, c.Count, c.More, c.Examples
		switch since := now.Sub(a.Told); {
		case a.Told.IsZero():
			news = NewsRaised
		case a.Count >= 2*a.TellOf && since >= alertMore:
			news = NewsMore
		case a.Kind == AlertApprovalWaits && c.Examples[0].Since.After(a.Told): // each is somebody's, who waits for it
			news = NewsMore
		case since >= alertStill:
			news = NewsStill
		default:
			return ""
		}
	}
	a.Told, a.TellOf = now, a.Count
	return news
}

// A Message is what one recipient is told, as it is kept until it was sent.
type Message struct {
	ID          MessageID
	Tenant      TenantID
	Destination string // which of those that are configured
	Recipient   string // of several at the destination, such as an address; "" for its only one
	Body        string // JSON, of the package alert
	Created     time.Time
	Due         time.Time // when it is tried next
	Tries       int
	State       MessageState
	Ended       time.Time // when it was sent or given up
	Problem     string    // why the last try failed
}

// A MessageState is what has become of a message.
type MessageState string

const (
	MessageWaiting MessageState = "waiting"
	MessageSent    MessageState = "sent"
	MessageGivenUp MessageState = "givenUp"
)
