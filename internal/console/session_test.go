package console

import (
	"context"
	"html"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
)

// isAsked fails unless a page sends to sign in.
func (w *world) isAsked(when string) {
	w.t.Helper()
	if a := w.get("/console/"); a.status != http.StatusSeeOther || !strings.HasPrefix(a.to, "/console/sign-in") {
		w.t.Errorf("%s: %d %s", when, a.status, a.to)
	}
}

// be has the browser have a session's cookie.
func (w *world) be(cookie string) {
	w.t.Helper()
	u, err := url.Parse(w.srv.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	w.browser = newBrowser(w.t)
	w.browser.Jar.SetCookies(u, []*http.Cookie{{Name: sessionCookie, Value: cookie, Path: "/"}})
}

// Whoever is signed in is so at every process of one database, and over a restart; whoever
// has signed out is so nowhere.
func TestSessionsOfSeveralProcesses(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorldOn(t, tenantID, db)
		w.on("GET /protectionPolicies/"+policyID, map[string]any{"id": policyID, "@odata.type": "#microsoft.graph.oneDriveForBusinessProtectionPolicy", "displayName": "Drives", "status": "inactive"})
		w.on("POST /protectionPolicies/"+policyID+"/activate", map[string]any{})
		first := w.process()
		w.start()
		second := w.process()

		// Who was sent to Entra by one comes back to the other.
		w.ask(first)
		state := w.begin("/console/jobs").Get("state")
		w.ask(second)
		if a := w.get("/console/signed-in?code=the-code&state=" + state); a.status != http.StatusSeeOther || a.to != "/console/jobs" {
			t.Fatalf("back from Entra at the other process: %d %s\n%s", a.status, a.to, a.body)
		}
		mark := html.UnescapeString(csrfField.FindStringSubmatch(w.page("/console/"))[1])

		// A form of one is carried out by the other, and what it says is shown by the first, once.
		w.ask(first)
		if a := w.post("/console/policies/"+policyID+"/activate", url.Values{"csrf": {mark}}); a.status != http.StatusSeeOther {
			t.Fatalf("the other's form: %d\n%s", a.status, a.body)
		}
		const said = `<p class="note good"`
		w.ask(second)
		if page := w.page("/console/policies/" + policyID); strings.Count(page, said) != 1 {
			t.Errorf("what was done is said %d times by the other process:\n%s", strings.Count(page, said), page)
		}
		w.ask(first)
		if page := w.page("/console/policies/" + policyID); strings.Contains(page, said) {
			t.Error("it is said again")
		}

		// Tokens that one has renewed are the other's, and that of a third started later.
		w.wait(2 * time.Hour)
		w.page("/console/jobs")
		renewed := w.tokens
		w.ask(second)
		w.page("/console/jobs")
		w.start()
		third := w.process()
		w.page("/console/jobs")
		if w.tokens != renewed {
			t.Errorf("tokens were asked for %d times more", w.tokens-renewed)
		}

		// Use at any counts; 24 hours are 24 hours.
		for _, p := range []process{first, third, second} {
			w.wait(idleTime - time.Minute)
			w.ask(p)
			if a := w.get("/console/jobs"); (a.status == http.StatusOK) != (p != second) {
				t.Errorf("%v after the sign-in: %d", w.clock(), a.status)
			}
		}

		// Signing out at one is signing out.
		w.ask(first)
		w.signIn("/console/")
		before := w.cookie()
		w.ask(second)
		w.page("/console/jobs")
		w.post("/console/sign-out", nil)
		for _, p := range []process{first, second, third} {
			w.ask(p)
			w.be(before)
			w.isAsked("with the cookie of before signing out")
		}
		var rows int
		if err := db.Read().QueryRow(`SELECT count(*) FROM sign_in WHERE tenant = $1 AND used > $2`, tenantID, database.Micros(w.clock().Add(-time.Minute))).Scan(&rows); err != nil || rows != 0 {
			t.Errorf("%d sessions are kept, %v", rows, err)
		}
	})
}

// A session that is ended while a request of it is under way does not come back by what that
// request keeps: new tokens, or a sign-in to another tenant.
func TestWhatEndsMeanwhileStaysEnded(t *testing.T) {
	w := providerWorld(t)
	cookie := w.cookie()
	end := func() {
		who, err := visitorOf(cookie)
		if err == nil {
			err = w.cfg.Sessions.EndSignIns(t.Context(), who.browser, tenantID)
		}
		if err != nil {
			t.Error(err)
		}
	}
	w.console.cfg.Sessions = &reading{Keeper: w.cfg.Sessions, then: end}
	w.wait(2 * time.Hour) // tokens are to be renewed
	w.page("/console/")
	w.isAsked("after the request")

	w.comeBack(w.get("/console/sign-in"))
	cookie = w.cookie()
	mark := w.csrf("/console/tenants")
	w.console.cfg.Sessions = &reading{Keeper: w.cfg.Sessions, then: end}
	w.post("/console/tenants/add", url.Values{"csrf": {mark}, "tenant": {fabrikam}})
	w.isAsked("after the other tenant was joined")
	if a := w.get("/console/" + fabrikam + "/"); a.status != http.StatusOK {
		t.Errorf("the other tenant: %d %s", a.status, a.to)
	}
}

// A reading keeper has something happen after tokens were read from it for the first time.
type reading struct {
	Keeper
	done atomic.Bool
	then func()
}

func (r *reading) SignInTokens(ctx context.Context, browser string, tenant backup.TenantID) (string, error) {
	tokens, err := r.Keeper.SignInTokens(ctx, browser, tenant)
	if r.done.CompareAndSwap(false, true) {
		r.then()
	}
	return tokens, err
}

// Two processes renew tokens at the same time, before an authority at which each can be used
// to do so once: the slower goes on with those of the faster.
func TestTokensAreRenewedAtOnce(t *testing.T) {
	w := signedInWorld(t)
	w.once = map[string]bool{}
	slow := w.process()
	w.start()
	fast := w.process()
	slow.console.cfg.Sessions = &reading{Keeper: w.cfg.Sessions, then: func() {
		w.ask(fast)
		w.page("/console/jobs")
		w.ask(slow)
	}}
	w.wait(2 * time.Hour)
	w.ask(slow)
	w.page("/console/jobs")
	if len(w.once) != 1 || w.tokens != 2 {
		t.Errorf("%d tokens were used, and %d sets given", len(w.once), w.tokens)
	}
}

// Whoever has the database, and no cookie, can neither read what is kept there nor be
// anybody by it, whatever they write.
func TestAStolenRowIsWorthNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorldOn(t, tenantID, db)
		w.signIn("/console/")
		mark, secret := w.csrf("/console/"), w.cookie()
		var browser, about, tokens string
		if err := db.Read().QueryRow(`SELECT browser, about, tokens FROM sign_in`).Scan(&browser, &about, &tokens); err != nil {
			t.Fatal(err)
		}
		for _, hidden := range []string{"access-", "refresh-", "Amala", ownerID, mark, secret} {
			if strings.Contains(browser+about+tokens, hidden) {
				t.Errorf("%s is kept in the clear", hidden)
			}
		}
		for _, cookie := range []string{browser, about, tokens} {
			w.be(cookie)
			w.isAsked("a column as the cookie")
		}

		// The thief signs in as who they are, and has the row be theirs.
		w.claims = map[string]any{"oid": "00000000-0000-4000-8000-000000000007", "name": "Thief"}
		w.browser = newBrowser(t)
		w.signIn("/console/")
		thief, err := visitorOf(w.cookie())
		if err != nil {
			t.Fatal(err)
		}
		for _, theft := range []string{
			`UPDATE sign_in SET tokens = (SELECT tokens FROM sign_in WHERE browser <> $1) WHERE browser = $1`,
			`UPDATE sign_in SET about = (SELECT about FROM sign_in WHERE browser <> $1) WHERE browser = $1`,
			// Nor is it of use in another tenant.
			`UPDATE sign_in SET tenant = '` + fabrikam + `' WHERE browser = $1`,
		} {
			w.browser = newBrowser(t)
			w.signIn("/console/")
			if thief, err = visitorOf(w.cookie()); err != nil {
				t.Fatal(err)
			}
			if err := db.Tx(t.Context(), func(tx *database.Tx) error {
				if _, err := tx.ExecContext(t.Context(), `DELETE FROM sign_in WHERE browser <> $1 AND browser <> $2`, browser, thief.browser); err != nil {
					return err
				}
				_, err := tx.ExecContext(t.Context(), theft, thief.browser)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			w.isAsked(theft)
			if a := w.get("/console/" + fabrikam + "/"); a.status != http.StatusSeeOther {
				t.Errorf("%s: %d in another tenant", theft, a.status)
			}
		}
	})
}

// Nor can whoever writes to the database have a person who is signed in to two tenants act
// in one with the tokens of the other.
func TestTokensAreOfTheirTenantOnly(t *testing.T) {
	w := providerWorld(t)
	w.comeBack(w.get("/console/sign-in?tenant=" + fabrikam))
	if a := w.get("/console/" + fabrikam + "/"); a.status != http.StatusOK {
		t.Fatalf("Fabrikam: %d %s", a.status, a.to)
	}
	if err := w.db.Tx(t.Context(), func(tx *database.Tx) error {
		_, err := tx.ExecContext(t.Context(), `UPDATE sign_in SET tokens = (SELECT tokens FROM sign_in WHERE tenant = $1) WHERE tenant = $2`, tenantID, fabrikam)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if a := w.get("/console/" + fabrikam + "/"); a.status != http.StatusSeeOther || !strings.HasPrefix(a.to, "/console/sign-in") {
		t.Errorf("Fabrikam with Contoso's tokens: %d %s", a.status, a.to)
	}
}

// Whatever became of a row, whoever has the cookie of it is asked to sign in, and can.
func TestADamagedRowAsksToSignIn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorldOn(t, tenantID, db)
		w.signIn("/console/")
		for _, column := range []string{"about", "tokens", "notes"} {
			for _, damage := range []string{`''`, `'no base64!'`, `'AAAA'`, `substr(` + column + `, 1, 30)`, `CASE substr(tokens, 1, 1) WHEN 'A' THEN 'B' ELSE 'A' END || substr(tokens, 2)`, `'null'`} {
				if err := db.Tx(t.Context(), func(tx *database.Tx) error {
					_, err := tx.ExecContext(t.Context(), `UPDATE sign_in SET `+column+` = `+damage)
					return err
				}); err != nil {
					t.Fatal(err)
				}
				for _, path := range []string{"/console/", "/console/jobs"} {
					a := w.get(path)
					if asked := a.status == http.StatusSeeOther && strings.HasPrefix(a.to, "/console/sign-in"); asked == (column == "notes") {
						t.Errorf("%s with %s = %s: %d %s", path, column, damage, a.status, a.to)
					}
				}
				if a := w.signIn("/console/"); a.status != http.StatusSeeOther || w.get("/console/").status != http.StatusOK {
					t.Errorf("with %s = %s nobody signs in: %d\n%s", column, damage, a.status, a.body)
				}
			}
		}
		for _, cookie := range []string{"", "x", "AAAA", strings.Repeat("A", 43), strings.Repeat("A", 5000)} {
			w.be(cookie)
			w.isAsked("with the cookie " + cookie)
		}
	})
}

// While the database does not answer nobody is signed out, and nobody is asked who they are.
func TestSessionsThatCannotBeHad(t *testing.T) {
	w := signedInWorld(t)
	cookie := w.cookie()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	w.console.cfg.Sessions = away{w.cfg.Sessions, gone}
	for _, path := range []string{"/console/", "/console/jobs", "/console/nothing"} {
		if a := w.get(path); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "Try again in a minute") {
			t.Errorf("%s = %d %s\n%s", path, a.status, a.to, a.body)
		}
	}
	w.console.cfg.Sessions = w.cfg.Sessions
	if w.page("/console/"); w.cookie() != cookie {
		t.Error("the browser has lost its cookie")
	}
}

// An away keeper's database does not answer.
type away struct {
	Keeper
	gone context.Context
}

func (a away) SignIns(_ context.Context, browser string) ([]backup.SignIn, error) {
	return a.Keeper.SignIns(a.gone, browser)
}

// A cookie of a sign-in that somebody has made up leads no further than one that began here.
func TestAPendingSignInThatWasMadeUp(t *testing.T) {
	w := newWorld(t)
	u, err := url.Parse(w.srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	w.claims["nonce"] = "n"
	good := signingIn{State: "s", Nonce: "n", Verifier: "v", To: "/console/jobs", Tenant: tenantID, Until: w.clock().Add(time.Minute)}
	for name, c := range map[string]struct {
		change func(*signingIn)
		status int
		to     string
	}{
		"as it begins":   {func(*signingIn) {}, http.StatusSeeOther, "/console/jobs"},
		"elsewhere":      {func(in *signingIn) { in.To = "https://evil.example/console/" }, http.StatusSeeOther, "/console/"},
		"another tenant": {func(in *signingIn) { in.Tenant = fabrikam }, http.StatusSeeOther, "/console/jobs"}, // which is not heard
		"no state":       {func(in *signingIn) { in.State = "" }, http.StatusBadRequest, ""},
		"no nonce":       {func(in *signingIn) { in.Nonce = "" }, http.StatusBadRequest, ""},
		"no verifier":    {func(in *signingIn) { in.Verifier = "" }, http.StatusBadRequest, ""},
		"too late":       {func(in *signingIn) { in.Until = w.clock() }, http.StatusBadRequest, ""},
	} {
		in := good
		c.change(&in)
		w.browser = newBrowser(t)
		w.browser.Jar.SetCookies(u, []*http.Cookie{{Name: signInCookie, Value: in.cookie(), Path: "/"}})
		if a := w.get("/console/signed-in?code=c&state=" + in.State); a.status != c.status || a.to != c.to {
			t.Errorf("%s: %d %s", name, a.status, a.to)
		}
	}
}
