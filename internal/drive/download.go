package drive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/quickxor"
)

// A Download is the content of a file as it is being read. It is not for use by
// many goroutines. Close it, read to the end or not.
type Download struct {
	// Item is the file as it was when its content was last asked for, or
	// compared with it.
	Item Item

	c       *Client
	ctx     context.Context
	d       backup.DriveID
	version string // that is read instead of the present content, or ""
	op      string
	mime    string  // what the source says that the file is
	direct  address // where a listing said that the content is; none once it was tried
	hash    hash.Hash
	ranges  ranges

	body   io.ReadCloser
	stop   context.CancelFunc
	read   int64 // bytes handed over
	ends   int64 // where the present answer ends, or -1 while not known
	total  int64 // of the content, or -1 while not known
	whole  bool  // the next request is for all of it, to compare what was read
	posing bool  // it looks like a page or an error in the file's place
	asked  bool  // whether there is more, where nobody says how long it is

	tries  int // that broke off since the last byte
	broken int // that broke off
	slow   int // answers that came too slowly
	doubts int // answers that could not be the content

	proof Proof
	err   error // the end
}

// A Proof says how sure a content is that was read to its end.
type Proof string

const (
	// Confirmed: it has the hash that the source states, or, where it states
	// none, the size.
	Confirmed Proof = "confirmed"
	// Unstated: the source states neither hash nor size. The content is
	// complete as far as the transport tells.
	Unstated Proof = "unstated"
	// Mismatch: the source states another hash, or fewer bytes, although the
	// file did not change meanwhile. The source rewrites some documents after
	// they are stored, and keeps the old hash; or this is not the content. Only
	// a second download can tell.
	Mismatch Proof = "mismatch"
)

// Sum returns the quickXorHash of all that was read.
func (x *Download) Sum() string { return quickxor.Encode(x.hash.Sum(nil)) }

// Proof says how sure the content is. It is empty before Read has returned
// io.EOF.
func (x *Download) Proof() Proof { return x.proof }

const (
	// stalled is how long a content may bring nothing before it is asked for
	// anew.
	stalled = time.Minute
	// slowest is how much has to come of a content in such a time, and maxSlow how
	// often it may be less. Whoever drips bytes would else be waited for until
	// the end of all days.
	slowest = 60 << 10
	maxSlow = 3
	// largest is more than the source keeps in one file. An answer that does not
	// say how long it is has to end before it is longer than that, or than twice
	// what the source states and a bit.
	largest = 256 << 30
	bit     = 64 << 20
	// maxDoubts is how often a file is asked for whose answers cannot be its
	// content.
	maxDoubts = 3
	// maxHeld is how much of an answer that looks like a page in the file's
	// place is looked at before any of it is handed over. Sign-in pages and
	// errors are shorter.
	maxHeld = 1 << 20
)

// A doubt says why an answer cannot be the content that it calls itself.
type doubt string

func (d doubt) Error() string { return string(d) }

// Download returns the item as it is now, and its content. Reading goes on
// where a connection broke, as long as the item's content stays the same; when
// it does not, Read fails with ErrChanged, as it does at the end when the whole
// does not have the item's hash because the item changed. Reading to io.EOF
// without an error means that the content is complete; see Proof for how sure
// that is.
//
// What cannot be the content is asked for anew a few times and is then
// ErrContent, never io.EOF. That is, unless the stated hash confirms it: fewer
// bytes than the source states, nothing at all under the hash of something, a
// web page, an error of the source that calls itself a success, an answer that
// is encoded or of another range or length than it says.
func (c *Client) Download(ctx context.Context, d backup.DriveID, id backup.ItemID) (*Download, error) {
	w, err := c.lookAt(ctx, d, id, fileFields)
	if err != nil {
		return nil, err
	}
	mimeType := ""
	if w.File != nil {
		mimeType = w.File.MimeType
	}
	op := onItem("download item", d, id)
	switch {
	case w.Malware != nil:
		return nil, &Error{Op: op, kind: ErrMalware}
	case w.item().Kind != backup.File, w.RemoteItem != nil:
		return nil, &Error{Op: op, kind: ErrNotFile}
	}
	return c.download(&Download{Item: w.item(), ctx: ctx, d: d, op: op, mime: mimeType, direct: address{c.direct(&w), c.cfg.Clock()}})
}

// DownloadListed is Download of a file as it was listed, and saves a look at it.
// Its hash proves the content, and it is looked at only where it does not, or where
// none was listed. A file that has changed since it was listed is ErrChanged.
//
// Where the listing said where the content is, it is read from there, in one call
// of the source's instead of two; what does not come from there, whatever the
// reason, is asked for by the item's id.
func (c *Client) DownloadListed(ctx context.Context, d backup.DriveID, listed Item) (*Download, error) {
	if !listed.provable() {
		return c.Download(ctx, d, listed.ID)
	}
	return c.download(&Download{
		Item: listed, ctx: ctx, d: d, op: onItem("download item", d, listed.ID),
		direct: c.addresses.take(d, listed.ID, c.cfg.Clock()), ranges: ranges{may: true},
	})
}

// provable reports whether a file's content can be told from any other by what
// was listed of the file.
func (it Item) provable() bool {
	return it.Hash != "" && it.Kind == backup.File && it.Unreadable == "" && !it.Deleted
}

// direct returns where the content of a file is, as far as the source said so: an
// address that needs no other call first, and is no less private than the rest.
func (c *Client) direct(w *wireItem) string {
	where := w.DownloadURL.text
	u, err := url.Parse(where)
	if err != nil || len(where) > maxAddress || u.Host == "" || c.graph == nil || u.Scheme != "https" && u.Scheme != c.graph.Scheme {
		return ""
	}
	return where
}

func (c *Client) download(x *Download) (*Download, error) {
	x.c, x.hash, x.ends, x.total = c, quickxor.New(), -1, -1
	for x.body == nil && x.err == nil {
		x.open()
	}
	if x.err != nil {
		return nil, x.err
	}
	return x, nil
}

// Read reads the next part of the content.
func (x *Download) Read(p []byte) (int, error) {
	for x.err == nil {
		if x.body == nil {
			x.open()
			continue
		}
		n, err := x.body.Read(p)
		if x.ends >= 0 && x.read+int64(n) > x.ends {
			n, err = int(x.ends-x.read), doubt("it is longer than it says")
		}
		if n > 0 && err == nil && x.endless(n) {
			x.drop()
			x.err = &Error{Op: x.op, Err: doubt("it does not end"), kind: ErrContent}
			return 0, x.err
		}
		if n > 0 {
			x.read += int64(n)
			x.hash.Write(p[:n])
			x.tries = 0
		}
		switch {
		case err == nil:
		case err != io.EOF:
			x.fail(err)
		case x.ends >= 0 && x.read < x.ends:
			x.fail(io.ErrUnexpectedEOF)
		case x.total >= 0 && x.read < x.total: // a part, as announced
			x.drop()
			x.broken++
		default:
			x.verify()
		}
		if n > 0 {
			if err := x.c.moved(x.ctx, x.op, int64(n), 0); err != nil && x.err == nil {
				x.drop()
				x.err = err
			}
			return n, nil
		}
	}
	return 0, x.err
}

// endless reports whether a content with n bytes more is longer than any that
// can be meant.
func (x *Download) endless(n int) bool {
	most := int64(largest)
	if x.total < 0 && x.Item.Size > 0 {
		most = min(most, 2*min(x.Item.Size, largest)+bit)
	}
	return x.read+int64(n) > most
}

// open asks for the content from where reading stands, or for all of it.
func (x *Download) open() {
	// A content that comes in drops is not waited for: the longer it is, the
	// more often it may break off.
	if x.broken > 20+int(x.read>>20) {
		x.err = &Error{Op: x.op, Err: errors.New("it breaks off too often"), kind: ErrUnavailable}
		return
	}
	if err := x.ask(); err == errEnd {
		x.verify()
	} else if err != nil {
		x.fail(err)
	}
}

// errEnd says that there is nothing beyond what was read.
var errEnd = errors.New("no more content")

func (x *Download) ask() error {
	if x.next() {
		return nil
	}
	ctx, cancel := context.WithCancel(x.ctx)
	k := x.call(cancel)
	k.direct, x.direct = x.direct, address{}
	from := x.read
	if x.whole {
		from = 0
	}
	part := x.begin()
	switch {
	case part != "":
		k.header.Set("Range", part)
	case from > 0:
		k.header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	resp, err := x.c.do(ctx, k, nil)
	if err != nil {
		late := ctx.Err() != nil && x.ctx.Err() == nil
		cancel()
		if late {
			return noAnswer(x.op, errors.New("no answer in time"))
		}
		e, ok := errors.AsType[*Error](err)
		switch {
		case !ok:
		case part != "" && noRanges[e.Status]:
			x.ranges.may = false
			return x.ask()
		case e.Status != http.StatusRequestedRangeNotSatisfiable:
			e.again = false // it was tried often enough
		case from > 0:
			return errEnd
		default:
			return doubt("it refuses a range that was not asked for")
		}
		return err
	}
	x.body, x.stop = &patient{ReadCloser: resp.Body, stop: cancel, clock: x.c.cfg.Clock}, cancel
	begin, ends, total, err := place(resp)
	switch {
	case err != nil:
		return err
	case begin != 0 && begin != from:
		return doubt("it is not of the range that was asked for")
	case total >= 0 && x.total >= 0 && total != x.total:
		return doubt("its length is not what it was before")
	}
	x.ends = ends
	if total >= 0 {
		x.total = total
	}
	if part != "" {
		x.began(resp, ends)
	}
	if begin < x.read {
		// All of it came although part was asked for, or because it was asked
		// for to see whether what came before is the beginning of it.
		prefix := quickxor.New()
		switch _, err := io.CopyN(prefix, x.body, x.read); {
		case err == io.EOF:
			return doubt("it ends before what was read of it")
		case err != nil:
			return err
		case quickxor.Encode(prefix.Sum(nil)) != x.Sum():
			return doubt("it does not begin as it did before")
		}
	} else if x.read == 0 {
		if err := x.sniff(resp); err != nil {
			return err
		}
	}
	x.whole = false
	return nil
}

// call is what asks for the content.
func (x *Download) call(stop context.CancelFunc) *call {
	at := []string{"drives", string(x.d), "items", string(x.Item.ID), "content"}
	if x.version != "" {
		at = slices.Insert(at, 4, "versions", x.version)
	}
	return &call{
		op:     x.op,
		method: http.MethodGet,
		url:    x.c.at(at...),
		// Anything else than the bytes as they are would break ranges and hash.
		header: http.Header{"Accept": {"*/*"}, "Accept-Encoding": {"identity"}},
		cost:   costGet,
		stop:   stop,
		itemOf: x.d,
	}
}

// A patient body waits for each part, but not for ever, and not if all that
// comes is drops.
type patient struct {
	io.ReadCloser
	stop   context.CancelFunc
	clock  backup.Clock
	waited time.Duration // since its pace was last looked at
	came   int           // since then
}

// errSlow says that a content might as well not come.
var errSlow = errors.New("it comes too slowly")

func (b *patient) Read(p []byte) (int, error) {
	defer time.AfterFunc(stalled, b.stop).Stop()
	asked := b.clock()
	n, err := b.ReadCloser.Read(p)
	b.waited += b.clock().Sub(asked)
	b.came += n
	if b.waited >= stalled {
		if b.came < slowest && err == nil {
			err = errSlow
		}
		b.waited, b.came = 0, 0
	}
	return n, err
}

// place returns where in the content an answer begins and ends, and how long
// the whole is; -1 is not known.
func place(resp *http.Response) (begin, ends, total int64, err error) {
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return 0, 0, 0, doubt("it is encoded, which was not asked for")
	}
	length := resp.ContentLength
	if resp.StatusCode != http.StatusPartialContent {
		return 0, length, length, nil
	}
	var last int64
	var whole string
	_, err = fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/%s", &begin, &last, &whole)
	ends, total = last+1, -1
	if whole != "*" && err == nil {
		total, err = strconv.ParseInt(whole, 10, 64)
	}
	if err != nil || begin < 0 || ends <= begin || total >= 0 && total < ends || length >= 0 && length != ends-begin {
		return 0, 0, 0, doubt("it does not say which part of the content it is")
	}
	return begin, ends, total, nil
}

// sniff looks at how an answer begins. One that looks like a page in the file's
// place is held back until it is known whether it has the file's hash, if it is
// not too long for that.
func (x *Download) sniff(resp *http.Response) error {
	head, n := make([]byte, 512), 0
	var err error
	for n < len(head) && err == nil { // as io.ReadFull, but an answer that broke off is not one that ended
		var some int
		some, err = x.body.Read(head[n:])
		n += some
	}
	if err != nil && err != io.EOF {
		return err
	}
	held := bytes.NewBuffer(head[:n])
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	x.posing = pageLike(held.Bytes()) || (kind == "text/html" || kind == "application/json") && !x.isPage(kind)
	if x.posing && err == nil {
		if _, err = io.CopyN(held, x.body, maxHeld); err != nil && err != io.EOF {
			return err
		}
	}
	if n := int64(held.Len()); x.posing && err == io.EOF && (x.total < 0 || x.total == n) {
		h := quickxor.Sum(held.Bytes())
		if !x.believable(x.Item, quickxor.Encode(h[:]), n) {
			return doubt(looksLikePage)
		}
	}
	x.body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(held, x.body), x.body}
	return nil
}

const looksLikePage = "it looks like a web page or an error in the file's place"

// believable reports whether a content that looks like a page in the file's
// place is the file's: when it has the stated hash, or the stated size where no
// hash is stated. Where neither is, a file whose name or type says that it is a
// page may be one.
func (x *Download) believable(it Item, sum string, size int64) bool {
	switch {
	case it.Hash != "":
		return it.Hash == sum
	case it.Size >= 0:
		return it.Size == size
	}
	return x.isPage("")
}

// isPage reports whether the file is said to be a page or a document of the
// given media type, or of any.
func (x *Download) isPage(kind string) bool {
	said, _, _ := mime.ParseMediaType(x.mime)
	if said != "" && (said == kind || kind == "" && (said == "text/html" || said == "application/json")) {
		return true
	}
	ext := strings.ToLower(path.Ext(x.Item.Name))
	return slices.Contains([]string{".htm", ".html", ".xhtml", ".mht", ".mhtml", ".aspx", ".json", ".geojson", ".ipynb"}, ext)
}

// pageLike reports whether a content begins as web pages do, or as the errors
// of Graph, of SharePoint and of its storage.
func pageLike(head []byte) bool {
	head = bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))
	if first := bytes.TrimSpace(head); len(first) == 0 || first[0] != '<' && first[0] != '{' {
		return false // as of most files, which need not be looked at more closely
	}
	if strings.HasPrefix(http.DetectContentType(head), "text/html") {
		return true
	}
	head = bytes.ToLower(bytes.TrimSpace(head))
	if rest, ok := bytes.CutPrefix(head, []byte("{")); ok {
		rest = bytes.TrimSpace(rest)
		return bytes.HasPrefix(rest, []byte(`"error`)) || bytes.HasPrefix(rest, []byte(`"odata.error"`))
	}
	return bytes.HasPrefix(head, []byte("<?xml")) &&
		(bytes.Contains(head, []byte("<error")) || bytes.Contains(head, []byte("<m:error")) || bytes.Contains(head, []byte("<html")))
}

// fail takes a failure: x.err stays nil when reading may go on with a new
// request.
func (x *Download) fail(err error) {
	x.drop()
	x.alone()
	if x.ctx.Err() != nil {
		x.err = during(x.ctx, x.op)
		return
	}
	why, doubted := errors.AsType[doubt](err)
	e, answered := errors.AsType[*Error](err)
	switch {
	case doubted:
		e = &Error{Op: x.op, Err: why, kind: ErrContent}
		x.doubts++
		x.whole, x.total = true, -1
	case answered && !e.again:
		x.err = e
		return
	default:
		if !answered {
			e = noAnswer(x.op, err)
		}
		x.tries++
		x.broken++
		if errors.Is(err, errSlow) {
			x.slow++
		}
	}
	if x.doubts == maxDoubts || x.slow == maxSlow || x.tries == min(x.c.cfg.Tries, itemTries) {
		x.err = e
	}
	if x.read > 0 || x.err != nil {
		// Is it still the content of which the beginning was read?
		if err := x.compare(); err != nil {
			x.err = err
		}
	}
	if x.err == nil {
		x.err = x.c.rest(x.ctx, &call{op: x.op, method: http.MethodGet}, shortly(max(x.tries, x.doubts)))
	}
}

// compare looks at the item as it is now. It fails when the content is no
// longer the one that is being read.
func (x *Download) compare() error {
	look := func() (Item, error) { return x.c.Item(x.ctx, x.d, x.Item.ID) }
	if x.version != "" {
		look = x.versionNow
	}
	now, err := look()
	switch {
	case err != nil:
		return err
	case now.Deleted || now.Kind != backup.File || !unchanged(x.Item, now):
		return &Error{Op: x.op, kind: ErrChanged}
	}
	if now.Hash == "" {
		now.Hash = x.Item.Hash
	}
	if now.Size < 0 {
		now.Size = x.Item.Size
	}
	x.Item = now
	return nil
}

// verify decides what the end of the content means.
func (x *Download) verify() {
	x.drop()
	sum := x.Sum()
	// A version stays what it is.
	if x.Item.Hash != "" && x.Item.Hash == sum || x.version != "" && x.read == x.Item.Size {
		x.proof, x.err = Confirmed, io.EOF
		return
	}
	if x.total < 0 && x.read != x.Item.Size && !x.asked {
		// Nobody said how long it would be; it may have been cut off. If there
		// is more, it comes when it is asked for.
		x.asked = true
		if x.read > 0 {
			return
		}
	}
	// There was no hash, or another one: did the item change meanwhile?
	if x.err = x.compare(); x.err != nil {
		return
	}
	it := x.Item
	switch {
	case it.Hash == sum, it.Hash == "" && it.Size == x.read:
		x.proof = Confirmed
	case x.read < it.Size, x.read == 0 && it.Hash != "":
		x.fail(doubt(fmt.Sprintf("it ends after %d bytes", x.read)))
		return
	case x.posing && !x.believable(it, sum, x.read):
		x.fail(doubt(looksLikePage))
		return
	case it.Hash == "" && it.Size < 0:
		x.proof = Unstated
	default:
		x.proof = Mismatch
	}
	x.err = io.EOF
}

func (x *Download) drop() {
	if x.body != nil {
		x.body.Close()
		x.stop()
		x.body = nil
	}
}

// Close ends the download. It may be called at any time, and twice.
func (x *Download) Close() error {
	x.drop()
	x.alone()
	if x.err == nil {
		x.err = errors.New("download: read after close")
	}
	return nil
}
