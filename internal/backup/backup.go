// Package backup is the vocabulary of the server: what it protects, the states
// that may be returned to, and the moves each thing may make.
//
// Three storages never share a word. The catalog is our database. The vault is
// the kopia repository that holds what was backed up. A drive is what we
// protect, at its source. A tenant owns all three.
//
// A policy is of a workload and holds units. A unit is one thing under protection,
// named by its subject: a drive by its owner, whose directory object that is. A
// point is a state of a drive that can be restored. A session restores artifacts,
// each one point to one destination. A bulk addition job brings many subjects into
// a policy at once; a rule brings in the members of directory groups, and a dynamic
// one lets them go again.
//
// The package imports only the standard library and nothing of ours, and
// everything of ours may import it. Names and states are those of Microsoft
// Graph's Backup Storage API.
package backup

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"strings"
	"time"
)

// Each kind of name is a type of its own, so that the compiler knows which is
// which. Ids that the server makes are lower-case GUIDs.
type (
	TenantID        string // the Entra tenant, a lower-case GUID
	ObjectID        string // a user or group of the directory, a lower-case GUID
	SubjectID       string // what a unit is of: an owner's object id, or a site's id
	PolicyID        string
	UnitID          string
	BulkJobID       string
	ExclusionID     string
	RuleID          string
	SessionID       string
	ArtifactID      string
	PointID         string
	ServiceAppID    string
	ActivityID      string
	BrowseSessionID string
	BulkRequestID   string
	DamageID        string
	DriveID         string // as the source gives it: opaque, case-sensitive
	ItemID          string // as the source gives it: opaque, unique in its drive
)

// NewID returns a fresh random GUID in lower case.
func NewID[T ~string]() T {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return T(fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16]))
}

// ParseGUID returns s in its canonical lower-case form. It reports false for
// anything but 36 characters of the form 8-4-4-4-12.
func ParseGUID(s string) (string, bool) {
	if len(s) != 36 {
		return "", false
	}
	for i := range len(s) {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return "", false
			}
		default:
			if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
				return "", false
			}
		}
	}
	return strings.ToLower(s), true
}

// An Identity is an application or a user, as far as it is known.
type Identity struct {
	ID          string `json:"id,omitempty"`
	DisplayName string `json:"displayName,omitempty"`
	Email       string `json:"email,omitempty"`
}

// An IdentitySet says who did something: the application, and the user it
// acted for when the call was delegated.
type IdentitySet struct {
	Application Identity `json:"application,omitzero"`
	User        Identity `json:"user,omitzero"`
}

// Actor is who acts, by id: the user, whichever application they use, or else the
// application itself.
func (i IdentitySet) Actor() string { return cmp.Or(i.User.ID, i.Application.ID) }

// A Stamp is when something was done and by whom.
type Stamp struct {
	By IdentitySet
	At time.Time
}
