package drive

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"net/http"
	"strings"
	"time"

	"holdfast/internal/backup"
)

// A Page is a modern page of a site, as Graph has it.
type Page struct {
	ID                string
	Name              string // such as Home.aspx
	ETag              string
	Published         bool
	Created, Modified time.Time
	// JSON is the page as it is kept, with what is on it; nil where that was not asked for.
	JSON []byte
}

type wirePage struct {
	ID, Name, ETag string
	Created        wireTime               `json:"createdDateTime"`
	Modified       wireTime               `json:"lastModifiedDateTime"`
	State          struct{ Level string } `json:"publishingState"`

	members map[string]json.RawMessage
	wrong   bool
}

func (w *wirePage) key() string { return w.ID }
func (w *wirePage) malformed()  { w.wrong = true }

func (w *wirePage) UnmarshalJSON(b []byte) error {
	type plain wirePage // without this method
	if err := json.Unmarshal(b, (*plain)(w)); err != nil {
		return err
	}
	return json.Unmarshal(b, &w.members)
}

func (w *wirePage) page() Page {
	p := Page{ID: strings.ToLower(w.ID), Name: w.Name, ETag: w.ETag, Published: w.State.Level == "published", Created: w.Created.Time, Modified: w.Modified.Time}
	if !isName(w.Name) {
		p.Name = ""
	}
	if w.wrong || !isName(w.ID) || strings.Contains(w.ID, ",") {
		p.ID = ""
	}
	return p
}

const pageType = "microsoft.graph.sitePage"

// onPage is what calls about single pages of a site say that they are of.
func onPage(site string) backup.DriveID { return backup.DriveID("sites/" + site + "/pages") }

// Pages yields the modern pages of a site, without what is on them. One that does not
// say which it is comes without its id. After an error nothing follows.
func (c *Client) Pages(ctx context.Context, site string) iter.Seq2[Page, error] {
	first := call{op: "list the pages of site " + site, cost: costList,
		url: c.at("sites", site, "pages", pageType, "?$select=id,name,eTag,createdDateTime,lastModifiedDateTime,publishingState")}
	return func(yield func(Page, error) bool) {
		for p, err := range pages[wirePage](ctx, c, first) {
			if err != nil {
				yield(Page{}, err)
				return
			}
			for i := range p.Value {
				if !yield(p.Value[i].page(), nil) {
					return
				}
			}
		}
	}
}

// Page returns a page as it is now, with what is on it. A vanished one is ErrNotFound.
func (c *Client) Page(ctx context.Context, site, id string) (Page, error) {
	var w wirePage
	k := &call{op: "read page " + id + " of site " + site, method: http.MethodGet, cost: costGet, itemOf: onPage(site),
		url: c.at("sites", site, "pages", id, pageType, "?$expand=canvasLayout")}
	if _, err := c.do(ctx, k, &w); err != nil {
		return Page{}, err
	}
	p := w.page()
	if p.ID != strings.ToLower(id) {
		return p, &Error{Op: k.op, Err: errOtherItem, kind: ErrUnavailable}
	}
	if _, ok := w.members["canvasLayout"]; !ok {
		return p, &Error{Op: k.op, Err: errors.New("it does not tell what is on the page"), kind: ErrContent}
	}
	kept := map[string]json.RawMessage{}
	for name, v := range w.members {
		if !strings.Contains(name, "@") {
			kept[name] = v
		}
	}
	var err error
	p.JSON, err = encode(kept)
	return p, err
}

// CreatePage makes a page of a site of what Graph takes of one. It is a draft until it
// is published. If the name is taken, it is ErrExists. Unclear says of a failure that it
// may have been made all the same.
func (c *Client) CreatePage(ctx context.Context, site string, of map[string]any) (made Page, unclear bool, err error) {
	k := &call{op: "create a page of site " + site, method: http.MethodPost, url: c.at("sites", site, "pages"), cost: costWrite, itemOf: onPage(site), once: true, json: typed(of)}
	var w wirePage
	if _, err := c.do(ctx, k, &w); err != nil {
		return made, k.unclear || ctx.Err() != nil, err
	}
	if made = w.page(); made.ID == "" {
		return made, true, noAnswer(k.op, errors.New("it names no page"))
	}
	return made, false, nil
}

func typed(page map[string]any) map[string]any {
	page = maps.Clone(page)
	page["@odata.type"] = "#" + pageType
	return page
}

// PatchPage changes a page, which is a draft from then on. If tag is given and is not
// the page's eTag, it is ErrChanged.
func (c *Client) PatchPage(ctx context.Context, site, id string, change map[string]any, tag string) error {
	k := &call{op: "change page " + id + " of site " + site, method: http.MethodPatch, url: c.at("sites", site, "pages", id, pageType), cost: costWrite,
		itemOf: onPage(site), header: ifMatch(tag), json: typed(change)}
	_, err := c.do(ctx, k, nil)
	return err
}

// PublishPage shows a page to those who may see it.
func (c *Client) PublishPage(ctx context.Context, site, id string) error {
	k := &call{op: "publish page " + id + " of site " + site, method: http.MethodPost, url: c.at("sites", site, "pages", id, pageType, "publish"), cost: costWrite, itemOf: onPage(site)}
	_, err := c.do(ctx, k, nil)
	return err
}
