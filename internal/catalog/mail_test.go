package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
)

// A mailbox is one that is backed up, and found in.
type mailbox struct {
	*world
	unit backup.UnitID
	job  *jobs.Job
	root string
	runs int
	// staged is as what the last stage is known.
	staged int64
}

func (w *world) mailbox() *mailbox {
	w.t.Helper()
	ctx := w.t.Context()
	p := must[backup.Policy](w.t)(w.CreatePolicy(ctx, contoso, catalog.NewPolicy{Workload: backup.Exchange, DisplayName: "Mail", Units: []backup.SubjectID{owner(1)}, By: w.by()}))
	must[backup.Policy](w.t)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))
	u := w.units(p.ID)[owner(1)].ID
	return &mailbox{world: w, unit: u, job: w.claim(jobs.Backup)[string(u)]}
}

func changes(all ...catalog.MailChange) iter.Seq2[catalog.MailChange, error] {
	return func(yield func(catalog.MailChange, error) bool) {
		for _, c := range all {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func mail(id, subject, from string, to ...string) catalog.MailChange {
	m := backup.MailItem{ID: backup.ItemID(id), Folder: "Inbox", Kind: backup.MailEmail, Subject: subject, Sender: backup.Person{Name: "Mr " + from, Address: from + "@contoso.com"}}
	for _, name := range to {
		m.Recipients = append(m.Recipients, backup.Person{Address: name + "@fabrikam.com"})
	}
	return catalog.MailChange{MailItem: m}
}

func gone(id string) catalog.MailChange {
	return catalog.MailChange{MailItem: backup.MailItem{ID: backup.ItemID(id)}, Gone: true}
}

func (m *mailbox) stage(anew bool, all ...catalog.MailChange) {
	m.t.Helper()
	m.staged = must[int64](m.t)(m.StageMail(m.t.Context(), m.job, catalog.MailStage{Unit: m.unit, Drive: "MBX:1", At: m.clock(), Anew: anew}, changes(all...)))
}

// commit commits a point, which holds something new.
func (m *mailbox) commit(mail bool) backup.Point {
	m.t.Helper()
	m.runs++
	staged := m.staged
	if !mail {
		staged = 0
	}
	tree, root := fmt.Sprint("t", m.runs), fmt.Sprint("r", m.runs)
	p := must[backup.Point](m.t)(m.CommitPoint(m.t.Context(), m.job, catalog.Commit{Unit: m.unit, Point: backup.Point{At: m.clock(), Tree: tree}, PrevRoot: m.root,
		State: catalog.DriveState{Drive: "MBX:1", Root: root, Tree: tree}, Mail: staged}))
	m.root = root
	return p
}

func (m *mailbox) run(all ...catalog.MailChange) backup.Point {
	m.t.Helper()
	m.pass(time.Minute)
	m.stage(m.runs == 0, all...)
	return m.commit(true)
}

func (m *mailbox) search(expression string, s catalog.PointSearch) catalog.MailFound {
	m.t.Helper()
	s.Units = []backup.UnitID{m.unit}
	return must[catalog.MailFound](m.t)(m.SearchMail(m.t.Context(), contoso, catalog.MailSearch{PointSearch: s, Query: must[backup.MailQuery](m.t)(backup.ParseMailQuery(expression))}))
}

// found returns the ids of the items of a point that an expression finds.
func (m *mailbox) found(p backup.Point, expression string) (ids []string) {
	m.t.Helper()
	for id, err := range m.FoundMail(m.t.Context(), backup.Artifact{Tenant: contoso, Point: p, Query: expression}) {
		ok(m.t, err)
		ids = append(ids, string(id))
	}
	return ids
}

func (m *mailbox) finds(p backup.Point, expression string, want ...string) {
	m.t.Helper()
	if got := m.found(p, expression); !slices.Equal(got, want) {
		m.t.Errorf("%s finds %v, want %v", expression, got, want)
	}
}

// Mail is found by its words, as each point had it.
func TestMailIsFound(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		m := w.mailbox()
		event := mail("e", "Invoices, all of them", "cam")
		event.Kind, event.Attachment = backup.MailCalendar, true
		first := m.run(mail("a", "Re: Invoice 5/2026", "amala", "bob"), mail("b", "Prüfung — ÄRGER", "amala.rao", "bob", "carol"), event, mail("x", "odd\x00 \xff", "a"))
		for expression, want := range map[string][]string{
			"Subject -like 'invoice'":          {"a"},
			"Subject -like 'INVOICE*'":         {"a", "e"},
			"Subject -like '5/2026'":           {"a"},
			"Subject -like '5 2026*'":          {"a"},
			"Subject -like 'oice*'":            nil,
			"Subject -contains 'oice'":         {"a", "e"},
			"Subject -like 'ärger'":            {"b"},
			"Subject -eq 'invoice'":            nil,
			"Subject -eq 're invoice 5/2026'":  {"a"},
			"Sender -like 'amala@contoso.com'": {"a"},
			"Sender -eq 'amala@contoso.com'":   {"a"},
			"Sender -like 'mr amala'":          {"a", "b"},
			"Sender -eq 'mr amala'":            {"a"},
			"Sender -like 'amala*'":            {"a", "b"},
			"Sender -like 'amala mr'":          nil,
			"Participants -like 'bob@fabrikam.com' -and Participants -like 'carol'": {"b"},
			"Recipient -eq 'carol@fabrikam.com'":                                    {"b"},
			"HasAttachment -eq 'true'":                                              {"e"},
			"HasAttachment -eq false -and Sender -like 'amala*'":                    {"a", "b"},
			"MessageKind -eq 'Calendar'":                                            {"e"},
			"(Subject -like 'invoice') -or (MessageKind -eq 'Calendar')":            {"a", "e"},
			"Subject -like 'odd'":                                                   {"x"},
			"Subject -like '100%'":                                                  nil,
		} {
			m.finds(first, expression, want...)
		}
		second := m.run(mail("a", "Re: Invoice 5/2026", "amala", "bob"), mail("b", "Now something else", "amala.rao"), gone("e"), mail("c", "Invoice new", "dora"))
		m.finds(first, "Subject -like 'invoice*'", "a", "e")
		m.finds(second, "Subject -like 'invoice*'", "a", "c")
		m.finds(second, "Subject -like 'ärger'")
		m.finds(second, "Subject -like 'now'", "b")
		if n := w.count(`SELECT count(*) FROM mail_item WHERE item = 'a'`); n != 1 {
			t.Errorf("what did not change is there %d times", n)
		}

		all := catalog.PointSearch{From: first.At}
		newest := func(expression string, s catalog.PointSearch, p backup.Point, n int64) {
			t.Helper()
			if f := m.search(expression, s); f.Point.ID != p.ID || f.Items != n || f.Unsearched {
				t.Errorf("%s of %v: %+v, want %d in %s", expression, s, f, n, p.ID)
			}
		}
		newest("Subject -like 'invoice'", all, second, 2)
		newest("Subject -like 'invoice'", catalog.PointSearch{From: first.At, Oldest: true}, first, 1)
		newest("Subject -like 'invoice new'", catalog.PointSearch{From: first.At, Oldest: true}, second, 1)
		newest("MessageKind -eq 'Calendar'", all, first, 1)
		newest("Subject -like 'nobody'", all, backup.Point{}, 0)
		newest("Subject -like 'invoice new'", catalog.PointSearch{To: first.At}, backup.Point{}, 0)
		newest("MessageKind -eq 'Calendar'", catalog.PointSearch{From: second.At}, backup.Point{}, 0)
		checkPlans(t, w.db, "a search of mail", func(ctx context.Context) error {
			for _, s := range []catalog.PointSearch{{From: first.At}, {From: first.At, Oldest: true}} {
				s.Units = []backup.UnitID{m.unit}
				q := must[backup.MailQuery](t)(backup.ParseMailQuery("Subject -like 'nobody'"))
				if _, err := w.SearchMail(ctx, contoso, catalog.MailSearch{PointSearch: s, Query: q}); err != nil {
					return err
				}
			}
			for _, err := range w.FoundMail(ctx, backup.Artifact{Tenant: contoso, Point: second, Query: "Subject -like 'invoice*'"}) {
				if err != nil {
					return err
				}
			}
			_, err := w.MailItems(ctx, contoso, second, []backup.ItemID{"1", "2"})
			return err
		}, 10)
		if f := must[catalog.MailFound](t)(w.SearchMail(t.Context(), fabrikam, catalog.MailSearch{PointSearch: catalog.PointSearch{Units: []backup.UnitID{m.unit}, From: first.At}})); f.Items > 0 {
			t.Errorf("another tenant finds %+v", f)
		}
	})
}

// What was staged counts with the point, and not before; what was staged for a point
// that never came is taken back.
func TestMailIsStaged(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		m := w.mailbox()
		m.stage(true, mail("lost", "Invoice lost", "amala"))
		m.pass(time.Minute)
		first := m.run(mail("a", "Invoice a", "amala"), mail("b", "Invoice b", "amala"))
		m.finds(first, "Subject -like 'invoice'", "a", "b")

		m.pass(time.Minute)
		m.stage(false, gone("a"), mail("b", "Nothing", "amala"), mail("c", "Invoice c", "amala"), mail("c", "Invoice c2", "amala"))
		m.finds(first, "Subject -like 'invoice'", "a", "b")
		same := must[backup.Point](t)(w.CommitPoint(t.Context(), m.job, catalog.Commit{Unit: m.unit, Point: backup.Point{At: w.clock(), Tree: "t1"}, PrevRoot: m.root,
			State: catalog.DriveState{Drive: "MBX:1", Root: m.root, Tree: "t1"}}))
		m.finds(same, "Subject -like 'invoice'", "a", "b")

		third := m.run(mail("d", "Invoice d", "amala"), gone("b"))
		m.finds(same, "Subject -like 'invoice'", "a", "b")
		m.finds(third, "Subject -like 'invoice'", "a", "d")
		if tree := must[string](t)(w.MailIndexTree(t.Context(), contoso, m.unit, "MBX:1")); tree != third.Tree {
			t.Errorf("the index is of tree %q", tree)
		}

		// A point that the index was not written for is said not to be searched.
		m.pass(time.Minute)
		other := m.commit(false)
		if f := m.search("Subject -like 'invoice'", catalog.PointSearch{From: first.At}); f.Point.ID != third.ID || !f.Unsearched {
			t.Errorf("past a point without an index: %+v", f)
		}
		for _, err := range m.FoundMail(t.Context(), backup.Artifact{Tenant: contoso, Point: other, Query: "Subject -like 'invoice'"}) {
			fails(t, "mail of a point without an index", err, backup.ArtifactCannotBeRestored)
		}
		m.pass(time.Minute)
		m.stage(true, mail("z", "Invoice z", "amala"))
		fifth := m.commit(true)
		m.finds(fifth, "Subject -like 'invoice'", "z")
		if f := m.search("Subject -like 'invoice a'", catalog.PointSearch{From: first.At}); f.Items != 0 || !f.Unsearched {
			t.Errorf("in what was before the index: %+v", f)
		}
		if f := m.search("Subject -like 'invoice z'", catalog.PointSearch{From: first.At, Oldest: true}); f.Point.ID != fifth.ID || !f.Unsearched {
			t.Errorf("the oldest behind what was before the index: %+v", f)
		}

		broken := errors.New("broken")
		_, err := w.StageMail(t.Context(), m.job, catalog.MailStage{Unit: m.unit, Drive: "MBX:1", At: w.clock()}, func(yield func(catalog.MailChange, error) bool) { yield(catalog.MailChange{}, broken) })
		fails(t, "stage what breaks", err, broken)
		ok(t, w.ForgetDrive(t.Context(), m.job, catalog.DriveRoot{Unit: m.unit, Drive: "MBX:1"}))
		if n := w.count(`SELECT count(*) FROM mail_item`) + w.count(`SELECT count(*) FROM mail_index`); n > 0 {
			t.Errorf("%d rows are left of a mailbox that was forgotten", n)
		}
	})
}

// What no point has any more is forgotten with the points.
func TestMailExpires(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		m := w.mailbox()
		m.run(mail("a", "Invoice a", "amala"), mail("b", "Invoice b", "amala"))
		m.run(gone("a"))
		w.pass(400 * 24 * time.Hour)
		m.job = w.backupJob(m.unit)
		m.run(mail("c", "Invoice c", "amala"), gone("b"))
		w.expired()
		if n := w.count(`SELECT count(*) FROM mail_item WHERE item = 'a'`); n > 0 {
			t.Error("an item is known that no point has")
		}
		if n := w.count(`SELECT count(*) FROM mail_item`); n != 1 {
			t.Errorf("%d items are known, want one", n)
		}
	})
}

// A session restores what several searches found in one point, one after the other
// where it is in place.
func TestSearchesAreRestored(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		m := w.mailbox()
		point := m.run(mail("a", "Invoice a", "amala"), mail("b", "Lunch", "amala"))
		search := func(query string) catalog.NewArtifact {
			return catalog.NewArtifact{Point: point.ID, Destination: backup.DestinationInPlace, Unit: m.unit, Search: "s", Query: query, Hits: 1}
		}
		one, two := search("Subject -like 'invoice'"), search("Subject -like 'lunch'")
		s := must[backup.Session](t)(w.CreateSession(ctx, contoso, backup.Exchange, backup.RestoreGranular, []catalog.NewArtifact{one, two}, w.by()))
		other := one
		other.Unit = "x"
		for name, tc := range map[string]struct {
			add  []catalog.NewArtifact
			want error
		}{
			"a search twice":              {[]catalog.NewArtifact{one, one}, backup.DuplicateArtifactInList},
			"a search of another mailbox": {[]catalog.NewArtifact{other}, backup.InvalidArtifactRequest},
		} {
			_, err := w.CreateSession(ctx, contoso, backup.Exchange, backup.RestoreGranular, tc.add, w.by())
			fails(t, name, err, tc.want)
		}
		_, _, err := w.PatchSession(ctx, contoso, s.ID, backup.RestoreStandard, []catalog.ArtifactChange{{Add: catalog.NewArtifact{Point: point.ID, Destination: backup.DestinationInPlace}}}, w.by())
		fails(t, "a whole mailbox beside searches", err, backup.InvalidArtifactRequest)

		must[backup.Session](t)(w.ActivateSession(ctx, contoso, s.ID, w.by()))
		whole := must[backup.Session](t)(w.CreateSession(ctx, contoso, backup.Exchange, backup.RestoreStandard, []catalog.NewArtifact{{Point: point.ID, Destination: backup.DestinationInPlace}}, w.by()))
		must[backup.Session](t)(w.ActivateSession(ctx, contoso, whole.ID, w.by()))
		work := w.claim(jobs.Restore)
		artifacts := append(w.artifacts(s.ID), w.artifacts(whole.ID)...)
		if len(artifacts) != 3 || artifacts[0].Query != one.Query || artifacts[1].Query != two.Query || artifacts[0].Hits != 1 || artifacts[2].Query != "" {
			t.Fatalf("artifacts = %+v", artifacts)
		}
		for _, a := range artifacts {
			ok(t, w.StartArtifact(ctx, work[string(a.ID)], a.ID))
			for _, o := range artifacts {
				if fresh := must[backup.Artifact](t)(w.ArtifactForWork(ctx, contoso, o.ID)); fresh.Status == backup.ArtifactScheduled {
					fails(t, "a restore into a mailbox at work", w.StartArtifact(ctx, work[string(o.ID)], o.ID), catalog.ErrBusy)
				}
			}
			var ids []string
			if a.Query != "" {
				for id, err := range w.FoundMail(ctx, a) {
					ok(t, err)
					ids = append(ids, string(id))
				}
				if len(ids) != 1 {
					t.Errorf("%s restores %v", a.Query, ids)
				}
			}
			ok(t, w.FinishArtifact(ctx, work[string(a.ID)], a.ID, catalog.Restored{SiteID: "f", Items: int64(len(ids))}, nil))
		}
		if end := must[backup.Session](t)(w.Session(ctx, contoso, s.ID)); end.Status != backup.SessionCompleted || end.Counts.Completed != 2 {
			t.Errorf("the session ended as %+v", end)
		}
	})
}
