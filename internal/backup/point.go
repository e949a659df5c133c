package backup

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// An ItemKind is what a drive item is.
type ItemKind string

const (
	File   ItemKind = "file"
	Folder ItemKind = "folder"
)

// A ContainerKind is what one of the several containers of a unit is.
type ContainerKind string

const (
	Library  ContainerKind = "" // a document library, which is a drive
	SiteList ContainerKind = "list"
	// FileColumns are the columns of a library's files and folders: the items of the
	// list that the library is.
	FileColumns ContainerKind = "columns"
	// FilePermissions are the permissions of a library's files and folders.
	FilePermissions ContainerKind = "permissions"
	// FileVersions are the earlier versions of a library's files.
	FileVersions ContainerKind = "versions"
	SitePages    ContainerKind = "pages" // modern pages
)

// Beside reports whether a container is kept beside a library, of whose files it says
// more: it is neither browsed nor counted, and a unit is not away for want of it.
func (k ContainerKind) Beside() bool {
	return k == FileColumns || k == FilePermissions || k == FileVersions
}

// PointTags marks restore points.
type PointTags string

const (
	TagNone        PointTags = "none"
	TagFastRestore PointTags = "fastRestore"
)

// TagNewerItems, alone or behind a comma, marks no point: it asks for that one of a time
// which includes all newer items that were made in the time, which is the last. Only the
// beta version has it.
const TagNewerItems PointTags = "includeNewerItems"

// Search returns which mark t asks for, "" for any, and whether the oldest of the points
// that bear it is asked for, as far as t leaves that open.
func (t PointTags) Search(oldest bool) (PointTags, bool) {
	if mark, newer := strings.CutSuffix(string(t), string(TagNewerItems)); newer {
		return PointTags(strings.TrimSuffix(mark, ",")), false
	}
	return t, oldest
}

// A Point is a state of a drive that can be restored.
type Point struct {
	ID      PointID
	Tenant  TenantID
	Unit    UnitID
	Drive   DriveID   // the drive it is a state of
	At      time.Time // the moment restored to: protectionDateTime
	Expires time.Time
	Tags    PointTags
	Tree    string // the point's directory in the vault
	Files   int64
	Folders int64
	Bytes   int64

	// Unread is how many items the point does not hold as they were at its
	// time. Which they are stands with the point in the vault.
	Unread int64
	// Verified is when all that the point holds was last read back and found
	// whole; zero if never.
	Verified time.Time
	// Lost says that the vault no longer holds the point whole. It cannot be
	// restored, unless the vault is put back.
	Lost bool
}

// Restorable reports, as an error, why nothing can be restored of p.
func (p *Point) Restorable() error {
	if p.Lost {
		return Fail(InvalidRestorePoint, "The vault no longer holds this restore point whole, so nothing can be restored of it. Choose another; the operator of the server can look into what happened to the vault.").On(string(p.ID))
	}
	return nil
}

// An Unread is an item that a point does not hold as it was at the point's
// time. Every item that the source spoke of is either held and verified, or
// one of these.
type Unread struct {
	Item    ItemID    `json:"item"` // empty where the source gave no id
	Path    string    `json:"path"`
	Code    Code      `json:"code"`
	Message string    `json:"message"`
	Since   time.Time `json:"since,omitzero"` // when it was first not to be read
	// Held says that the point holds the item as it was last readable; else the
	// point does not hold it at all.
	Held bool `json:"held,omitempty"`
	// Beside says that the point holds the item itself as it was, and only lacks what
	// is kept beside it for people to read, such as a message's MIME: a note, and no
	// error.
	Beside bool `json:"beside,omitempty"`
	// Attempts and Next say how often it was tried, and when it is to be tried
	// again; Listed, if it is not empty, as which version it was listed, where
	// another came when it was asked for. They are the drive's business, not the
	// point's.
	Attempts int       `json:"attempts,omitempty"`
	Next     time.Time `json:"next,omitzero"`
	Listed   string    `json:"listed,omitempty"`
}

// Unheld returns those of unread whose items a point does not hold as they were.
func Unheld(unread []Unread) []Unread {
	return slices.DeleteFunc(slices.Clone(unread), func(u Unread) bool { return u.Beside })
}

// maxUnread is how many items an error names one by one.
const maxUnread = 100

// Lacks is the problem of a point that does not hold some items as they were, or
// nil. It names the first hundred.
func Lacks(unread []Unread) *Problem {
	unread = Unheld(unread)
	if len(unread) == 0 {
		return nil
	}
	held := 0
	for _, u := range unread {
		if u.Held {
			held++
		}
	}
	p := LacksSome(int64(len(unread)))
	of := "Of them"
	if len(unread) == 1 {
		of = "Of it"
	}
	switch held {
	case len(unread):
		p.Message += " " + of + " the last content that could be read is held."
	case 0:
		p.Message += " " + of + " nothing is held."
	default:
		p.Message += fmt.Sprintf(" Of %d the last content that could be read is held, of %d nothing.", held, len(unread)-held)
	}
	if len(unread) > maxUnread {
		p.Message += fmt.Sprintf(" The first %d are named here; holdfast.unread of the restore point lists all.", maxUnread)
	}
	for _, u := range unread[:min(len(unread), maxUnread)] {
		p.Details = append(p.Details, Detail{Code: u.Code, Message: u.Message, Target: u.Path})
	}
	return p
}

// LacksSome is Lacks where only the number of items is known.
func LacksSome(n int64) *Problem {
	switch n {
	case 0:
		return nil
	case 1:
		return &Problem{Code: ItemsNotBackedUp, Message: "1 item could not be backed up as it is; all others were."}
	}
	return &Problem{Code: ItemsNotBackedUp, Message: fmt.Sprintf("%d items could not be backed up as they are; all others were.", n)}
}
