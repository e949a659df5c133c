package simtenant

import (
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// A syncClient keeps a mirror of a person's drive, and renews its token when it is
// refused.
type syncClient struct {
	w                *world
	mirror           *replica
	access, refresh  string
	renew            func(refresh string) answer
	refused, renewed int
}

// do runs a step with a token that is good.
func (c *syncClient) do(step func()) {
	c.w.t.Helper()
	c.w.token = c.access
	if a := c.w.do("GET", "/me", nil); a.status == 401 {
		c.refused++
		got := c.renew(c.refresh)
		c.access, c.refresh = got.text("access_token"), got.text("refresh_token")
		if c.access == "" || c.refresh == "" {
			c.w.t.Fatalf("the token cannot be renewed: %s", got.raw)
		}
		c.renewed++
		c.w.token = c.access
	}
	step()
}

// Who signed in once, on another device or in a browser, keeps a mirror for a day:
// it is refused when its token has ended, goes on with another, and what it put
// there and what others put there is in its mirror.
func TestASyncClientWorksForADay(t *testing.T) {
	for name, signIn := range map[string]func(w *world) *syncClient{
		"on another device": func(w *world) *syncClient {
			begun := w.form("common/oauth2/v2.0/devicecode", "client_id", elsewhere, "scope", "Files.ReadWrite.All User.Read offline_access openid")
			w.must(200, "GET", begun.text("verification_uri")+"?otc="+begun.text("user_code")+"&user="+amala, nil)
			got := w.form("common/oauth2/v2.0/token", "grant_type", byDevice, "client_id", elsewhere, "device_code", begun.text("device_code"))
			return &syncClient{w: w, access: got.text("access_token"), refresh: got.text("refresh_token"), renew: func(refresh string) answer {
				return w.form("common/oauth2/v2.0/token", "grant_type", "refresh_token", "client_id", elsewhere, "refresh_token", refresh)
			}}
		},
		"in a browser": func(w *world) *syncClient {
			got := w.tokens(w.redeem("code", w.back(w.asked("user", amala)).Get("code")))
			return &syncClient{w: w, access: got.text("access_token"), refresh: got.text("refresh_token"), renew: func(refresh string) answer {
				return w.tokens(w.redeem("grant_type", "refresh_token", "refresh_token", refresh))
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			now := time.Now()
			w.cfg.Clock = func() time.Time { return now }
			w.restart()
			w.write(amala+"/Documents/first.txt", "first")
			c := signIn(w)
			c.do(func() { c.mirror = newReplica(w, amala); c.mirror.follow() })
			for n := range 24 * 3 {
				now = now.Add(20 * time.Minute)
				w.write(fmt.Sprintf("%s/Documents/of others %d.txt", amala, n%7), fmt.Sprint("others ", n))
				c.do(func() {
					mine := fmt.Sprintf("%s/root:/mine %d.txt", c.mirror.drive, n%5)
					session := w.must(200, "POST", mine+":/createUploadSession", object{"item": object{"@microsoft.graph.conflictBehavior": "replace"}}).text("uploadUrl")
					text := strings.Repeat("mine ", 10+n)
					a := w.do("PUT", session, text, "Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(text)-1, len(text)), "Authorization", "")
					if a.status != 200 && a.status != 201 {
						t.Fatalf("upload = %d %s", a.status, a.raw)
					}
					c.mirror.follow()
				})
			}
			if c.refused < 20 || c.renewed != c.refused {
				t.Errorf("in a day it was refused %d times and went on %d times", c.refused, c.renewed)
			}
			if diff := gocmp.Diff(realTree(t, w.folder(amala)), c.mirror.tree()); diff != "" {
				t.Errorf("the mirror differs from the files (-files +mirror):\n%s", diff)
			}
		})
	}
}
