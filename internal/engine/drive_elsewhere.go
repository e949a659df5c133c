package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
)

// A point may be restored beside the drive of somebody else, such as a colleague of who
// has left, or beside the libraries of a site. The owner need not be there any more. All
// goes into a new library, as to any new place, and nothing that is there is touched.

// errNoOther: there is no such drive or site to restore into.
var errNoOther = errors.New("there is no such drive or site to restore into")

// reachOther is reach for a restore that goes beside another drive than the owner's.
func (e *Engine) reachOther(ctx context.Context, tenant backup.TenantID, p backup.Point, target string) (to reached, err error) {
	if to.unit, err = e.Catalog.Unit(ctx, tenant, p.Unit); err != nil {
		return to, err
	}
	if to.source, err = e.Sources(tenant); err != nil {
		return to, fmt.Errorf("reach the source: %w", err)
	}
	if to.vault, err = e.vaultOf(ctx, tenant, p.Drive); err != nil {
		return to, err
	}
	if strings.HasPrefix(target, "https://") {
		to.live, err = libraryOfSite(ctx, to.source, target)
	} else {
		to.live, err = to.source.UserDrive(ctx, backup.ObjectID(target))
	}
	if errors.Is(err, drive.ErrNotFound) {
		err = fmt.Errorf("%w: %w", errNoOther, err)
	}
	return to, err
}

// libraryOfSite returns a library of a site, beside which others can be made.
func libraryOfSite(ctx context.Context, source *drive.Client, address string) (drive.Drive, error) {
	site, err := source.SiteAt(ctx, address)
	if err != nil {
		return drive.Drive{}, err
	}
	all, err := source.Libraries(ctx, site.ID)
	if err == nil && len(all) == 0 {
		err = errNoLibrary
	}
	if err != nil {
		return drive.Drive{}, err
	}
	return all[0], nil
}

// nameOfOther is how the library is called, but for its number, that a drive is restored
// to beside another: for its owner.
func nameOfOther(unit backup.Unit) string {
	name, _, _ := strings.Cut(who(unit), "@")
	name = strings.Map(func(r rune) rune {
		if r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '-'
	}, name)
	return name[:min(len(name), 60)] + "-restored-"
}
