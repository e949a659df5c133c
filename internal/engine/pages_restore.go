package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// A pageRestore brings the pages of one library of them back: in place those that differ
// have what was on them again, and those that are gone are made anew; else each is made
// beside the live one, under a name that ends with the suffix. Pages that came later
// stay. In each pass what differs is written; one that finds nothing to do is the last.
type pageRestore struct {
	e      *Engine
	job    *jobs.Job
	to     reachedSite
	part   vault.Part
	site   string
	suffix string        // of names; "" in place
	only   backup.ItemID // what is restored; "" is all

	saved string          // the tree of the pages as they are backed up now; "" if they were not yet
	sent  map[string]bool // pages that were written, by their ids at the source
	made  drive.Page      // the last that was made or found to be made
	look  bool            // nothing is written, and what is not as it shall be fails
	right int             // pages that are as they shall be, where that is looked at
	// How many were made, and written again, in all passes.
	anew, again int

	// Of this pass.
	live     map[string]drive.Page // by id
	named    map[string]drive.Page // by name
	failures []backup.Detail
	remarks  []backup.Detail
	damaged  []damaged
}

func (e *Engine) pageRestore(j *jobs.Job, to reachedSite, part vault.Part, suffix string) *pageRestore {
	return &pageRestore{e: e, job: j, to: to, part: part, site: to.siteOf(part), suffix: suffix, sent: map[string]bool{}}
}

// restorePages brings the pages of a point back.
func (e *Engine) restorePages(ctx context.Context, j *jobs.Job, a backup.Artifact, to reachedSite, suffix string, all *outcomes) error {
	for _, part := range to.pages() {
		r := e.pageRestore(j, to, part, suffix)
		err := r.run(ctx)
		if endsAll(ctx, err) {
			return err
		}
		if p := r.problem(); p != nil || err != nil {
			all.add(part, p, err)
		}
		if err := r.noteDamage(ctx, a.Point); err != nil {
			return err
		}
	}
	return nil
}

// pages are the libraries of pages of the point.
func (to reachedSite) pages() []vault.Part {
	return slices.DeleteFunc(slices.Clone(to.parts), func(p vault.Part) bool { return p.Kind != backup.SitePages || p.Files == 0 })
}

// pagesFree reports whether no page has a name that ends with a suffix.
func pagesFree(ctx context.Context, to reachedSite, suffix string) (bool, error) {
	for _, part := range to.pages() {
		for p, err := range to.source.Pages(ctx, to.siteOf(part)) {
			if errors.Is(err, drive.ErrNotFound) {
				break
			}
			if err != nil || strings.HasSuffix(fold(p.Name), fold(suffix+".aspx")) {
				return false, err
			}
		}
	}
	return true, nil
}

func (r *pageRestore) run(ctx context.Context) error {
	for range maxPasses {
		if done, err := r.pass(ctx); err != nil || !done {
			return err
		}
	}
	return nil
}

// pass restores what differs, and reports whether anything was done.
func (r *pageRestore) pass(ctx context.Context) (done bool, err error) {
	r.live, r.named, r.failures, r.remarks, r.damaged = map[string]drive.Page{}, map[string]drive.Page{}, nil, nil, nil
	for p, err := range r.to.source.Pages(ctx, r.site) {
		if errors.Is(err, drive.ErrNotFound) {
			break // there are none yet
		}
		if err != nil {
			return false, err
		}
		if p.ID != "" {
			r.live[p.ID], r.named[fold(p.Name)] = p, p
		}
	}
	all := r.to.vault.Walk(ctx, r.part.Tree)
	if r.only != "" {
		all = r.to.vault.WalkBelow(ctx, r.part.Tree, r.only)
	}
	for n, err := range all {
		did := false
		if err == nil && n.Kind == backup.File {
			did, err = r.page(ctx, n)
		}
		done = done || did
		switch {
		case err == nil:
		case isDamage(err):
			r.damaged = append(r.damaged, damaged{n, err})
			r.fail(n, backup.VaultDamaged, "What is kept of it is damaged in the vault. An earlier or later restore point may hold another.")
		case stopped(ctx, err), !isSource(err), errors.Is(err, drive.ErrLocked):
			return done, err
		default:
			if errors.Is(err, drive.ErrUnavailable) {
				if _, away := r.to.source.Site(ctx, r.site); away != nil {
					return done, err
				}
			}
			code, why := whyNot(err)
			r.fail(n, code, "It is not as it was. "+why)
		}
	}
	return done, nil
}

// A wanted page is what of a page of the point can be written.
type wantedPage struct {
	name   string
	fields map[string]any
	parts  []string // that Graph does not let one write
	public bool
}

// pageFields are what of a page can be written.
var pageFields = []string{"title", "description", "pageLayout", "promotionKind", "showComments", "showRecommendedPages", "thumbnailWebUrl", "titleArea", "canvasLayout"}

func parsePage(kept []byte) (w wantedPage, err error) {
	var is struct {
		Name  string
		State struct{ Level string } `json:"publishingState"`
	}
	var members map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(kept, &is), json.Unmarshal(kept, &members)); err != nil {
		return w, fmt.Errorf("%w: a page: %w", vault.ErrDamaged, err)
	}
	w = wantedPage{name: is.Name, fields: map[string]any{}, public: is.State.Level == "published"}
	for _, name := range pageFields {
		if v := withoutNotes(decodeValue(members[name])); v != nil {
			w.fields[name] = v
		}
	}
	eachPart(w.fields["canvasLayout"], func(part map[string]any) {
		if kind, ok := isWritable(part); !ok {
			w.parts = append(w.parts, kind)
		}
	})
	return w, nil
}

// withoutNotes is a value without what the wire says of it, and without nulls.
func withoutNotes(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if strings.Contains(name, "@odata.") && name != "@odata.type" || member == nil {
				delete(v, name)
			} else {
				v[name] = withoutNotes(member)
			}
		}
	case []any:
		for i := range v {
			v[i] = withoutNotes(v[i])
		}
	}
	return v
}

// eachPart calls fn for the web parts of a layout.
func eachPart(v any, fn func(part map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			parts, ok := member.([]any)
			if name != "webparts" || !ok {
				eachPart(member, fn)
				continue
			}
			for _, part := range parts {
				if one, ok := part.(map[string]any); ok {
					fn(one)
				}
			}
		}
	case []any:
		for _, one := range v {
			eachPart(one, fn)
		}
	}
}

const textPart = "#microsoft.graph.textWebPart"

// writableParts are the types of web parts that Graph lets one write, by the first
// groups of their ids.
var writableParts = map[string]bool{
	"e377ea37": true, "0f087d7f": true, "df8e44e7": true, "2161a1c6": true, "b7dd04e1": true, "d1d91016": true, "af8be689": true,
	"6410b3b6": true, "e84a8ca2": true, "7f718435": true, "c70391ea": true, "8654b779": true, "544dd15b": true, "cbe7b0a9": true,
}

// isWritable reports whether Graph lets one write a web part, and which it is.
func isWritable(part map[string]any) (kind string, ok bool) {
	if part["@odata.type"] == textPart {
		return "text", true
	}
	kind, _ = part["webPartType"].(string)
	if data, _ := part["data"].(map[string]any); data != nil {
		if title, _ := data["title"].(string); title != "" {
			return title, writableParts[strings.ToLower(kind[:min(len(kind), 8)])]
		}
	}
	return cmp.Or(kind, "unknown"), writableParts[strings.ToLower(kind[:min(len(kind), 8)])]
}

// replaceParts puts a text in the place of each web part that cannot be written.
func (w *wantedPage) replaceParts() {
	eachPart(w.fields["canvasLayout"], func(part map[string]any) {
		kind, ok := isWritable(part)
		if ok {
			return
		}
		id := part["id"]
		clear(part)
		part["@odata.type"], part["innerHtml"] = textPart, "<p>"+html.EscapeString(fmt.Sprintf("Here was the web part “%s”. It is in the backup, and has to be added by hand.", kind))+"</p>"
		if id != nil {
			part["id"] = id
		}
	})
}

// differs returns what of a page is to be changed into what is wanted.
func (w *wantedPage) differs(is wantedPage) map[string]any {
	change := map[string]any{}
	for _, name := range pageFields {
		if v, ok := w.fields[name]; ok && canon(v) != canon(is.fields[name]) {
			change[name] = v
		}
	}
	return change
}

// page restores one page, and reports whether anything was done.
func (r *pageRestore) page(ctx context.Context, n vault.Node) (bool, error) {
	kept, err := readContent(ctx, r.to.vault, n.Content)
	if err != nil {
		return false, err
	}
	want, err := parsePage(kept)
	if err != nil {
		return false, err
	}
	source := pageSource{ref: drive.ListRef{ID: string(r.part.Drive)}}
	id, _ := source.pageOf(n.ID)
	is, there := r.live[id]
	if want.fields["canvasLayout"] == nil {
		if !there || r.suffix != "" {
			r.fail(n, backup.NotSupported, "It is no modern page: Graph tells nothing of what is on it, and cannot make it.")
		}
		return false, nil
	}
	if r.look {
		return false, r.glance(ctx, n, want, is, there)
	}
	if there && r.suffix == "" {
		if is.ETag == n.CTag && is.ETag != "" {
			return false, nil
		}
		return r.rewrite(ctx, n, want, is)
	}
	if len(want.parts) > 0 {
		want.replaceParts()
		r.remark(n, "Graph does not let one make some of its web parts: "+strings.Join(want.parts, ", ")+". A text in their place says so.")
	}
	want.name = strings.TrimSuffix(want.name, ".aspx") + r.suffix + ".aspx"
	if other, taken := r.named[fold(want.name)]; taken {
		return r.finish(ctx, n, want, other)
	}
	fields := maps.Clone(want.fields)
	fields["name"] = want.name
	made, unclear, err := r.to.source.CreatePage(ctx, r.site, fields)
	if err != nil {
		return unclear || errors.Is(err, drive.ErrExists), err // the next pass finds it, if it was made
	}
	r.made, r.sent[made.ID] = made, true
	r.anew++
	return true, r.publish(ctx, want, made)
}

// glance finds out whether a page is as it shall be.
func (r *pageRestore) glance(ctx context.Context, n vault.Node, want wantedPage, is drive.Page, there bool) error {
	if there && r.suffix == "" {
		if is.ETag == n.CTag && is.ETag != "" {
			return nil
		}
	} else {
		want.replaceParts()
		if is, there = r.named[fold(strings.TrimSuffix(want.name, ".aspx")+r.suffix+".aspx")]; !there {
			r.fail(n, backup.RestoreCancelled, "Not restored. It is missing.")
			return nil
		}
	}
	now, err := r.now(ctx, is)
	if err != nil {
		return err
	}
	switch {
	case len(want.differs(now)) > 0:
		r.fail(n, backup.RestoreCancelled, "Not restored. It differs.")
	case want.public && !now.public:
		r.fail(n, backup.RestoreCancelled, "Not restored. It is a draft.")
	default:
		r.right++
	}
	return nil
}

func (r *pageRestore) publish(ctx context.Context, want wantedPage, is drive.Page) error {
	if !want.public {
		return nil
	}
	return r.to.source.PublishPage(ctx, r.site, is.ID)
}

// finish sees to a page that has the name of one that is to be made.
func (r *pageRestore) finish(ctx context.Context, n vault.Node, want wantedPage, is drive.Page) (bool, error) {
	now, err := r.now(ctx, is)
	if err != nil {
		return false, err
	}
	change := want.differs(now)
	ours := len(change) == 0 || r.sent[is.ID] || r.suffix != "" && change["title"] == nil
	if !ours {
		r.fail(n, backup.ArtifactCannotBeRestored, "Another page has its name.")
		return false, nil
	}
	if r.made = is; len(change) > 0 {
		r.remark(n, "The source keeps it otherwise than it was written.")
	}
	if want.public && !now.public {
		return true, r.publish(ctx, want, is)
	}
	return false, nil
}

func (r *pageRestore) now(ctx context.Context, is drive.Page) (wantedPage, error) {
	p, err := r.to.source.Page(ctx, r.site, is.ID)
	if err != nil {
		return wantedPage{}, err
	}
	now, err := parsePage(p.JSON)
	if err != nil {
		err = fmt.Errorf("%w: %w", drive.ErrContent, err)
	}
	return now, err
}

// rewrite gives a live page what was on it.
func (r *pageRestore) rewrite(ctx context.Context, n vault.Node, want wantedPage, is drive.Page) (bool, error) {
	now, err := r.now(ctx, is)
	if err != nil {
		return false, err
	}
	change := want.differs(now)
	switch {
	case len(change) == 0 && (now.public || !want.public):
		return false, nil
	case len(change) == 0:
		return true, r.publish(ctx, want, is)
	case r.sent[is.ID]:
		r.remark(n, "The source keeps it otherwise than it was written.")
		return false, nil
	case change["canvasLayout"] != nil && len(want.parts) > 0:
		r.fail(n, backup.NotSupported, "It holds web parts that Graph does not let one write: "+strings.Join(want.parts, ", ")+". It was left as it is. Restore the point to a new place to have the rest.")
		return false, nil
	}
	if err := r.backUp(ctx); err != nil {
		return false, err
	}
	held, ok, err := r.to.vault.Stat(ctx, r.saved, n.ID)
	if err != nil {
		return false, err
	}
	if !ok || held.CTag != is.ETag {
		r.fail(n, backup.LeftAsItIs, "It was left as it is: it was changed since the restore began, or could not be backed up, so that there is no copy of what it is now.")
		return false, nil
	}
	if err := r.to.source.PatchPage(ctx, r.site, is.ID, change, is.ETag); err != nil {
		return false, err
	}
	r.sent[is.ID] = true
	r.again++
	return true, r.publish(ctx, want, is)
}

// backUp backs the site up, once, so that what is done to pages can be undone.
func (r *pageRestore) backUp(ctx context.Context) error {
	if r.saved != "" {
		return nil
	}
	return retryMoved(func() error {
		defer r.e.lock("unit " + string(r.to.unit.ID))()
		unit, state, err := r.e.Catalog.UnitForRestore(ctx, r.job.Tenant, r.to.unit.ID)
		if err != nil {
			return err
		}
		now, err := r.e.protectSite(ctx, r.job, unit, state, nil)
		if err == nil {
			err = now.narrow(r.part.Drive)
		}
		r.saved = now.Point.Tree
		return err
	})
}

func (r *pageRestore) fail(n vault.Node, code backup.Code, message string) {
	r.failures = append(r.failures, backup.Detail{Code: code, Message: message, Target: n.Path})
}

func (r *pageRestore) remark(n vault.Node, message string) {
	r.remarks = append(r.remarks, backup.Detail{Code: backup.RestoredChanged, Message: message, Target: n.Path})
}

// problem says what could not be restored, and what there is to know of the rest.
func (r *pageRestore) problem() *backup.Problem {
	remarks := r.remarks[:min(len(r.remarks), maxDetails)]
	tell := func(n int, format string) {
		if n > 0 {
			remarks = append(remarks, backup.Detail{Code: backup.RestoredChanged, Message: fmt.Sprintf(format, count(n, "page"))})
		}
	}
	tell(r.anew, "Made anew: %s. Graph does not let one say who made them, and when: that is in the restore point.")
	tell(r.again, "Written again: %s. Graph does not let one say who changed them last, and when: that is in the restore point.")
	details := slices.Concat(r.failures[:min(len(r.failures), maxDetails)], remarks)
	switch {
	case len(r.failures) > 0:
		return &backup.Problem{Code: backup.ArtifactCannotBeRestored, Details: details, Short: short(len(r.failures), int(r.part.Files)),
			Message: fmt.Sprintf("%s could not be restored; all others are as they were at the restore point.", count(len(r.failures), "page"))}
	case len(remarks) > 0:
		return &backup.Problem{Code: backup.RestoredWithRemarks, Details: details, Message: "All is as it was at the restore point. " + remarked(len(remarks))}
	}
	return nil
}

func (r *pageRestore) noteDamage(ctx context.Context, p backup.Point) error {
	of := &restoration{e: r.e, job: r.job, unit: r.to.unit, point: p, vault: r.to.vault, damaged: map[string]damaged{}}
	for _, d := range r.damaged {
		d.Path = path.Join(r.part.Name, d.Path)
		of.damaged[cmp.Or(d.Content, "folder "+string(d.ID))] = d
	}
	return of.noteDamage(ctx)
}

// restorePage is restoreBelow for a page: it is made anew, under a name that ends as
// all do of the session's pages.
func (e *Engine) restorePage(ctx context.Context, j *jobs.Job, a backup.GranularArtifact, to reachedSite, part vault.Part) (catalog.RestoredItem, *backup.Problem, error) {
	defer e.lock("list " + string(part.Drive))()
	suffix, err := e.Catalog.ReserveFolder(ctx, j, a.Session, part.Drive, "")
	if err != nil {
		return catalog.RestoredItem{}, nil, err
	}
	for n := 0; suffix == "" && n < maxLibraries; n++ {
		wanted := fmt.Sprintf(" Restored %s R%d", e.Clock().UTC().Format(time.DateOnly), n)
		of := to
		of.parts = []vault.Part{part}
		if free, err := pagesFree(ctx, of, wanted); err != nil {
			return catalog.RestoredItem{}, nil, err
		} else if !free {
			continue
		}
		if suffix, err = e.Catalog.ReserveFolder(ctx, j, a.Session, part.Drive, wanted); err != nil {
			return catalog.RestoredItem{}, nil, err
		}
	}
	if suffix == "" {
		return catalog.RestoredItem{}, nil, backup.Fail(backup.ArtifactCannotBeRestored, fmt.Sprintf(
			"There are already %d pages of today's restores in the site. Delete those that are no longer needed and restore again.", maxLibraries))
	}
	r := e.pageRestore(j, to, part, suffix)
	r.only = a.Item
	if err := errors.Join(r.run(ctx), r.noteDamage(ctx, a.Point)); err != nil {
		return catalog.RestoredItem{}, nil, err
	}
	restored := catalog.RestoredItem{}
	if r.made.ID != "" {
		restored.Path = "/" + path.Join(part.Name, r.made.Name)
		restored.Key = backup.KeyOf(j.Tenant, a.Point.Drive, pageID(drive.ListRef{ID: string(part.Drive)}, r.made.ID))
	}
	return restored, r.problem(), nil
}
