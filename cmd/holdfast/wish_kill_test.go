package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/client"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
	"holdfast/internal/vault"
)

var drill = flag.Duration("drill", 0, "how long TestPlayAnOperatorsWordSurvivesKills and TestPlayProcessesAreKilled go on")

// TestPlayAnOperatorsWordSurvivesKills pauses, resumes and cancels restores at random
// moments, while serve is killed at others and people go on writing. Each session ends
// as its operator said last; each item is restored once; what is said of a restore that
// was cancelled is true; and whatever anybody has written is in its drive still, or in
// a point.
func TestPlayAnOperatorsWordSurvivesKills(t *testing.T) {
	for _, dialect := range dbtest.Dialects(t) {
		t.Run(string(dialect), func(t *testing.T) { newOperation(t, dialect).run() })
	}
}

// An operation is the drives, the mailbox, the server that restores them, and whoever
// is at work on them.
type operation struct {
	*child
	ctx         context.Context
	rnd         *rand.Rand
	dir, data   string
	databaseURL string
	writes      atomic.Int64 // that the source has been asked for
	kills       int
	mu          sync.Mutex // is held by who kills, and by who wants no kill now

	owners  []string
	units   map[string]string  // by owner: the unit of the drive
	mailbox string             // its unit
	points  map[string]string  // by unit: the first
	was     map[string]picture // by owner, at that point
	mail    map[string]int     // by content: how many messages there were then
	written map[[32]byte]string
	people  int
}

const mailOwner = "mira@kill.example"

func newOperation(t *testing.T, dialect database.Dialect) *operation {
	o := &operation{
		ctx: t.Context(), dir: t.TempDir(), databaseURL: dbtest.URL(t, dialect),
		owners: []string{"ann@kill.example", "ben@kill.example", "cas@kill.example"},
		units:  map[string]string{}, points: map[string]string{}, was: map[string]picture{}, written: map[[32]byte]string{},
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	o.rnd = rand.New(rand.NewPCG(seed, uint64(len(dialect))))
	app := simtenant.App{AppID: "d1e00000-0000-4000-8000-0000000a9900", Secret: "kill-secret", DisplayName: "Kill test", Roles: append(
		simtenant.Sample()[0].Apps[0].Roles, "Files.ReadWrite.All", "Sites.Manage.All", "User.Read.All", "GroupMember.Read.All",
		"MailboxSettings.Read", "MailboxFolder.ReadWrite.All", "MailboxItem.Read.All", "MailboxItem.ImportExport.All", "Mail.Read")}
	tenant := simtenant.Tenant{ID: killTenant, DisplayName: "Kill", Domain: "kill.example", Apps: []simtenant.App{app}}
	for i, name := range append(o.owners, mailOwner) {
		tenant.Users = append(tenant.Users, simtenant.User{ID: killUser(i), UserPrincipalName: name, Mail: name, DisplayName: name})
	}
	faults := &simtenant.Faults{}
	faults.Set(func(is *simtenant.Options) { is.Mail.Requests = 1_000_000 }) // the service's own would let long drills wait
	sim, err := simtenant.New(simtenant.Config{Faults: faults, State: filepath.Join(o.dir, "sim"), Drives: filepath.Join(o.dir, "drives"),
		Mail: filepath.Join(o.dir, "mail"), Sites: filepath.Join(o.dir, "sites"), Tenants: []simtenant.Tenant{tenant}, Log: newLog(t.Output())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	// What the source was asked for takes effect, although who asked is dead.
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && !strings.Contains(r.URL.Path, "oauth2") {
			o.writes.Add(1)
			time.Sleep(40 * time.Millisecond)
		}
		sim.Handler().ServeHTTP(w, r.WithContext(context.WithoutCancel(r.Context())))
	}))
	t.Cleanup(source.Close)

	files := newCorpus(seed)
	for _, name := range o.owners {
		for i := range 40 {
			if err := files.write(o.folder(name), fmt.Sprintf("%s/%d/%s %02d.txt", words[i%3], i%4, words[i%20], i), 100+i*50, i%2 == 0); err != nil {
				t.Fatal(err)
			}
		}
		o.was[name] = o.picture(name)
	}
	if err := files.mail(filepath.Join(o.dir, "mail", mailOwner)); err != nil {
		t.Fatal(err)
	}
	o.mail = o.messages(t)

	config := writeConfig(t, func(cfg map[string]any) {
		cfg["listen"], cfg["database"], cfg["interval"] = "127.0.0.1:0", o.databaseURL, "24h"
		cfg["workloads"] = allWorkloads
		cfg["tenants"] = []any{map[string]any{"id": killTenant, "graph": source.URL + "/v1.0", "authority": source.URL, "clientId": app.AppID, "secretFile": "app.secret"}}
		cfg["issuers"] = []any{map[string]any{"issuer": source.URL + "/" + killTenant + "/v2.0", "jwks": source.URL + "/" + killTenant + "/discovery/v2.0/keys", "tenant": killTenant}}
	})
	if err := writeFile(filepath.Join(filepath.Dir(config), "app.secret"), []byte(app.Secret), 0o600); err != nil {
		t.Fatal(err)
	}
	o.child = &child{t: t, path: os.Args[0], args: []string{"serve", "--config", config}, app: app, authority: source.URL, env: []string{asProgram + "=1"}}
	if o.log, err = os.Create(filepath.Join(o.dir, "child.log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.log.Close() })
	o.data = filepath.Dir(config)
	return o
}

func (o *operation) folder(owner string) string { return filepath.Join(o.dir, "drives", owner) }

func (o *operation) picture(name string) picture {
	p, err := takePicture(o.folder(name))
	if err != nil {
		o.t.Error(err)
	}
	return p
}

// messages counts the messages of the mailbox by content.
func (o *operation) messages(t *testing.T) map[string]int {
	all := map[string]int{}
	files, err := filesBelow(filepath.Join(o.dir, "mail", mailOwner))
	for _, name := range files {
		if strings.HasSuffix(name, ".eml") {
			text, readErr := os.ReadFile(name)
			err = errors.Join(err, readErr)
			rel, _ := filepath.Rel(o.dir, filepath.Dir(name))
			all[rel+" "+string(text)]++
		}
	}
	if err != nil {
		t.Error(err)
	}
	return all
}

// put has somebody write a file.
func (o *operation) put(owner string) {
	o.people++
	name := filepath.Join(o.folder(owner), []string{"", "New folder", "the/1"}[o.people%3], fmt.Sprintf("written %d.txt", o.people))
	text := []byte(fmt.Sprint("somebody wrote this as number ", o.people))
	err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, text, 0o644))
	if errors.Is(err, fs.ErrNotExist) {
		return // the folder has been deleted meanwhile
	}
	if err != nil {
		o.t.Error(err)
	}
	o.written[sha256.Sum256(text)] = owner + "/" + filepath.Base(name)
}

// remember keeps what is in the drives when restores begin, which must not be lost.
func (o *operation) remember() {
	for _, owner := range o.owners {
		for name, e := range o.picture(owner) {
			if !e.folder {
				o.written[e.hash] = owner + "/" + name
			}
		}
	}
}

// forget lets go of what is in the drives still when restores have ended: the next harm
// may well destroy it. The rest is to be in points.
func (o *operation) forget() {
	for _, owner := range o.owners {
		for _, e := range o.picture(owner) {
			delete(o.written, e.hash)
		}
	}
}

// restart has the program be killed, and another take what it has left.
func (o *operation) restart() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kill()
	fmt.Fprintln(o.log, "killed")
	o.kills++
	db, err := database.Open(o.ctx, o.databaseURL)
	if err == nil {
		err = errors.Join(jobs.New(db, time.Now).Reclaim(o.ctx), db.Close()) // as half a minute later
	}
	if err != nil {
		o.t.Fatal(err)
	}
	o.start()
}

func (o *operation) run() {
	o.start()
	defer func() {
		if o.cmd.ProcessState == nil {
			o.kill()
		}
	}()
	o.protect()
	rounds, until := 0, time.Now().Add(*drill)
	for rounds == 0 || time.Now().Before(until) && !o.t.Failed() {
		for _, cancel := range []bool{false, true} {
			o.round(cancel)
		}
		rounds++
	}
	o.end()
	o.nothingIsLost()
	o.t.Logf("%d rounds, %d kills, %d files written", rounds, o.kills, o.people)
	if o.t.Failed() {
		o.t.Log(o.tail())
	}
}

// protect makes the first points.
func (o *operation) protect() {
	for workload, owners := range map[string][]string{"oneDriveForBusiness": o.owners, "exchange": {mailOwner}} {
		set, unit := workload+"ProtectionPolicies", map[string]string{"oneDriveForBusiness": "driveProtectionUnits", "exchange": "mailboxProtectionUnits"}[workload]
		var units []any
		for _, owner := range owners {
			i := slices.Index(append(slices.Clone(o.owners), mailOwner), owner)
			units = append(units, map[string]any{"directoryObjectId": killUser(i)})
		}
		var policy policyAnswer
		if err := o.post(o.ctx, "/"+set, map[string]any{"displayName": workload, unit: units}, &policy); err != nil {
			o.t.Fatal(err)
		}
		if err := o.post(o.ctx, "/protectionPolicies/"+policy.ID+"/activate", nil, nil); err != nil {
			o.t.Fatal(err)
		}
		o.waitFor(o.ctx, "all is protected", func(ctx context.Context, cl *client.Client) (bool, error) {
			got, err := list[unitAnswer](ctx, cl, "/"+set+"/"+policy.ID+"/"+unit)
			for _, u := range got {
				if u.Status != "protected" {
					return false, err
				}
				if i := slices.IndexFunc(o.owners, func(owner string) bool { return u.DirectoryObjectID == string(killUser(slices.Index(o.owners, owner))) }); i >= 0 {
					o.units[o.owners[i]] = u.ID
				} else {
					o.mailbox = u.ID
				}
				var found searchAnswer
				if err := cl.Call(ctx, http.MethodPost, "/restorePoints/search", map[string]any{
					"protectionUnitIds": []string{u.ID}, "protectionTimePeriod": map[string]any{"startDateTime": time.Now().UTC().Add(-time.Hour)}, "restorePointPreference": "oldest",
				}, &found); err != nil || len(found.SearchResults) == 0 {
					return false, err
				}
				o.points[u.ID] = found.SearchResults[0].RestorePoint.ID
			}
			return len(got) == len(owners), err
		})
	}
}

// round harms everything, and restores it as an operator has in mind.
func (o *operation) round(cancel bool) {
	harm := corpus{o.rnd}
	for i, owner := range o.owners {
		if _, err := []func(string) (int, error){harm.edit, harm.encrypt, harm.empty}[(i+o.rnd.IntN(2))%3](o.folder(owner)); err != nil {
			o.t.Fatal(err)
		}
		o.put(owner)
	}
	if _, err := harm.unmail(filepath.Join(o.dir, "mail", mailOwner)); err != nil {
		o.t.Fatal(err)
	}
	harmed := map[string]picture{}
	for _, owner := range o.owners {
		harmed[owner] = o.picture(owner)
	}
	mailBefore := o.messages(o.t)
	o.remember()
	places := o.places()

	asked := func(destination string, units ...string) (all []any) {
		for _, unit := range units {
			all = append(all, map[string]any{"restorePoint": map[string]any{"id": o.points[unit]}, "destinationType": destination})
		}
		return all
	}
	ofDrives, ofMail := "/oneDriveForBusinessRestoreSessions", "/exchangeRestoreSessions"
	sessions := []*sessionAnswer{{Type: ofDrives}, {Type: ofDrives}, {Type: ofMail}}
	for i, what := range []map[string]any{
		{"driveRestoreArtifacts": asked("inPlace", o.units[o.owners[0]], o.units[o.owners[1]])},
		{"driveRestoreArtifacts": asked("new", o.units[o.owners[2]])},
		{"mailboxRestoreArtifacts": asked("inPlace", o.mailbox)},
	} {
		if err := o.post(o.ctx, sessions[i].Type, what, sessions[i]); err != nil {
			o.t.Fatal(err)
		}
	}

	ctx, cancelAll := context.WithTimeoutCause(o.ctx, 3*time.Minute, errors.New("the round took too long"))
	defer cancelAll()
	over := make(chan struct{})
	var others sync.WaitGroup
	kills, writes := make([]time.Duration, 2+o.rnd.IntN(4)), o.rnd.IntN(8)
	for i := range kills {
		kills[i] = time.Duration(o.rnd.Int64N(int64(2500 * time.Millisecond)))
	}
	others.Go(func() {
		for _, wait := range kills {
			select {
			case <-over:
				return
			case <-time.After(wait):
				o.restart()
			}
		}
	})
	others.Go(func() {
		for i := range writes {
			select {
			case <-over:
				return
			case <-time.After(700 * time.Millisecond):
				o.put(o.owners[i%len(o.owners)])
			}
		}
	})
	cancelled := make([]bool, len(sessions))
	var operators sync.WaitGroup
	for i, s := range sessions {
		rnd := rand.New(rand.NewPCG(o.rnd.Uint64(), 0))
		operators.Go(func() { cancelled[i] = o.operate(ctx, rnd, s, i == 0, cancel) })
	}
	operators.Wait()
	for _, s := range sessions {
		o.waitFor(ctx, "the session is over", func(ctx context.Context, cl *client.Client) (bool, error) {
			err := cl.Call(ctx, http.MethodGet, "/restoreSessions/"+s.ID, nil, s)
			return backup.SessionStatus(s.Status).Final(), err
		})
	}
	close(over)
	others.Wait()

	for i, s := range sessions {
		switch {
		case !cancelled[i] && s.Status != string(backup.SessionCompleted):
			o.t.Errorf("a session that nobody has cancelled is %s: %v", s.Status, s.Error)
		case cancelled[i] && (s.Cancelled.IsZero() || (s.Status == string(backup.SessionCompleted)) != (s.Error == nil) || s.Error != nil && s.Error.Code != string(backup.RestoreCancelled)):
			o.t.Errorf("a session that was cancelled is %s: %v", s.Status, s.Error)
		}
	}
	of := func(path string) (all []artifactAnswer) {
		if err := o.call(ctx, func(ctx context.Context, cl *client.Client) (err error) {
			all, err = list[artifactAnswer](ctx, cl, path)
			return err
		}); err != nil {
			o.t.Fatal(err)
		}
		return all
	}
	made := o.places() - places
	for i, s := range sessions[:2] {
		all := of(ofDrives + "/" + s.ID + "/driveRestoreArtifacts")
		if len(all) != 2-i || made > 1 || made == 0 && !cancelled[1] {
			o.t.Fatalf("%d artifacts, and %d new places", len(all), made)
		}
		for _, a := range all {
			owner := o.owners[slices.IndexFunc(o.owners, func(owner string) bool { return o.points[o.units[owner]] == a.RestorePoint.ID })]
			o.check(a, owner, harmed[owner], cancelled[i])
		}
	}
	for _, a := range of(ofMail + "/" + sessions[2].ID + "/mailboxRestoreArtifacts") {
		o.checkMail(a, mailBefore, cancelled[2])
	}
	o.forget()
}

// operate asks for one thing after another of a session, and returns whether it was
// cancelled.
func (o *operation) operate(ctx context.Context, rnd *rand.Rand, s *sessionAnswer, inPlace, cancel bool) bool {
	// ask reports whether the session took it; one that has ended takes nothing.
	ask := func(action string) bool {
		err := o.post(ctx, "/restoreSessions/"+s.ID+"/"+action, nil, nil)
		if e, ok := errors.AsType[*client.Error](err); ok && e.Code == string(backup.RestoreSessionActionNotAllowed) && (action == "activate" || strings.Contains(e.Message, "this one has ended")) {
			return false
		}
		if err != nil {
			o.t.Errorf("%s the session: %v", action, err)
		}
		return err == nil
	}
	pause := func() { time.Sleep(time.Duration(rnd.Int64N(int64(1500 * time.Millisecond)))) }
	ask("activate")
	for range rnd.IntN(3) {
		pause()
		if !ask("holdfast.pause") {
			return false
		}
		if inPlace && rnd.IntN(2) == 0 {
			o.rests(ctx, s)
		}
		if cancel && rnd.IntN(3) == 0 {
			break
		}
		pause()
		ask("holdfast.resume")
	}
	if cancel {
		pause()
		return ask("holdfast.cancel")
	}
	ask("holdfast.resume")
	return false
}

// rests looks at a session that is paused.
func (o *operation) rests(ctx context.Context, s *sessionAnswer) {
	o.mu.Lock() // nobody kills
	defer o.mu.Unlock()
	time.Sleep(4 * time.Second)
	seen := o.writes.Load()
	var now sessionAnswer
	if err := o.get(ctx, "/restoreSessions/"+s.ID, &now); err != nil {
		o.t.Error(err)
	}
	var before, after []string
	for i := range 2 {
		for _, owner := range o.owners[:2] {
			for name, e := range o.picture(owner) {
				if strings.Contains(name, "written ") || e.folder {
					continue
				}
				if strings.Contains(name, "(moved aside ") {
					o.t.Errorf("while the restore is paused, there is %s", name)
				}
				what := fmt.Sprintf("%s/%s %x", owner, name, e.hash[:4])
				if i == 0 {
					before = append(before, what)
				} else {
					after = append(after, what)
				}
			}
		}
		time.Sleep(time.Second)
	}
	slices.Sort(before)
	slices.Sort(after)
	if !slices.Equal(before, after) {
		o.t.Errorf("a paused restore (%s, %v) goes on: %d writes", now.Status, now.Paused, o.writes.Load()-seen)
	}
}

// places counts the places beside the drives.
func (o *operation) places() int {
	n := 0
	for _, owner := range o.owners {
		all, _ := filepath.Glob(o.folder(owner) + ".*")
		n += len(all)
	}
	return n
}

// check compares a drive with what is said of its restore.
func (o *operation) check(a artifactAnswer, owner string, harmed picture, cancelled bool) {
	was := o.was[owner]
	said := map[string]string{}
	if a.Error != nil {
		for _, d := range a.Error.Details {
			said[d.Target] = d.Message
		}
	}
	now := o.picture(owner)
	for name := range now {
		if strings.Contains(name, "(moved aside ") {
			o.t.Errorf("%s: there is %s", owner, name)
		}
	}
	if a.DestinationType == "new" {
		for name, e := range harmed {
			if now[name] != e {
				o.t.Errorf("%s: %s has changed in a restore to a new place", owner, name)
			}
		}
		u, err := url.Parse(a.RestoredSiteWebURL)
		if err != nil || a.RestoredSiteWebURL == "" {
			if a.Status == "succeeded" {
				o.t.Errorf("%s: no new place: %+v", owner, a)
			}
			return
		}
		if now, err = takePicture(o.folder(owner) + "." + path.Base(u.Path)); err != nil {
			o.t.Error(err)
		}
		harmed = picture{}
	}
	switch {
	case a.Status == "succeeded":
		for name, e := range was {
			if now[name] != e {
				o.t.Errorf("%s, %s: %s did not come back as it was", owner, a.DestinationType, name)
			}
		}
		for name, e := range now {
			if _, ok := was[name]; !ok && !e.folder && !strings.Contains(name, "written ") {
				o.t.Errorf("%s, %s: %s should not be there", owner, a.DestinationType, name)
			}
		}
		return
	case !cancelled || a.Error == nil || a.Error.Code != string(backup.RestoreCancelled):
		o.t.Errorf("%s: the artifact is %s: %v", owner, a.Status, a.Error)
		return
	}
	// What was given its name back may still have the content that it was given by others.
	contents := map[[32]byte]bool{}
	for _, h := range harmed {
		contents[h.hash] = true
	}
	begun := !strings.Contains(a.Error.Message, "before it had changed anything")
	for name, e := range was {
		h, there := harmed[name]
		is, isThere := now[name]
		switch {
		case e.folder:
		case there && h == e:
			if is != e {
				o.t.Errorf("%s: %s was as it is in the point, and is no longer", owner, name)
			}
		case is == e:
			if strings.HasPrefix(said[name], "Not restored") || !begun || a.DestinationType == "inPlace" && !strings.HasPrefix(said[name], "It was restored before") {
				o.t.Errorf("%s, %s: of %s, which is restored, it says %q, and %q", owner, a.DestinationType, name, said[name], a.Error.Message)
			}
		case isThere == there && is == h:
			if begun && !strings.HasPrefix(said[name], "Not restored") {
				o.t.Errorf("%s, %s: of %s, which is not restored, it says %q, and %q", owner, a.DestinationType, name, said[name], a.Error.Message)
			}
		case contents[is.hash] && strings.HasPrefix(said[name], "Not restored"):
		default:
			o.t.Errorf("%s, %s: %s is neither as it was nor as it was made: %q", owner, a.DestinationType, name, said[name])
		}
	}
}

// checkMail compares the mailbox with what is said of its restore.
func (o *operation) checkMail(a artifactAnswer, before map[string]int, cancelled bool) {
	now := o.messages(o.t)
	put := 0
	for text, n := range o.mail {
		is := now[text]
		put += is - before[text]
		if is > n || is < before[text] || a.Status == "succeeded" && is < n {
			o.t.Errorf("a message that was there %d times, and then %d, is there %d times", n, before[text], is)
		}
	}
	for text := range now {
		if o.mail[text] == 0 {
			o.t.Errorf("there is a message that was never there: %.200q", text)
		}
	}
	if a.Status == "succeeded" {
		return
	}
	if !cancelled || a.Error == nil || a.Error.Code != string(backup.RestoreCancelled) {
		o.t.Errorf("the mailbox: the artifact is %s: %v", a.Status, a.Error)
		return
	}
	told := 0
	if _, after, ok := strings.Cut(a.Error.Message, "by then, "); ok {
		number, _, _ := strings.Cut(after, " ")
		told, _ = strconv.Atoi(number)
	}
	if put < told || put > told+len(a.Error.Details) {
		o.t.Errorf("%d messages were put into the mailbox, and it says %q and %v", put, a.Error.Message, a.Error.Details)
	}
}

// nothingIsLost looks for all that was ever in the drives in the drives and the points.// nothingIsLost looks into the points for what restores have taken out of the drives.
func (o *operation) nothingIsLost() {
	found := map[[32]byte]bool{}
	db, err := database.Open(o.ctx, o.databaseURL)
	if err != nil {
		o.t.Fatal(err)
	}
	defer db.Close()
	cat := catalog.New(db, jobs.New(db, time.Now), catalog.Config{Clock: time.Now})
	v, err := vault.Open(o.ctx, vault.Config{Dir: filepath.Join(o.data, "vault", killTenant), Password: "correct horse", State: o.t.TempDir()})
	if err != nil {
		o.t.Fatal(err)
	}
	defer v.Close(o.ctx)
	seen := map[string]bool{}
	for _, id := range slices.Sorted(maps.Values(o.units)) {
		list, err := cat.Points(o.ctx, killTenant, catalog.PointQuery{Unit: backup.UnitID(id), Page: catalog.Page{Limit: 999}})
		if err != nil {
			o.t.Fatal(err)
		}
		for _, p := range list.Items {
			if !seen[p.Tree] {
				seen[p.Tree] = true
				o.hashes(v, p.Tree, found)
			}
		}
	}
	lost := 0
	for hash, name := range o.written {
		if !found[hash] {
			lost++
			o.t.Errorf("%s was in a drive when a restore began, and is in no point", name)
		}
	}
	o.t.Logf("%d contents, in %d points", len(o.written), len(seen))
}

// hashes adds what the files of a point hold.
func (o *operation) hashes(v *vault.Vault, tree string, found map[[32]byte]bool) {
	for node, err := range v.Walk(o.ctx, tree) {
		if err != nil {
			o.t.Fatal(err)
		}
		if node.Kind != backup.File {
			continue
		}
		r, err := v.Open(o.ctx, node.Content)
		if err != nil {
			o.t.Fatal(err)
		}
		h := sha256.New()
		if _, err := io.Copy(h, r); err != nil {
			o.t.Fatal(err)
		}
		r.Close()
		found[[32]byte(h.Sum(nil))] = true
	}
}
