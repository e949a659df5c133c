package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	slashed "path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
)

// A hostileWorld is a world whose source can mislead, with a second way to the
// source on which nothing does.
type hostileWorld struct {
	*world
	source *simtenant.Hostile
	honest *drive.Client
}

func newHostileWorld(t testing.TB, owners ...string) *hostileWorld {
	h := &hostileWorld{}
	var honest *httptest.Server
	h.world = newWorldBehind(t, func(sim http.Handler) http.Handler {
		honest = httptest.NewServer(sim)
		h.source = simtenant.NewHostile(sim)
		return h.source
	}, owners...)
	t.Cleanup(honest.Close)
	h.honest = drive.New(drive.Config{
		Graph: honest.URL + "/v1.0", Authority: honest.URL, Tenant: h.tenant, ClientID: testApp, Credential: drive.Secret(testSecret),
	})
	h.faults.Set(func(o *simtenant.Options) { o.PageSize = 6 })
	return h
}

// later has time pass, for whoever waits for it.
func (h *hostileWorld) later(d time.Duration) {
	h.skew.Add(int64(d))
	h.wait.Add(int64(d))
}

// isVictim says which items profiles single out.
func isVictim(name string) bool { return strings.Contains(strings.ToLower(name), "victim") }

// A living is an item as the drive truly has it.
type living struct {
	parent   backup.ItemID
	name     string
	path     string
	what     string // folder, or the digest of its content
	modified time.Time
	hit      bool // it is a victim, or below one
}

// truth asks the honest source what is in an owner's drive.
func (h *hostileWorld) truth(i int) (root backup.ItemID, _ map[backup.ItemID]living) {
	h.t.Helper()
	d, err := h.honest.UserDrive(h.ctx, h.users[i].ID)
	h.must(err)
	items := map[backup.ItemID]drive.Item{}
	for item, err := range h.honest.Delta(h.ctx, d.ID, "").All() {
		h.must(err)
		items[item.ID] = item
	}
	out := map[backup.ItemID]living{}
	for id, item := range items {
		if item.Root {
			root = id
		}
		if item.Root || item.Deleted {
			continue
		}
		a := living{parent: item.Parent, name: item.Name, what: "folder", modified: item.Modified}
		var names []string
		for at := item; !at.Root; at = items[at.Parent] {
			names = append(names, at.Name)
			a.hit = a.hit || isVictim(at.Name)
		}
		slices.Reverse(names)
		a.path = strings.Join(names, "/")
		if item.Kind == backup.File {
			b, err := os.ReadFile(filepath.Join(h.home(i), filepath.FromSlash(a.path)))
			h.must(err)
			a.what = digest(b)
		}
		out[id] = a
	}
	return root, out
}

// points returns all points of a unit, the newest first.
func (w *world) points(u backup.Unit) []backup.Point {
	w.t.Helper()
	l, err := w.catalog.Points(w.ctx, w.tenant, catalog.PointQuery{Unit: u.ID, Page: catalog.Page{Limit: 10_000}})
	w.must(err)
	slices.SortFunc(l.Items, func(a, b backup.Point) int { return b.At.Compare(a.At) })
	return l.Items
}

// A lie is what a profile says that nothing can disprove while it lasts.
type lie int

const (
	aboutNames    lie = 1 << iota // and kinds
	aboutPlaces                   // in which folder an item is
	aboutTimes                    //
	aboutContents                 // of victims
	aboutBeing                    // whether victims are there
	aboutFolders                  // whether folders that are victims are there
	aboutAll                      // all of it, and not of victims only
)

// check compares a unit's newest point with what the drive truly holds and with
// the items that the point and the unit name. Each living item is exactly one
// of: held and right; held and named; not held and named. Nothing else is in
// the point.
func (h *hostileWorld) check(u backup.Unit, i int, lies lie) {
	h.t.Helper()
	point := h.latest(u)
	trueRoot, truth := h.truth(i)
	byID, byName := map[backup.ItemID]backup.Unread{}, map[string]backup.Unread{}
	unread := h.unread(u)
	for _, item := range unread {
		if item.Item != "" {
			byID[item.Item] = item
		} else {
			byName[slashed.Base(item.Path)] = item
		}
	}
	named := func(id backup.ItemID, path string) (backup.Unread, bool) {
		if item, ok := byID[id]; ok {
			return item, true
		}
		for at, lives := truth[id]; lives && at.hit; at, lives = truth[at.parent] {
			if above := byID[at.parent]; above.Code == backup.PlaceUnknown || strings.HasPrefix(above.Message, "The folder holds another number of items") {
				return backup.Unread{}, true
			}
		}
		item, ok := byName[slashed.Base(path)] // the folders above it may have no id either
		return item, ok
	}
	held := map[backup.ItemID]living{}
	root := backup.ItemID("")
	for node, err := range h.vault.Walk(h.ctx, point.Tree) {
		h.must(err)
		if node.Parent == "" {
			root = node.ID
			continue
		}
		a := living{parent: node.Parent, name: node.Name, path: node.Path, what: "folder", modified: node.Modified}
		if node.Kind == backup.File {
			r, err := h.vault.Open(h.ctx, node.Content)
			h.must(err)
			b, err := io.ReadAll(r)
			h.must(errors.Join(err, r.Close()))
			a.what = digest(b)
		}
		held[node.ID] = a
	}
	for id, is := range truth {
		if lies&aboutAll != 0 {
			break
		}
		has, in := held[id]
		item, told := named(id, is.path)
		if told && item.Item != "" && in != item.Held && is.what != "folder" {
			h.t.Errorf("%s: it is said to be held: %v, but it is %v", is.path, item.Held, in)
		}
		switch {
		case told:
		case !in:
			if !is.hit || lies&aboutBeing == 0 && (lies&aboutFolders == 0 || is.what != "folder") {
				h.t.Errorf("%s lives, and neither is it in the point nor named: %+v", is.path, unread)
			}
		case is.what != has.what && !(is.hit && lies&(aboutContents|aboutNames) != 0):
			h.t.Errorf("%s: the point holds %s, the drive %s, and it is not named", is.path, has.what, is.what)
		case is.name != has.name && !(is.hit && lies&aboutNames != 0):
			h.t.Errorf("%s: its name in the point is %q", is.path, has.name)
		case is.parent != has.parent && (is.parent != trueRoot || has.parent != root) && !(is.hit && lies&aboutPlaces != 0):
			h.t.Errorf("%s: in the point it is at %s", is.path, has.path)
		case !sameSecond(is.modified, has.modified) && !(is.hit && lies&aboutTimes != 0):
			h.t.Errorf("%s: its time in the point is %v, not %v", is.path, has.modified, is.modified)
		}
	}
	for id, has := range held {
		if _, lives := truth[id]; lives {
			continue
		}
		if _, told := named(id, has.path); !told && lies&aboutAll == 0 {
			h.t.Errorf("%s is in the point, not in the drive, and not named", has.path)
		}
	}
	if point.Unread != int64(len(unread)) {
		h.t.Errorf("the point says that it lacks %d items, and %d are named", point.Unread, len(unread))
	}
	problem := h.unit(u.ID).Problem
	switch {
	case len(unread) == 0 && problem != nil:
		h.t.Errorf("nothing is named, and the unit's error is %+v", problem)
	case len(unread) > 0 && (problem == nil || problem.Message == ""):
		h.t.Errorf("%d items are named, and the unit has no error", len(unread))
	case len(unread) > 0:
		for _, item := range unread {
			if item.Path == "" && item.Item != "" && lies&aboutNames == 0 {
				h.t.Errorf("%+v is named without a path", item)
			}
			if item.Code == "" || item.Message == "" {
				h.t.Errorf("no reason is given for %+v", item)
			}
			if !slices.ContainsFunc(problem.Details, func(d backup.Detail) bool { return d.Target == item.Path }) && len(unread) <= maxDetails {
				h.t.Errorf("the unit's error does not name %s", item.Path)
			}
		}
	}
}

// hostileFiles is the drive that is read while its source misleads.
func hostileFiles() map[string]string {
	files := map[string]string{
		"keep.txt": "keep", "empty.bin": "", "docs/a.txt": "a", "docs/gone.txt": "gone", "docs/b/c.txt": "c",
		"docs/victim.txt":                  "the victim's content, some of it",
		"docs/Victim report.docx":          strings.Repeat("paragraph of a report. ", 2000),
		"docs/victim twin a.txt":           "twin a",
		"docs/victim twin b.txt":           "twin b, longer",
		"docs/victim \u00e9\u00fc.txt":     "accents",
		"photos/victim.heic":               strings.Repeat("pixels", 500),
		"victim folder/inside.txt":         "inside",
		"victim folder/victim/deep.txt":    "deep",
		"other victim folder/victim 2.txt": "2",
		"moving/m.txt":                     "m",
		"docs/victim to be moved.txt":      "it is moved, and another takes its name",
		"closing/victim.txt":               "it is moved away from a folder that goes",
		"closing/deep/victim 2.txt":        "the same, deeper",
		"closing/deep/goes.txt":            "it goes",
		"closing/victims/inside.txt":       "it is moved with its folder",
	}
	for i := range 9 {
		files[fmt.Sprintf("photos/%d.jpg", i)] = strings.Repeat(fmt.Sprint(i), 100+i)
	}
	return files
}

// edit does to a drive what its owner does between two backups.
func (h *hostileWorld) edit(home string) {
	h.t.Helper()
	h.must(os.Remove(filepath.Join(home, "docs/gone.txt")))
	h.must(os.RemoveAll(filepath.Join(home, "docs/b")))
	h.must(os.Rename(filepath.Join(home, "moving"), filepath.Join(home, "docs/moved")))
	h.must(os.Rename(filepath.Join(home, "docs/a.txt"), filepath.Join(home, "docs/renamed.txt")))
	for from, to := range map[string]string{
		"docs/victim to be moved.txt": "docs/victim that was moved.txt", "closing/victim.txt": "photos/victim.txt",
		"closing/deep/victim 2.txt": "photos/victim 2.txt", "closing/victims": "photos/victims",
	} {
		h.must(os.Rename(filepath.Join(home, from), filepath.Join(home, to)))
	}
	h.must(os.RemoveAll(filepath.Join(home, "closing")))
	h.put(home, map[string]string{
		"docs/victim to be moved.txt":    "another of its name",
		"keep.txt":                       "kept",
		"docs/victim.txt":                "the victim's content, edited, and longer than before",
		"photos/victim.heic":             strings.Repeat("pixelz", 500), // of the same length
		"docs/new victim.txt":            "a victim that is new",
		"docs/victim twin a.txt":         "twin a, edited",
		"docs/victim twin b.txt":         "twin b, edited",
		"docs/victim \u00e9\u00fc.txt":   "accents, edited",
		"docs/empty victim.txt":          "",
		"new victim folder/child.txt":    "child",
		"new victim folder/victim.txt":   "child that is a victim",
		"victim folder/victim/deep.txt":  "deeper",
		"other victim folder/more.txt":   "more",
		"victim folder/victim/later.txt": "later",
	})
}

// An expectation is what a point must hold while a profile plays. The zero
// value is the rule without exception: a point is made, all that can be known
// is right in it, and the next run heals what is named.
type expectation struct {
	none   bool // no point may be made
	either bool // there may be a point or none
	lies   lie  // what nothing can disprove while it lasts
	slow   bool // healing takes the enumeration in full that comes round
	idle   bool // it hits nothing in the first backup
	brief  bool // it may be over before a second run
	quiet  bool // a unit that waits for the source need not have an error
}

// expectations of profiles that are not the rule.
var expectations = map[string]expectation{
	// What tells of yesterday needs one.
	"content of yesterday":     {idle: true},
	"item as it was yesterday": {idle: true},
	// Of what is not listed any more.
	"a delta that leaves moves out": {idle: true, brief: true},

	// Names, places and times are the source's to say.
	"times of the year 1":                          {lies: aboutTimes, slow: true},
	"times of 1600":                                {lies: aboutTimes, slow: true},
	"times of 2300":                                {lies: aboutTimes, slow: true},
	"times of 9999":                                {lies: aboutTimes, slow: true},
	"times that are none":                          {lies: aboutTimes, slow: true},
	"names of other normal form":                   {lies: aboutNames, slow: true},
	"names equal but for case":                     {lies: aboutNames, slow: true},
	"names that are no UTF-8":                      {lies: aboutNames, slow: true},
	"names of great length":                        {lies: aboutNames, slow: true},
	"two items of one name":                        {lies: aboutNames, slow: true},
	"an id with two kinds":                         {lies: aboutNames, slow: true},
	"a file that is a folder when it is looked at": {lies: aboutContents | aboutNames, slow: true},
	"delta 504 in the middle":                      {brief: true},
	"an item that is its own parent":               {lies: aboutPlaces, slow: true},
	"folders in a circle":                          {lies: aboutPlaces, slow: true, idle: true, either: true},
	"a parent that is never told":                  {lies: aboutFolders, slow: true},

	// What the deltas leave out is found by counting or, where even the counts
	// are wrong or nothing was added or taken away, by enumerating all.
	"a delta that leaves items out":                     {lies: aboutContents | aboutNames | aboutPlaces | aboutTimes, slow: true},
	"a delta that leaves items out, and listings 404":   {lies: aboutContents | aboutNames | aboutPlaces | aboutTimes | aboutBeing, slow: true},
	"deltas and listings that leave items out":          {lies: aboutContents | aboutNames | aboutPlaces | aboutTimes, slow: true},
	"a delta that leaves items out, and childCount too": {lies: aboutContents | aboutNames | aboutPlaces | aboutTimes | aboutBeing, slow: true},
	"a fresh enumeration that leaves items out":         {lies: aboutContents, slow: true},
	"items as they were yesterday in the delta":         {lies: aboutContents | aboutTimes, slow: true, idle: true},
	"an empty tombstone of a living item":               {slow: true},
	"tags that never change":                            {slow: true},
	"the delta is empty":                                {lies: aboutAll, slow: true},
	"a fresh enumeration that is empty":                 {lies: aboutContents | aboutTimes, slow: true},

	"listings of another folder": {lies: aboutContents | aboutNames | aboutPlaces | aboutTimes | aboutBeing, slow: true},
	"listings that never end":    {lies: aboutContents | aboutNames | aboutPlaces | aboutTimes | aboutBeing, slow: true},

	"listings 403": {lies: aboutContents | aboutNames | aboutPlaces | aboutTimes | aboutBeing, slow: true},

	// Files of one length and time, of which nothing else is told.
	"no tags, no hashes":                    {lies: aboutContents, slow: true},
	"tags that never change, and no hashes": {lies: aboutContents, slow: true},

	// What there was to tell before, and what is over by the second time.
	"item and content as they were yesterday":     {idle: true},
	"deleted items that can still be looked at":   {idle: true},
	"a tombstone, and then the item of yesterday": {idle: true, brief: true},
	"the first page again at the end":             {lies: aboutAll, slow: true, idle: true},
	"folders in what they hold":                   {idle: true, lies: aboutPlaces, slow: true},
	"folders in what they hold, in the delta":     {idle: true, brief: true},
	"tokens that end at once":                     {idle: true},
	"the authority is away for a moment":          {idle: true},
	"folders that are notebooks":                  {lies: aboutNames, slow: true, brief: true},
	"files that are shortcuts":                    {lies: aboutBeing, slow: true},
	"files that become folders":                   {lies: aboutNames, slow: true},

	// Where the drive as a whole cannot be read there is no point.
	"pages with a mark before them":                       {none: true},
	"pages with more behind them":                         {none: true},
	"pages of garbage that is called compressed":          {none: true},
	"pages of a text":                                     {none: true},
	"pages of a text in the list's place":                 {none: true},
	"pages of brackets without end":                       {none: true},
	"pages of brackets without end in the list":           {none: true},
	"links that are numbers":                              {none: true},
	"links without an origin":                             {none: true},
	"the whole deltaLink of another drive":                {none: true},
	"delta 204":                                           {none: true},
	"delta 304":                                           {none: true},
	"delta 400":                                           {none: true},
	"delta 405":                                           {none: true},
	"delta 406":                                           {none: true},
	"delta 409":                                           {none: true},
	"delta 416":                                           {none: true},
	"delta 451":                                           {none: true},
	"delta that redirects in a circle":                    {none: true},
	"delta that redirects to nowhere":                     {none: true},
	"the authority answers with no token":                 {either: true, idle: true},
	"the authority answers with an empty token":           {either: true, idle: true},
	"the authority answers with a login page":             {either: true, idle: true},
	"the authority answers with a number":                 {either: true, idle: true},
	"the authority answers with a token of somebody else": {either: true, idle: true},
	"the authority answers with a token that no header can hold": {either: true, idle: true},
	"a drive of another id":                          {none: true},
	"a drive that is a login page":                   {none: true},
	"a drive that is an error document":              {none: true},
	"a drive that redirects in a circle":             {none: true},
	"the drive of somebody unnamed":                  {none: true},
	"a page that is nothing":                         {none: true},
	"a page that is null":                            {none: true},
	"a page that is a list":                          {none: true},
	"a page whose value is no list":                  {none: true},
	"a page that is half a document":                 {none: true},
	"a page that is nested without end":              {none: true},
	"a page with an error and no changes":            {none: true},
	"every token refused, each time with a Location": {none: true},
	"a drive without id":                             {none: true},
	"a root without id":                              {either: true},
	"a root that is nothing":                         {either: true},
	"login page for every content":                   {either: true},
	"all items 404 after the enumeration":            {none: true},
	"everything 404 after the enumeration":           {none: true},
	"nextLinks that never end":                       {none: true},
	"two pages that point to each other":             {none: true},
	"a page that points to itself":                   {none: true},
	"no deltaLink":                                   {none: true},
	"the deltaLink of another drive":                 {either: true},
	"the deltaLink of the directory":                 {none: true},
	"a nextLink to another host":                     {either: true},
	"a deltaLink to another host":                    {either: true},
	"a deltaLink that is no address":                 {either: true},
	"pages without value":                            {none: true},
	"the root told as deleted":                       {either: true},
	"the root told as deleted, sparsely":             {either: true},
	"the root told as deleted, and 404":              {none: true},
	"root and delta 404":                             {none: true},
	"another root":                                   {either: true, slow: true},
	"delta 403":                                      {none: true},
	"delta 500":                                      {none: true},
	"delta that is a login page":                     {none: true},
	"delta that is an error document":                {none: true},
	"every token refused":                            {none: true},
	"token refused with 404 itemNotFound ":           {either: true},
	"401 for ever":                                   {none: true},
	"401 and no new tokens":                          {none: true},
	"a long pause for all":                           {none: true, quiet: true},
	"a long pause for contents":                      {either: true, quiet: true},
	"no drive":                                       {none: true},
	"a locked drive":                                 {none: true},
	"the drive of somebody else":                     {none: true},
}

// Whatever a source says, a point is never wrong in silence; and once the
// source says the truth, the next run brings all of it.
func TestPlayHostileSource(t *testing.T) {
	seen := map[string]bool{}
	for _, profile := range simtenant.Profiles() {
		if seen[profile.Name] || profile.Imitates == "" {
			t.Errorf("the profile %q is not alone in its name, or does not say what it imitates", profile.Name)
		}
		seen[profile.Name] = true
		if profile.Restoring {
			continue
		}
		t.Run(profile.Name, func(t *testing.T) {
			t.Parallel()
			h := newHostileWorld(t, "ann", "bob", "carl")
			h.put(h.home(1), map[string]string{"of bob.txt": "bob's own"})
			units := h.protectAll()
			h.backUp(units[1])
			for _, i := range []int{0, 2} {
				t.Run(map[int]string{0: "first backup", 2: "later backup"}[i], func(t *testing.T) {
					h.t = t
					h.hostileBackup(profile, units[i], i)
				})
			}
		})
	}
	for name := range expectations {
		if !seen[name] {
			t.Errorf("something is expected of %q, and there is no such profile", name)
		}
	}
}

// hostileBackup plays a profile during a backup of an owner's drive: the first
// one for the first owner, for the others a later one.
func (h *hostileWorld) hostileBackup(profile simtenant.Profile, unit backup.Unit, i int) {
	h.t.Helper()
	t, want, first := h.t, expectations[profile.Name], i == 0
	home := h.home(i)
	h.put(home, hostileFiles())
	before := state{}
	if !first {
		p := h.backUp(unit)
		before = h.kept(p.Tree)
		h.same("the point before", h.look(home), before)
		h.later(time.Hour)
		h.edit(home)
	}
	had := h.points(unit)

	h.hostileRun(profile, unit, i)
	if !first && !want.brief && !t.Failed() {
		// It lasts, and the owner goes on.
		h.later(25 * time.Hour)
		h.must(os.Remove(filepath.Join(home, "docs/new victim.txt")))
		h.put(home, map[string]string{"docs/victim.txt": "the victim's content, edited once more", "docs/victim 3.txt": "3", "keep.txt": "keep on",
			"docs/victim twin a.txt": "twin a, edited again", "docs/victim \u00e9\u00fc.txt": "accents, edited again"})
		h.hostileRun(profile, unit, i)
	}
	for _, p := range had {
		h.same("the point before", before, h.kept(p.Tree))
	}

	// The source says the truth again.
	h.later(25 * time.Hour)
	if want.slow {
		h.try(h.ctx, jobs.Backup, string(unit.ID), h.engine.backup)
		h.later(8 * 24 * time.Hour)
	}
	point := h.backUp(unit)
	h.same("the point afterwards", h.look(home), h.kept(point.Tree))
	h.check(unit, i, 0)
	if left := h.unread(unit); len(left) > 0 {
		t.Errorf("still named: %+v", left)
	}
	if t.Failed() {
		t.Log(h.log.String())
	}
}

// hostileRun runs one backup while a profile plays, and wants of it what is
// expected.
func (h *hostileWorld) hostileRun(profile simtenant.Profile, unit backup.Unit, i int) {
	h.t.Helper()
	want := expectations[profile.Name]
	had := len(h.points(unit))
	result, hits, err := h.backUpUnder(profile, unit)
	if hits == 0 && (i != 0 || !want.idle) {
		h.t.Error("the profile spoiled nothing")
	}
	made := len(h.points(unit)) > had
	switch {
	case made && want.none:
		h.t.Error("there is a point of a drive that could not be read")
	case !made && !want.none && !want.either:
		h.t.Errorf("there is no point: %v, %+v", err, h.unit(unit.ID).Problem)
	}
	if made {
		h.check(unit, i, want.lies)
	} else if p := h.unit(unit.ID).Problem; (p == nil || p.Message == "") && !want.quiet {
		h.t.Errorf("no point was made and the unit says nothing: %v, %v", result, err)
	}
}

// backUpUnder runs a backup once while a profile plays.
func (h *hostileWorld) backUpUnder(profile simtenant.Profile, unit backup.Unit) (result jobs.Result, hits int, err error) {
	h.t.Helper()
	h.source.Play(profile, isVictim)
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	h.reset()
	h.onRequest(func(*http.Request) {
		if h.asked("all") > 20_000 {
			cancel() // it would not end
		}
	})
	result, err = h.engine.backup(ctx, h.claim(jobs.Backup, string(unit.ID)))
	h.onRequest(nil)
	if ctx.Err() != nil {
		h.t.Errorf("the backup asked for more than %d times", h.asked("all"))
	}
	return result, h.source.Stop(), err
}

// A restoreExpectation is what a restore must come to while a profile plays.
// The zero value is the rule: it ends, and whatever is not as it shall be is
// named by its path.
type restoreExpectation struct {
	succeeds bool               // the fault passes, or can be worked around
	changed  bool               // but not all need be as it shall be
	all      bool               // it does not hit single items only
	only     backup.Destination // the only destination that it hits; "" for all
	misses   backup.Destination // one that it does not hit
}

var restoreExpectations = map[string]restoreExpectation{
	"upload 409 for a while":                           {succeeds: true},
	"upload 429 with a long pause":                     {succeeds: true},
	"upload answered with a login page":                {succeeds: true},
	"the session is gone once":                         {succeeds: true},
	"the session's token has expired":                  {succeeds: true},
	"the upload's answer is lost":                      {succeeds: true},
	"the upload's answer is a login page":              {succeeds: true},
	"the service rewrites what was uploaded":           {succeeds: true, changed: true},
	"the upload's answer is another item":              {succeeds: true},
	"the upload's answer is another living item":       {succeeds: true},
	"changes answered with another item":               {succeeds: true, only: backup.DestinationInPlace},
	"changes answered with another living item":        {succeeds: true, only: backup.DestinationInPlace},
	"changes answered with nothing":                    {succeeds: true, only: backup.DestinationInPlace},
	"folders answered with another living folder":      {succeeds: true},
	"uploads answered with nothing":                    {succeeds: true},
	"uploads under another name":                       {succeeds: true},
	"a bit flips on the way up":                        {succeeds: true},
	"nonsense about what is expected next":             {succeeds: true},
	"changes ignored":                                  {only: backup.DestinationInPlace},
	"changes 409 for good":                             {only: backup.DestinationInPlace},
	"changes 423 for good":                             {only: backup.DestinationInPlace},
	"changes 404 for good":                             {only: backup.DestinationInPlace},
	"changes whose answer is lost":                     {succeeds: true, only: backup.DestinationInPlace},
	"deletes answered 404":                             {only: backup.DestinationInPlace},
	"deletes answered, not done":                       {only: backup.DestinationInPlace},
	"deletes 403 for good":                             {only: backup.DestinationInPlace},
	"deletes 423 for good":                             {only: backup.DestinationInPlace},
	"deletes whose answer is lost":                     {succeeds: true, only: backup.DestinationInPlace},
	"folders 500, made nevertheless":                   {succeeds: true},
	"libraries 500, made nevertheless":                 {succeeds: true, only: backup.DestinationNew},
	"503 for every write":                              {all: true},
	"upload 507":                                       {all: true},
	"every second write throttled":                     {all: true},
	"every third answer to a write cut":                {all: true},
	"libraries 403":                                    {all: true, only: backup.DestinationNew},
	"listings that skip what was written":              {misses: backup.DestinationNew},
	"a bit flips on the way up, and nothing is hashed": {succeeds: true},
	"half of it is kept":                               {succeeds: true},
	"one byte of it is kept":                           {succeeds: true},
	"the delta leaves out what was written":            {succeeds: true, changed: true, misses: destinationItems},
	"listings in which a folder is in itself":          {misses: backup.DestinationNew},
	"listings that tell the same many times":           {succeeds: true, misses: backup.DestinationNew},
	"401 in the middle of a restore":                   {succeeds: true},
}

// Whatever a source says while it is restored to, the restore ends, and names
// what is not as it was; nothing is lost that no point holds; and once the
// source does as it is told, another restore brings all of it.
func TestPlayHostileDestination(t *testing.T) {
	seen := map[string]bool{}
	for _, profile := range simtenant.Profiles() {
		if !profile.Restoring {
			continue
		}
		seen[profile.Name] = true
		expected := restoreExpectations[profile.Name]
		for _, to := range []backup.Destination{backup.DestinationInPlace, backup.DestinationNew, destinationItems} {
			if only := expected.only; only != "" && only != to || expected.misses == to {
				continue
			}
			t.Run(profile.Name+"/"+string(to), func(t *testing.T) {
				t.Parallel()
				hostileRestore(t, profile, to)
			})
		}
	}
	for name := range restoreExpectations {
		if !seen[name] {
			t.Errorf("something is expected of %q, and there is no such profile", name)
		}
	}
}

// destinationItems stands for a session that restores all that is at the top of
// a drive as files and folders.
const destinationItems backup.Destination = "items"

func hostileRestore(t *testing.T, profile simtenant.Profile, to backup.Destination) {
	expected := restoreExpectations[profile.Name]
	h := newHostileWorld(t, "ann")
	home := h.home(0)
	h.put(home, hostileFiles())
	unit := h.protectAll()[0]
	point := h.backUp(unit)
	want := h.look(home)
	h.harm(home)
	before := h.look(home)

	a, hits := h.restoreUnder(profile, point, to)
	if hits == 0 {
		t.Error("the profile spoiled nothing")
	}
	if expected.succeeds && a.Status != backup.ArtifactSucceeded {
		t.Errorf("the artifact is %s: %+v", a.Status, a.Problem)
	}
	now := h.look(home)
	got := h.place(unit, a, now, to)
	if to != backup.DestinationInPlace {
		h.same("the live drive", before, without(now, "Restored "))
	}
	h.wantNamed(a, want, got)
	for path, what := range want {
		if !expected.all && !isVictim(path) && got[path] != what {
			t.Errorf("%s, which is no victim, is %q, not %q", path, got[path], what)
		}
	}
	if expected.succeeds && !expected.changed {
		h.same("the place", want, got)
	}
	h.nothingLost(unit, before, now)

	// The source does as it is told again.
	h.later(time.Hour)
	if a, _ = h.restoreUnder(simtenant.Profile{}, point, to); a.Status != backup.ArtifactSucceeded {
		t.Errorf("the artifact is %s afterwards: %+v", a.Status, a.Problem)
	}
	h.same("the place afterwards", want, h.place(unit, a, h.look(home), to))
	h.backUp(unit)
	h.check(unit, 0, 0)
	if t.Failed() {
		t.Log(h.log.String())
	}
}

// restoreUnder runs a restore to its end while a profile plays, as often as the
// queue would.
func (h *hostileWorld) restoreUnder(profile simtenant.Profile, p backup.Point, to backup.Destination) (a backup.Artifact, hits int) {
	h.t.Helper()
	h.source.Play(profile, isVictim)
	if to == destinationItems {
		return h.itemsUnder(p), h.source.Stop()
	}
	a = h.activate(p, to)
	h.untilEnd(jobs.Restore, a.ID, h.engine.restore, func() backup.ArtifactStatus {
		var err error
		a, err = h.catalog.Artifact(h.ctx, h.tenant, a.Session, a.ID)
		h.must(err)
		return a.Status
	})
	return a, h.source.Stop()
}

// itemsUnder restores all that is at the top of a point as files and folders,
// and returns what became of them as one artifact.
func (h *hostileWorld) itemsUnder(p backup.Point) backup.Artifact {
	h.t.Helper()
	top, err := h.engine.Item(h.ctx, p, backup.ItemRef{})
	h.must(err)
	below, err := h.children(p, top.ID)
	h.must(err)
	var paths []string
	for _, item := range below {
		paths = append(paths, item.Name)
	}
	s := h.granular(p, paths...)
	_, err = h.catalog.ActivateSession(h.ctx, h.tenant, s.ID, backup.Stamp{})
	h.must(err)
	all := backup.Artifact{Status: backup.ArtifactSucceeded}
	for _, a := range h.items(s) {
		h.untilEnd(jobs.RestoreItem, a.ID, h.engine.restoreItem, func() backup.ArtifactStatus {
			a, err = h.catalog.GranularForWork(h.ctx, h.tenant, a.ID)
			h.must(err)
			return a.Status
		})
		if a.RestoredPath != "" {
			all.RestoredSiteName = strings.Split(a.RestoredPath, "/")[1]
		}
		if a.Status == backup.ArtifactFailed {
			all.Status = a.Status
		}
		if a.Problem != nil {
			if all.Problem == nil {
				all.Problem = &backup.Problem{Message: a.Problem.Message}
			}
			if a.Status == backup.ArtifactFailed && len(a.Problem.Details) == 0 {
				h.t.Errorf("%s failed without a word: %+v", a.Name, a.Problem)
			}
			for _, d := range a.Problem.Details {
				d.Target = cmp.Or(d.Target, a.Name)
				all.Problem.Details = append(all.Problem.Details, d)
			}
		}
	}
	return all
}

// untilEnd runs a restore as often as the queue would.
func (h *hostileWorld) untilEnd(kind jobs.Kind, id backup.ArtifactID, handler jobs.Handler, status func() backup.ArtifactStatus) {
	h.t.Helper()
	for tries := 0; !status().Final(); tries++ {
		if tries > maxRestoreFailures {
			h.t.Fatalf("the restore does not end:\n%s", h.log)
		}
		j := h.claim(kind, string(id))
		j.Failures = tries
		handler(h.ctx, j)
		h.later(5 * time.Hour)
	}
}

// place returns what is where an artifact was restored to.
func (h *hostileWorld) place(u backup.Unit, a backup.Artifact, now state, to backup.Destination) state {
	h.t.Helper()
	switch {
	case to == backup.DestinationInPlace:
		return now
	case a.RestoredSiteName == "":
		return state{}
	case to == destinationItems:
		return below(now, a.RestoredSiteName)
	}
	return h.library(u, a.RestoredSiteName)
}

// without returns a state but for what has a path that begins so.
func without(s state, path string) state {
	left := state{}
	for at, what := range s {
		if !strings.HasPrefix(at, path) {
			left[at] = what
		}
	}
	return left
}

// A folder of which the source does not say what is in it stays, and is named by where
// the restore left it.
func TestAnUnclearFolderIsNamedByItsPlace(t *testing.T) {
	h := newHostileWorld(t, "ann")
	home := h.home(0)
	h.put(home, map[string]string{"docs/inner/a.txt": "a"})
	unit := h.protectAll()[0]
	point := h.backUp(unit)
	h.must(os.Rename(filepath.Join(home, "docs/inner"), filepath.Join(home, "moved")))
	h.put(home, map[string]string{"moved/extra/victim/x.txt": "x"})
	for _, p := range simtenant.Profiles() {
		if p.Name == "listings in which a folder is in itself" {
			a, hits := h.restoreUnder(p, point, backup.DestinationInPlace)
			h.wantDetails("the artifact", a.Problem, backup.RestoredWithRemarks, map[string]backup.Code{"docs/inner/extra/victim": backup.LeftAsItIs})
			if got := h.look(home); hits == 0 || got["docs/inner/a.txt"] == "" || got["docs/inner/extra/victim"] == "" {
				t.Errorf("after %d listings with a folder in itself there is %v", hits, got)
			}
			return
		}
	}
	t.Fatal("there is no such profile")
}

// harm does to a drive what makes people restore it.
func (h *hostileWorld) harm(home string) {
	h.t.Helper()
	for _, gone := range []string{"photos/victim.heic", "docs/Victim report.docx", "victim folder", "empty.bin", "photos/3.jpg", "docs/b"} {
		h.must(os.RemoveAll(filepath.Join(home, gone)))
	}
	h.must(os.Rename(filepath.Join(home, "docs/victim twin a.txt"), filepath.Join(home, "photos/victim elsewhere.txt")))
	h.must(os.Rename(filepath.Join(home, "moving"), filepath.Join(home, "docs/moved")))
	h.put(home, map[string]string{
		"keep.txt": "broken", "docs/victim.txt": "a victim, broken", "docs/a.txt": "b",
		"extra/x.txt": "extra", "extra victims/x.txt": "in a victim", "extra victims/deep/y.txt": "deep in a victim", "extra/victim x.txt": "an extra victim", "extra victim.txt": "another",
	})
}

// wantNamed wants each item that is not as it shall be named by an artifact, or
// the reason why nothing could be done.
func (h *hostileWorld) wantNamed(a backup.Artifact, want, got state) {
	h.t.Helper()
	p := a.Problem
	if a.Status == backup.ArtifactFailed && (p == nil || p.Message == "" || len(p.Details) == 0) {
		h.t.Errorf("the artifact failed without a word: %+v", p)
		return
	}
	// What has another name or place is named by both, and with it all that is in it.
	quoted := func(message, path string) bool {
		for ; path != "."; path = slashed.Dir(path) {
			if strings.Contains(message, strconv.Quote(path)) {
				return true
			}
		}
		return false
	}
	named := func(path string) bool {
		return p != nil && slices.ContainsFunc(p.Details, func(d backup.Detail) bool {
			whole := d.Target == "" && a.Status == backup.ArtifactFailed
			return d.Message != "" && (whole || d.Target == path || strings.HasPrefix(path, d.Target+"/") ||
				quoted(d.Message, path) || strings.Contains(d.Message, strconv.Quote(slashed.Base(path))))
		})
	}
	// An item in a folder that could not be moved is named by where it shall be.
	moved := func(path string) bool {
		return slices.ContainsFunc(p.Details, func(d backup.Detail) bool { return slashed.Base(d.Target) == slashed.Base(path) })
	}
	away := map[string]bool{} // contents of what is named by the place where it is not
	for path, what := range want {
		if got[path] == what {
			continue
		}
		if !named(path) {
			h.t.Errorf("%s is %q, not %q, and the artifact, which is %s, does not name it: %+v", path, got[path], what, a.Status, p)
		}
		away[contentOf(what)] = true
	}
	// A folder of which something stays, which is named, stays for it.
	holds := func(path string) bool {
		return slices.ContainsFunc(p.Details, func(d backup.Detail) bool {
			return strings.HasPrefix(d.Target, path+"/") || strings.Contains(d.Message, `"`+path+"/")
		})
	}
	for path, what := range got {
		if strings.HasPrefix(what, "folder ") && p != nil && holds(path) {
			continue
		}
		if _, ok := want[path]; !ok && !named(path) && !away[contentOf(what)] && (p == nil || !moved(path)) {
			h.t.Errorf("%s, %q, is there, and the artifact, which is %s, does not name it: %+v", path, what, a.Status, p)
		}
	}
}

// nothingLost wants each content that was in the drive to be in it still, or in
// a point.
func (h *hostileWorld) nothingLost(u backup.Unit, before, now state) {
	h.t.Helper()
	held := map[string]bool{}
	for _, what := range now {
		held[contentOf(what)] = true
	}
	for _, p := range h.points(u) {
		for _, what := range h.kept(p.Tree) {
			held[contentOf(what)] = true
		}
	}
	for path, what := range before {
		if !held[contentOf(what)] {
			h.t.Errorf("%s is neither in the drive any more nor in a point", path)
		}
	}
}

// contentOf is what a state says of an item but for its time.
func contentOf(what string) string { return what[:len(what)-len(time.DateTime)-1] }
