package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"
	"sync"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

// mailAtOnce is how many items are noted together before they are put into a mailbox.
const mailAtOnce = 40

// A mailRestoration brings a point of a mailbox back, or some of its items: what is
// missing is put into its folder, and what has changed is replaced. Nothing is deleted,
// and what came later stays.
//
// An item that is put into a mailbox is a new one, under another id. That it is there is
// told by its content: the mailbox is backed up before and after, which also keeps what
// is about to be replaced. What was put there is noted in the catalog, since the source
// may stream it otherwise than it was sent.
type mailRestoration struct {
	e        *Engine
	job      *jobs.Job
	artifact backup.Artifact
	unit     backup.Unit
	client   *drive.Client
	importer *drive.Importer
	vault    *vault.Vault
	box      backup.DriveID
	top      backup.ItemID // of the live mailbox
	trash    backup.ItemID // its folder of deleted items; "" if there is none
	into     backup.ItemID // the new folder that all goes to; "" in place
	deeds    *deeds
	point    *vault.Tree

	// The live mailbox, as it was backed up last.
	now     *vault.Tree
	there   *spill.Table // its items, by folder and content, and by folder and time
	noted   *spill.Table // what was put there, by the id in the point
	present *spill.Table // see lookElsewhere
	missed  map[backup.ItemID]bool
	pending map[backup.ItemID]bool
	targets map[backup.ItemID]backup.ItemID // live folders, by those of the point
	folders map[backup.ItemID]map[string]backup.ItemID

	mu      sync.Mutex // guards what follows
	queue   []mailImport
	changed bool // something was put there, or may have been
	again   bool // something is to be tried once more
	failed  int
	details []backup.Detail // of what failed in this pass
	remarks []backup.Detail
}

// A mailImport is an item of the point that is to be put somewhere.
type mailImport struct {
	node vault.Node
	to   drive.Import
}

// restoreMailbox brings a point of a mailbox back.
func (e *Engine) restoreMailbox(ctx context.Context, j *jobs.Job, a backup.Artifact, unit backup.Unit) (catalog.Restored, *backup.Problem, error) {
	r := &mailRestoration{e: e, job: j, artifact: a, unit: unit, missed: map[backup.ItemID]bool{}}
	place, problem, err := r.run(ctx)
	r.close()
	if err == nil {
		err = e.Catalog.ForgetMail(ctx, j, a.ID)
	}
	return place, problem, err
}

// endMailbox says what a cancelled restore of a mailbox has done. Of what it was putting
// there when it was interrupted nobody knows: those items are named.
func (e *Engine) endMailbox(ctx context.Context, j *jobs.Job, a backup.Artifact) (*backup.Problem, error) {
	put, unclear, details := 0, 0, []backup.Detail(nil)
	for m, err := range e.Catalog.NotedMail(ctx, a.ID) {
		if err != nil {
			return nil, err
		}
		if m.Live != "" {
			put++
			continue
		}
		if unclear++; len(details) < maxDetails {
			details = append(details, backup.Detail{Code: backup.RestoreCancelled, Target: e.pathIn(ctx, j.Tenant, a.Point, m.Item),
				Message: "It was being put into the mailbox when the restore was interrupted. Whether it is there is not known."})
		}
	}
	p := &backup.Problem{Code: backup.RestoreCancelled, Details: details, Message: fmt.Sprintf(
		"The restore was cancelled. What had been put into the mailbox by then, %s, stays there; nothing else was changed.", count(put, "item"))}
	if unclear > 0 {
		p.Message = fmt.Sprintf(
			"The restore was cancelled. What had been put into the mailbox by then, %s, stays there. Of %s more it is not known whether they came; the details name them. Nothing else was changed.", count(put, "item"), count(unclear, "item"))
	}
	return p, e.Catalog.ForgetMail(ctx, j, a.ID)
}

// pathIn returns the path of an item of a point, or its id if the vault cannot tell.
func (e *Engine) pathIn(ctx context.Context, tenant backup.TenantID, p backup.Point, id backup.ItemID) string {
	v, err := e.vaultOf(ctx, tenant, p.Drive)
	if err != nil {
		return string(id)
	}
	if at, ok, err := v.Path(ctx, p.Tree, id); ok && err == nil {
		return at
	}
	return string(id)
}

func (r *mailRestoration) close() {
	for _, t := range []*spill.Table{r.there, r.noted, r.present} {
		if t != nil {
			t.Close()
		}
	}
	r.now.Close()
	r.point.Close()
	if r.deeds != nil {
		r.deeds.close()
	}
}

func (r *mailRestoration) run(ctx context.Context) (place catalog.Restored, problem *backup.Problem, err error) {
	if problem, err = r.reach(ctx); err != nil || problem != nil {
		return place, problem, err
	}
	if r.artifact.Destination != backup.DestinationInPlace {
		if place, err = r.newFolder(ctx); err != nil {
			return catalog.Restored{}, nil, err
		}
	}
	r.e.Log.InfoContext(ctx, "restore begins", "tenant", r.job.Tenant, "owner", who(r.unit), "artifact", r.artifact.ID,
		"destination", r.artifact.Destination, "point", r.artifact.Point.At, "place", place.SiteName)
	if err := r.recall(ctx); err != nil {
		return place, nil, err
	}
	for pass := 1; ; pass++ {
		look := r.survey
		if r.elsewhere() {
			look = r.lookElsewhere
		}
		if err := look(ctx); err != nil {
			return place, nil, err
		}
		if pass > 1 && (!r.again && !r.elsewhere() || pass > maxPasses) {
			break
		}
		r.changed, r.again, r.failed, r.details = false, false, 0, nil
		if err := r.bring(ctx); err != nil {
			return place, nil, err
		}
		if !r.changed {
			break
		}
	}
	for m, err := range r.e.Catalog.NotedMail(ctx, r.artifact.ID) {
		if err != nil {
			return place, nil, err
		}
		if m.Live != "" {
			place.Items++
		}
	}
	place.Items = max(place.Items, r.artifact.RestoredItems)
	return place, r.problem(place.Items), r.e.Catalog.NoteArtifact(ctx, r.job, r.artifact.ID, place)
}

// problem says what could not be restored, beside so many items that were.
func (r *mailRestoration) problem(restored int64) *backup.Problem {
	details := append(r.details, r.remarks...)
	switch {
	case r.failed > 0:
		return &backup.Problem{Code: backup.ArtifactCannotBeRestored, Details: details, Short: short(r.failed, r.failed+int(restored)),
			Message: count(r.failed, "item") + " could not be restored; see the details. Restore again in another session: only what is missing is transferred."}
	case len(details) > 0:
		return &backup.Problem{Code: backup.RestoredWithRemarks, Details: details, Message: "All that was asked for is in the mailbox. " + remarked(len(details))}
	}
	return nil
}

// reach finds what the restore works with.
func (r *mailRestoration) reach(ctx context.Context) (problem *backup.Problem, err error) {
	if r.client, err = r.e.Sources(r.job.Tenant); err != nil {
		return nil, fmt.Errorf("reach the source: %w", err)
	}
	if r.vault, err = r.e.vaultOf(ctx, r.job.Tenant, r.artifact.Point.Drive); err != nil {
		return nil, err
	}
	if r.elsewhere() {
		if r.box, err = r.client.UserMailbox(ctx, backup.ObjectID(r.artifact.Target)); errors.Is(err, drive.ErrNotFound) {
			err = fmt.Errorf("%w: %w", errNoTarget, err)
		}
		if err != nil {
			return nil, err
		}
		return nil, r.open(ctx)
	}
	live, err := findMailbox(ctx, r.client, r.unit)
	if err != nil {
		return nil, err
	}
	if r.box = live.ID; r.box != r.artifact.Point.Drive {
		if err := r.e.isOwners(ctx, r.job.Tenant, r.unit, live); err != nil {
			return nil, err
		}
		if r.artifact.Destination == backup.DestinationInPlace {
			return &backup.Problem{Code: backup.ArtifactCannotBeRestored,
				Message: "The mailbox that the restore point was taken of is gone; its owner has another one now. Restore the point to a new place."}, nil
		}
	}
	return nil, r.open(ctx)
}

// open finds what a restore needs of the mailbox that it is into, and the point.
func (r *mailRestoration) open(ctx context.Context) error {
	top, err := r.client.MailFolder(ctx, r.box, drive.MailRoot)
	if err != nil {
		return err
	}
	trash, err := r.client.MailFolder(ctx, r.box, drive.MailDeleted)
	if err != nil && !errors.Is(err, drive.ErrNotFound) {
		return err
	}
	r.top, r.trash = top.ID, trash.ID
	r.importer, r.deeds = r.client.Importer(r.box), newDeeds(r.vault.Scratch())
	r.folders = map[backup.ItemID]map[string]backup.ItemID{}
	r.point, err = r.vault.Tree(ctx, r.artifact.Point.Tree)
	return err
}

// newFolder returns the folder that all is restored to. Its name follows from the
// artifact, so that a restore that is killed finds it again.
func (r *mailRestoration) newFolder(ctx context.Context) (catalog.Restored, error) {
	id := string(r.artifact.ID)
	name := fmt.Sprintf("Restored %s (%s)", r.artifact.Created.UTC().Format("2006-01-02 15.04"), id[max(0, len(id)-6):])
	if r.elsewhere() {
		name = strings.NewReplacer("/", "_", "\\", "_").Replace(who(r.unit)) + " r" + name[1:]
	}
	var err error
	if r.into, err = r.folderIn(ctx, r.top, name, "IPF.Note"); err != nil {
		return catalog.Restored{}, fmt.Errorf("make the folder that is restored to: %w", err)
	}
	place := catalog.Restored{SiteID: string(r.into), SiteName: name, Items: r.artifact.RestoredItems}
	return place, r.e.Catalog.NoteArtifact(ctx, r.job, r.artifact.ID, place)
}

// recall finds what a process that was killed had put into the mailbox.
func (r *mailRestoration) recall(ctx context.Context) error {
	r.noted = spill.New(r.vault.Scratch())
	for m, err := range r.e.Catalog.NotedMail(ctx, r.artifact.ID) {
		if err != nil {
			return err
		}
		r.noted.Put(string(m.Item), string(m.Live))
		n, ok, err := r.point.Node(ctx, m.Item)
		if err != nil && !isDamage(err) {
			return err
		}
		if ok && err == nil && m.Live != "" {
			if err := r.sent(ctx, n, drive.MailItem{ID: m.Live, ChangeKey: m.Tag}); err != nil {
				return err
			}
		}
	}
	return errors.Join(r.noted.Err(), r.deeds.err())
}

// sent notes that a live item has the content of one of the point, and so its MIME.
func (r *mailRestoration) sent(ctx context.Context, n vault.Node, is drive.MailItem) error {
	r.deeds.sends(is.ID, &vault.Entry{ID: is.ID, Name: n.Name, Kind: backup.File, Size: n.Size, Content: n.Content, CTag: is.ChangeKey})
	if r.elsewhere() {
		return nil // which is not backed up here
	}
	mime, ok, err := r.point.Node(ctx, mimeID(n.ID))
	if err != nil && !isDamage(err) {
		return err
	}
	if ok && err == nil && mime.CTag == n.Content {
		r.deeds.sends(mimeID(is.ID), &mime.Entry)
	}
	return nil
}

// survey backs the live mailbox up, so that what is replaced can be had again, and
// notes what is in it.
func (r *mailRestoration) survey(ctx context.Context) error {
	r.now.Close()
	r.now = nil
	var now protected
	err := retryMoved(func() error {
		defer r.e.lock("unit " + string(r.unit.ID))()
		unit, state, err := r.e.Catalog.UnitForRestore(ctx, r.job.Tenant, r.unit.ID)
		if err == nil {
			now, err = r.e.protect(ctx, r.job, unit, state, r.deeds)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("back up the live mailbox: %w", err)
	}
	if r.now, err = r.vault.Tree(ctx, now.Point.Tree); err != nil {
		return err
	}
	r.pending, r.targets = map[backup.ItemID]bool{}, map[backup.ItemID]backup.ItemID{}
	for _, u := range now.Pending {
		r.pending[u.Item] = true
	}
	if r.there != nil {
		r.there.Close()
	}
	r.there = spill.New(r.vault.Scratch())
	for n, err := range r.vault.Walk(ctx, now.Point.Tree) {
		if err != nil {
			return err
		}
		if _, own := splitMailID(n.ID); n.Kind == backup.File && own == "" {
			folder, _ := splitMailID(n.Parent)
			r.there.Put(contentKey(folder, n.Content), "")
			r.there.Put(timeKey(folder, n.Entry), "")
		}
	}
	return r.there.Err()
}

func contentKey(folder backup.ItemID, content string) string {
	return string(folder) + "\x00" + content
}

// timeKey is what an item that was put into a folder has in common with the one that
// was sent, and may have in common with others.
func timeKey(folder backup.ItemID, e vault.Entry) string {
	return fmt.Sprint(folder, "\x00 at ", e.Created.Unix(), " ", e.Size)
}

func (r *mailRestoration) has(key string) bool { _, ok := r.there.Find(key); return ok }

// bring puts what is missing, or has changed, into the mailbox.
func (r *mailRestoration) bring(ctx context.Context) error {
	each := func(n vault.Node) error {
		if _, own := splitMailID(n.ID); own != "" || n.Kind != backup.File {
			return nil
		}
		return r.item(ctx, n)
	}
	if refs, ok := backup.PickedOf(r.artifact.Query); ok {
		for _, ref := range refs {
			if err := r.bringPicked(ctx, ref, refs, each); err != nil {
				return err
			}
		}
		return r.flush(ctx)
	}
	if r.artifact.Query != "" {
		for id, err := range r.e.Catalog.FoundMail(ctx, r.artifact) {
			if err != nil {
				return err
			}
			n, ok, err := r.point.Node(ctx, id)
			switch {
			case isDamage(err):
				r.remark(backup.Detail{Code: backup.VaultDamaged, Message: "The vault does not hold the item any more.", Target: string(id)}, true)
				continue
			case err != nil:
				return err
			case ok:
				err = each(n)
			}
			if err != nil {
				return err
			}
		}
		return r.flush(ctx)
	}
	if err := r.bringAll(ctx, r.vault.Walk(ctx, r.artifact.Point.Tree), each); err != nil {
		return err
	}
	return r.flush(ctx)
}

// bringAll brings all of a walk through the point, and makes the folders of it, empty ones too.
func (r *mailRestoration) bringAll(ctx context.Context, walk iter.Seq2[vault.Node, error], each func(vault.Node) error) error {
	for n, err := range walk {
		if err == nil && n.Kind == backup.Folder {
			if _, own := splitMailID(n.ID); own == "" {
				_, err = r.target(ctx, n.ID)
			}
		} else if err == nil {
			err = each(n)
		}
		if isDamage(err) {
			r.remark(backup.Detail{Code: backup.VaultDamaged, Message: "The vault cannot tell what was there. An earlier or later restore point may hold it.", Target: path.Join(n.Path, "*")}, true)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bringPicked brings an item that was picked, or a folder with all that is in it, unless a
// folder that it is in was picked, too.
func (r *mailRestoration) bringPicked(ctx context.Context, ref backup.ItemRef, all []backup.ItemRef, each func(vault.Node) error) error {
	n, err := r.picked(ctx, ref)
	for above := n.Parent; err == nil && above != ""; {
		if slices.Contains(all, backup.RefOf(above)) {
			return nil // and comes with that
		}
		var in vault.Node
		in, _, err = r.point.Node(ctx, above)
		above = in.Parent
	}
	switch {
	case isDamage(err):
		r.remark(backup.Detail{Code: backup.VaultDamaged, Message: "The vault cannot tell what was picked there. An earlier or later restore point may hold it.", Target: cmp.Or(n.Path, r.artifact.Search)}, true)
		return nil
	case err != nil || n.ID == "":
		return err
	case n.Kind == backup.Folder:
		return r.bringAll(ctx, r.vault.WalkBelow(ctx, r.artifact.Point.Tree, n.ID), each)
	}
	return each(n)
}

// picked is what a key names in the point; the zero Node if that has none.
func (r *mailRestoration) picked(ctx context.Context, ref backup.ItemRef) (n vault.Node, err error) {
	l, ok, err := r.vault.Find(ctx, r.artifact.Point.Tree, ref)
	if err == nil && ok {
		n, _, err = r.point.Node(ctx, l.ID)
	}
	return n, err
}

// item queues an item of the point unless it is where it shall be.
func (r *mailRestoration) item(ctx context.Context, n vault.Node) error {
	folder, _ := splitMailID(n.Parent)
	to, err := r.target(ctx, folder)
	if err != nil || to == "" {
		return err
	}
	put := mailImport{n, drive.Import{Folder: to}}
	if r.elsewhere() {
		if done, err := r.isElsewhere(ctx, n, to); done || err != nil {
			return err
		}
		return r.enqueue(ctx, put)
	}
	if r.has(contentKey(to, n.Content)) {
		return r.there.Err()
	}
	if i, ok := r.noted.Find(string(n.ID)); ok {
		_, live := r.noted.Get(i)
		is, there, err := vault.Node{}, false, error(nil)
		if live != "" {
			is, there, err = r.now.Node(ctx, backup.ItemID(live))
		}
		if at, _ := splitMailID(is.Parent); err != nil || there && at == to && backup.ItemID(live) != n.ID {
			return err // it came, and the source streams it otherwise
		}
		if live == "" && r.has(timeKey(to, n.Entry)) {
			r.remark(backup.Detail{Code: backup.RestoredWithRemarks, Target: n.Path,
				Message: "An earlier try to put the item into the mailbox was interrupted, and something as large and of the same time is there. If it is the same, it is there twice."}, false)
		}
	}
	live, ok, err := r.now.Node(ctx, n.ID)
	if err != nil {
		return err
	}
	if at, _ := splitMailID(live.Parent); ok && at == to {
		if r.pending[n.ID] {
			r.remark(backup.Detail{Code: backup.LeftAsItIs, Message: "Its present content could not be read, so that it is in no restore point. It was left as it is.", Target: n.Path}, true)
			return nil
		}
		put.to.Item, put.to.ChangeKey = n.ID, live.CTag
	}
	return r.enqueue(ctx, put)
}

func (r *mailRestoration) enqueue(ctx context.Context, put mailImport) error {
	if r.queue = append(r.queue, put); len(r.queue) == mailAtOnce {
		return r.flush(ctx)
	}
	return errors.Join(r.there.Err(), r.noted.Err())
}

// flush puts into the mailbox what is queued.
func (r *mailRestoration) flush(ctx context.Context) error {
	all := r.queue
	if r.queue = nil; len(all) == 0 {
		return nil
	}
	begun := make([]catalog.RestoredMail, len(all))
	for i, put := range all {
		begun[i].Item = put.node.ID
	}
	if err := r.e.Catalog.NoteMail(ctx, r.job, r.artifact.ID, begun); err != nil {
		return err
	}
	r.changed = true
	group, inGroup := newGroup(ctx)
	group.SetLimit(r.e.Transfers)
	for i := range all {
		if inGroup.Err() != nil {
			break
		}
		group.Go(func() error {
			is, err := r.put(inGroup, all[i])
			if err == nil {
				begun[i].Live, begun[i].Tag = is.ID, is.ChangeKey
				return nil
			}
			return r.fault(inGroup, all[i].node, err)
		})
	}
	failed := group.Wait()
	noting := ctx
	if ctx.Err() != nil {
		noting = context.WithoutCancel(ctx) // what has come has come
	}
	came := begun[:0:0]
	for i, m := range begun {
		if m.Live != "" {
			came = append(came, m)
			r.noted.Put(string(m.Item), string(m.Live))
			if err := r.sent(noting, all[i].node, drive.MailItem{ID: m.Live, ChangeKey: m.Tag}); err != nil {
				failed = errors.Join(failed, err)
			}
			r.there.Put(contentKey(all[i].to.Folder, all[i].node.Content), "")
		} else {
			r.noted.Put(string(m.Item), "")
		}
	}
	if len(came) > 0 {
		if err := r.e.Catalog.NoteMail(noting, r.job, r.artifact.ID, came); err != nil {
			return errors.Join(failed, err)
		}
	}
	return errors.Join(failed, context.Cause(ctx))
}

// put puts one item into the mailbox.
func (r *mailRestoration) put(ctx context.Context, put mailImport) (drive.MailItem, error) {
	content, err := r.vault.Open(ctx, put.node.Content)
	if err != nil {
		return drive.MailItem{}, err
	}
	defer content.Close()
	is, unclear, err := r.importer.Import(ctx, put.to, content, put.node.Size)
	if err != nil && (unclear || errors.Is(err, drive.ErrChanged) || errors.Is(err, drive.ErrNotFound)) {
		r.mu.Lock()
		r.again = true // the next pass sees what has become of it
		r.mu.Unlock()
	}
	return is, err
}

// fault takes the failure of one item. It returns only what must end the restore.
func (r *mailRestoration) fault(ctx context.Context, n vault.Node, err error) error {
	switch {
	case stopped(ctx, err), errors.Is(err, drive.ErrQuota):
		return err
	case isDamage(err):
		r.remark(backup.Detail{Code: backup.VaultDamaged, Message: "The vault does not hold the item's content any more.", Target: n.Path}, true)
		return nil
	case !isSource(err):
		return err
	}
	if errors.Is(err, drive.ErrUnavailable) || errors.Is(err, drive.ErrDenied) {
		if _, away := r.client.MailFolder(ctx, r.box, drive.MailRoot); away != nil {
			return err
		}
	}
	code, _ := unreadable(drive.Item{}, err)
	r.remark(backup.Detail{Code: code, Message: "The source did not take the item.", Target: n.Path}, true)
	r.e.Log.WarnContext(ctx, "an item of a mailbox was not restored", "tenant", r.job.Tenant, "owner", who(r.unit), "path", n.Path, "err", err)
	return nil
}

func (r *mailRestoration) remark(d backup.Detail, failed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	to := &r.remarks
	if failed {
		r.failed++
		to = &r.details
	}
	if len(*to) < maxDetails {
		*to = append(*to, d)
	}
}

// target returns the live folder that what is in a folder of the point goes to, and
// makes it if there is none. It is "" for what was deleted at the time of the point and
// is not to come back: only a search for it, or a restore to a new folder, brings it.
func (r *mailRestoration) target(ctx context.Context, folder backup.ItemID) (backup.ItemID, error) {
	if to, ok := r.targets[folder]; ok {
		return to, nil
	}
	to, err := r.findTarget(ctx, folder)
	if err == nil {
		r.targets[folder] = to
	}
	return to, err
}

func (r *mailRestoration) findTarget(ctx context.Context, folder backup.ItemID) (backup.ItemID, error) {
	n, ok, err := r.point.Node(ctx, folder)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", fmt.Errorf("%w: folder %s is in no tree", vault.ErrDamaged, folder)
	}
	inPlace := r.into == ""
	if inPlace {
		switch recoverable, err := r.couldBeRecovered(ctx, folder); {
		case err != nil:
			return "", err
		case recoverable && r.artifact.Query == "":
			return "", nil
		case recoverable:
			return r.trash, nil
		}
	}
	if n.Parent == "" {
		if inPlace {
			return r.top, nil
		}
		return r.into, nil
	}
	if inPlace {
		live, ok, err := r.now.Node(ctx, folder)
		if err != nil {
			return "", err
		}
		if ok && live.Kind == backup.Folder {
			gone, err := r.isTrash(ctx, r.now, folder)
			if was := false; err == nil && gone {
				if was, err = r.isTrash(ctx, r.point, folder); was {
					gone = false
				}
			}
			if err != nil {
				return "", err
			}
			if !gone {
				return folder, nil
			}
		}
	}
	above, err := r.target(ctx, n.Parent)
	if err != nil || above == "" {
		return above, err
	}
	return r.folderIn(ctx, above, n.Name, r.classOf(ctx, folder))
}

// couldBeRecovered reports whether a folder of the point is that of what was deleted and
// could still be recovered, or in it.
func (r *mailRestoration) couldBeRecovered(ctx context.Context, folder backup.ItemID) (bool, error) {
	for range maxDepth {
		if _, own := splitMailID(folder); own != "" {
			return true, nil
		}
		n, ok, err := r.point.Node(ctx, folder)
		if err != nil || !ok {
			return false, err
		}
		folder = n.Parent
	}
	return false, nil
}

// isTrash reports whether a folder is in the one of deleted items, or is that.
func (r *mailRestoration) isTrash(ctx context.Context, tree *vault.Tree, folder backup.ItemID) (bool, error) {
	for range maxDepth {
		if _, own := splitMailID(folder); folder == r.trash && folder != "" || own != "" {
			return true, nil
		}
		n, ok, err := tree.Node(ctx, folder)
		if err != nil || !ok {
			return false, err
		}
		folder = n.Parent
	}
	return false, nil
}

// classOf returns what a folder of the point is for.
func (r *mailRestoration) classOf(ctx context.Context, folder backup.ItemID) string {
	n, ok, err := r.point.Node(ctx, folderInfoID(folder))
	if err != nil || !ok {
		return "IPF.Note"
	}
	content, err := r.vault.Open(ctx, n.Content)
	if err != nil {
		return "IPF.Note"
	}
	defer content.Close()
	var f folderFile
	if err := json.NewDecoder(io.LimitReader(content, 1<<20)).Decode(&f); err != nil || f.Class == "" {
		return "IPF.Note"
	}
	return f.Class
}

// folderIn returns the folder of a name in a live folder, and makes it if there is none.
func (r *mailRestoration) folderIn(ctx context.Context, parent backup.ItemID, name, class string) (backup.ItemID, error) {
	for try := 1; ; try++ {
		if r.folders[parent] == nil {
			in := map[string]backup.ItemID{}
			for f, err := range r.client.MailFoldersIn(ctx, r.box, parent) {
				if err != nil {
					return "", err
				}
				in[fold(f.Name)] = f.ID
			}
			r.folders[parent] = in
		}
		if id := r.folders[parent][fold(name)]; id != "" {
			return id, nil
		}
		f, err := r.client.CreateMailFolder(ctx, r.box, parent, name, class)
		if err == nil {
			r.folders[parent][fold(name)] = f.ID
			return f.ID, nil
		}
		if !errors.Is(err, drive.ErrExists) || try == maxTries {
			return "", fmt.Errorf("make the folder %q: %w", path.Join("/", strings.ReplaceAll(name, "/", "_")), err)
		}
		r.folders[parent] = nil
	}
}
