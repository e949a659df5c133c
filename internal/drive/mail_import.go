package drive

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"holdfast/internal/backup"
)

// An Importer puts exported items into one mailbox. It may be used by many goroutines.
type Importer struct {
	c *Client
	m backup.DriveID

	mu      sync.Mutex
	address string // of the import session: whoever has it may write into the mailbox
	until   time.Time
}

// Importer returns what imports into a mailbox. It asks nothing of the source yet.
func (c *Client) Importer(m backup.DriveID) *Importer { return &Importer{c: c, m: m} }

// An Import says where an exported item goes.
type Import struct {
	Folder backup.ItemID
	// Item, with the ChangeKey that it has, is replaced where it is given. If its key is
	// another by now, that is ErrChanged; if it is not in the folder, ErrNotFound. Else
	// a new item is made.
	Item      backup.ItemID
	ChangeKey string
}

// importLife is how long an import session is used, where the source does not say.
const importLife = 10 * time.Minute

// Import puts an item, as it was exported, into the mailbox, and returns its id and
// change key. Nobody is told of it: it is a copy, and nothing is sent.
//
// Unclear says of a failure that the item may have come all the same. It is not tried
// again here: look whether it is there.
func (i *Importer) Import(ctx context.Context, to Import, content io.ReaderAt, size int64) (it MailItem, unclear bool, err error) {
	op := onItem("import an item into folder", i.m, to.Folder)
	head := struct {
		Folder    backup.ItemID `json:"FolderId"`
		Mode      string        `json:"Mode"`
		Item      backup.ItemID `json:"ItemId,omitempty"`
		ChangeKey string        `json:"ChangeKey,omitempty"`
		Data      string        `json:"Data"`
	}{to.Folder, "create", to.Item, to.ChangeKey, ""}
	if to.Item != "" {
		op, head.Mode = onItem("replace item", i.m, to.Item), "update"
	}
	text, err := json.Marshal(head)
	if err != nil {
		return it, false, err
	}
	body := &importBody{head: text[:len(text)-2], tail: text[len(text)-2:], r: content, n: size}
	if err := i.c.moved(ctx, op, 0, body.size()); err != nil {
		return it, false, err
	}
	for renewed := false; ; {
		address, err := i.session(ctx)
		if err != nil {
			return it, false, err
		}
		part := &section{r: body, n: body.size()}
		var w struct{ ItemID, ChangeKey string }
		k := &call{
			op: op, method: http.MethodPost, url: address, anonymous: true, single: true, mailbox: i.m, limit: longCall, body: part,
			header: preferMail(),
		}
		k.header.Set("Content-Type", "application/json")
		for {
			_, err = i.c.do(ctx, k, &w)
			again, paused := i.c.throttledMail(ctx, k, err)
			if paused != nil {
				err = paused
			}
			if !again {
				break
			}
		}
		part.release()
		e, isError := errors.AsType[*Error](err)
		switch {
		case err == nil && w.ItemID != "" && w.ChangeKey != "":
			return MailItem{ID: backup.ItemID(w.ItemID), ChangeKey: w.ChangeKey}, false, nil
		case err == nil:
			return it, true, noAnswer(op, errors.New("it does not say which item it made"))
		case part.failed() != nil:
			return it, true, part.failed()
		case isError && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden) && !renewed:
			i.forget(address)
			renewed = true
			continue
		case isError && e.has("ErrorIrresolvableConflict", "ErrorChangeKeyRequired", "ErrorStaleObject"):
			e.kind, e.again = ErrChanged, false
		}
		return it, !isError || e.again, notThere(err)
	}
}

// session returns where imports are sent.
func (i *Importer) session(ctx context.Context) (string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.c.cfg.Clock()
	if i.address != "" && now.Before(i.until) {
		return i.address, nil
	}
	var w struct {
		ImportURL          string
		ExpirationDateTime wireTime
	}
	k := onMail(i.m, "open an import session for mailbox "+string(i.m), http.MethodPost, i.c.inMailbox(i.m, "createImportSession"))
	k.cost, k.json = costWrite, []byte{}
	if _, err := i.c.do(ctx, k, &w); err != nil {
		return "", notThere(err)
	}
	to, err := url.Parse(w.ImportURL)
	if err != nil || to.Host == "" || to.Scheme != "https" && (i.c.graph == nil || !sameOrigin(to, i.c.graph)) {
		return "", noAnswer(k.op, errors.New("it names no address to import to"))
	}
	life := importLife
	if !w.ExpirationDateTime.IsZero() {
		life = max(0, w.ExpirationDateTime.Sub(now))
	}
	i.address, i.until = w.ImportURL, now.Add(life*3/4)
	return i.address, nil
}

func (i *Importer) forget(address string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.address == address {
		i.address = ""
	}
}

// An importBody is what an import sends: a JSON object with a content in base64, which
// is never held as a whole.
type importBody struct {
	head, tail []byte
	r          io.ReaderAt
	n          int64
}

func (b *importBody) size() int64 {
	return int64(len(b.head)) + b.encoded() + int64(len(b.tail))
}

func (b *importBody) encoded() int64 { return (b.n + 2) / 3 * 4 }

// ReadAt reads the body at any offset.
func (b *importBody) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		at := off + int64(n)
		switch inner := at - int64(len(b.head)); {
		case inner < 0:
			n += copy(p[n:], b.head[at:])
		case inner < b.encoded():
			k, err := b.encode(p[n:], inner)
			if n += k; err != nil {
				return n, err
			}
		default:
			at -= int64(len(b.head)) + b.encoded()
			if at >= int64(len(b.tail)) {
				return n, io.EOF
			}
			n += copy(p[n:], b.tail[at:])
		}
	}
	return n, nil
}

// encode fills p with the content's base64 from an offset on, as much as fits into a
// piece of it.
func (b *importBody) encode(p []byte, off int64) (int, error) {
	const most = 48 << 10
	first := off / 4 * 3
	raw := make([]byte, min(b.n-first, most, int64(len(p)/4*3+6)))
	if _, err := io.ReadFull(io.NewSectionReader(b.r, first, int64(len(raw))), raw); err != nil {
		return 0, unexpected(err)
	}
	if int64(len(raw)) < b.n-first {
		raw = raw[:len(raw)/3*3]
	}
	text := base64.StdEncoding.EncodeToString(raw)
	return copy(p, text[off%4:]), nil
}
