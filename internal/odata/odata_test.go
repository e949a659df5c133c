package odata

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
)

var vocabulary = NewVocabulary([]string{
	"/v1.0/solutions/backupRestore",
	"/v1.0/solutions/backupRestore/protectionPolicies/{id}/activate",
	"/v1.0/solutions/backupRestore/protectionUnits/graph.driveProtectionUnit/$count",
	"/v1.0/solutions/backupRestore/restorePoints/search",
}, []string{"/v1.0/solutions/backupRestore/protectionPolicies/{id}/activate", "/v1.0/solutions/backupRestore/restorePoints/search"})

func TestCanonical(t *testing.T) {
	const root = "/v1.0/solutions/backupRestore"
	for _, row := range []struct{ in, want string }{
		{"/v1.0/solutions/backupRestore", root},
		{"/V1.0/Solutions/BACKUPRESTORE/", root},
		{"/v1.0/solutions/backuprestore/ProtectionPolicies", root + "/protectionPolicies"},
		{root + "/protectionPolicies('x')", root + "/protectionPolicies/x"},
		{root + "/protectionPolicies('x')/Activate", root + "/protectionPolicies/x/activate"},
		{root + "/protectionPolicies/x/microsoft.graph.activate/", root + "/protectionPolicies/x/activate"},
		{root + "/protectionPolicies/x/graph.ACTIVATE", root + "/protectionPolicies/x/activate"},
		{root + "/protectionPolicies(id='x')", root + "/protectionPolicies/x"},
		{root + "/protectionPolicies(%27x%27)", root + "/protectionPolicies/x"},
		{root + "/protectionPolicies('it''s')", root + "/protectionPolicies/it's"},
		{root + "/protectionPolicies('a%2Fb')", root + "/protectionPolicies/a/b"},
		{root + "/protectionPolicies/%41ctivate", root + "/protectionPolicies/activate"},
		{root + "/protectionUnits/microsoft.graph.driveProtectionUnit", root + "/protectionUnits/graph.driveProtectionUnit"},
		{root + "/protectionUnits/Graph.DriveProtectionUnit/$COUNT", root + "/protectionUnits/graph.driveProtectionUnit/$count"},
		{root + "/protectionUnits/driveProtectionUnit", root + "/protectionUnits/driveProtectionUnit"},
		{root + "/protectionPolicies(x)", root + "/protectionPolicies(x)"},
		// What cannot be a route.
		{"", ""}, {"*", ""}, {root + "//protectionPolicies", ""}, {root + "/..", ""}, {root + "/%2E%2e/x", ""}, {root + "/%ff", ""},
		{root + "/%zz", ""}, {root + "/protectionPolicies('')", ""}, {root + "/protectionPolicies/x/graph.offboard", ""},
		{root + "/protectionUnits/microsoft.graph.siteProtectionUnit", ""}, {root + "/graph.protectionPolicies", ""},
	} {
		got, raw, ok := vocabulary.Canonical(row.in)
		if ok != (row.want != "") || got != row.want {
			t.Errorf("Canonical(%q) = %q, %t, want %q", row.in, got, ok, row.want)
		}
		if plain, err := url.PathUnescape(raw); ok && (err != nil || plain != got) {
			t.Errorf("Canonical(%q): %q is not the escaped form of %q", row.in, raw, got)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"/v1.0/solutions/backupRestore/protectionPolicies('a')/x", "/(')", "/a('')", "/%00", "/a%2fb/", "///", "/a(id='')"} {
		f.Add(s)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {})
	f.Fuzz(func(t *testing.T, in string) {
		path, raw, ok := vocabulary.Canonical(in)
		if !ok {
			return
		}
		if !utf8.ValidString(path) || strings.Contains(raw, "//") {
			t.Errorf("Canonical(%q) = %q, %q", in, path, raw)
		}
		// ServeMux must not redirect it.
		rec := httptest.NewRecorder()
		mux.ServeHTTP(rec, &http.Request{Method: "GET", URL: &url.URL{Path: path, RawPath: raw}})
		if rec.Code != 200 {
			t.Errorf("Canonical(%q) = %q is answered %d", in, path, rec.Code)
		}
	})
}

func TestParseOptions(t *testing.T) {
	all := []Option{Select, Top, Skip, Count, Filter, OrderBy, Expand, SkipToken}
	o, err := ParseOptions("%24TOP=5&skip=2&$count=True&$select=id,%20Name&$filter=a+eq+'b%26c'&$expand=x($filter=a eq 'b';$top=1)&nonsense=1&$orderby=a", all...)
	if err != nil {
		t.Fatal(err)
	}
	if o.Top != 5 || o.Skip != 2 || !o.Count || o.Filter != "a eq 'b&c'" || o.Expand != "x($filter=a eq 'b';$top=1)" || !slices.Equal(o.Select, []string{"id", "Name"}) {
		t.Errorf("options = %+v", o)
	}
	if err := o.Selecting([]string{"id", "name"}); err != nil || !slices.Equal(o.Select, []string{"id", "name"}) {
		t.Errorf("selected %v, %v", o.Select, err)
	}
	if o, _ := ParseOptions("$top=5000", all...); o.Top != MaxPage {
		t.Errorf("$top=5000 is %d", o.Top)
	}
	if o, _ := ParseOptions("", all...); o.Top != -1 || o.Has(Top) {
		t.Errorf("no $top is %d", o.Top)
	}
	for _, q := range []string{"$top=-1", "$top=x", "$top=", "$top=1&top=2", "$top=1&%24Top=1", "$skip=-1", "$skip=99999999999999999999", "$count=yes", "$select=", "$select=a,,b",
		"$skiptoken=", "$search=x", "search=x", "$format=json", "$bogus=1", "$=1", "$top=%zz", "%ff=1", "$filter=%ff", "$apply=x", "$compute=x"} {
		if _, err := ParseOptions(q, all...); !errors.Is(err, backup.InvalidRequest) {
			t.Errorf("ParseOptions(%q) = %v", q, err)
		}
	}
	if _, err := ParseOptions("$filter=x"); !errors.Is(err, backup.InvalidRequest) || !strings.Contains(err.Error(), "$filter") {
		t.Errorf("an option that the route does not support = %v", err)
	}
	if _, err := ParseOptions("$filter="+strings.Repeat("é", 2049), all...); !errors.Is(err, backup.FilterLengthExceeded) {
		t.Errorf("a long filter = %v", err)
	}
	o = Options{Select: []string{"nothing"}}
	if err := o.Selecting([]string{"id"}); !errors.Is(err, backup.InvalidRequest) {
		t.Errorf("an unknown property = %v", err)
	}
}

func TestPreferencesAndAccept(t *testing.T) {
	p := ParsePreferences(http.Header{"Prefer": {`Return=Minimal, odata.maxpagesize=7;x=y`, `include-unknown-enum-members, maxpagesize=9, respond-async, return=representation`}})
	if !p.Minimal || p.PageSize != 7 || !p.UnknownEnums || p.represent {
		t.Errorf("preferences = %+v", p)
	}
	if got := p.Applied(true, true); got != "include-unknown-enum-members, odata.maxpagesize=7, return=minimal" {
		t.Errorf("applied = %q", got)
	}
	for _, row := range []struct {
		accept string
		want   Metadata
		ok     bool
	}{
		{"", MetadataMinimal, true}, {"*/*", MetadataMinimal, true}, {"application/json", MetadataMinimal, true},
		{"application/json;odata.metadata=none", MetadataNone, true}, {"text/html, application/json; odata.metadata=FULL; q=0.5", MetadataFull, true},
		{"application/json;odata.metadata=some", "", false}, {"text/html", "", false}, {"application/xml, text/*", "", false},
		{"application/json;q=0", "", false}, {"application/*", MetadataMinimal, true}, {"garbage", "", false},
	} {
		h := http.Header{}
		if row.accept != "" {
			h.Set("Accept", row.accept)
		}
		got, err := ParseAccept(h, false)
		if (err == nil) != row.ok || row.ok && got != row.want || err != nil && !errors.Is(err, backup.NotAcceptable) {
			t.Errorf("Accept %q = %s, %v", row.accept, got, err)
		}
	}
	if _, err := ParseAccept(http.Header{"Accept": {"text/plain"}}, true); err != nil {
		t.Errorf("text/plain for a count = %v", err)
	}
}

func TestPageTokens(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	tokens, err := NewTokens([]byte("sixteen bytes at least"), clock)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := ParseOptions("$top=2&$count=true", Top, Count)
	link := tokens.NextLink("tenant", "https://host/v1.0", "/set", o, "123,abc")
	u, err := url.Parse(link)
	if err != nil || !strings.HasPrefix(link, "https://host/v1.0/set?$top=2&$count=true&$skiptoken=") {
		t.Fatalf("nextLink = %s, %v", link, err)
	}
	back, err := ParseOptions(u.RawQuery, Top, Count, SkipToken)
	if err != nil {
		t.Fatal(err)
	}
	open := func(tk *Tokens, owner, path string, o Options) string {
		after, err := tk.Open(owner, path, o)
		if err != nil {
			return "refused"
		}
		return after
	}
	if got := open(tokens, "tenant", "/set", back); got != "123,abc" {
		t.Errorf("the token opens as %q", got)
	}
	if got := open(tokens, "tenant", "/set", Options{}); got != "" {
		t.Errorf("no token opens as %q", got)
	}
	other, _ := NewTokens([]byte("another key of the right length"), clock)
	changed := back
	changed.SkipToken = back.SkipToken[:len(back.SkipToken)-2] + "AA"
	reopted, _ := ParseOptions(strings.Replace(u.RawQuery, "top=2", "top=3", 1), Top, Count, SkipToken)
	for name, got := range map[string]string{
		"of another tenant":  open(tokens, "other", "/set", back),
		"of another path":    open(tokens, "tenant", "/other", back),
		"with other options": open(tokens, "tenant", "/set", reopted),
		"under another key":  open(other, "tenant", "/set", back),
		"changed":            open(tokens, "tenant", "/set", changed),
		"garbage":            open(tokens, "tenant", "/set", Options{SkipToken: "garbage"}),
		"long":               open(tokens, "tenant", "/set", Options{SkipToken: strings.Repeat("A", 5000)}),
		"no base64":          open(tokens, "tenant", "/set", Options{SkipToken: "!"}),
	} {
		if got != "refused" {
			t.Errorf("a token %s opens as %q", name, got)
		}
	}
	now = now.Add(tokenLife + time.Second)
	if got := open(tokens, "tenant", "/set", back); got != "refused" {
		t.Errorf("an expired token opens as %q", got)
	}
	if _, err := NewTokens([]byte("short"), clock); err == nil {
		t.Error("a short key was accepted")
	}
}

func FuzzPageToken(f *testing.F) {
	tokens, _ := NewTokens([]byte("sixteen bytes at least"), time.Now)
	f.Add(tokens.Seal("t", "/p", Options{}, "x"))
	f.Add("AQ")
	good := tokens.Seal("t", "/p", Options{}, "secret")
	f.Fuzz(func(t *testing.T, s string) {
		after, err := tokens.Open("t", "/p", Options{SkipToken: s})
		if err == nil && s != "" && s != good && after != "x" {
			t.Errorf("a made-up token %q opens as %q", s, after)
		}
	})
}

func TestParseObjectIsStrict(t *testing.T) {
	for name, in := range map[string]string{
		"empty": "", "blank": " \n", "null": "null", "list": "[]", "string": `"x"`, "unclosed": `{"a":1`, "trailing comma": `{"a":1,}`,
		"comment": `{"a":1 /* no */}`, "line comment": "{} // no", "trailing garbage": `{} {}`, "trailing bracket": `{}]`, "BOM": "\xef\xbb\xbf{}",
		"twice": `{"a":1,"a":2}`, "twice by escape": `{"a":1,"\u0061":2}`, "twice below": `{"x":[{"a":1,"a":1}]}`, "single quotes": `{'a':1}`,
		"no UTF-8": "{\"a\":\"\xff\"}", "NUL": `{"a":"\u0000"}`, "NUL in a name": `{"\u0000":1}`, "raw control": "{\"a\":\"\x01\"}",
		"deep": strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40), "very deep": strings.Repeat("[", 100_000), "NaN": `{"a":NaN}`, "hex": `{"a":0x1}`,
	} {
		if _, err := ParseObject([]byte(in), backup.InvalidPatchRequest); !errors.Is(err, backup.InvalidPatchRequest) {
			t.Errorf("%s: ParseObject = %v", name, err)
		}
	}
	o, err := ParseObject([]byte(`{"s":"x","n":null,"l":["a"],"o":{"id":"7"},"os":[{}],"num":1e400,"t":"2026-01-31T12:00:00.1234567+01:00",
		"r":{"@odata.id":"https://h/v1.0/set('a''b')"},"@odata.type":"#microsoft.graph.thing","x@odata.type":"#Collection(String)"}`), backup.InvalidRequest)
	if err != nil {
		t.Fatal(err)
	}
	if s, ok, err := o.String("s"); s != "x" || !ok || err != nil {
		t.Error("string")
	}
	if _, ok, err := o.String("n"); ok || err != nil || !o.Has("n") {
		t.Error("null string")
	}
	if _, _, err := o.String("l"); err == nil {
		t.Error("a list is a string")
	}
	if _, _, err := o.Strings("n"); err == nil {
		t.Error("null is a list of strings")
	}
	if _, _, err := o.Strings("os"); err == nil {
		t.Error("a list of objects is a list of strings")
	}
	if _, _, err := o.Objects("l"); err == nil {
		t.Error("a list of strings is a list of objects")
	}
	if at, err := o.Time("t"); err != nil || FormatTime(at) != "2026-01-31T11:00:00.1234567Z" {
		t.Errorf("time = %v, %v", at, err)
	}
	r, _, _ := o.Object("r")
	if id, ok, err := r.Reference(); id != "a'b" || !ok || err != nil {
		t.Errorf("reference = %q, %v", id, err)
	}
	names := []string{"s", "n", "l", "o", "os", "num", "t", "r"}
	if err := o.Only("thing", names...); err != nil {
		t.Error(err)
	}
	if err := o.Only("other", names...); err == nil {
		t.Error("another type passes")
	}
	if err := o.Only("thing", names[1:]...); err == nil {
		t.Error("an unknown member passes")
	}
	for _, bad := range []string{"2015-06-19T12-01-03.45Z", "2026-01-31", "2026-01-31T12:00:00", "2026-1-31T12:00:00Z", "2026-01-31T12:00:00.123456789012345678Z", "now", ""} {
		if at, ok := ParseTime(bad); ok {
			t.Errorf("ParseTime(%q) = %v", bad, at)
		}
	}
}

func TestReadBodyInflatesWithinItsLimit(t *testing.T) {
	zip := func(data []byte) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(data)
		z.Close()
		return b.Bytes()
	}
	read := func(body []byte, encoding string) ([]byte, error) {
		r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
		r.Header.Set("Content-Encoding", encoding)
		return ReadBody(httptest.NewRecorder(), r, 1<<20)
	}
	if got, err := read(zip([]byte(`{"a":1}`)), "GZIP"); err != nil || string(got) != `{"a":1}` {
		t.Errorf("gzip = %q, %v", got, err)
	}
	if got, err := read(nil, "gzip"); err != nil || len(got) != 0 {
		t.Errorf("nothing, zipped = %q, %v", got, err)
	}
	full := bytes.Repeat([]byte("a"), 1<<20)
	if got, err := read(full, ""); err != nil || len(got) != 1<<20 {
		t.Errorf("at the limit = %d, %v", len(got), err)
	}
	for name, body := range map[string][]byte{"plain": append(full, 'a'), "bomb": zip(make([]byte, 4<<20))} {
		encoding := ""
		if name == "bomb" {
			encoding = "gzip"
		}
		if _, err := read(body, encoding); !errors.Is(err, backup.RequestTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, body := range map[string][]byte{"not zipped": []byte("{}"), "cut": zip(full)[:50], "header only": zip(nil)[:5]} {
		if _, err := read(body, "gzip"); !errors.Is(err, backup.InvalidRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for ct, ok := range map[string]bool{"": true, "application/json": true, "Application/JSON; charset=utf-8; odata.metadata=minimal": true,
		"text/plain": false, "application/json-patch+json": false, "json": false, "application/x-www-form-urlencoded": false} {
		h := http.Header{}
		if ct != "" {
			h.Set("Content-Type", ct)
		}
		if err := CheckContentType(h); (err == nil) != ok {
			t.Errorf("Content-Type %q = %v", ct, err)
		}
	}
	for enc, ok := range map[string]bool{"gzip": true, "identity": true, "deflate": false, "gzip, gzip": false, "br": false} {
		if err := CheckContentType(http.Header{"Content-Encoding": {enc}}); (err == nil) != ok {
			t.Errorf("Content-Encoding %q = %v", enc, err)
		}
	}
}

func FuzzChanges(f *testing.F) {
	for _, s := range []string{`{"x@delta":[{"@removed":{"reason":"changed"},"id":"a"}]}`, `{"x@delta":[{"@odata.removed":null}]}`, `{"x@delta":[null]}`,
		`{"x@delta":{}}`, `{"x@delta":[{"@contentId":7}]}`, `{"x@delta":[{"@removed":{},"@id":"a/b('c')"}]}`, `[`, `{"x@delta":[{"@CONTENTID":"1"}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := ParseObject(data, backup.InvalidPatchRequest)
		if err == nil {
			_, _, err = o.Changes("x@delta")
		}
		if err == nil {
			err = o.Only("", "x@delta")
		}
		if _, ok := errors.AsType[*backup.Error](err); err != nil && !ok {
			t.Errorf("%q: %v is not for a caller", data, err)
		}
		if o != nil && !json.Valid(data) {
			t.Errorf("%q was accepted", data)
		}
	})
}

func TestEntitiesAreWrittenInOrder(t *testing.T) {
	inner := Entity{Type: "inner", Path: "inners('2')", Members: []Member{{"id", "2"}}}
	e := Entity{Type: "thing", Path: "things('1')", Members: []Member{{"id", "1"}, {"name", "<a> & \u2028"}, {"gone", (*int)(nil)}, {"inner", inner}, {"x@delta", []Entity{inner}}}}
	for level, want := range map[Metadata]string{
		MetadataNone:    `{"id":"1","name":"<a> & \u2028","gone":null,"inner":{"id":"2"},"x@delta":[{"id":"2"}]}`,
		MetadataMinimal: `{"@odata.context":"b/$metadata#things/$entity","@odata.type":"#microsoft.graph.thing","id":"1","name":"<a> & \u2028","gone":null,"inner":{"@odata.type":"#microsoft.graph.inner","id":"2"},"x@delta":[{"@odata.type":"#microsoft.graph.inner","id":"2"}]}`,
	} {
		f := Form{Base: "b", Level: level}
		got, err := f.Entity(f.Context("things", true), e)
		if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v %s", level, err, diff)
		}
	}
	f := Form{Base: "b", Level: MetadataFull, Select: []string{"name"}}
	got, err := f.Collection(f.Context("things", false), 7, "next", []Entity{e})
	want := `{"@odata.context":"b/$metadata#things(name)","@odata.count":7,"@odata.nextLink":"next","value":[{"@odata.type":"#microsoft.graph.thing","@odata.id":"b/things('1')","id":"1","name":"<a> & \u2028","x@delta":[{"@odata.type":"#microsoft.graph.inner","@odata.id":"b/inners('2')","id":"2"}]}]}`
	if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if got, _ := (Form{}).Collection("c", -1, "", nil); !strings.HasSuffix(string(got), `"value":[]}`) {
		t.Errorf("an empty page is %s", got)
	}
	if _, err := (Form{}).Entity("c", Entity{Members: []Member{{"bad", func() {}}}}); err == nil {
		t.Error("what cannot be encoded was")
	}
}

func TestComparisonsAndExpand(t *testing.T) {
	got, err := ParseComparisons("protectionDateTime lt 2024-05-12T10:01:00Z and  name eq 'it''s and'", backup.InvalidSearchRequest, "$filter")
	want := []Comparison{{"protectionDateTime", "lt", "2024-05-12T10:01:00Z", false}, {"name", "eq", "it's and", true}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for _, bad := range []string{"", "a", "a lt", "a lt ", "a like b", "a lt b or c lt d", "a lt b and", "a lt b and ", "a eq 'x", "a eq 'x'y", "(a lt b)", "not a lt b", "a lt b c", "a eq ''' and"} {
		if got, err := ParseComparisons(bad, backup.InvalidSearchRequest, ""); !errors.Is(err, backup.InvalidSearchRequest) {
			t.Errorf("ParseComparisons(%q) = %v, %v", bad, got, err)
		}
	}
	if p, f, ok := ParseExpand(" protectionUnit( filter = id eq 'x' ) "); p != "protectionUnit" || f != "id eq 'x'" || !ok {
		t.Errorf("ParseExpand = %q %q %t", p, f, ok)
	}
	for _, bad := range []string{"", "x", "x(", "x()", "x($select=id)", "x($filter)"} {
		if _, _, ok := ParseExpand(bad); ok {
			t.Errorf("ParseExpand(%q) is understood", bad)
		}
	}
}

func FuzzComparisons(f *testing.F) {
	f.Add("a lt b and c eq 'd'")
	f.Add("a eq '''")
	f.Fuzz(func(t *testing.T, s string) {
		ParseComparisons(s, backup.InvalidSearchRequest, "")
		ParseExpand(s)
	})
}

func FuzzOptions(f *testing.F) {
	f.Add("$top=1&$filter=a eq 'b'")
	f.Fuzz(func(t *testing.T, s string) {
		_, err := ParseOptions(s, Top, Skip, Filter, Select, Count, SkipToken)
		if _, ok := errors.AsType[*backup.Error](err); err != nil && !ok {
			t.Errorf("%q: %v", s, err)
		}
	})
}

func TestFormatTime(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	all := []time.Time{{}, time.Unix(0, 0), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}
	for range 2000 {
		at := time.Unix(random.Int64N(4_000_000_000), 0).In(time.FixedZone("", random.IntN(80_000)-40_000))
		for digits := int64(1); digits <= 1_000_000_000; digits *= 10 {
			all = append(all, at.Add(time.Duration(random.Int64N(digits)*(1_000_000_000/digits))))
		}
	}
	for _, at := range all {
		if got, want := FormatTime(at), at.UTC().Format("2006-01-02T15:04:05.9999999Z07:00"); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
}

// Of what there may be several of, a filter names one by any.
func TestFiltersOfMany(t *testing.T) {
	properties := []Property{
		{Name: "categories", Type: Folded, Many: true, Filters: true}, {Name: "emails/address", Type: Folded, Many: true, Filters: true},
		{Name: "isRead", Type: Bool, Filters: true}, {Name: "at", Type: Time, Days: true, Filters: true}, {Name: "exact", Type: Time, Filters: true},
	}
	for text, want := range map[string]string{
		"categories/any(c:c eq 'Red')": "", "isRead eq true and emails/any(a:startswith(a/address,'x'))": "", "not categories/any(c:c in ('a','b'))": "", "at ge 2026-01-31": "",
		"categories eq 'Red'": "names 'categories'", "categories/any(c:isRead eq true)": "those of 'c'", "categories/any(c:c/x eq 'y')": "names 'categories/x'", "categories/any()": "of the form",
		"categories/any(c:c eq 'x' or c eq 'y')": "one comparison", "categories/any(c:emails/any(a:a/address eq 'x'))": "of the form", "isRead/any(c:c eq true)": "names 'isRead'",
		"isRead eq 'true'": "true or false", "isRead gt false": "no order", "contains(isRead,'x')": "not a text", "exact ge 2026-01-31": "a date and time", "emails/all(a:a/address eq 'x')": "no function",
	} {
		_, err := ParseFilter(text, properties)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
