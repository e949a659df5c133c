package drive

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"holdfast/internal/backup"
)

// MaxAhead is for how many files sessions can be opened at once: what the source
// takes in one request.
const MaxAhead = 20

// A Session is an upload session that was opened ahead of its upload. Nil is none.
type Session struct {
	c       *Client
	op      string
	address string // until it is used
}

// take returns the address of a session that was not used yet.
func (s *Session) take() (address string) {
	if s != nil {
		address, s.address = s.address, ""
	}
	return address
}

// Close tells the source that a session which was not used will not be.
func (s *Session) Close(ctx context.Context) {
	if address := s.take(); address != "" {
		s.c.cancel(ctx, s.op, address)
	}
}

// A NewItem is a file that will be uploaded, or a folder that will be made.
type NewItem struct {
	Parent backup.ItemID
	Name   string
	Times  Times
	// Unclear says of a folder that it may have been made already.
	Unclear bool
}

// OpenAhead opens upload sessions for up to MaxAhead new files in one request, and
// returns one for each, in their order: nil where the source gave none. Upload then
// opens it by itself, and finds out why. Once there was no answer at all, ok is false:
// the sessions may have been opened all the same, and be in the way for a while.
func (c *Client) OpenAhead(ctx context.Context, d backup.DriveID, files []NewItem) (sessions []*Session, ok bool) {
	type request struct {
		ID      string `json:"id"`
		Method  string `json:"method"`
		URL     string `json:"url"`
		Headers struct {
			Type string `json:"Content-Type"`
		} `json:"headers"`
		Body wireOpening `json:"body"`
	}
	var in struct {
		Requests []request `json:"requests"`
	}
	sessions = make([]*Session, len(files))
	for i, f := range files {
		u := &upload{c: c, d: d, to: Target{Parent: f.Parent, Name: f.Name}, times: f.Times}
		r := request{ID: strconv.Itoa(i), Method: http.MethodPost, URL: u.address("createUploadSession")[len(c.cfg.Graph):], Body: u.opening()}
		r.Headers.Type = "application/json"
		in.Requests = append(in.Requests, r)
	}
	var out batchAnswers
	k := &call{
		op: "open upload sessions in drive " + string(d), method: http.MethodPost, url: c.at("$batch"),
		json: &in, single: true,
	}
	for range files { // each counts as a call, and so much at once may never be there
		if c.enter(ctx, k.op, costWrite) != nil {
			return sessions, true
		}
	}
	if _, err := c.do(ctx, k, &out); err != nil {
		return sessions, false
	}
	for _, r := range out.Responses {
		var s wireSession
		n, err := strconv.Atoi(r.ID)
		if err != nil || n < 0 || n >= len(files) || sessions[n] != nil || r.Status != http.StatusOK ||
			json.Unmarshal(r.Body, &s) != nil || s.UploadURL == "" || !c.uploadsTo(s.UploadURL) {
			continue
		}
		sessions[n] = &Session{c, k.op, s.UploadURL}
	}
	return sessions, true
}
