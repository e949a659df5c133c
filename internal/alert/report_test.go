package alert_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"image/png"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"
	"time"

	"holdfast/internal/alert"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

// parts are the parts of a letter that are no multiparts, by their type.
func parts(t *testing.T, kind string, body io.Reader) map[string]string {
	t.Helper()
	all := map[string]string{}
	media, params, err := mime.ParseMediaType(kind)
	ok(t, err)
	if !strings.HasPrefix(media, "multipart/") {
		b, err := io.ReadAll(body)
		ok(t, err)
		all[media] = string(b)
		return all
	}
	r := multipart.NewReader(body, params["boundary"])
	for {
		p, err := r.NextPart() // decodes quoted-printable
		if err == io.EOF {
			return all
		}
		ok(t, err)
		var content io.Reader = p
		if p.Header.Get("Content-Transfer-Encoding") == "base64" {
			content = base64.NewDecoder(base64.StdEncoding, p)
		}
		for media, text := range parts(t, p.Header.Get("Content-Type"), content) {
			all[media] = text
			if id := p.Header.Get("Content-ID"); id != "" {
				all["id"] = id
			}
		}
	}
}

// Each Monday there is one report, by mail with a picture, whoever was killed
// meanwhile; and none for the week in which the server first came up.
func TestWeeklyReport(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		p, h := mailServer(t, false), newHook(t)
		w := newWorld(t, db, &alert.Mail{Server: p.address, User: "holdfast", Password: password, From: "backup@contoso.com", Roots: p.roots},
			alert.Destination{Name: "ops", Mail: []string{"a@contoso.com"}}, alert.Destination{Name: "hook", Hook: &alert.Hook{URL: h.URL}})
		w.Weekly = true
		w.alarm("") // a Wednesday, 09:00
		w.pass(24 * time.Hour)
		w.alarm(away)
		w.pass(time.Hour)
		w.alarm("")
		w.pass(time.Hour)
		w.alarm("")
		before := len(p.letters())
		for range 10 { // until Monday 05:00
			w.pass(9 * time.Hour)
			w.alarm("")
		}
		w.pass(time.Hour - time.Minute)
		w.alarm("")
		if got := p.letters(); before != 2 || len(got) != 2 || w.clock().Weekday() != time.Monday {
			t.Fatalf("%d letters, %d of the alert, on %v", len(got), before, w.clock())
		}
		w.pass(time.Minute)
		ok(t, w.run(t.Context(), jobs.Watch))
		ok(t, w.run(t.Context(), jobs.Watch)) // as if killed before it could say so
		ok(t, w.run(t.Context(), jobs.Tell))
		w.pass(5 * 24 * time.Hour)
		w.alarm("")
		got := p.letters()
		if len(got) != 3 || h.calls() != 3 {
			t.Fatalf("%d letters, %d calls; want one report\n%s", len(got), h.calls(), w.log)
		}
		m, err := mail.ReadMessage(strings.NewReader(got[2].text))
		ok(t, err)
		if s := m.Header.Get("Subject"); s != "Holdfast, Contoso: The week: all is well" {
			t.Errorf("subject: %s", s)
		}
		all := parts(t, m.Header.Get("Content-Type"), m.Body)
		img, err := png.Decode(bytes.NewReader([]byte(all["image/png"])))
		ok(t, err)
		if b := img.Bounds(); b.Dx() != 560 || b.Dy() != 60 || all["id"] != "<week.png>" || !strings.Contains(all["text/html"], `src="cid:week.png"`) {
			t.Errorf("picture %v %q in %s", b, all["id"], all["text/html"])
		}
		// Twenty and some quarters ago a quarter was bad: by the lightness one sees which.
		red := 0
		for i := range 28 {
			if r, g, _, _ := img.At(i*20+5, 45).RGBA(); r > g {
				red++
			}
		}
		if red != 1 && red != 2 || !strings.Contains(all["text/plain"], "The vault cannot be used, so nothing is backed up or restored. From 2026-11-19 09:00 UTC") {
			t.Errorf("%d quarters are bad; the text:\n%s", red, all["text/plain"])
		}
		var body alert.Message
		ok(t, json.Unmarshal([]byte(h.bodies[2]), &body))
		if body.Type != "report" || body.Report == nil || len(body.Report.Alerts) != 1 || body.Report.Before != -1 {
			t.Errorf("the webhook's: %s", h.bodies[2])
		}
	})
}

// A report never calls all well what its own numbers do not.
func TestHeadlineOfAReport(t *testing.T) {
	stands, over := alert.Entry{}, alert.Entry{Resolved: time.Unix(1, 0)}
	for want, r := range map[string]alert.Report{
		"all is well":            {Protected: 3, Others: 1, Alerts: []alert.Entry{over}},
		"1 thing needs a person": {Damage: 2, Failing: 2, Alerts: []alert.Entry{stands, over}},
		"2 damages in the vault": {Damage: 2, Failing: 2},
		"1 unit is failing":      {Failing: 1, Missed: 1},
		"4 units have no restore point as new as promised": {Missed: 4},
	} {
		if got := r.Headline(); got != "The week: "+want {
			t.Errorf("%+v: %s, want %s", r, got, want)
		}
	}
}
