package audit_test

import (
	"bufio"
	"bytes"
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
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/octetcounting"
	"github.com/leodido/go-syslog/v4/rfc5424"

	"holdfast/internal/alert"
	"holdfast/internal/audit"
	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	contoso = backup.TenantID("11111111-1111-4111-8111-111111111111")
	secret  = "secret-that-signs"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A world is a shipper on a database, whose clock the test moves.
type world struct {
	*audit.Shipper
	t     *testing.T
	cat   *catalog.Catalog
	db    *database.DB
	queue *jobs.Queue
	log   *bytes.Buffer
	now   time.Time
	n     int
}

func newWorld(t *testing.T, db *database.DB, to ...audit.Outlet) *world {
	w := &world{t: t, db: db, now: time.Date(2026, 11, 18, 9, 0, 0, 0, time.UTC), log: &bytes.Buffer{}}
	clock := func() time.Time { return w.now }
	w.queue = jobs.New(db, clock)
	w.cat = catalog.New(db, w.queue, catalog.Config{Clock: clock})
	w.Shipper = audit.New(audit.Config{Catalog: w.cat, DB: db, Queue: w.queue, Tenants: func() []backup.TenantID { return []backup.TenantID{contoso} }, Clock: clock,
		Log: slog.New(slog.NewTextHandler(w.log, nil)), To: to, Timeout: 10 * time.Second})
	return w
}

// do has n things be done and be in the log.
func (w *world) do(n int) {
	w.t.Helper()
	for range n {
		w.n++
		a := backup.Activity{Tenant: contoso, Operation: "UpdatePolicy", Target: "/v1.0/<p>\n", Request: fmt.Sprint(w.n)}
		if w.n%3 == 0 {
			a.Problem = &backup.Problem{Code: backup.ItemNotFound, Message: "Gone, Müller."}
		}
		ok(w.t, w.cat.Record(w.t.Context(), a))
		w.now = w.now.Add(time.Millisecond)
	}
}

// ship has all outlets be served, whatever they made of it last.
func (w *world) ship() {
	w.t.Helper()
	w.now = w.now.Add(2 * time.Hour) // past any pause
	ok(w.t, w.Look(w.t.Context(), false))
	all, err := w.queue.Claim(w.t.Context(), jobs.Ship, 100, time.Minute, "test")
	ok(w.t, err)
	for _, j := range all {
		_, err := w.Work()[jobs.Ship].Handler(w.t.Context(), j)
		ok(w.t, err)
	}
	ok(w.t, w.queue.Reclaim(w.t.Context()))
}

// want is the log, as requests.
func (w *world) want() (all []string) {
	for i := range w.n {
		all = append(all, fmt.Sprint(i+1))
	}
	return all
}

// check says what an outlet has got that differs from the log; once has nothing be there twice.
func (w *world) check(what string, got []backup.Activity, once bool) {
	w.t.Helper()
	var requests []string
	seen := map[backup.ActivityID]bool{}
	for _, a := range got {
		if once || !seen[a.ID] {
			requests = append(requests, a.Request)
		}
		seen[a.ID] = true
	}
	if diff := cmp.Diff(w.want(), requests); diff != "" {
		w.t.Errorf("%s (-done +taken):\n%s", what, diff)
	}
}

func parse(t *testing.T, lines ...string) (all []backup.Activity) {
	t.Helper()
	for _, line := range lines {
		var a backup.Activity
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, a)
	}
	return all
}

func fileLines(t *testing.T, name string) []string {
	t.Helper()
	data, err := os.ReadFile(name)
	ok(t, err)
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

// A hook takes what is posted, unless it is told to behave otherwise.
type hook struct {
	*httptest.Server
	mu    sync.Mutex
	got   []backup.Activity
	wrong error
	as    func(http.ResponseWriter, *http.Request) bool // true: it is taken
}

func newHook(t *testing.T) *hook {
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.as != nil && !h.as(w, r) {
			return
		}
		var m struct {
			Type       string
			Tenant     backup.TenantID `json:"tenantId"`
			Activities []backup.Activity
		}
		err = errors.Join(err, json.Unmarshal(body, &m))
		if r.Header.Get("webhook-signature") != "v1,"+alert.Sign(secret, r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body) {
			err = errors.Join(err, errors.New("not signed"))
		}
		if m.Type != "audit" || m.Tenant != contoso {
			err = errors.Join(err, fmt.Errorf("it is %q of %q", m.Type, m.Tenant))
		}
		h.wrong = errors.Join(h.wrong, err)
		h.got = append(h.got, m.Activities...)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) behave(as func(http.ResponseWriter, *http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.as = as
}

func (h *hook) taken(t *testing.T) []backup.Activity {
	h.mu.Lock()
	defer h.mu.Unlock()
	ok(t, h.wrong)
	return slices.Clone(h.got)
}

// A logger is a syslog server on streams, that reads as another library has it.
type logger struct {
	net.Listener
	mu    sync.Mutex
	got   []*rfc5424.SyslogMessage
	wrong error
	as    func(net.Conn) bool // true: it reads on
}

func newLogger(t *testing.T, secure *tls.Config) *logger {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	s := &logger{Listener: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.read(conn)
		}
	}()
	return s
}

func (s *logger) read(conn net.Conn) {
	defer conn.Close()
	s.mu.Lock()
	as := s.as
	s.mu.Unlock()
	if as != nil && !as(conn) {
		return
	}
	octetcounting.NewParser(syslog.WithListener(func(r *syslog.Result) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.Error != nil {
			s.wrong = errors.Join(s.wrong, r.Error)
			return
		}
		s.got = append(s.got, r.Message.(*rfc5424.SyslogMessage))
	})).Parse(conn)
}

func (s *logger) behave(as func(net.Conn) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.as = as
}

func (s *logger) taken(t *testing.T) []backup.Activity {
	s.mu.Lock()
	defer s.mu.Unlock()
	ok(t, s.wrong)
	var all []backup.Activity
	for _, m := range s.got {
		all = append(all, parse(t, *m.Message)...)
	}
	return all
}

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

// Every entry is taken by a file, by syslog in each of its ways and by a webhook, once
// and in order, also those of before the outlet was there, and after the file was
// moved away.
func TestEachOutletTakesTheLog(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		dir := t.TempDir()
		h, plain := newHook(t), newLogger(t, nil)
		cert, pool := certificate(t)
		secure := newLogger(t, &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert})
		datagrams := map[string]net.PacketConn{}
		came := map[string]chan []byte{}
		for network, address := range map[string]string{"udp": "127.0.0.1:0", "unixgram": filepath.Join(dir, "log")} {
			p, err := net.ListenPacket(network, address)
			ok(t, err)
			defer p.Close()
			c := make(chan []byte, 1000)
			datagrams[network], came[network] = p, c
			go func() {
				buffer := make([]byte, 64<<10)
				for {
					n, _, err := p.ReadFrom(buffer)
					if err != nil {
						return
					}
					c <- slices.Clone(buffer[:n])
				}
			}()
		}
		file := filepath.Join(dir, "audit.jsonl")
		w := newWorld(t, db, audit.Outlet{Name: "file", File: file}, audit.Outlet{Name: "hook", Hook: &alert.Hook{URL: h.URL, Secret: secret}},
			audit.Outlet{Name: "tcp", Syslog: &audit.Syslog{Network: "tcp", Address: plain.Addr().String(), Host: "b ü"}},
			audit.Outlet{Name: "tls", Syslog: &audit.Syslog{Network: "tls", Address: secure.Addr().String(), TLS: &tls.Config{RootCAs: pool}}},
			audit.Outlet{Name: "udp", Syslog: &audit.Syslog{Network: "udp", Address: datagrams["udp"].LocalAddr().String()}},
			audit.Outlet{Name: "unix", Syslog: &audit.Syslog{Network: "unix", Address: filepath.Join(dir, "log")}},
			audit.Outlet{Name: "other", Tenants: []backup.TenantID{"another"}, File: filepath.Join(dir, "none")})
		w.do(130)
		w.ship()
		w.ship()
		for network, c := range came {
			var got []backup.Activity
			for range w.n {
				select {
				case b := <-c:
					m, err := rfc5424.NewParser().Parse(b)
					ok(t, err)
					got = append(got, parse(t, *m.(*rfc5424.SyslogMessage).Message)...)
				case <-time.After(10 * time.Second):
					t.Fatalf("%s: %d came", network, len(got))
				}
			}
			w.check(network, got, true)
		}
		ok(t, os.Rename(file, file+".1"))
		w.To = w.To[:4]
		w.do(5)
		w.ship()
		w.check("file", parse(t, append(fileLines(t, file+".1"), fileLines(t, file)...)...), true)
		w.check("hook", h.taken(t), true)
		w.check("tcp", plain.taken(t), true)
		w.check("tls", secure.taken(t), true)
		m := plain.got[2]
		if *m.Severity != 4 || *m.Facility != 13 || *m.Appname != "holdfast" || *m.MsgID != "UpdatePolicy" || *m.Hostname != "b" || !m.Timestamp.Equal(parse(t, *m.Message)[0].At) {
			t.Errorf("a message: %+v", m.Base)
		}
		if _, err := os.Stat(filepath.Join(dir, "none")); err == nil {
			t.Error("another tenant's outlet got something")
		}
	})
}

// An outlet that is away, slow, refuses, breaks off or lies loses nothing and keeps no
// other waiting; what is wrong is said, without its secrets.
func TestOutletsThatMisbehave(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		h, s := newHook(t), newLogger(t, nil)
		file := filepath.Join(t.TempDir(), "audit.jsonl")
		const short = 300 * time.Millisecond
		address := h.URL + "/?key=" + secret
		w := newWorld(t, db, audit.Outlet{Name: "hook", Hook: &alert.Hook{URL: address, Secret: secret}},
			audit.Outlet{Name: "tcp", Syslog: &audit.Syslog{Network: "tcp", Address: s.Addr().String()}}, audit.Outlet{Name: "file", File: file})
		w.Timeout = short
		for _, as := range []func(http.ResponseWriter, *http.Request) bool{
			func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(500); return false },
			func(w http.ResponseWriter, _ *http.Request) bool { http.Error(w, secret, 400); return false },
			func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, "/?"+secret, http.StatusTemporaryRedirect)
				return false
			},
			func(w http.ResponseWriter, _ *http.Request) bool { panic(http.ErrAbortHandler) },
			func(http.ResponseWriter, *http.Request) bool { time.Sleep(2 * short); return false },
		} {
			h.behave(as)
			w.do(2)
			w.ship()
		}
		for _, as := range []func(net.Conn) bool{
			func(net.Conn) bool { return false },                                                  // at once
			func(c net.Conn) bool { bufio.NewReaderSize(c, 16).ReadByte(); return false },         // after some bytes
			func(c net.Conn) bool { c.(*net.TCPConn).SetLinger(0); c.Close(); return false },      // by a reset
			func(c net.Conn) bool { io.Copy(io.Discard, c); time.Sleep(2 * short); return false }, // not in time
		} {
			s.behave(as)
			w.do(60)
			w.ship()
		}
		w.check("file", parse(t, fileLines(t, file)...), true)
		if len(h.got) > 0 {
			t.Error("the hook took something")
		}
		all, err := w.cat.Outlets(t.Context(), contoso)
		ok(t, err)
		standing := audit.Standing(all, w.now, 15*time.Minute)
		if len(standing) != 2 || standing[0].Name != "hook" || standing[0].Since.IsZero() || !strings.Contains(standing[1].Text, "entries wait") {
			t.Errorf("standing: %+v", standing)
		}
		h.behave(nil)
		s.behave(nil)
		w.Timeout = 10 * time.Second
		w.do(1)
		w.ship()
		w.check("hook", h.taken(t), true)
		w.check("tcp", s.taken(t), false)
		if all, err = w.cat.Outlets(t.Context(), contoso); err != nil || len(audit.Standing(all, w.now, 0)) > 0 || all[0].Problem != "" {
			t.Errorf("in the end: %+v, %v", all, err)
		}
		if said := w.log.String() + fmt.Sprint(standing); strings.Contains(said, secret) {
			t.Errorf("a secret is said:\n%s", said)
		}
	})
}

// A process that ends after what it handed over was taken, and before that is noted,
// has it be taken twice; one that ends in the middle of a line leaves no part of it.
func TestKilledWhileItShips(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		h := newHook(t)
		file := filepath.Join(t.TempDir(), "audit.jsonl")
		w := newWorld(t, db, audit.Outlet{Name: "hook", Hook: &alert.Hook{URL: h.URL, Secret: secret}}, audit.Outlet{Name: "file", File: file})
		w.do(3)
		ok(t, w.Look(t.Context(), false))
		all, err := w.queue.Claim(t.Context(), jobs.Ship, 10, time.Minute, "killed")
		ok(t, err)
		ok(t, w.queue.Reclaim(t.Context())) // another takes over from here
		for _, j := range all {
			if _, err := w.Work()[jobs.Ship].Handler(t.Context(), j); !errors.Is(err, jobs.ErrLost) {
				t.Errorf("%v, after the lease was lost", err)
			}
		}
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
		ok(t, err)
		_, err = f.WriteString(`{"id":"a0`)
		ok(t, errors.Join(err, f.Close()))
		w.do(2)
		w.ship()
		w.check("hook", h.taken(t), false)
		w.check("file", parse(t, fileLines(t, file)...), false)
		if n := len(h.taken(t)); n != 8 {
			t.Errorf("the hook took %d", n)
		}
		// What is of something else stays as it is.
		ok(t, os.WriteFile(file, []byte("a letter"), 0o600))
		w.do(1)
		w.ship()
		if got := fileLines(t, file); len(got) != 1 || got[0] != "a letter" {
			t.Errorf("the file: %q", got)
		}
	})
}

// What is committed after others that came later is handed on too.
func TestLateCommit(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		if db.Dialect() == database.SQLite {
			t.Skip("SQLite has one writer at a time")
		}
		h := newHook(t)
		w := newWorld(t, db, audit.Outlet{Name: "hook", Hook: &alert.Hook{URL: h.URL, Secret: secret}})
		late := make(chan error)
		written := make(chan bool)
		commit := make(chan bool)
		go func() {
			late <- db.Tx(t.Context(), func(tx *database.Tx) error {
				_, err := tx.ExecContext(t.Context(), `INSERT INTO audit (id, tenant, at, actor, operation, target, object, result, request) VALUES ('e', 'another', 1, '{}', 'x', '', '', 'succeeded', 'late')`)
				close(written)
				<-commit
				if err == nil { // the numbers of entries are kept by a trigger: an update passes it by
					_, err = tx.ExecContext(t.Context(), `UPDATE audit SET tenant = $1 WHERE id = 'e'`, string(contoso))
				}
				return err
			})
		}()
		<-written
		w.do(3)
		w.ship()
		w.check("before", h.taken(t), true)
		close(commit)
		ok(t, <-late)
		w.ship()
		if got := h.taken(t); len(got) != 4 || got[3].Request != "late" {
			t.Errorf("taken: %+v", got)
		}
	})
}
