package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strings"
	"time"
)

// A BrowseStatus is where a browse session stands.
type BrowseStatus string

const (
	BrowseCreating BrowseStatus = "creating"
	BrowseCreated  BrowseStatus = "created"
	BrowseFailed   BrowseStatus = "failed"
)

// BrowseLife is how long a browse session may be used.
const BrowseLife = 72 * time.Hour

// BrowsePage is how many items one answer of a browse session holds.
const BrowsePage = 10

// WebURL returns the address of what is at a path of a drive, by the drive's
// own; "" where that is not known.
func WebURL(drive, path string) string {
	if drive == "" || path == "" {
		return drive
	}
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.TrimRight(drive, "/") + "/" + strings.Join(parts, "/")
}

// A BrowseSession looks into one restore point for a while. The point is kept
// as long as that.
type BrowseSession struct {
	ID       BrowseSessionID
	Tenant   TenantID
	Workload Workload
	Owner    SubjectID // of the drive
	Point    Point
	WebURL   string // of the drive, where it is known
	Status   BrowseStatus
	Problem  *Problem
	Created  time.Time
	Expires  time.Time
}

// Browsable reports, as an error, why a point may not be looked into.
func (p *Point) Browsable() error {
	if err := p.Restorable(); err != nil {
		return err
	}
	if p.Tags != TagFastRestore {
		return Fail(InvalidRestorePoint, "Only restore points with the tag fastRestore can be browsed. Search for one with tags set to fastRestore.").On("restorePointId")
	}
	return nil
}

// Browsable reports, as an error, why s may not be looked into now.
func (s *BrowseSession) Browsable() error {
	if err := s.Point.Restorable(); err != nil {
		return err
	}
	if s.Status != BrowseCreated {
		return Fail(InvalidRequest, "A session can be browsed only once it is created; this one is "+string(s.Status)+".").On("status")
	}
	return nil
}

// An Item is a file or folder of a restore point.
type Item struct {
	ID     ItemID
	Parent ItemID // "" for the root folder
	Name   string
	Path   string // below the root folder; "" for that itself
	Kind   ItemKind
	Size   int64 // of a folder: of all below it
	Items  int64 // of a folder: all below it, folders too
	// When it was made and last changed, as the source said; zero where that is not known.
	Created, Modified time.Time
	// At is the place in its folder that Children found it in. As long as what the point holds is
	// the same, so is that.
	At int64
}

// A Browser shows what restore points hold.
type Browser interface {
	// Item returns an item of a point, by what its key says of it; the zero
	// ItemRef is the root folder. ItemNotFound.
	Item(ctx context.Context, p Point, ref ItemRef) (Item, error)
	// Children yields what a folder of a point holds, from the place of one of its items on,
	// or all from 0 on: folders first, each kind by name. No more is read than is looked at,
	// for there may be very many. It ends with the first error; ItemNotFound.
	Children(ctx context.Context, p Point, folder ItemID, from int64) iter.Seq2[Item, error]
	// Open opens a file of a point for reading; what is read has been verified.
	// It must be closed. ItemNotFound.
	Open(ctx context.Context, p Point, file ItemID) (io.ReadSeekCloser, error)
	// Unread returns what a point does not hold as it was, by path.
	Unread(ctx context.Context, p Point) ([]Unread, error)
	// Changes lists how the items of two points of a unit of a workload differ, each item
	// once and each time in the same order. Items of a mailbox are called as their files in
	// the vault are. It ends with the first error.
	Changes(ctx context.Context, of Workload, from, to Point) iter.Seq2[Change, error]
	// Mail returns a part of what a folder of a mailbox's point holds, at most limit of it:
	// what comes after a place that Next of another part names, "" for the first. Folders
	// come first, by name, then what could not be read and is not held, and then items, the
	// newest first. ItemNotFound.
	Mail(ctx context.Context, p Point, folder ItemID, after string, limit int) (MailPart, error)
	// MailHeld returns an item of a mailbox's point, or a folder. ItemNotFound.
	MailHeld(ctx context.Context, p Point, ref ItemRef) (MailHeld, error)
	// OpenMail opens an item of a mailbox's point as MIME. It must be closed. ItemNotFound
	// where the point does not hold it as that.
	OpenMail(ctx context.Context, p Point, item ItemID) (io.ReadSeekCloser, error)
}

// A MailHeld is a folder or an item of a mailbox's point.
type MailHeld struct {
	Item // Path is that of the folder and not of the file in the vault; Items of a folder is what it holds itself, -1 where that was not counted
	Made time.Time
	MIME bool // it is held as MIME (.eml), too, and not only as Exchange exports it
	Old  bool // what is held as MIME is the item as it was before it last changed
	// Lack says why the point does not hold it as it was, or does not hold it at all; nil
	// where it does.
	Lack *Unread
}

// A MailPart is a part of what a folder of a mailbox's point holds.
type MailPart struct {
	All  []MailHeld
	Next string // where the next part begins; "" if there is none
}

// A Change is how an item of one point differs from the same of another. What is below
// a folder that was moved is where it was in that, and has not changed.
type Change struct {
	From, To *Item // nil where it is not there; of a folder without what is below it
	// Content says that what is in a file has changed. Where it has not, and the file is
	// where it was, the time of its last change has.
	Content bool
}

// Moved reports whether an item has another name, or is in another folder.
func (c *Change) Moved() bool {
	return c.From != nil && c.To != nil && (c.From.Name != c.To.Name || c.From.Parent != c.To.Parent)
}

// An ItemRef says which item of a drive is meant: the first half of the
// SHA-256 of its id.
type ItemRef [16]byte

// RefOf returns what stands for an item's id in its key.
func RefOf(id ItemID) ItemRef {
	h := sha256.Sum256([]byte(id))
	return ItemRef(h[:16])
}

// An ItemKey names an item to clients, to whom it is opaque: GUIDs joined by
// commas. Two of them name the site of a drive, three its library, four an
// item in it. They follow from the ids of the source, so that an item's key is
// the same in every point and every session, and nothing needs to be kept to
// understand it.
type ItemKey string

// keyPart returns a GUID that follows from texts.
func keyPart(texts ...string) string {
	h := sha256.Sum256([]byte(strings.Join(texts, "\x00")))
	return guidText([16]byte(h[:16]))
}

func guidText(b [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// SiteKey returns the key of the site that a drive belongs to.
func SiteKey(tenant TenantID, d DriveID) ItemKey {
	return ItemKey(keyPart("site", string(tenant), string(d)) + "," + keyPart("web", string(tenant), string(d)))
}

// LibraryKey returns the key of a drive.
func LibraryKey(tenant TenantID, d DriveID) ItemKey {
	return SiteKey(tenant, d) + "," + ItemKey(keyPart("list", string(tenant), string(d)))
}

// KeyOf returns the key of an item of a drive other than its root folder.
func KeyOf(tenant TenantID, d DriveID, id ItemID) ItemKey { return RefOf(id).Key(tenant, d) }

// Key returns the key of what r is of in a drive.
func (r ItemRef) Key(tenant TenantID, d DriveID) ItemKey {
	return LibraryKey(tenant, d) + "," + ItemKey(guidText(r))
}

// ParseItemKey returns a key in its one form. It reports false for what cannot
// be one.
func ParseItemKey(s string) (ItemKey, bool) {
	parts := strings.Split(s, ",")
	if len(parts) < 2 || len(parts) > 4 {
		return "", false
	}
	for i, p := range parts {
		id, ok := ParseGUID(strings.TrimSpace(p))
		if !ok {
			return "", false
		}
		parts[i] = id
	}
	return ItemKey(strings.Join(parts, ",")), true
}

// Below returns which item of the library the key names, if it names one.
func (k ItemKey) Below(library ItemKey) (ItemRef, bool) {
	text, ok := strings.CutPrefix(string(k), string(library)+",")
	var ref ItemRef
	if !ok || len(text) != 36 {
		return ref, false
	}
	n, err := hex.Decode(ref[:], []byte(strings.ReplaceAll(text, "-", "")))
	return ref, err == nil && n == len(ref)
}
