package drive

import (
	"context"
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

// Sites yields the tenant's sites but for those of users' drives: of each collection
// every site in it that the source lists. When it ends without an error the list
// came to its end, and each site said which it is.
func (c *Client) Sites(ctx context.Context) iter.Seq2[backup.Subject, error] {
	const op = "list the tenant's sites"
	address := c.at("sites", "getAllSites", "?$select=id,displayName,name,webUrl,isPersonalSite,lastModifiedDateTime")
	return func(yield func(backup.Subject, error) bool) {
		all, err := listOf(ctx, c, op, address, func(w *wireListedSite) (s backup.Subject, ok bool) {
			if w.IsPersonalSite {
				return s, true
			}
			site := w.site()
			id, ok := backup.SharePoint.ParseSubject(site.ID)
			return backup.Subject{ID: id, SourceID: site.ID, Address: site.WebURL, DisplayName: site.Name, Modified: w.LastModifiedDateTime}, ok && strings.Contains(site.WebURL, "://")
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
