package console

import (
	"archive/zip"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

// notInHere is what the file in a zip is called that names what should be in there and is not.
const notInHere = "NOT IN HERE.txt"

// sendZip sends files and folders of a point as one zip file, which is made while it is sent.
// What cannot be had of them is named in it. Where the content of a file breaks off, so does
// the zip: a part must not look like the whole.
func sendZip(v *visit) error {
	s, known, err := v.look()
	if err != nil {
		return err
	}
	form := v.r.PostForm
	if v.r.Method != http.MethodPost {
		form = v.r.URL.Query()
	}
	at, chosen := crumbs(form), crumbs(url.Values{"t": form["item"]})
	here := "/console/browse/" + s.ID + "?" + trail(at)
	switch {
	case s.Status != string(backup.BrowseCreated):
		return errNoPage
	case len(chosen) == 0:
		v.say("bad", "Choose the files and folders to download first.")
		return v.redirect(here)
	}
	folder, key := known.Owner.Name(), known.Library.ItemKey
	if len(at) > 0 {
		folder, key = at[len(at)-1].Name, known.keyOf(at[len(at)-1].Part)
	}
	wanted := map[string]bool{}
	for _, c := range chosen {
		wanted[known.keyOf(c.Part)] = true
	}
	z := &zipping{v: v, known: known, taken: map[string]bool{strings.ToLower(notInHere): true}}
	var items []itemAnswer
	if err := z.each(key, func(item itemAnswer) error {
		if wanted[item.ItemKey] {
			items = append(items, item)
		}
		return nil
	}); err != nil {
		return err
	}
	if len(items) < len(wanted) {
		return &problem{http.StatusNotFound, "That is not there", "The folder does not hold all that was chosen. Go back, load it again and choose anew."}
	}
	if len(items) == 1 {
		folder = items[0].Name
	}
	h := v.w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": inZip(folder) + ".zip"}))
	z.to = zip.NewWriter(v.w)
	z.to.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	for _, item := range items {
		if err = z.add("", item); err != nil {
			break
		}
	}
	if err == nil {
		err = z.end()
	}
	if err != nil {
		if v.ctx().Err() == nil {
			v.cfg.Log.Warn("a zip of a restore point broke off", "browse_session", s.ID, "err", err)
		}
		panic(http.ErrAbortHandler)
	}
	return nil
}

// A zipping is a zip file on its way.
type zipping struct {
	v     *visit
	known browsed
	to    *zip.Writer
	taken map[string]bool // names in it, in lower case
	lacks []string        // what is not in it, and why
}

// each calls fn with what is in a folder.
func (z *zipping) each(key string, fn func(itemAnswer) error) error {
	api, err := z.v.client(z.v.ctx(), z.v.s) // whose token may have been renewed
	if err != nil {
		return err
	}
	for value, err := range api.AllAsked(z.v.ctx(), anyBrowse+"/"+url.PathEscape(z.v.r.PathValue("session"))+"/browse", map[string]string{"browseLocationItemKey": key}) {
		if err != nil {
			return err
		}
		var item itemAnswer
		if err := json.Unmarshal(value, &item); err != nil {
			return err
		}
		if err := fn(item); err != nil {
			return err
		}
	}
	return nil
}

// add adds an item with all that is in it, below a folder of the zip.
func (z *zipping) add(below string, item itemAnswer) error {
	name := z.free(below, inZip(item.Name))
	if item.Type != "file" {
		if _, err := z.to.CreateHeader(&zip.FileHeader{Name: name + "/", Modified: z.known.At}); err != nil {
			return err
		}
		err := z.each(item.ItemKey, func(inner itemAnswer) error { return z.add(name+"/", inner) })
		return z.lack(name, err)
	}
	content, err := z.open(item)
	if err != nil {
		return z.lack(name, err)
	}
	defer content.Close()
	changed := item.Modified
	if changed.IsZero() {
		changed = z.known.At
	}
	to, err := z.to.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: changed})
	if err != nil {
		return err
	}
	_, err = io.Copy(to, content)
	return err
}

// open opens a file, later if the server asks to come later.
func (z *zipping) open(item itemAnswer) (io.ReadCloser, error) {
	for attempt := 1; ; attempt++ {
		api, err := z.v.client(z.v.ctx(), z.v.s)
		if err != nil {
			return nil, err
		}
		res, err := api.Open(z.v.ctx(), z.v.contentPath(z.known, strings.TrimPrefix(item.ItemKey, z.known.Library.ItemKey+",")), "")
		if err == nil {
			return res.Body, nil
		}
		e, ok := errors.AsType[*client.Error](err)
		if !ok || attempt == 5 || e.Status != http.StatusTooManyRequests && e.Status != http.StatusServiceUnavailable {
			return nil, err
		}
		if err := sleep(z.v.ctx(), min(max(e.RetryAfter, time.Second), 30*time.Second)); err != nil {
			return nil, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lack notes that something is not in the zip, or not all of it, if the server said why.
// Any other error is returned.
func (z *zipping) lack(name string, err error) error {
	if e, ok := errors.AsType[*client.Error](err); ok && z.v.ctx().Err() == nil {
		z.lacks = append(z.lacks, name+"\t"+firstLine(explain(e).text, e.Error()))
		return nil
	}
	return err
}

// end writes what the zip lacks, and its end.
func (z *zipping) end() error {
	if len(z.lacks) > 0 {
		to, err := z.to.CreateHeader(&zip.FileHeader{Name: notInHere, Method: zip.Deflate, Modified: z.v.cfg.Clock()})
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(to, "What could not be read of the backup of %s, and why:\r\n\r\n%s\r\n", z.known.At.UTC().Format(time.RFC3339), strings.Join(z.lacks, "\r\n")); err != nil {
			return err
		}
	}
	return z.to.Close()
}

// free returns a name in a folder of the zip that no other has there, whatever the case.
func (z *zipping) free(below, name string) string {
	full := below + name
	for n := 2; z.taken[strings.ToLower(full)]; n++ {
		ext := path.Ext(name)
		full = below + strings.TrimSuffix(name, ext) + " (" + strconv.Itoa(n) + ")" + ext
	}
	z.taken[strings.ToLower(full)] = true
	return full
}

// inZip is a name as it is in a zip: one that leaves no folder into which that is unpacked.
func inZip(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, name)
	if strings.Trim(name, ". ") == "" {
		name = "_" + strings.Trim(name, " ")
	}
	return name
}
