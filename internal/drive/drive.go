// Package drive is the client of a tenant's drives, mailboxes, sites and directory through
// Microsoft Graph: what we protect, and where we restore to. It is the only
// package that knows the source's wire.
//
// A drive holds items, and an item is known by its id, never by its path: names
// are what people see, and are kept byte for byte. Delta tells what changed in
// a drive since a cursor; Users tells it of the directory.
//
// One Client serves one tenant, for the source counts an application's requests
// by tenant: all of a Client's calls share one budget, with those of other
// processes if it is told so. Failures that pass by
// themselves are tried again before anyone hears of them. Every error is an
// *Error, or the context's; each says what was being done, on which drive or
// item, and the source's request id.
//
// Nothing that the source says is believed because it said so:
//
//   - A content that was read to its end is proven by the hash or the size that
//     the source states, or says that it is not (see Proof). What cannot be the
//     content, such as half of it or a sign-in page, never ends well.
//   - What an item lacks is not made up: an unknown size is -1, and an item
//     without id, name, parent or kind comes as Incomplete. An entry that cannot
//     be understood costs no other one, and none is dropped.
//   - A list ends, or is ErrEndless; it stays at Graph, and an answer that is no
//     list is not an empty one.
//   - An upload that took effect is a success, whatever became of its answer or
//     the service made of the content.
//
// One bad thing stops only itself. A single item that fails for ever while the
// source answers anything else costs a few short tries; all such items together
// cost half a minute of waiting. Everybody waits when the source says 429, or
// is found busy by different calls in a row, but nobody longer than
// Config.MaxPause: a longer pause is ErrPaused, for whoever asks while it lasts.
// Whoever has a valid token never waits for who gives tokens.
package drive

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/budget"
)

// A Config says where a tenant's drives are and how to ask for them.
type Config struct {
	Moved   func(read, written int64) // is told of bytes of contents; nil for nobody
	Refused func(status int)          // is told of answers that let a call wait or fail: 401, 403, 429 and 5xx; nil for nobody

	Graph     string          // the API's base; default https://graph.microsoft.com/v1.0
	Authority string          // who gives tokens; default https://login.microsoftonline.com
	Tenant    backup.TenantID // required
	ClientID  string          // the application's id; required
	// Credential is how the application proves who it is; required.
	Credential Credential

	// HTTP sends the requests; redirects are followed by this package, since it
	// chooses credentials by host. Default: a client of its own.
	HTTP      *http.Client
	Log       *slog.Logger // default: none
	UserAgent string       // default names Holdfast in the form the source asks for

	// Budget is what may be asked. Default: one without limits, of this client alone.
	Budget *budget.Budget
	Tries  int // how often one call is tried; default 8
	// MaxPause is how long a call waits when the source asks for a pause. A
	// longer one is ErrPaused, so that no worker is held by it. Default 30 s.
	MaxPause time.Duration

	// Clock and Sleep are for tests. A Sleep must return early, with an error,
	// when its context ends.
	Clock backup.Clock
	Sleep func(ctx context.Context, d time.Duration) error
}

// A Drive is a library of files: a user's OneDrive, or a document library of
// its site.
type Drive struct {
	ID     backup.DriveID
	Name   string
	WebURL string
	SiteID string           // empty where the source does not say
	Owner  backup.SubjectID // empty where the source does not say
	Quota  Quota
}

// A Quota says how full a drive is. All of it is zero where an administrator
// hides it.
type Quota struct {
	Total, Used, Remaining int64
	State                  string
}

// An Item is a file or a folder of a drive, as the source describes it.
type Item struct {
	ID         backup.ItemID
	Parent     backup.ItemID // empty for the root
	Name       string
	Kind       backup.ItemKind // empty for some deleted and incomplete items
	Size       int64           // a folder's is all that it holds; -1 where the source does not say
	Created    time.Time
	Modified   time.Time
	CTag       string // changes when the content does; may be empty
	ETag       string // changes when anything does; may be empty
	Hash       string // quickXorHash of the content in base64; may be empty
	ChildCount int    // of a folder; -1 where the source does not say
	Root       bool
	Deleted    bool   // only in Delta: the item is gone, and only ID and Parent are known
	Unreadable string // why the item has no content that can be read, or empty
}

// Why an item cannot be read.
const (
	Malware  = "malware"  // the source found it infected and will not hand it out
	Package  = "package"  // a notebook: neither file nor plain folder; its parts are items below it
	Shortcut = "shortcut" // points to an item of another drive
	// Incomplete: the source's answer lacks what every item has, such as a name,
	// a parent or an id, or says neither of a file nor of a folder that it is
	// one, so that it cannot be told what the item is or where it belongs. As
	// much as is known is there, and Deleted is not set.
	Incomplete = "incomplete"
)

// Times are those that the user's own computer gave a file. A zero time is not
// sent, and so is left as it is.
type Times struct {
	Created, Modified time.Time
}

// A UserChange is a user as the directory now has it. Of a removed one, only
// the id is known.
type UserChange struct {
	User    backup.Subject
	Removed bool
}
