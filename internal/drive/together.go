package drive

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/jsonscan"
)

const (
	// MaxSmall is how large a file is that is written together with others, at most.
	// What is larger costs more than the request that it is in.
	MaxSmall = 256 << 10
	// MaxTogether is how much such files hold together.
	MaxTogether = 1 << 20
)

// A SmallFile is a file that is written together with others.
type SmallFile struct {
	NewItem
	Content []byte // not empty, and of MaxSmall at most
	Over    *Over  // what it is written over; nil of a new file
}

// An Over is a file that another content is written into, if it is the one that it is
// taken for. It gets the name, with the times, if its own is another.
type Over struct {
	ID   backup.ItemID
	Name string
	Tag  string // of its content, by which it is known
}

// A Written is what came of a small file.
type Written struct {
	Item Item // as it then is, if it was written
	OK   bool
	// Unclear says of a file that was not written that it may have been all the same:
	// see Target.Unclear.
	Unclear bool
}

// WriteTogether writes up to MaxAhead small files in two requests: one with all their
// contents, and one with their times, which the source does not take with a content. It returns what came of each, in their order: those that were not written
// are for Upload, which finds out why. Where the source writes nothing in this way, ok
// is false.
//
// As with Upload, success does not mean that an item has the size and hash of what
// was sent.
func (c *Client) WriteTogether(ctx context.Context, d backup.DriveID, files []SmallFile) (written []Written, ok bool) {
	written = make([]Written, len(files))
	op := "write small files into drive " + string(d)
	total := 0
	for _, f := range files {
		if c.enter(ctx, op, costWrite) != nil { // each counts as a call
			return written, true
		}
		total += len(f.Content)
	}
	if c.moved(ctx, op, 0, int64(total)) != nil {
		return written, true
	}
	body := make([]byte, 0, base64.URLEncoding.EncodedLen(total)+512*len(files))
	for i, f := range files {
		body = c.put(body, i, d, f)
	}
	answers, sent := c.batch(ctx, op, body)
	for i := range written {
		written[i].Unclear = sent
	}
	for n, a := range each(answers, len(files)) {
		it, whole := a.item(http.StatusCreated, http.StatusOK)
		w := &written[n]
		switch {
		case whole && files[n].is(it):
			*w = Written{Item: it, OK: true}
			ok = true
		case a.Status >= 400 && a.Status < 500:
			w.Unclear = false
		}
	}
	c.dateTogether(ctx, d, files, written)
	return written, ok
}

// is reports whether an item is what the file was written to.
func (f *SmallFile) is(it Item) bool {
	if f.Over != nil {
		return strings.EqualFold(string(it.ID), string(f.Over.ID)) && it.Kind == backup.File
	}
	return it.isAt(f.Parent, f.Name) && it.Kind == backup.File
}

// put adds the request to write a small file to the body of a batch.
func (c *Client) put(body []byte, id int, d backup.DriveID, f SmallFile) []byte {
	u := upload{c: c, to: Target{Parent: f.Parent, Name: f.Name}, d: d}
	if f.Over != nil {
		u.to = Target{Item: f.Over.ID, IfMatch: f.Over.Tag}
	}
	body = c.request(body, id, http.MethodPut, u.address("content")+"?@microsoft.graph.conflictBehavior="+u.conflict())
	body = append(bodyOf(body, "application/octet-stream", u.to.IfMatch), '"')
	body = base64.URLEncoding.AppendEncode(body, f.Content)
	return append(body, `"}`...)
}

// Guards reports whether the source refuses to write a small file over what is not what
// it is taken for: no source says that it does so for a file that is written together
// with others. It asks the source to write f over what has never been.
func (c *Client) Guards(ctx context.Context, d backup.DriveID, f SmallFile) bool {
	op := onItem("write over what never was", d, f.Over.ID)
	if c.enter(ctx, op, costWrite) != nil || c.moved(ctx, op, 0, int64(len(f.Content))) != nil {
		return false
	}
	over := *f.Over
	over.Tag = neverTag(over.Tag)
	f.Over = &over
	answers, _ := c.batch(ctx, op, c.put(nil, 0, d, f))
	a := each(answers, 1)[0]
	return a != nil && a.Status == http.StatusPreconditionFailed
}

// neverTag is a tag like another, which an item never had.
func neverTag(tag string) string {
	open := strings.TrimSuffix(tag, `"`)
	return open + "0" + tag[len(open):]
}

// dateTogether gives files that were written their times, and those that were written
// over their names. One for which the source does not say so is not written.
func (c *Client) dateTogether(ctx context.Context, d backup.DriveID, files []SmallFile, written []Written) {
	var undated []int
	var all []Dating
	for i, w := range written {
		x := Dating{ID: w.Item.ID, Times: files[i].Times}
		if over := files[i].Over; over != nil && over.Name != files[i].Name {
			x.Name = files[i].Name
		}
		if w.OK && !(x.Times.Fits(w.Item) && x.Name == "") {
			undated, all = append(undated, i), append(all, x)
		}
	}
	for n, done := range c.DateItems(ctx, d, all) {
		i := undated[n]
		if !done {
			written[i] = Written{Unclear: true}
			continue
		}
		it := &written[i].Item
		it.Created, it.Modified = cmp.Or(files[i].Times.Created, it.Created), cmp.Or(files[i].Times.Modified, it.Modified)
		it.Name, it.ETag = files[i].Name, "" // another, by now
	}
}

// CountVersions returns how many versions of a file there are, or -1 where the source does
// not say so at once. Some sources make one when the times of a file are set, which takes
// as much room again.
func (c *Client) CountVersions(ctx context.Context, d backup.DriveID, id backup.ItemID) int {
	var out struct {
		Value []struct{ ID string }
		Next  string `json:"@odata.nextLink"`
	}
	k := &call{
		op: onItem("list the versions of item", d, id), method: http.MethodGet, cost: costList, itemOf: d,
		url: c.at("drives", string(d), "items", string(id), "versions"),
	}
	if _, err := c.do(ctx, k, &out); err != nil || out.Next != "" || out.Value == nil {
		return -1
	}
	return len(out.Value)
}

// request adds a request to the body of a batch, up to the end of its address.
func (c *Client) request(body []byte, id int, method, address string) []byte {
	if len(body) == 0 {
		body = append(body, `{"requests":[`...)
	} else {
		body = append(body, ',')
	}
	body = append(body, `{"id":"`...)
	body = strconv.AppendInt(body, int64(id), 10)
	body = append(body, `","method":"`...)
	body = append(body, method...)
	body = append(body, `","url":"`...)
	body = append(body, quotable.Replace(address[len(c.cfg.Graph):])...)
	return append(body, '"')
}

// bodyOf adds the headers of a request that has a body of a kind, up to that. It is to
// take effect only on what has the tag, unless that is "".
func bodyOf(body []byte, kind, tag string) []byte {
	body = append(body, `,"headers":{"Content-Type":"`...)
	body = append(body, kind...)
	if tag != "" {
		body = append(body, `","If-Match":"`...)
		body = append(body, quotable.Replace(tag)...)
	}
	return append(body, `"},"body":`...)
}

// quotable escapes what of an address or a tag JSON does not hold as it stands.
var quotable = strings.NewReplacer(`"`, `\"`, `\`, `\\`)

// batch sends requests as one. It reports whether anything of it may have taken
// effect: not if the source refused it as a whole.
func (c *Client) batch(ctx context.Context, op string, body []byte) (answers []batchAnswer, sent bool) {
	return c.batchIn(ctx, "", op, body)
}

// batchIn is batch for what is in one mailbox, which serves few calls at a time, or for what
// is in none.
func (c *Client) batchIn(ctx context.Context, m backup.DriveID, op string, body []byte) (answers []batchAnswer, sent bool) {
	body = append(body, "]}"...)
	var out batchAnswers
	k := &call{
		op: op, method: http.MethodPost, url: c.at("$batch"), single: true, limit: longCall, mailbox: m,
		header: http.Header{"Content-Type": {"application/json"}}, json: body,
	}
	_, err := c.do(ctx, k, &out)
	return out.Responses, err == nil || k.unclear || ctx.Err() != nil
}

// A batchAnswer is the answer to one request of a batch.
type batchAnswer struct {
	ID     string
	Status int
	Body   json.RawMessage // of any form, where it is refused
}

type batchAnswers struct{ Responses []batchAnswer }

var batchNames = []string{"responses", "id", "status", "headers", "body"}

// Scan reads a batch's answers as they usually are.
func (b *batchAnswers) Scan(s *jsonscan.Scanner) {
	s.Object(func(key []byte) {
		if string(key) != "responses" || b.Responses != nil {
			s.Other(key, batchNames)
			return
		}
		s.Array(func() {
			var a batchAnswer
			s.Object(func(key []byte) {
				switch string(key) {
				case "id":
					s.Text(&a.ID)
				case "status":
					var err error
					if a.Status, err = strconv.Atoi(string(s.Raw())); err != nil {
						s.Off()
					}
				case "headers":
					s.Skip()
				case "body":
					a.Body = s.Raw()
				default:
					s.Other(key, batchNames)
				}
			})
			b.Responses = append(b.Responses, a)
		})
	})
}

func (b *batchAnswers) take(body []byte) error {
	if all := (batchAnswers{}); jsonscan.Scan(body, &all) {
		*b = all
		return nil
	}
	return json.Unmarshal(body, b)
}

// each returns the answers by the numbers of their requests, of which there are n:
// the first of each, should there be more.
func each(answers []batchAnswer, n int) map[int]*batchAnswer {
	by := make(map[int]*batchAnswer, len(answers))
	for i := range answers {
		k, err := strconv.Atoi(answers[i].ID)
		if err == nil && k >= 0 && k < n && by[k] == nil {
			by[k] = &answers[i]
		}
	}
	return by
}

// item returns the item that is an answer of one of some statuses, if it is one.
func (a *batchAnswer) item(statuses ...int) (Item, bool) {
	for _, status := range statuses {
		if a.Status == status {
			var w wireItem
			err := w.take(bytes.TrimSpace(a.Body))
			return w.item(), err == nil && !w.wrong
		}
	}
	return Item{}, false
}
