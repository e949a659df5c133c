package drive

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"holdfast/internal/backup"
)

// A Site is a site of SharePoint, whose libraries are drives.
type Site struct {
	ID         string           // as the source spells it: its host, its collection, itself
	Collection backup.SubjectID // that it is in; empty where the source does not say
	Name       string
	WebURL     string
}

type wireSite struct{ ID, DisplayName, Name, WebURL string }

func (w *wireSite) key() string { return w.ID }
func (w *wireSite) malformed()  {}

func (w *wireSite) site() Site {
	s := Site{ID: w.ID, Name: w.DisplayName, WebURL: w.WebURL}
	if s.Name == "" {
		s.Name = w.Name
	}
	if parts := strings.Split(w.ID, ","); len(parts) == 3 {
		s.Collection = backup.SubjectID(strings.ToLower(parts[1]))
	}
	return s
}

// Site returns a site by its id, or the uppermost one of a collection by the
// collection's. One that the source does not know is ErrNotFound.
func (c *Client) Site(ctx context.Context, id string) (Site, error) {
	return c.siteOf(ctx, id, c.at("sites", id))
}

func (c *Client) siteOf(ctx context.Context, what, url string) (Site, error) {
	var w wireSite
	k := &call{op: "find site " + what, method: http.MethodGet, url: url, cost: costGet}
	_, err := c.do(ctx, k, &w)
	if err == nil && w.ID == "" {
		err = noAnswer(k.op, errors.New("it names no site"))
	}
	return w.site(), err
}

// Subsites lists the sites right below a site. With an error it returns those that
// are known of.
func (c *Client) Subsites(ctx context.Context, id string) (all []Site, err error) {
	op := "list the sites below site " + id
	return listOf(ctx, c, op, c.at("sites", id, "sites"), func(w *wireSite) (Site, bool) { return w.site(), w.ID != "" })
}

// Libraries lists the document libraries of a site, but not those of the sites
// below it. With an error it returns those that are known of.
func (c *Client) Libraries(ctx context.Context, id string) ([]Drive, error) {
	op := "list the libraries of site " + id
	return listOf(ctx, c, op, c.at("sites", id, "drives"), func(w *wireDrive) (Drive, bool) {
		d := w.drive()
		if d.SiteID == "" {
			d.SiteID = id
		}
		return d, w.ID != "" && w.Name != ""
	})
}

// listOf reads a list to its end. What lacks its id is no reason to lose the
// others, but the list is then not whole.
func listOf[W, T any](ctx context.Context, c *Client, op, url string, take func(*W) (T, bool)) (all []T, err error) {
	var lacks error
	for p, err := range pages[W](ctx, c, call{op: op, url: url, cost: costList}) {
		if err != nil {
			return all, err
		}
		for i := range p.Value {
			if v, ok := take(&p.Value[i]); ok {
				all = append(all, v)
			} else {
				lacks = noAnswer(op, errors.New("it lists something without an id or a name"))
			}
		}
	}
	return all, lacks
}

// Drive returns a drive by its id.
func (c *Client) Drive(ctx context.Context, id backup.DriveID) (Drive, error) {
	var w wireDrive
	k := &call{op: "find drive " + string(id), method: http.MethodGet, url: c.at("drives", string(id)), cost: costGet, itemOf: id}
	_, err := c.do(ctx, k, &w)
	if err == nil && !strings.EqualFold(w.ID, string(id)) {
		err = noAnswer(k.op, fmt.Errorf("it tells of drive %q", w.ID))
	}
	return w.drive(), err
}
