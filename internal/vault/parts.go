package vault

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"holdfast/internal/backup"
)

// A Part is one of the containers of a point that has several, such as a library
// or a list of a site. It has a tree of its own, in which everything is that a
// drive's has: all that takes a tree takes a part's too.
type Part struct {
	Kind                  backup.ContainerKind
	Drive                 backup.DriveID // what the source knows it by
	Site                  string         // that it is in, where its id does not suffice to find it
	Library               backup.DriveID // that it is kept beside
	Name                  string
	Tree                  string
	Files, Folders, Bytes int64
}

// A partFile is what point.json says of a part, whose tree is in the folder of the
// parts.
type partFile struct {
	Drive   backup.DriveID `json:"drive"`
	Site    string         `json:"site,omitempty"`
	Library backup.DriveID `json:"library,omitempty"`
	Files   int64          `json:"files"`
	Folders int64          `json:"folders"`
	Bytes   int64          `json:"bytes"`
}

// partsFolders are the folders of a point's parts, in the place of files/.
var partsFolders = []struct {
	kind backup.ContainerKind
	name string
}{{backup.Library, "libraries"}, {backup.FileColumns, "columns"}, {backup.FilePermissions, "permissions"}, {backup.FileVersions, "versions"}, {backup.SiteList, "lists"}, {backup.SitePages, "pages"}}

// partsOf is one of these folders, as it is in a point.
type partsOf struct {
	kind    backup.ContainerKind
	object  string
	records []record
}

// Parts returns the containers of a point, kind by kind, each by name; none where the
// point is of one drive, which the tree then is of.
func (v *Vault) Parts(ctx context.Context, tree string) ([]Part, error) {
	b, err := v.base(ctx, "", tree)
	if err != nil {
		return nil, fmt.Errorf("list the parts of tree %s: %w", tree, err)
	}
	return b.partList(), nil
}

func (b *base) partList() (parts []Part) {
	counts := map[backup.DriveID]partFile{}
	for _, p := range b.point.Parts {
		counts[p.Drive] = p
	}
	for _, of := range b.parts {
		for i := range of.records {
			r := &of.records[i]
			c := counts[backup.DriveID(r.ID)]
			parts = append(parts, Part{Kind: of.kind, Drive: backup.DriveID(r.ID), Site: c.Site, Library: c.Library, Name: r.trueName(), Tree: r.Object, Files: c.Files, Folders: c.Folders, Bytes: c.Bytes})
		}
	}
	return parts
}

// BeginPart is Begin for a part: what Seal writes is its tree, which nothing names
// until SealParts does, and there is no root.
func (v *Vault) BeginPart(ctx context.Context, key DriveKey, tree string) (*Update, error) {
	u, err := v.Begin(ctx, key, "", tree)
	if err == nil {
		u.part = true
	}
	return u, err
}

// BeginPartAnew is BeginAnew for a part. Of the trees that are named, which are the
// part's in other points, the newest first, it returns the first that can be read
// as far as its uppermost folders tell, or "".
func (v *Vault) BeginPartAnew(ctx context.Context, key DriveKey, trees ...string) (u *Update, newest string, err error) {
	for _, tree := range trees {
		p := v.point(ctx, tree)
		if p.Err == nil {
			newest = tree
			break
		}
		if !unreadable(p.Err) {
			return nil, "", fmt.Errorf("begin part %s anew: %w", key.Drive, p.Err)
		}
	}
	if u, err = v.BeginPart(ctx, key, ""); err == nil {
		u.doubt = true
	}
	return u, newest, err
}

// SealParts writes a point of parts as Seal writes one of a drive, and publishes
// it: root and tree are those of the point before, as the catalog has them. Where
// all parts are as they were in that, and nothing else differs, it writes nothing.
// A part whose tree cannot be read is linked as it is in the point before.
func (v *Vault) SealParts(ctx context.Context, key DriveKey, root, tree string, at time.Time, info PointInfo, parts []Part) (Sealed, error) {
	s, err := v.sealParts(ctx, key, root, tree, at, info, parts)
	if err != nil {
		return Sealed{}, fmt.Errorf("seal the parts of %s: %w", key.Drive, err)
	}
	return s, nil
}

func (v *Vault) sealParts(ctx context.Context, key DriveKey, root, tree string, at time.Time, info PointInfo, parts []Part) (Sealed, error) {
	if err := v.there(ctx); err != nil {
		return Sealed{}, err
	}
	before, err := v.base(ctx, root, tree)
	if err != nil {
		return Sealed{}, err
	}
	u := &Update{v: v, key: key, base: before}
	defer func() { u.base.close() }()
	point, unread, err := pointFileOf(info)
	if err != nil {
		return Sealed{}, err
	}
	sealed := Sealed{Root: root, Tree: tree}
	records := map[backup.ContainerKind][]record{}
	for _, p := range parts {
		r, err := v.partRecord(ctx, p, before.parts)
		if err != nil {
			return Sealed{}, err
		}
		records[p.Kind] = append(records[p.Kind], r)
		point.Parts = append(point.Parts, partFile{p.Drive, p.Site, p.Library, p.Files, p.Folders, p.Bytes})
		if p.Kind.Beside() {
			continue // the files were counted
		}
		sealed.Files, sealed.Folders, sealed.Bytes = sealed.Files+p.Files, sealed.Folders+p.Folders, sealed.Bytes+p.Bytes
	}
	slices.SortFunc(point.Parts, func(a, b partFile) int { return compareDrives(a.Drive, b.Drive) })
	var held []record
	for _, folder := range partsFolders {
		all := records[folder.kind]
		if len(all) == 0 && folder.kind != backup.Library {
			continue
		}
		slices.SortFunc(all, func(a, b record) int { return compareDrives(backup.DriveID(a.ID), backup.DriveID(b.ID)) })
		nameRecords(all)
		r, err := v.writeDir(ctx, v.updates, folder.name, time.Time{}, all)
		if err != nil {
			return Sealed{}, err
		}
		held = append(held, r)
	}
	var inMeta []record
	var lacks string
	at = at.UTC().Truncate(time.Millisecond)
	if unread != nil {
		if lacks, err = v.writeObject(ctx, v.updates, metaPrefix, "UNREAD", unread); err != nil {
			return Sealed{}, err
		}
		inMeta = append(inMeta, record{Name: "unread.json", Type: fileType, Mode: fileMode, Size: int64(len(unread)), Modified: at, Object: lacks})
	}
	if tree != "" && before.hasParts(held) && slices.Equal(point.Parts, before.point.Parts) && point.same(&before.point) && lacks == before.unread {
		return sealed, nil
	}
	point.Drive, point.Time = key.Drive, at
	point.Files, point.Folders, point.Bytes = sealed.Files, sealed.Folders, sealed.Bytes
	sealed.Changed = true
	sealed.Tree, sealed.Root, err = u.writePoint(ctx, at, point, inMeta, held...)
	return sealed, err
}

func compareDrives(a, b backup.DriveID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// partRecord returns the record of a part's tree.
func (v *Vault) partRecord(ctx context.Context, p Part, before []partsOf) (record, error) {
	r := record{Type: dirType, Mode: dirMode, Object: p.Tree, ID: backup.ItemID(p.Drive)}
	d, err := v.readDir(ctx, p.Tree)
	switch {
	case err == nil:
		r.Summary = summarize(d.records, time.Time{})
	case unreadable(err):
		for _, of := range before {
			if i := slices.IndexFunc(of.records, func(b record) bool { return b.ID == r.ID && b.Object == p.Tree }); i >= 0 {
				r.Summary = of.records[i].Summary
			}
		}
		if r.Summary == nil {
			return r, fmt.Errorf("part %s: %w", p.Drive, err)
		}
	default:
		return r, err
	}
	r.setName(p.Name, safeName(p.Name))
	return r, nil
}

// ofParts reads what a point has in the place of files/, and reports whether it is
// of parts.
func (b *base) ofParts(ctx context.Context, d *dir) (bool, error) {
	for _, known := range partsFolders {
		folder := d.named(known.name)
		if folder == nil {
			continue
		}
		b.parts = append(b.parts, partsOf{known.kind, folder.Object, nil})
		parts, err := b.v.readDir(ctx, folder.Object)
		if err != nil {
			return true, err
		}
		b.parts[len(b.parts)-1].records = parts.records
	}
	return len(b.parts) > 0, nil
}

// hasParts reports whether the folders of the parts are those that are given.
func (b *base) hasParts(folders []record) bool {
	return slices.EqualFunc(b.parts, folders, func(have partsOf, r record) bool { return have.object == r.Object })
}

// errParts is of what can be asked of a single tree only.
func (b *base) errParts() error {
	if len(b.parts) == 0 {
		return nil
	}
	return fmt.Errorf("%w: tree %s is of parts, each with a tree of its own", ErrNotFound, b.tree)
}

// readPoint reads point.json.
func (b *base) readPoint(ctx context.Context, object string) error {
	raw, err := b.v.readObject(ctx, object)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &b.point); err != nil {
		return &DamageError{Object: object, Err: fmt.Errorf("it is no point.json: %w", err)}
	}
	return nil
}
