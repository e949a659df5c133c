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

// A SmallFile is a new file that is written together with others.
type SmallFile struct {
	NewFile
	Content []byte // not empty, and of MaxSmall at most
}

// A Written is what came of a small file.
type Written struct {
	Item Item // as it then is, if it was written
	OK   bool
	// Unclear says of a file that was not written that it may have been all the same:
	// see Target.Unclear.
	Unclear bool
}

// WriteTogether writes up to MaxAhead new small files in two requests: one with all
// their contents, and one with their times, which the source does not take with a
// content. It returns what came of each, in their order: those that were not written
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
		u := upload{c: c, to: Target{Parent: f.Parent, Name: f.Name}, d: d}
		body = c.request(body, i, http.MethodPut, u.address("content?@microsoft.graph.conflictBehavior="+u.conflict()), "application/octet-stream")
		body = append(body, '"')
		body = base64.URLEncoding.AppendEncode(body, f.Content)
		body = append(body, `"}`...)
	}
	answers, sent := c.batch(ctx, op, body)
	for i := range written {
		written[i].Unclear = sent
	}
	for n, a := range each(answers, len(files)) {
		it, whole := a.item(http.StatusCreated, http.StatusOK)
		w := &written[n]
		switch {
		case whole && it.isAt(files[n].Parent, files[n].Name) && it.Kind == backup.File:
			*w = Written{Item: it, OK: true}
			ok = true
		case a.Status >= 400 && a.Status < 500:
			w.Unclear = false
		}
	}
	c.dateTogether(ctx, d, files, written)
	return written, ok
}

// dateTogether gives files that were written their times. One for which the source
// does not say so is not written. Whether the times are the right ones is seen when
// the place is listed: the answers are as long as all that is known of the files.
func (c *Client) dateTogether(ctx context.Context, d backup.DriveID, files []SmallFile, written []Written) {
	op := "date small files in drive " + string(d)
	var body []byte
	var undated []int
	for i, w := range written {
		times := files[i].Times
		if !w.OK || times.fits(w.Item) {
			continue
		}
		wire, err := json.Marshal(struct {
			Times *wireTimes `json:"fileSystemInfo"`
		}{times.wire()})
		if err != nil || c.enter(ctx, op, costWrite) != nil {
			written[i] = Written{Unclear: true}
			continue
		}
		body = c.request(body, len(undated), http.MethodPatch, c.at("drives", string(d), "items", string(w.Item.ID)), "application/json")
		body = append(append(body, wire...), '}')
		undated = append(undated, i)
	}
	if len(undated) == 0 {
		return
	}
	answers, _ := c.batch(ctx, op, body)
	dated := each(answers, len(undated))
	for n, i := range undated {
		it, a := &written[i].Item, dated[n]
		if a == nil || a.Status != http.StatusOK || !bytes.Contains(a.Body, []byte(strconv.Quote(string(it.ID)))) {
			written[i] = Written{Unclear: true}
			continue
		}
		it.Created, it.Modified = cmp.Or(files[i].Times.Created, it.Created), cmp.Or(files[i].Times.Modified, it.Modified)
		it.ETag = "" // another, by now
	}
}

// KeepsTimes reports whether a file that was written together with others is there in
// one version: some sources make a second of it when its times are set, which takes as
// much room again.
func (c *Client) KeepsTimes(ctx context.Context, d backup.DriveID, id backup.ItemID) bool {
	var out struct {
		Value []struct{ ID string }
		Next  string `json:"@odata.nextLink"`
	}
	k := &call{
		op: onItem("list the versions of item", d, id), method: http.MethodGet, cost: costList, itemOf: d,
		url: c.at("drives", string(d), "items", string(id), "versions"),
	}
	_, err := c.do(ctx, k, &out)
	return err == nil && len(out.Value) == 1 && out.Next == ""
}

// request adds a request to the body of a batch, up to its own body.
func (c *Client) request(body []byte, id int, method, address, kind string) []byte {
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
	body = append(body, `","headers":{"Content-Type":"`...)
	body = append(body, kind...)
	return append(body, `"},"body":`...)
}

// quotable escapes what of an address JSON does not hold as it stands.
var quotable = strings.NewReplacer(`"`, `\"`, `\`, `\\`)

// batch sends requests as one. It reports whether anything of it may have taken
// effect: not if the source refused it as a whole.
func (c *Client) batch(ctx context.Context, op string, body []byte) (answers []batchAnswer, sent bool) {
	body = append(body, "]}"...)
	var out batchAnswers
	k := &call{
		op: op, method: http.MethodPost, url: c.at("$batch"), single: true, limit: longCall,
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
