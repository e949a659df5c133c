package drive

import (
	"context"
	"errors"
	"iter"
	"strings"
	"time"

	"holdfast/internal/backup"
)

type wireListedSite struct {
	wireSite
	IsPersonalSite       bool
	LastModifiedDateTime time.Time
}

func (w *wireListedSite) subject() (s backup.Subject, ok bool) {
	site := w.site()
	id, ok := backup.SharePoint.ParseSubject(site.ID)
	return backup.Subject{ID: id, SourceID: site.ID, Address: site.WebURL, DisplayName: site.Name, Modified: w.LastModifiedDateTime}, ok && strings.Contains(site.WebURL, "://")
}

const siteFields = "$select=id,displayName,name,webUrl,isPersonalSite,lastModifiedDateTime"

// A SiteChange is a site that is new or changed, or of which the source says that it is
// gone, by its SourceID alone.
type SiteChange struct {
	backup.Subject
	Removed bool
}

type wireSiteChange struct {
	wireListedSite
	Deleted *struct{}
	Removed *struct{} `json:"@removed"`
}

// SiteChanges returns what changed among the tenant's sites since cursor, but for those
// of users' drives: for an empty one nothing, and the cursor of now. Not each site that
// is gone is told of. A cursor that the source no longer takes is ErrResync, and so is a
// change that does not say of which site it is.
func (c *Client) SiteChanges(ctx context.Context, cursor string) *Changes[SiteChange] {
	const op = "read changes of the tenant's sites"
	convert := func(in []wireSiteChange) (out []SiteChange, err error) {
		for i := range in {
			w := &in[i]
			site, ok := w.subject()
			removed := w.Deleted != nil || w.Removed != nil
			switch {
			case w.IsPersonalSite && !removed:
			case site.ID == "", !ok && !removed:
				return nil, &Error{Op: op, Err: errors.New("a change does not say of which site it is"), kind: ErrResync}
			default:
				out = append(out, SiteChange{site, removed})
			}
		}
		return out, nil
	}
	if cursor == "" {
		return delta(ctx, c, op, c.at("sites", "delta", "?token=latest&"+siteFields), costList, convert)
	}
	address, ok := c.resume(cursor)
	if ok {
		ok = c.foreign(address, c.at("sites", "delta")) == ""
	}
	if !ok {
		return failed[SiteChange](&Error{Op: op, Err: errors.New("the cursor is no address of the list of sites"), kind: ErrResync})
	}
	x := delta(ctx, c, op, address, costGet, convert)
	x.all = noCursor(op, x.all, func() bool { return true })
	return x
}

// Sites yields the tenant's sites but for those of users' drives: of each collection
// every site in it that the source lists. When it ends without an error the list
// came to its end, and each site said which it is.
func (c *Client) Sites(ctx context.Context) iter.Seq2[backup.Subject, error] {
	const op = "list the tenant's sites"
	address := c.at("sites", "getAllSites", "?"+siteFields)
	return func(yield func(backup.Subject, error) bool) {
		all, err := listOf(ctx, c, op, address, func(w *wireListedSite) (s backup.Subject, ok bool) {
			if w.IsPersonalSite {
				return s, true
			}
			return w.subject()
		})
		for _, s := range all {
			if s.ID != "" && !yield(s, nil) {
				return
			}
		}
		if err != nil {
			yield(backup.Subject{}, err)
		}
	}
}
