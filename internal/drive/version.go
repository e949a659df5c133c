package drive

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
)

// A Version is a content that a file had, or has.
type Version struct {
	ID       string    `json:"id"`
	Size     int64     `json:"size"` // -1 where the source does not say
	Modified time.Time `json:"modified"`
	// JSON is what the source tells of it, such as whose it is.
	JSON json.RawMessage `json:"json"`
}

type wireVersion struct {
	ID       string
	Size     wireSize
	Modified wireTime `json:"lastModifiedDateTime"`

	members map[string]json.RawMessage
	wrong   bool
}

func (w *wireVersion) key() string { return w.ID }
func (w *wireVersion) malformed()  { w.wrong = true }

func (w *wireVersion) UnmarshalJSON(b []byte) error {
	type plain wireVersion // without this method
	if err := json.Unmarshal(b, (*plain)(w)); err != nil {
		return err
	}
	return json.Unmarshal(b, &w.members)
}

func (w *wireVersion) version() (v Version, err error) {
	if w.wrong || !isName(w.ID) {
		return v, errors.New("it tells of a version without an id")
	}
	kept := map[string]json.RawMessage{}
	for name, m := range w.members {
		if !strings.Contains(name, "@") {
			kept[name] = m
		}
	}
	v = Version{ID: w.ID, Size: w.Size.bytes(), Modified: w.Modified.Time}
	v.JSON, err = encode(kept)
	return v, err
}

// Versions returns the versions that a file had before the present one, the newest
// first, but no more than most; and which of those that are held are older than these.
// The source tells the present one first.
func (c *Client) Versions(ctx context.Context, d backup.DriveID, id backup.ItemID, most int, held ...string) (all []Version, older []string, err error) {
	first := call{op: onItem("list the versions of item", d, id), cost: costList, itemOf: d,
		url: c.at("drives", string(d), "items", string(id), "versions")}
	known := map[string]bool{} // a page may come again
	for p, err := range pages[wireVersion](ctx, c, first) {
		if err != nil {
			return nil, nil, err
		}
		for i := range p.Value {
			v, err := p.Value[i].version()
			switch {
			case err != nil:
				return nil, nil, noAnswer(first.op, err)
			case known[v.ID]:
				continue
			case len(all) <= most:
				all = append(all, v)
			case slices.Contains(held, v.ID):
				older = append(older, v.ID)
			}
			known[v.ID] = true
		}
		if len(all) > most && !slices.ContainsFunc(held, func(id string) bool { return !known[id] }) {
			break
		}
	}
	if len(all) == 0 {
		return nil, nil, noAnswer(first.op, errors.New("it lists not even the present one"))
	}
	return all[1:], older, nil
}

// Version returns a version of a file, the present one too. One that is gone, with its
// file or by itself, is ErrNotFound.
func (c *Client) Version(ctx context.Context, d backup.DriveID, id backup.ItemID, version string) (Version, error) {
	var w wireVersion
	k := &call{op: onItem("look at version "+version+" of item", d, id), method: http.MethodGet, cost: costGet, itemOf: d,
		url: c.at("drives", string(d), "items", string(id), "versions", version)}
	if _, err := c.do(ctx, k, &w); err != nil {
		return Version{}, err
	}
	v, err := w.version()
	switch {
	case err != nil:
		return v, noAnswer(k.op, err)
	case v.ID != version:
		return v, &Error{Op: k.op, Err: errOtherItem, kind: ErrUnavailable}
	}
	return v, nil
}

// DownloadVersion is Download of an earlier version of a file, as it was listed. The
// source states no hash of it: what has the size that was listed is confirmed. Name is
// the file's, by which a page is known that is one.
func (c *Client) DownloadVersion(ctx context.Context, d backup.DriveID, id backup.ItemID, v Version, name string) (*Download, error) {
	return c.download(&Download{
		Item:    Item{ID: id, Name: name, Kind: backup.File, Size: v.Size, Modified: v.Modified},
		version: v.ID, ctx: ctx, d: d, op: onItem("download version "+v.ID+" of item", d, id),
	})
}

// versionNow is the version that is downloaded, as it is now.
func (x *Download) versionNow() (Item, error) {
	v, err := x.c.Version(x.ctx, x.d, x.Item.ID, x.version)
	now := x.Item
	now.Size, now.Modified = v.Size, v.Modified
	return now, err
}
