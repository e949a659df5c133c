package alert_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"holdfast/internal/alert"
	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	contoso  = backup.TenantID("11111111-1111-4111-8111-111111111111")
	password = "pa55-word-of-the-mail-server"
	secret   = "secret-that-signs"
	console  = "https://backup.contoso.com/console/"
)

// A post is a mail server of the test's own.
type post struct {
	address string
	roots   *x509.CertPool

	mu     sync.Mutex
	got    []letter
	refuse map[string]*smtp.SMTPError // by recipient
	hang   bool                       // says nothing when a connection comes
}

type letter struct{ to, text string }

type session struct {
	p    *post
	user string
	to   string
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }
func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, pass string) error {
		if user != "holdfast" || pass != password {
			return &smtp.SMTPError{Code: 535, Message: "no: " + pass} // a server that repeats what it was told
		}
		s.user = user
		return nil
	}), nil
}
func (s *session) Mail(string, *smtp.MailOptions) error {
	if s.user == "" {
		return smtp.ErrAuthRequired
	}
	return nil
}
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if e := s.p.refuse[to]; e != nil {
		return e
	}
	s.to = to
	return nil
}
func (s *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.got = append(s.p.got, letter{s.to, string(b)})
	return err
}
func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

// certificate is one for 127.0.0.1, and who vouches for it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	ok(t, err)
	parsed, err := x509.ParseCertificate(der)
	ok(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mailServer starts a mail server, in TLS from the beginning if implicit.
func mailServer(t *testing.T, implicit bool) *post {
	cert, pool := certificate(t)
	p := &post{roots: pool, refuse: map[string]*smtp.SMTPError{}}
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{p: p}, nil }))
	s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.ErrorLog = quiet{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	p.address = l.Addr().String()
	if implicit {
		l = tls.NewListener(l, s.TLSConfig)
	}
	go s.Serve(hanging{l, p})
	t.Cleanup(func() { s.Close() })
	return p
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// hanging keeps connections that come while the server hangs.
type hanging struct {
	net.Listener
	p *post
}

func (h hanging) Accept() (net.Conn, error) {
	for {
		conn, err := h.Listener.Accept()
		h.p.mu.Lock()
		hang := h.p.hang
		h.p.mu.Unlock()
		if err != nil || !hang {
			return conn, err
		}
		go io.Copy(io.Discard, conn)
	}
}

func (p *post) letters() []letter {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]letter(nil), p.got...)
}

// A world is an alerter on a database, whose clock the test moves, and what it
// looks at.
type world struct {
	*alert.Alerter
	t     *testing.T
	cat   *catalog.Catalog
	db    *database.DB
	queue *jobs.Queue
	log   *bytes.Buffer

	mu    sync.Mutex
	now   time.Time
	vault string
}

func newWorld(t *testing.T, db *database.DB, mail *alert.Mail, to ...alert.Destination) *world {
	w := &world{t: t, db: db, now: time.Date(2026, 11, 18, 9, 0, 0, 0, time.UTC), log: &bytes.Buffer{}}
	w.queue = jobs.New(db, w.clock)
	w.cat = catalog.New(db, w.queue, catalog.Config{Clock: w.clock})
	w.Alerter = alert.New(alert.Config{
		Catalog: w.cat, DB: db, Queue: w.queue, Tenants: func() []backup.TenantID { return []backup.TenantID{contoso} }, Names: func(backup.TenantID) string { return "Contoso" },
		Clock: w.clock, Log: slog.New(slog.NewTextHandler(w.log, nil)), Mail: mail, To: to,
		Vault: func(context.Context, backup.TenantID) string { return w.vault }, Link: console,
	})
	ok(t, w.Start(t.Context()))
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// run does the jobs of a kind that are due, each until it says that it is done, or
// to be done later, as a runner would.
func (w *world) run(ctx context.Context, kind jobs.Kind) (errs error) {
	w.t.Helper()
	all, err := w.queue.Claim(w.t.Context(), kind, 100, time.Minute, "test")
	ok(w.t, err)
	for _, j := range all {
		_, err := w.Work()[kind].Handler(ctx, j)
		errs = errors.Join(errs, err)
	}
	ok(w.t, w.queue.Reclaim(w.t.Context())) // due again: what it had to do is done, or still there
	return errs
}

// alarm has the vault be unavailable, or no more, be noticed and told.
func (w *world) alarm(vault string) {
	w.t.Helper()
	w.vault = vault
	ok(w.t, w.run(w.t.Context(), jobs.Watch))
	ok(w.t, w.run(w.t.Context(), jobs.Tell))
}

func (w *world) messages(state backup.MessageState) (n int) {
	w.t.Helper()
	all, err := w.cat.Messages(w.t.Context(), contoso, 1000)
	ok(w.t, err)
	for _, m := range all {
		if m.State == state {
			n++
		}
	}
	return n
}

const away = "The vault's volume is not mounted. <b>Mount it</b>."

// Mail is sent over STARTTLS and over TLS, with signing in, to each address, when
// an alert begins and when it is over, and only then.
func TestMail(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		p := mailServer(t, db.Dialect() == database.SQLite)
		how := map[bool]string{true: alert.ImplicitTLS, false: alert.StartTLS}[db.Dialect() == database.SQLite]
		w := newWorld(t, db, &alert.Mail{Server: p.address, TLS: how, User: "holdfast", Password: password, From: "Holdfast <backup@contoso.com>", Roots: p.roots},
			alert.Destination{Name: "ops", Mail: []string{"a@contoso.com", "b@contoso.com"}})
		w.alarm("")
		if got := p.letters(); len(got) != 0 {
			t.Fatalf("told of nothing: %v", got)
		}
		w.alarm(away)
		w.alarm(away)
		got := p.letters()
		if len(got) != 2 || got[0].to == got[1].to {
			t.Fatalf("%d letters: %+v", len(got), got)
		}
		m, err := mail.ReadMessage(strings.NewReader(got[0].text))
		ok(t, err)
		if s := m.Header.Get("Subject"); s != "Holdfast, Contoso: The vault cannot be used, so nothing is backed up or restored" {
			t.Errorf("subject: %s", s)
		}
		if m.Header.Get("Message-ID") == "" || m.Header.Get("Auto-Submitted") != "auto-generated" {
			t.Errorf("header: %v", m.Header)
		}
		for _, says := range []string{"See " + console, `<a href=3D"` + console + `">`, "<b>What to do:</b>"} {
			if !strings.Contains(strings.ReplaceAll(got[0].text, "=\r\n", ""), says) {
				t.Errorf("the letter does not say %q:\n%s", says, got[0].text)
			}
		}
		if !strings.Contains(got[0].text, "multipart/alternative") || !strings.Contains(got[0].text, "&lt;b&gt;Mount it") {
			t.Errorf("the letter:\n%s", got[0].text)
		}
		w.pass(time.Minute)
		w.alarm("")
		w.pass(9 * time.Minute)
		w.alarm("")
		if n := len(p.letters()); n != 2 {
			t.Errorf("%d letters before it is over for ten minutes", n)
		}
		w.pass(time.Minute)
		w.alarm("")
		got = p.letters()
		if len(got) != 4 || !strings.Contains(got[3].text, "Subject: Holdfast, Contoso: Over: The vault") {
			t.Fatalf("%d letters; the last: %v", len(got), got[len(got)-1])
		}
	})
}

// Of several recipients one that is refused keeps none of the others waiting, and is
// given up after a day.
func TestRefusedAddress(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		p := mailServer(t, false)
		p.refuse["gone@contoso.com"] = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "nobody is called that"}
		w := newWorld(t, db, &alert.Mail{Server: p.address, User: "holdfast", Password: password, From: "backup@contoso.com", Roots: p.roots},
			alert.Destination{Name: "ops", Mail: []string{"gone@contoso.com", "a@contoso.com", "b@contoso.com"}})
		w.alarm(away)
		for range 30 {
			w.pass(time.Hour)
			ok(t, w.run(t.Context(), jobs.Tell))
		}
		if n := len(p.letters()); n != 2 {
			t.Errorf("%d letters, want 2", n)
		}
		if sent, given := w.messages(backup.MessageSent), w.messages(backup.MessageGivenUp); sent != 2 || given != 1 {
			t.Errorf("%d sent, %d given up", sent, given)
		}
		if !strings.Contains(w.log.String(), "nobody is called that") {
			t.Errorf("the log does not say why:\n%s", w.log)
		}
	})
}

// A mail server that is away, hangs, does not let us in or is another one: it is
// tried again, nothing is lost, and the password is not told.
func TestMailServerFails(t *testing.T) {
	p := mailServer(t, false)
	_, others := certificate(t)
	for name, m := range map[string]alert.Mail{
		"away":           {Server: "127.0.0.1:1"},
		"hangs":          {Server: p.address, Roots: p.roots, Timeout: 200 * time.Millisecond},
		"wrong password": {Server: p.address, Roots: p.roots, Password: password + "x"},
		"another":        {Server: p.address, Roots: others},
	} {
		t.Run(name, func(t *testing.T) {
			m.User, m.From = "holdfast", "backup@contoso.com"
			if m.Password == "" {
				m.Password = password
			}
			p.mu.Lock()
			p.hang, p.got = name == "hangs", nil
			p.mu.Unlock()
			w := newWorld(t, dbtest.Open(t, database.SQLite), &m, alert.Destination{Name: "ops", Mail: []string{"a@contoso.com"}})
			w.alarm(away)
			if w.messages(backup.MessageWaiting) != 1 || len(p.letters()) != 0 {
				t.Fatal("it counts as sent")
			}
			all, err := w.cat.Messages(t.Context(), contoso, 9)
			ok(t, err)
			if all[0].Problem == "" || all[0].Tries != 1 || strings.Contains(all[0].Problem+w.log.String(), password) {
				t.Errorf("noted: %q, %d tries; logged:\n%s", all[0].Problem, all[0].Tries, w.log)
			}
			p.mu.Lock()
			p.hang = false
			p.mu.Unlock()
			m.Server, m.Password, m.Roots, m.Timeout = p.address, password, p.roots, 0
			w.pass(2 * time.Minute)
			ok(t, w.run(t.Context(), jobs.Tell))
			if w.messages(backup.MessageSent) != 1 || len(p.letters()) != 1 {
				t.Errorf("it is not sent when all is well again:\n%s", w.log)
			}
		})
	}
}

// A hook is an HTTP server of the test's own.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
	heads  []http.Header
	answer func(http.ResponseWriter, *http.Request)
}

func newHook(t *testing.T) *hook {
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		h.bodies, h.heads = append(h.bodies, string(b)), append(h.heads, r.Header)
		answer := h.answer
		h.mu.Unlock()
		if answer != nil {
			answer(rw, r)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) calls() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.bodies)
}

// Who is told is who is so in the configuration that was read last.
func TestAnotherConfigurationIsFollowed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		before, after := newHook(t), newHook(t)
		w := newWorld(t, db, nil, alert.Destination{Name: "before", Hook: &alert.Hook{URL: before.URL}})
		w.Follow(alert.Config{To: []alert.Destination{{Name: "after", Hook: &alert.Hook{URL: after.URL}}}})
		w.alarm(away)
		if before.calls() != 0 || after.calls() != 1 {
			t.Errorf("who was told before is told %d times, who is told now %d times", before.calls(), after.calls())
		}
	})
}

// A webhook is sent what there is, signed; and one that hangs, refuses, redirects or
// answers nonsense keeps no other waiting, and has it later under the same id.
func TestWebhooks(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		well := newHook(t)
		elsewhere := newHook(t)
		over := make(chan struct{})
		bad := map[string]func(http.ResponseWriter, *http.Request){
			"hangs":   func(_ http.ResponseWriter, r *http.Request) { <-over },
			"fails":   func(w http.ResponseWriter, _ *http.Request) { http.Error(w, secret, 500) },
			"refuses": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusUnauthorized) },
			"redirects": func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
			},
			"breaks off": func(w http.ResponseWriter, _ *http.Request) {
				conn, _, _ := w.(http.Hijacker).Hijack()
				conn.Close()
			},
		}
		var to []alert.Destination
		hooks := map[string]*hook{}
		for name, answer := range bad {
			hooks[name] = newHook(t)
			hooks[name].answer = answer
			to = append(to, alert.Destination{Name: name, Hook: &alert.Hook{URL: hooks[name].URL + "/?sig=" + secret, Secret: secret, Timeout: 200 * time.Millisecond}})
		}
		to = append(to, alert.Destination{Name: "closed", Hook: &alert.Hook{URL: "http://127.0.0.1:1/?sig=" + secret}},
			alert.Destination{Name: "well", Hook: &alert.Hook{URL: well.URL, Secret: secret}},
			alert.Destination{Name: "another tenant's", Tenants: []backup.TenantID{"x"}, Hook: &alert.Hook{URL: elsewhere.URL}})
		w := newWorld(t, db, nil, to...)
		w.alarm(away)
		close(over)
		if well.calls() != 1 || elsewhere.calls() != 0 {
			t.Fatalf("%d calls, %d elsewhere", well.calls(), elsewhere.calls())
		}
		head := well.heads[0]
		if want := "v1," + alert.Sign(secret, head.Get("webhook-id"), head.Get("webhook-timestamp"), []byte(well.bodies[0])); head.Get("webhook-signature") != want {
			t.Errorf("signature %q, want %q", head.Get("webhook-signature"), want)
		}
		var m alert.Message
		ok(t, json.Unmarshal([]byte(well.bodies[0]), &m))
		if m.Type != "alerts" || m.Tenant != contoso || len(m.Alerts) != 1 || m.Alerts[0].Kind != backup.AlertVaultUnavailable || m.Alerts[0].News != backup.NewsRaised ||
			string(m.ID) != head.Get("webhook-id") || m.Alerts[0].Examples[0].Text != away {
			t.Errorf("body: %s", well.bodies[0])
		}
		if n := w.messages(backup.MessageWaiting); n != 6 {
			t.Errorf("%d wait, want 6", n)
		}
		for name := range hooks {
			hooks[name].mu.Lock()
			hooks[name].answer = nil
			hooks[name].mu.Unlock()
		}
		w.pass(2 * time.Minute)
		ok(t, w.run(t.Context(), jobs.Tell))
		for name, h := range hooks {
			if h.calls() != 2 || h.heads[0].Get("webhook-id") != h.heads[1].Get("webhook-id") {
				t.Errorf("%s: %d calls, %v", name, h.calls(), h.heads)
			}
		}
		if well.calls() != 1 {
			t.Errorf("one that has it was called %d times", well.calls())
		}
		for range 8 {
			w.pass(24 * time.Hour)
			ok(t, w.run(t.Context(), jobs.Tell))
		}
		if n := w.messages(backup.MessageGivenUp); n != 1 {
			t.Errorf("%d given up after a week, want that to the closed port", n)
		}
		all, err := w.cat.Messages(t.Context(), contoso, 100)
		ok(t, err)
		if strings.Contains(fmt.Sprint(w.log, all), secret) {
			t.Errorf("the secret is told: %v\n%s", all, w.log)
		}
	})
}

// Whatever is killed when: what was not noted as sent is sent, under the same id,
// and what was noted is not sent again.
func TestKilledWhileTelling(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		h := newHook(t)
		w := newWorld(t, db, nil, alert.Destination{Name: "hook", Hook: &alert.Hook{URL: h.URL}})
		w.vault = away
		ok(t, w.run(t.Context(), jobs.Watch))
		// Killed before anything goes out.
		dead, cancel := context.WithCancel(t.Context())
		cancel()
		if w.run(dead, jobs.Tell) == nil || h.calls() != 0 {
			t.Fatalf("a dead worker made %d calls", h.calls())
		}
		// Killed when it has gone out, before that is noted: another has the job.
		h.answer = func(http.ResponseWriter, *http.Request) { w.queue.Reclaim(context.Background()) }
		w.pass(2 * time.Minute)
		if err := w.run(t.Context(), jobs.Tell); !errors.Is(err, jobs.ErrLost) {
			t.Fatalf("noted by a worker that lost its job: %v", err)
		}
		h.answer = nil
		for range 3 { // and then it is noted
			w.pass(2 * time.Hour)
			ok(t, w.run(t.Context(), jobs.Tell))
		}
		if h.calls() != 2 || h.heads[0].Get("webhook-id") != h.heads[1].Get("webhook-id") {
			t.Errorf("%d calls: %v", h.calls(), h.heads)
		}
		if w.messages(backup.MessageSent) != 1 {
			t.Errorf("not noted as sent")
		}
	})
}

// Teams gets a card of bearable size in which names are no markup.
func TestTeams(t *testing.T) {
	h := newHook(t)
	h.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }
	w := newWorld(t, dbtest.Open(t, database.SQLite), nil, alert.Destination{Name: "team", Teams: &alert.Hook{URL: h.URL}})
	w.alarm("[link](http://evil.example) " + strings.Repeat("long ", 20_000))
	if h.calls() != 1 {
		t.Fatalf("%d calls:\n%s", h.calls(), w.log)
	}
	var card struct {
		Type        string
		Attachments []struct {
			ContentType string
			Content     struct {
				Type, Version string
				Body          []struct{ Items []struct{ Text string } }
				Actions       []struct{ Type, URL string }
			}
		}
	}
	ok(t, json.Unmarshal([]byte(h.bodies[0]), &card))
	if card.Type != "message" || len(card.Attachments) != 1 || card.Attachments[0].ContentType != "application/vnd.microsoft.card.adaptive" || card.Attachments[0].Content.Type != "AdaptiveCard" {
		t.Errorf("card: %s", h.bodies[0])
	}
	if a := card.Attachments[0].Content.Actions; len(a) != 1 || a[0].Type != "Action.OpenUrl" || a[0].URL != console {
		t.Errorf("the card leads to %+v", a)
	}
	if len(h.bodies[0]) > 24<<10 || strings.Contains(h.bodies[0], "[link]") || !strings.Contains(h.bodies[0], "The vault cannot be used") {
		t.Errorf("%d bytes: %s", len(h.bodies[0]), h.bodies[0])
	}
}

// The tenant's e-mail setting is told too while it is enabled.
func TestEmailSetting(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		p := mailServer(t, false)
		w := newWorld(t, db, &alert.Mail{Server: p.address, User: "holdfast", Password: password, From: "backup@contoso.com", Roots: p.roots})
		set := func(enabled bool) {
			_, err := w.cat.ChangeEmailSetting(t.Context(), contoso, func(e *backup.EmailSetting) {
				e.Enabled, e.Role, e.Recipients = enabled, "custom", []backup.Identity{{Email: "admin@contoso.com"}}
			})
			ok(t, err)
		}
		set(false)
		w.alarm(away)
		if n := len(p.letters()); n != 0 {
			t.Errorf("%d letters although it is not enabled", n)
		}
		set(true)
		w.pass(25 * time.Hour)
		w.alarm(away)
		if got := p.letters(); len(got) != 1 || got[0].to != "admin@contoso.com" || !strings.Contains(got[0].text, "Still: The vault") {
			t.Errorf("letters: %+v", got)
		}
	})
}

// What cannot be found out neither begins nor ends an alert, and credentials that
// end are told of in time.
func TestWhatIsNotKnown(t *testing.T) {
	h := newHook(t)
	w := newWorld(t, dbtest.Open(t, database.SQLite), nil, alert.Destination{Name: "hook", Hook: &alert.Hook{URL: h.URL}})
	known, wrong := true, []string{"The application cannot sign in."}
	w.Source = func(context.Context, backup.TenantID) ([]string, bool) { return wrong, known }
	ends, endless := []alert.End{{What: "The certificate", At: w.clock().Add(31 * 24 * time.Hour)}}, error(nil)
	w.Ends = func(context.Context, backup.TenantID) ([]alert.End, error) { return ends, endless }
	w.alarm("")
	if h.calls() != 1 || !strings.Contains(h.bodies[0], "cannot sign in") || strings.Contains(h.bodies[0], "certificate") {
		t.Fatalf("%d calls: %v", h.calls(), h.bodies)
	}
	known, wrong = false, nil
	for range 3 {
		w.pass(20 * time.Minute)
		w.alarm("")
	}
	if h.calls() != 1 {
		t.Errorf("told of what is not known: %v", h.bodies[1:])
	}
	w.pass(26 * time.Hour)
	known = true
	w.alarm("")
	w.pass(backup.AlertOver)
	w.alarm("")
	if h.calls() != 3 || !strings.Contains(h.bodies[1], "credentialExpiring") || !strings.Contains(h.bodies[2], `"resolved"`) {
		t.Errorf("%d calls: %v", h.calls(), h.bodies[1:])
	}
	ends, endless = nil, errors.New("the file is away")
	for range 3 {
		w.pass(backup.AlertOver)
		w.alarm("")
	}
	if h.calls() != 3 {
		t.Errorf("told of an end that is not known: %v", h.bodies[3:])
	}
}
