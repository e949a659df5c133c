package console

import (
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/client"
)

const (
	findTime  = 5 * time.Second // for which a page looks through units
	maxUnread = 5               // units that a page names which could not be searched whole
)

// A foundAnswer is what the API says of what was found by its name.
type foundAnswer struct {
	ItemKey, Type, Name, Path, Sender, SizeInBytes         string
	FirstSeenDateTime, LastSeenDateTime, BrowsableDateTime time.Time
	ItemDateTime                                           time.Time
	RestorePointID, BrowsableRestorePointID                string
	IsInNewest                                             bool
}

// Part is what of the key of an item is its own.
func (f foundAnswer) Part() string { return f.ItemKey[strings.LastIndexByte(f.ItemKey, ',')+1:] }

// Restore is what has mail that was found restored, as the address of that says it.
func (f foundAnswer) Restore() template.URL {
	pick := heldAnswer{ItemKey: f.ItemKey, Type: f.Type, Name: f.Name, Path: f.Path}.Pick()
	return template.URL(url.Values{"item": {pick}}.Encode()) // which is escaped
}

// A hit is what was found, and of which unit it is.
type hit struct {
	foundAnswer
	Unit unitAnswer
}

// A lacking is a unit that was not searched whole, and why.
type lacking struct {
	Unit unitAnswer
	Why  string
}

type findPage struct {
	Unit     *unitAnswer // whose points are searched; nil for all
	Action   string
	Text     string
	Gone     bool
	Of       string
	Hits     []hit
	Lacking  []lacking
	Lack     int // units that were not searched whole
	Searched int // units, to the end of the page
	Total    int
	First    string // addresses
	Next     string
	Wrong    string
	begun    time.Time
}

// Workloads is what can be chosen.
func (findPage) Workloads() []*client.Workload { return client.Workloads }

// findInUnit finds what a unit's points hold by a name.
func findInUnit(v *visit) error {
	u, err := get[unitAnswer](v.ctx(), v.api, anyUnit+"/"+url.PathEscape(v.r.PathValue("id")))
	if err != nil {
		return err
	}
	v.ofUnit(u)
	page := v.newFindPage()
	page.Unit, page.Total = &u, 1
	title := "Find in " + u.Called()
	if page.Text == "" {
		return v.show("find", title, page)
	}
	next, err := v.findIn(&page, u, v.r.URL.Query().Get("after"))
	if err != nil {
		return err
	}
	if next != "" {
		page.Next = v.with("after", next)
	}
	return v.show("find", title, page)
}

func (v *visit) newFindPage() findPage {
	q := v.r.URL.Query()
	page := findPage{begun: v.cfg.Clock(), Action: v.r.URL.Path, Text: strings.TrimSpace(q.Get("q")), Gone: q.Get("gone") != "", Of: q.Get("of")}
	if q.Has("after") || q.Has("units") || q.Has("skip") {
		page.First = v.with("after", "", "units", "", "skip", "", "searched", "", "total", "")
	}
	return page
}

// with is the address of the visit with some of its values changed; those of "" go.
func (v *visit) with(changes ...string) string {
	q := v.r.URL.Query()
	for i := 0; i < len(changes); i += 2 {
		if q.Del(changes[i]); changes[i+1] != "" {
			q.Set(changes[i], changes[i+1])
		}
	}
	return v.r.URL.Path + "?" + q.Encode()
}

// findEverywhere finds what the points of any unit hold by a name: unit after unit, until
// the page is full or has taken its time. Its address says where the next goes on: in which
// page of units, behind how many of that, and where in the unit.
func findEverywhere(v *visit) error {
	page, q := v.newFindPage(), v.r.URL.Query()
	const title = "Find"
	if page.Text == "" {
		return v.show("find", title, page)
	}
	set := anyUnit
	if of := workloadNamed(page.Of); of != nil {
		set = of.Units
	}
	token, after := q.Get("units"), q.Get("after")
	skip, _ := strconv.Atoi(q.Get("skip"))
	page.Searched, _ = strconv.Atoi(q.Get("searched"))
	page.Total, _ = strconv.Atoi(q.Get("total")) // counted once, as by read
	goOn := func(skip int, after string) {
		page.Next = v.with("units", token, "skip", strconv.Itoa(skip), "after", after, "searched", strconv.Itoa(page.Searched), "total", strconv.Itoa(page.Total))
	}
	for {
		options := []string{"$top=100"}
		if page.Total <= 0 {
			options = append(options, "$count=true")
		}
		if token != "" {
			options = append(options, query("$skiptoken", token))
		}
		var units struct {
			Value []unitAnswer
			Count int    `json:"@odata.count"`
			Next  string `json:"@odata.nextLink"`
		}
		if err := v.api.Get(v.ctx(), set+"?"+strings.Join(options, "&"), &units); err != nil {
			return err
		}
		if page.Total <= 0 {
			page.Total = units.Count
		}
		for i := min(max(skip, 0), len(units.Value)); i < len(units.Value); i++ {
			if v.full(&page) {
				goOn(i, "")
				return v.show("find", title, page)
			}
			next, err := v.findIn(&page, units.Value[i], after)
			if err != nil {
				return err
			}
			if page.Wrong != "" {
				return v.show("find", title, page)
			}
			if after = next; next != "" {
				goOn(i, next)
				return v.show("find", title, page)
			}
			page.Searched++
		}
		if units.Next == "" {
			return v.show("find", title, page)
		}
		next, err := url.Parse(units.Next)
		if err != nil {
			return err
		}
		token, skip = next.Query().Get("$skiptoken"), 0
	}
}

// findIn adds to a page what a unit's points hold by the name that the page is about,
// behind a token, until the page is full; then it returns the token to go on with.
func (v *visit) findIn(page *findPage, u unitAnswer, token string) (next string, err error) {
	for {
		path := anyUnit + "/" + url.PathEscape(u.ID) + "/holdfast.find/" + url.PathEscape(page.Text) + "?$top=" + strconv.Itoa(pageSize-len(page.Hits))
		if token != "" {
			path += "&" + query("$skiptoken", token)
		}
		var answer client.Page
		if err := v.api.Get(v.ctx(), path, &answer); err != nil {
			p := explain(err)
			switch {
			case p.status != http.StatusBadRequest:
				return "", err
			case page.Unit == nil && u.Of() == client.Mailboxes: // its subjects have words, where names have signs
				page.lacks(u, p.text)
			default:
				page.Wrong = p.text
			}
			return "", nil
		}
		if answer.Note != "" && token == "" {
			page.lacks(u, answer.Note)
		}
		for _, value := range answer.Value {
			h := hit{Unit: u}
			if err := json.Unmarshal(value, &h.foundAnswer); err != nil {
				return "", err
			}
			if !page.Gone || !h.IsInNewest {
				page.Hits = append(page.Hits, h)
			}
		}
		if answer.Next == "" {
			return "", nil
		}
		at, err := url.Parse(answer.Next)
		if err != nil {
			return "", err
		}
		if token = at.Query().Get("$skiptoken"); v.full(page) {
			return token, nil
		}
	}
}

// full reports whether a page has all that it may show, or has taken its time.
func (v *visit) full(p *findPage) bool {
	return len(p.Hits) >= pageSize || v.cfg.Clock().Sub(p.begun) > findTime
}

func (p *findPage) lacks(u unitAnswer, why string) {
	p.Lack++
	if len(p.Lacking) < maxUnread {
		p.Lacking = append(p.Lacking, lacking{u, why})
	}
}

// found is the address within a browse session of what the visit's form names by its path,
// as it was found; "" if it names nothing.
func (v *visit) found() string {
	path := v.r.PostFormValue("path")
	if path == "" {
		return ""
	}
	return "?" + url.Values{"path": {path}, "then": {v.r.PostFormValue("then")}}.Encode()
}

// browsableWith is the point of a unit that can be looked into now and holds what is at a
// path.
func (v *visit) browsableWith(u unitAnswer, path string) (string, error) {
	name := path[strings.LastIndexByte(path, '/')+1:]
	for value, err := range v.api.All(v.ctx(), anyUnit+"/"+url.PathEscape(u.ID)+"/holdfast.find/"+url.PathEscape(name)) {
		if err != nil {
			return "", err
		}
		var f foundAnswer
		if err := json.Unmarshal(value, &f); err != nil {
			return "", err
		}
		if f.Path == path && f.BrowsableRestorePointID != "" {
			return f.BrowsableRestorePointID, nil
		}
	}
	return "", &problem{http.StatusConflict, "This cannot be looked into any more", "A newer backup was made since, and no point that can be looked into holds " + quote(path) + ". Restore the whole " + u.Of().Noun + " beside the live one, as it was at a time that had it."}
}

// locate leads from a path in a point to the folder that what is there lies in, with that
// chosen, or to its restoring.
func (v *visit) locate(s browseAnswer, known browsed, path string) error {
	var at []crumb
	here, key := "/console/browse/"+s.ID, known.Library.ItemKey
	names := strings.Split(strings.Trim(path, "/"), "/")
	for i, name := range names {
		item, err := v.child(s.ID, key, name)
		if err != nil {
			return err
		}
		if item == nil {
			v.say("bad", "The point does not hold "+quote(path)+". This is as far as it goes.")
			return v.redirect(here + "?" + trail(at))
		}
		c := crumb{strings.TrimPrefix(item.ItemKey, known.Library.ItemKey+","), item.Name}
		if i == len(names)-1 {
			q := url.Values{"item": {c.Part + ":" + c.Name}}
			for _, c := range at {
				q.Add("t", c.Part+":"+c.Name)
			}
			if v.r.URL.Query().Get("then") == "restore" && item.Type != "documentLibrary" {
				here += "/restore"
			}
			return v.redirect(here + "?" + q.Encode())
		}
		at, key = append(at, c), item.ItemKey
	}
	return errNoPage // there is a name at least
}

// child is the item of a name in a folder of a point; nil if there is none.
func (v *visit) child(session, folder, name string) (*itemAnswer, error) {
	body := map[string]string{"browseLocationItemKey": folder}
	if part := plainPart(name); part != "" {
		body["filter"] = "(name -contains '" + part + "')"
	}
	for value, err := range v.api.AllAsked(v.ctx(), anyBrowse+"/"+url.PathEscape(session)+"/browse", body) {
		if err != nil {
			return nil, err
		}
		var item itemAnswer
		if err := json.Unmarshal(value, &item); err != nil {
			return nil, err
		}
		if item.Name == name {
			return &item, nil
		}
	}
	return nil, nil
}

// plainPart is the longest part of a name that a filter can look for.
func plainPart(name string) (longest string) {
	for _, part := range strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune(`'"\*?`, r) }) {
		if len(part) > len(longest) {
			longest = part
		}
	}
	return longest
}

// chosenOf is the item that an address has chosen.
func chosenOf(q url.Values) (c crumb, ok bool) {
	all := crumbs(url.Values{"t": q["item"]})
	if len(all) == 0 {
		return c, false
	}
	return all[0], true
}
