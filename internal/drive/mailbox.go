package drive

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
)

// A MailFolder is a folder of a mailbox.
type MailFolder struct {
	ID        backup.ItemID
	Parent    backup.ItemID
	Name      string // as people see it, in the mailbox's language; any text
	Class     string // what it is for, such as IPF.Note
	WellKnown string // such as inbox; empty for a user's own
	Items     int    // in it, as the source counts them; -1 where it does not say
	Folders   int    // in it, likewise
	Search    bool   // it is a search, and what it shows is elsewhere
	Deleted   bool   // only in a delta: it is gone, and only ID is known
	// Incomplete says that the answer lacks what every folder has, or has what none
	// can have. As much as is known is there, and Deleted is not set.
	Incomplete bool
}

// A MailItem is a message, an event, or whatever else a mailbox holds.
type MailItem struct {
	ID         backup.ItemID // one that outlasts a move, where the source has such
	ChangeKey  string        // changes with everything about the item
	Class      string        // such as IPM.Note
	Size       int64         // about how large its export is; -1 where the source does not say
	Created    time.Time
	Modified   time.Time
	Deleted    bool // only in a delta: it left the folder, and only ID is known
	Moved      bool // then: it is said to be elsewhere now
	Incomplete bool // as of a MailFolder
	MailProperties
}

// MailProperties are what people find an item by, as far as it has them. Deltas do
// not tell of them.
type MailProperties struct {
	Subject   string
	Sender    string // the name
	Address   string // the sender's
	To, Cc    string // names, as the head line has them
	Received  time.Time
	Sent      time.Time
	Starts    time.Time // of an event
	Flags     int       // PidTagMessageFlags: 1 read, 8 never sent, 16 with attachments
	MessageID string    // of the Internet
	SearchKey string    // in base64. A copy has that of the original, and so has what was exported and imported again
}

// The extended properties that are asked for, and where they go.
var mailProperties = []struct {
	id   string
	take func(p *MailProperties, value string)
}{
	{"String 0x37", func(p *MailProperties, v string) { p.Subject = v }},
	{"String 0xc1a", func(p *MailProperties, v string) { p.Sender = v }},
	{"String 0x5d01", func(p *MailProperties, v string) { p.Address = v }},
	{"String 0xe04", func(p *MailProperties, v string) { p.To = v }},
	{"String 0xe03", func(p *MailProperties, v string) { p.Cc = v }},
	{"SystemTime 0xe06", func(p *MailProperties, v string) { p.Received = mailTime(v) }},
	{"SystemTime 0x39", func(p *MailProperties, v string) { p.Sent = mailTime(v) }},
	{"SystemTime {00062002-0000-0000-c000-000000000046} Id 0x820d", func(p *MailProperties, v string) { p.Starts = mailTime(v) }},
	{"Integer 0xe07", func(p *MailProperties, v string) { p.Flags, _ = strconv.Atoi(v) }},
	{"String 0x1035", func(p *MailProperties, v string) { p.MessageID = v }},
	{"Binary 0x300b", func(p *MailProperties, v string) { p.SearchKey = v }},
}

func mailTime(text string) time.Time {
	var t wireTime
	t.UnmarshalJSON([]byte(strconv.Quote(text)))
	return t.Time
}

// expandMail asks for those properties, as a query has it.
var expandMail = func() string {
	terms := make([]string, len(mailProperties))
	for i, p := range mailProperties {
		terms[i] = "id eq '" + p.id + "'"
	}
	return "$expand=" + url.PathEscape("singleValueExtendedProperties($filter="+strings.Join(terms, " or ")+")")
}()

const mailFields = "$select=id,changeKey,type,size,createdDateTime,lastModifiedDateTime"

// mailPage is how many entries of a list or a delta are asked for at a time.
const mailPage = 500

// preferMail has ids outlast a move, in each call, and pages be of that size.
func preferMail() http.Header {
	return http.Header{"Prefer": {`IdType="ImmutableId", odata.maxpagesize=` + strconv.Itoa(mailPage)}}
}

type wireMailFolder struct {
	ID             string
	ParentFolderID string
	DisplayName    string
	Type           string
	WellKnownName  string
	ODataType      string    `json:"@odata.type"`
	Items          *int      `json:"totalItemCount"`
	Folders        *int      `json:"childFolderCount"`
	Removed        *struct{} `json:"@removed"`

	wrong bool
}

func (w *wireMailFolder) key() string { return w.ID }
func (w *wireMailFolder) malformed()  { w.wrong = true }

func counted(n *int) int {
	if n == nil || *n < 0 {
		return -1
	}
	return *n
}

func (w *wireMailFolder) folder() MailFolder {
	f := MailFolder{
		ID: backup.ItemID(w.ID), Parent: backup.ItemID(w.ParentFolderID), Name: w.DisplayName, Class: w.Type,
		WellKnown: strings.ToLower(w.WellKnownName), Search: strings.HasSuffix(strings.ToLower(w.ODataType), "searchfolder"), Items: counted(w.Items), Folders: counted(w.Folders), Deleted: w.Removed != nil,
	}
	if w.wrong || w.ID == "" || !f.Deleted && (w.DisplayName == "" || w.ParentFolderID == "") {
		f.Deleted, f.Incomplete = false, true
	}
	return f
}

type wireMailItem struct {
	ID                   string
	ChangeKey            string
	Type                 string
	Size                 wireSize
	CreatedDateTime      wireTime
	LastModifiedDateTime wireTime
	Properties           []struct{ ID, Value string } `json:"singleValueExtendedProperties"`
	Removed              *struct{ Reason string }     `json:"@removed"`

	wrong bool
}

func (w *wireMailItem) key() string { return w.ID }
func (w *wireMailItem) malformed()  { w.wrong = true }

func (w *wireMailItem) item() MailItem {
	it := MailItem{
		ID: backup.ItemID(w.ID), ChangeKey: w.ChangeKey, Class: w.Type, Size: w.Size.bytes(),
		Created: w.CreatedDateTime.Time, Modified: w.LastModifiedDateTime.Time, Deleted: w.Removed != nil,
		Moved: w.Removed != nil && w.Removed.Reason == "changed",
	}
	for _, p := range w.Properties {
		for _, known := range mailProperties {
			if strings.EqualFold(p.ID, known.id) {
				known.take(&it.MailProperties, p.Value)
			}
		}
	}
	if w.wrong || w.ID == "" || !it.Deleted && w.ChangeKey == "" {
		it.Deleted, it.Incomplete = false, true
	}
	return it
}

// UserMailbox returns the id of a user's primary mailbox. A user without one is
// ErrNoMailbox, one that the directory does not know ErrNotFound.
func (c *Client) UserMailbox(ctx context.Context, user backup.ObjectID) (backup.DriveID, error) {
	var w struct{ PrimaryMailboxID string }
	k := &call{op: "find the mailbox of user " + string(user), method: http.MethodGet, url: c.at("users", string(user), "settings", "exchange")}
	_, err := c.do(ctx, k, &w)
	if e, ok := errors.AsType[*Error](err); ok && e.has("MailboxNotEnabledForRESTAPI", "ErrorNonExistentMailbox", "ErrorInvalidUser", "MailboxNotHostedInExchangeOnline") {
		e.kind = ErrNoMailbox
	}
	if err == nil && w.PrimaryMailboxID == "" {
		err = noAnswer(k.op, errors.New("it names no mailbox"))
	}
	return backup.DriveID(w.PrimaryMailboxID), err
}

// inMailbox is the address of what is in a mailbox.
func (c *Client) inMailbox(m backup.DriveID, segments ...string) string {
	return c.at(append([]string{"admin", "exchange", "mailboxes", string(m)}, segments...)...)
}

// onMail is a call to a mailbox.
func onMail(m backup.DriveID, op, method, url string) *call {
	return &call{op: op, method: method, url: url, header: preferMail(), mailbox: m}
}

// MailFolders returns what changed among the folders of a mailbox since cursor, or
// all of them for an empty one: all below the top, or, where one is given, those in
// that folder. A cursor that the source no longer takes is ErrResync.
func (c *Client) MailFolders(ctx context.Context, m backup.DriveID, in backup.ItemID, cursor string) *Changes[MailFolder] {
	op, at := "read the folders of mailbox "+string(m), []string{"folders", "delta"}
	if in != "" {
		at = []string{"folders", string(in), "childFolders", "delta"}
	}
	convert := func(w []wireMailFolder) ([]MailFolder, error) {
		out := make([]MailFolder, len(w))
		for i := range w {
			out[i] = w[i].folder()
		}
		return out, nil
	}
	return mailDelta(ctx, c, m, op, c.inMailbox(m, at...), cursor, convert, func() error {
		_, err := c.MailFolder(ctx, m, orRoot(in))
		return err
	})
}

func orRoot(folder backup.ItemID) backup.ItemID {
	if folder == "" {
		return MailRoot
	}
	return folder
}

// By these words folders may be asked for that every mailbox has.
const (
	MailRoot        backup.ItemID = "msgfolderroot"        // what people see is below it
	MailDeleted     backup.ItemID = "deleteditems"         // where people find what they deleted
	MailRecoverable backup.ItemID = "recoverableitemsroot" // below it is what was deleted and can still be recovered
)

// MailItems returns what changed among the items of a folder since cursor, or all of
// them for an empty one. A cursor that the source no longer takes is ErrResync; of a
// full mailbox it takes none, which is ErrQuota. It tells of an item's state and not of
// its properties.
func (c *Client) MailItems(ctx context.Context, m backup.DriveID, folder backup.ItemID, cursor string) *Changes[MailItem] {
	op := "read changes of folder " + string(folder) + " of mailbox " + string(m)
	convert := func(w []wireMailItem) ([]MailItem, error) {
		out := make([]MailItem, len(w))
		for i := range w {
			out[i] = w[i].item()
		}
		return out, nil
	}
	return mailDelta(ctx, c, m, op, c.inMailbox(m, "folders", string(folder), "items", "delta", "?"+mailFields), cursor, convert, func() error {
		_, err := c.MailFolder(ctx, m, folder)
		return err
	})
}

// UnchangedMail asks of up to MaxAhead folders in one request whether anything has changed
// since their cursors, and returns of those in which nothing has the cursors of now; of the
// others, and of all of which the source does not say so at once, "". These are for
// MailItems.
func (c *Client) UnchangedMail(ctx context.Context, m backup.DriveID, folders []backup.ItemID, cursors []string) (now []string) {
	now = make([]string, len(folders))
	op := "look for changes of mailbox " + string(m)
	at := make([]string, len(folders))
	var body []byte
	for i, folder := range folders {
		address, ok := c.resume(cursors[i])
		if !ok || c.foreign(address, c.inMailbox(m, "folders", string(folder), "items", "delta")) != "" || !strings.HasPrefix(address, c.cfg.Graph+"/") {
			continue
		}
		at[i] = address
		if c.enter(ctx, op, costGet) != nil { // each counts as a call
			return now
		}
		body = c.request(body, i, http.MethodGet, address)
		body = append(body, `,"headers":{"Prefer":"`...)
		body = append(body, quotable.Replace(preferMail().Get("Prefer"))...)
		body = append(body, `"}}`...)
	}
	if len(body) == 0 {
		return now
	}
	answers, _ := c.batchIn(ctx, m, op, body)
	for i, a := range each(answers, len(folders)) {
		var p page[wireMailItem]
		if a.Status == http.StatusOK && p.take(a.Body) == nil && len(p.Value) == 0 && p.Next == "" && p.Delta != "" && at[i] != "" && c.foreign(p.Delta, at[i]) == "" {
			now[i] = p.Delta
		}
	}
	return now
}

// mailDelta is delta for a mailbox. Where what changes is itself there, a cursor that
// is refused in whatever way is ErrResync.
func mailDelta[W, T any](ctx context.Context, c *Client, m backup.DriveID, op, list, cursor string, convert func([]W) ([]T, error), there func() error) *Changes[T] {
	first := *onMail(m, op, http.MethodGet, list)
	first.cost = costList
	if cursor == "" {
		return deltaOf(ctx, c, first, convert)
	}
	address, ok := c.resume(cursor)
	if ok {
		ok = c.foreign(address, list) == ""
	}
	if !ok {
		return failed[T](&Error{Op: op, Err: errors.New("the cursor is no address in this mailbox"), kind: ErrResync})
	}
	first.url, first.cost = address, costGet
	x := deltaOf(ctx, c, first, convert)
	x.all = noCursor(op, x.all, func() bool { return there() == nil })
	return x
}

// MailFolder returns a folder as it is now.
func (c *Client) MailFolder(ctx context.Context, m backup.DriveID, id backup.ItemID) (MailFolder, error) {
	var w wireMailFolder
	k := onMail(m, onItem("read folder", m, id), http.MethodGet, c.inMailbox(m, "folders", string(id)))
	k.cost, k.itemOf = costGet, m
	_, err := c.do(ctx, k, &w)
	if err == nil && (w.ID == "" || w.ID != string(id) && id != MailRoot && id != MailDeleted && id != MailRecoverable) {
		err = &Error{Op: k.op, Err: errOtherItem, kind: ErrUnavailable}
	}
	return w.folder(), notThere(err)
}

// MailItem returns an item of a folder as it is now, with its properties.
func (c *Client) MailItem(ctx context.Context, m backup.DriveID, folder, id backup.ItemID) (MailItem, error) {
	var w wireMailItem
	k := onMail(m, onItem("read item", m, id), http.MethodGet, c.inMailbox(m, "folders", string(folder), "items", string(id), "?"+mailFields+"&"+expandMail))
	k.cost, k.itemOf = costGet, m
	_, err := c.do(ctx, k, &w)
	if err == nil && w.ID != string(id) {
		err = &Error{Op: k.op, Err: errOtherItem, kind: ErrUnavailable}
	}
	return w.item(), notThere(err)
}

// notThere has it that what the mailbox has no item or folder of is not found, however
// that is said; and that an answer without words says nothing.
func notThere(err error) error {
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok:
	case e.has("ErrorItemNotFound", "ErrorFolderNotFound", "ErrorInvalidIdMalformed", "ErrorSyncFolderNotFound"):
		e.kind, e.again = ErrNotFound, false
	case e.Status == http.StatusNotFound && e.Code == "" && e.Message == "":
		e.kind = ErrUnavailable
	}
	return err
}

// ListMail lists what is in a folder now, with properties. It is not a consistent view:
// use MailItems for that. After an error nothing follows.
func (c *Client) ListMail(ctx context.Context, m backup.DriveID, folder backup.ItemID) iter.Seq2[MailItem, error] {
	return func(yield func(MailItem, error) bool) {
		first := *onMail(m, onItem("list folder", m, folder), http.MethodGet,
			c.inMailbox(m, "folders", string(folder), "items", "?$top="+strconv.Itoa(mailPage)+"&"+mailFields+"&"+expandMail))
		first.cost = costList
		for p, err := range pages[wireMailItem](ctx, c, first) {
			if err != nil {
				yield(MailItem{}, notThere(err))
				return
			}
			for i := range p.Value {
				if !yield(p.Value[i].item(), nil) {
					return
				}
			}
		}
	}
}

// MailFoldersIn lists the folders in a folder as they are now. After an error nothing
// follows.
func (c *Client) MailFoldersIn(ctx context.Context, m backup.DriveID, folder backup.ItemID) iter.Seq2[MailFolder, error] {
	return func(yield func(MailFolder, error) bool) {
		first := *onMail(m, onItem("list the folders in folder", m, folder), http.MethodGet,
			c.inMailbox(m, "folders", string(folder), "childFolders", "?$top="+strconv.Itoa(mailPage)))
		first.cost = costList
		for p, err := range pages[wireMailFolder](ctx, c, first) {
			if err != nil {
				yield(MailFolder{}, notThere(err))
				return
			}
			for i := range p.Value {
				if !yield(p.Value[i].folder(), nil) {
					return
				}
			}
		}
	}
}

// CreateMailFolder makes a folder of a class in a folder. If one of that name is
// there, it is ErrExists, and so if an earlier try of this call may have made it.
func (c *Client) CreateMailFolder(ctx context.Context, m backup.DriveID, parent backup.ItemID, name, class string) (MailFolder, error) {
	var w wireMailFolder
	k := onMail(m, onItem("create a folder in folder", m, parent), http.MethodPost, c.inMailbox(m, "folders", string(parent), "childFolders"))
	k.cost, k.itemOf = costWrite, m
	k.json = struct {
		DisplayName string `json:"displayName"`
		Type        string `json:"type"`
	}{name, class}
	_, err := c.do(ctx, k, &w)
	f := w.folder()
	if e, ok := errors.AsType[*Error](err); ok && e.has("ErrorFolderExists") {
		e.kind, e.again = ErrExists, false
	}
	if err == nil && (f.ID == "" || f.Name != name) {
		err = &Error{Op: k.op, Err: errOtherItem, kind: ErrUnavailable}
	}
	return f, notThere(err)
}

// mailError is how an export says what is wrong with one item.
type mailError struct{ Code, Message string }

func (w *mailError) take(raw []byte) *Error {
	e := &Error{Status: http.StatusOK, kind: ErrUnavailable}
	if json.Unmarshal(raw, w) == nil {
		e.Code, e.Message = w.Code, w.Message
	}
	if e.has("ErrorItemNotFound", "ErrorInvalidIdMalformed") {
		e.kind = ErrNotFound
	}
	return e
}
