package console

import (
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A changeAnswer is what the API says of an item that differs in two points.
type changeAnswer struct {
	Change, Type, Name, Path, PreviousPath, Sender string
	SizeInBytes, PreviousSizeInBytes               string
	IsContentChanged                               bool
}

// What says in a word or two what became of an item.
func (c changeAnswer) What() string {
	switch {
	case c.Change == "moved" && c.IsContentChanged:
		return "moved and changed"
	case c.Change == "changed" && !c.IsContentChanged:
		return "another date"
	}
	return c.Change
}

// Level is the colour of that.
func (c changeAnswer) Level() string {
	return map[string]string{"added": "protected", "deleted": "failed", "changed": "unprotected"}[c.Change]
}

type changesPage struct {
	Unit     unitAnswer
	From, To pointAnswer // the older and the newer
	First    bool        // there is none before To
	Changes  list[changeAnswer]
	Seconds  bool // tell the two apart
}

// showChanges shows how two points of a unit differ; if the address names one, how that
// does from the one before.
func showChanges(v *visit) error {
	q := v.r.URL.Query()
	u, err := get[unitAnswer](v.ctx(), v.api, anyUnit+"/"+url.PathEscape(v.r.PathValue("id")))
	if err != nil {
		return err
	}
	v.ofUnit(u)
	page := changesPage{Unit: u}
	title := "What changed in " + u.Called()
	if q.Get("to") == "" || q.Get("from") == q.Get("to") {
		return &problem{http.StatusBadRequest, "Two points are compared", "Choose two different restore points on the page of what they are of."}
	}
	if page.To, err = v.point(q.Get("to")); err != nil {
		return err
	}
	if q.Get("from") == "" {
		var before struct{ Value []pointAnswer }
		options := []string{pointOptions(u.ID, time.Unix(0, 0), page.To.ProtectionDateTime), query("$orderby", "protectionDateTime desc"), "$top=1"}
		if err := v.api.Get(v.ctx(), pointSet+"?"+strings.Join(options, "&"), &before); err != nil {
			return err
		}
		if page.First = len(before.Value) == 0; page.First {
			return v.show("changes", title, page)
		}
		page.From = before.Value[0]
	} else if page.From, err = v.point(q.Get("from")); err != nil {
		return err
	}
	if page.From.ProtectionDateTime.After(page.To.ProtectionDateTime) {
		page.From, page.To = page.To, page.From
	}
	page.Seconds = sameMinute([]pointAnswer{page.From, page.To})
	page.Changes, err = read[changeAnswer](v, pointSet+"/"+url.PathEscape(page.To.ID)+"/holdfast.changes/"+url.PathEscape(page.From.ID))
	if err != nil {
		return err
	}
	return v.show("changes", title, page)
}

// Query is the address of a search for an item of a mailbox as it was before.
func (p changesPage) Query(c changeAnswer) template.URL {
	return template.URL(url.Values{"q": {"subject:'" + strings.ReplaceAll(c.Name, "'", " ") + "'"}, "until": {p.From.ProtectionDateTime.UTC().Format(time.DateOnly)}}.Encode()) // which is escaped
}

// sameMinute reports whether two of some points lie in one minute, so that their seconds
// are to be shown. They are in the order of time.
func sameMinute(points []pointAnswer) bool {
	for i := 1; i < len(points); i++ {
		if points[i].ProtectionDateTime.Truncate(time.Minute).Equal(points[i-1].ProtectionDateTime.Truncate(time.Minute)) {
			return true
		}
	}
	return false
}

func (v *visit) point(id string) (pointAnswer, error) {
	return get[pointAnswer](v.ctx(), v.api, pointSet+"/"+url.PathEscape(id))
}
