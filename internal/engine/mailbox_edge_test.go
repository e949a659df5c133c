package engine

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
	"holdfast/internal/vault"
)

// A run that is killed at any request leaves nothing by halves, and the next makes the
// point.
func TestPlayAMailboxIsBackedUpAfterEachKill(t *testing.T) {
	for n := 1; ; n += 6 {
		w, unit := newPost(t)
		w.post(0, someMail)
		w.backUp(unit)
		w.harm()
		ctx, cancel := context.WithCancel(w.ctx)
		w.reset()
		w.onRequest(func(*http.Request) {
			if w.asked("all") >= n {
				cancel()
			}
		})
		err := w.try(ctx, jobs.Backup, string(unit.ID), w.engine.backup)
		cancel()
		w.onRequest(nil)
		p := w.backUp(unit)
		w.wantMail(fmt.Sprint("the point after a kill at request ", n), p, map[string]string{"Inbox": "later,one, changed", "Sent Items": "sent", "Contacts": "Bob", "Notes": "remember", "Deleted Items": "two"})
		if lacks := w.lacking(p); len(lacks) > 0 {
			t.Errorf("the point lacks %q", lacks)
		}
		if err == nil {
			if n < 20 {
				t.Errorf("a backup takes no more than %d requests", n)
			}
			break
		}
	}
}

// An item that cannot be exported is named, and the rest is held; when it can, it is.
func TestCorruptItemsOfAMailboxAreNamed(t *testing.T) {
	w, unit := newPost(t)
	w.post(0, someMail)
	w.post(0, map[string]string{"Inbox/a.bad.eml": letter("bad")})
	w.faults.Set(func(o *simtenant.Options) { o.Mail.Corrupt = ".bad.eml" })
	p := w.backUp(unit)
	w.wantMail("the point", p, map[string]string{"Inbox": "one,two", "Inbox/Projects": "plan", "Sent Items": "sent", "Calendar": "meet", "Contacts": "Bob", "Notes": "remember"})
	lacks := w.lacking(p)
	if len(lacks) != 1 || !strings.HasPrefix(lacks[0], "Inbox/") || !strings.HasSuffix(lacks[0], " false") {
		t.Errorf("the point names %q", lacks)
	}
	w.faults.Set(func(o *simtenant.Options) { o.Mail.Corrupt = "" })
	w.skew.Add(int64(time.Hour))
	p = w.backUp(unit)
	if got := w.keptMail(p)["Inbox"]; strings.Join(got, ",") != "bad,one,two" || len(w.lacking(p)) > 0 {
		t.Errorf("the point after holds %q, and lacks %q", got, w.lacking(p))
	}
}

// A mailbox that is full has no list of changes, and is backed up all the same.
func TestAFullMailboxIsBackedUp(t *testing.T) {
	w, unit := newPost(t)
	w.post(0, someMail)
	w.faults.Set(func(o *simtenant.Options) { o.Mail.Full = true })
	w.backUp(unit)
	w.harm()
	for range 2 {
		p := w.backUp(unit)
		w.wantMail("the point", p, map[string]string{"Inbox": "later,one, changed", "Sent Items": "sent", "Contacts": "Bob", "Notes": "remember", "Deleted Items": "two"})
		if lacks := w.lacking(p); len(lacks) > 0 {
			t.Errorf("the point lacks %q", lacks)
		}
	}
}

// A catalog that is made again from the vault has the mailbox's points; the next backup
// exports nothing, and makes the index of what is in it anew.
func TestAMailboxIsRebuilt(t *testing.T) {
	w, unit := newPost(t)
	w.post(0, someMail)
	w.backUp(unit)
	w.harm()
	second := w.backUp(unit)
	w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
		for _, table := range []string{"restore_point", "drive_state", "mail_index", "mail_item"} {
			if _, err := tx.ExecContext(w.t.Context(), "DELETE FROM "+table); err != nil {
				return err
			}
		}
		return nil
	}))
	got, err := w.engine.Rebuild(w.ctx, w.tenant)
	if err != nil || got.Drives != 1 || got.Points != 2 {
		t.Fatalf("Rebuild = %+v, %v", got, err)
	}
	w.reset()
	third := w.backUp(unit)
	w.wantAsked("export", 0)
	if third.Tree != second.Tree && len(w.heldMail(third)) != len(w.heldMail(second)) {
		t.Errorf("the next point holds %q", w.heldMail(third))
	}
	if n := w.finds(third, "Subject -like 'later'"); n != 1 {
		t.Errorf("%d items are found", n)
	}
	w.restored(third, backup.DestinationNew)
}

// A mailbox of 20,000 items is backed up in memory that does not grow with it, and one
// change of it costs next to nothing.
func TestPlayALargeMailbox(t *testing.T) {
	const items = 20_000
	w := prepare(t)
	made := simtenant.Population{Seed: 1, Users: 1, Files: 2, Size: 10, Messages: items}
	tenant := made.Tenant()
	cfg := simConfig(w.dir, "", nil, nil)
	tenant.Apps, w.tenant = cfg.Tenants[0].Apps, tenant.ID
	cfg.Tenants, cfg.Population, cfg.Mail, cfg.Faults = []simtenant.Tenant{tenant}, &made, w.dir+"/mail", w.faults
	w.users = tenant.Users
	sim, err := simtenant.New(cfg)
	w.must(err)
	server := httptest.NewServer(w.watch(sim.Handler()))
	t.Cleanup(func() { server.Close(); sim.Close() })
	w.connect(server.URL)
	w.engine.MIME = func(backup.TenantID) bool { return false }
	unit := w.protectMailbox(0)
	box, err := w.source.UserMailbox(w.ctx, w.users[0].ID)
	w.must(err)
	for _, err := range w.source.MailFolders(w.ctx, box, "", "").All() { // the tenant's own memory
		w.must(err)
	}
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	heap := watchHeap("first")
	w.reset()
	first := w.backUp(unit)
	if grown := int64(heap()) - int64(before.HeapAlloc); grown > 200<<20 {
		t.Errorf("%d MiB of memory were needed", grown>>20)
	}
	if first.Files < items || len(w.lacking(first)) > 0 {
		t.Errorf("the point has %d files and lacks %q", first.Files, w.lacking(first))
	}
	if n := w.asked("export"); n > items/15 {
		t.Errorf("%d exports were made of %d items", n, items)
	}
	if n := w.finds(first, "HasAttachment -eq true -or HasAttachment -eq false"); n != items {
		t.Errorf("%d items are in the index, of %d", n, items)
	}
	w.reset()
	second := w.backUp(unit)
	if n := w.asked("all"); second.Tree != first.Tree || n > 100 {
		t.Errorf("no change took %d requests, and the point has %d files", n, second.Files)
	}
	w.wantAsked("export", 0)
	if found, err := w.vault.Verify(w.ctx, []string{second.Tree}, vault.VerifyOptions{Share: 0.05}); err != nil || found.Err() != nil {
		t.Error(err, found.Err())
	}
}
