package simtenant

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// letters are messages that differ in what a search or a filter may ask for.
func letters(t *testing.T) *world {
	w := newWorld(t)
	for i, m := range []struct{ from, to, subject, body, more string }{
		{"Lothar <lothar@contoso.com>", "amala@contoso.com", "Invoice 17 of March", "please pay", ""},
		{"conrad@contoso.com", "amala@contoso.com, Lothar <lothar@contoso.com>", "Re: invoices", "PIZZA on Friday", "Importance: high\r\n"},
		{"news@fabrikam.com", "amala@contoso.com", "Pizza's of the world", "nothing", "Keywords: Red, Food\r\n"},
		{"lothar@contoso.com", "amala@contoso.com", "with a file", "see the file", "A"},
	} {
		kind := "Content-Type: text/plain\r\n\r\n" + m.body
		if m.more == "A" {
			m.more, kind = "", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n"+m.body+
				"\r\n--b\r\nContent-Type: text/csv\r\nContent-Disposition: attachment; filename=figures.csv\r\n\r\na,b\r\n--b--\r\n"
		}
		date := time.Date(2026, 3, 1+i, 12, 0, 0, 0, time.UTC).Format(time.RFC1123Z)
		w.mail(fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%d@x>\r\n%s%s", m.from, m.to, m.subject, date, i, m.more, kind), amala, "Inbox", fmt.Sprint(i, ".eml"))
	}
	return w
}

// found are the numbers of the letters that a query lets through, in its order.
func (w *world) found(query ...string) string {
	w.t.Helper()
	q := url.Values{"$select": {"internetMessageId"}}
	for i := 0; i < len(query); i += 2 {
		q.Set(query[i], query[i+1])
	}
	var list []string
	for link := "/users/" + amala + "/mailFolders/inbox/messages?" + q.Encode(); link != ""; {
		a := w.do("GET", link, nil)
		if a.status != 200 {
			return fmt.Sprint(a.status, " ", a.text("error", "code"), " ", a.text("error", "message"))
		}
		for _, id := range values(a, "internetMessageId") {
			list = append(list, strings.Trim(id, "<@x>"))
		}
		link = a.text("@odata.nextLink")
	}
	if q.Get("$orderby") == "" && q.Get("$search") == "" {
		slices.Sort(list)
	}
	return strings.Join(list, " ")
}

// Messages are filtered by what mail programs ask for, and ordered as the service
// allows it.
func TestMessagesAreFilteredAndOrdered(t *testing.T) {
	w := letters(t)
	first := values(w.must(200, "GET", "/users/"+amala+"/messages?$select=id&$filter="+url.QueryEscape("internetMessageId eq '<0@x>'"), nil), "id")[0]
	w.must(200, "PATCH", "/users/"+amala+"/messages/"+first, object{"isRead": true, "flag": object{"flagStatus": "flagged"}})
	for _, c := range []struct{ filter, order, want string }{
		{"isRead eq false", "", "1 2 3"},
		{"isRead ne false", "", "0"},
		{"receivedDateTime ge 2026-03-02T12:00:00Z and receivedDateTime lt 2026-03-04T12:00:00Z", "", "1 2"},
		{"receivedDateTime ge 2026-03-02", "receivedDateTime desc", "3 2 1"},
		{"from/emailAddress/address eq 'LOTHAR@contoso.com'", "", "0 3"},
		{"from/emailAddress/address eq 'lothar@contoso.com' and isRead eq false", "", "3"},
		{"startswith(subject,'re:') or contains(subject,'world')", "", "1 2"},
		{"endswith(from/emailAddress/address,'@fabrikam.com')", "", "2"},
		{"not (hasAttachments eq true)", "", "0 1 2"},
		{"importance eq 'high'", "", "1"},
		{"flag/flagStatus eq 'flagged'", "", "0"},
		{"categories/any(c:c eq 'food')", "", "2"},
		{"categories/any(c:startswith(c,'r'))", "", "2"},
		{"internetMessageId eq '<2@x>'", "", "2"},
		{"subject in ('with a file','RE: INVOICES')", "", "1 3"},
		{"sentDateTime gt 2026-03-03T00:00:00Z", "", "2 3"},
		{"", "subject", "0 2 1 3"},
		{"", "from/emailAddress/address desc,receivedDateTime desc", "2 3 0 1"},
		{"receivedDateTime ge 1900-01-01 and isRead eq false", "receivedDateTime desc", "3 2 1"},
		{"isRead eq false", "receivedDateTime desc", "400 InefficientFilter The restriction or sort order is too complex for this operation."},
		{"isRead eq false and receivedDateTime ge 1900-01-01", "receivedDateTime desc", "400 InefficientFilter The restriction or sort order is too complex for this operation."},
	} {
		var query []string
		for _, one := range [][2]string{{"$filter", c.filter}, {"$orderby", c.order}} {
			if one[1] != "" {
				query = append(query, one[:]...)
			}
		}
		if got := w.found(query...); got != c.want {
			t.Errorf("%s | %s = %s, want %s", c.filter, c.order, got, c.want)
		}
	}
	if got := w.found("$filter", "isRead eq false", "$top", "1"); got != "1 2 3" {
		t.Errorf("page by page it is %s", got)
	}
	for filter, want := range map[string]string{
		"body/content eq 'x'": "body/content", "isRead eq 'false'": "isRead", "isRead gt false": "no order", "importance eq 'huge'": "importance", "categories eq 'Red'": "categories",
		"categories/all(c:c eq 'Red')": "categories/all", "categories/any(c:c eq 'Red' and c eq 'Blue')": "one comparison", "categories/any(c:subject eq 'x')": "those of 'c'", "subject eq 'x": "not closed",
	} {
		if got := w.found("$filter", filter); !strings.HasPrefix(got, "400 ErrorInvalidUrlQueryFilter") || !strings.Contains(got, want) {
			t.Errorf("%s = %s, want it refused for %s", filter, got, want)
		}
	}
	if got := w.found("$orderby", "body"); !strings.HasPrefix(got, "400 ErrorInvalidUrlQuery") || !strings.Contains(got, "body") {
		t.Errorf("ordered by body: %s", got)
	}
	w.mail("BEGIN:VCARD\r\nFN:Lothar\r\nEMAIL:l@home.org\r\nEMAIL:lothar@contoso.com\r\nEND:VCARD\r\n", amala, "Contacts", "l.vcf")
	w.mail("BEGIN:VCARD\r\nFN:Nobody\r\nEND:VCARD\r\n", amala, "Contacts", "n.vcf")
	if got := values(w.must(200, "GET", "/users/"+amala+"/contacts?$filter="+url.QueryEscape("emailAddresses/any(a:a/address eq 'Lothar@contoso.com')"), nil), "displayName"); !slices.Equal(got, []string{"Lothar"}) {
		t.Errorf("by address there are %v", got)
	}
}

// Messages are searched in the Keyword Query Language; the latest come first.
func TestMessagesAreSearched(t *testing.T) {
	w := letters(t)
	for search, want := range map[string]string{
		`pizza`:                                   "2 1",
		`"pizza"`:                                 "2 1",
		`"subject:pizza"`:                         "2",
		`"body:pizza"`:                            "1",
		`"from:lothar"`:                           "3 0",
		`"from:lothar@contoso.com"`:               "3 0",
		`"from:contoso.com"`:                      "3 1 0",
		`"to:lothar"`:                             "1",
		`"participants:lothar"`:                   "3 1 0",
		`"recipients:lothar AND from:conrad"`:     "1",
		`"subject:invoice"`:                       "0",
		`"subject:invoic*"`:                       "1 0",
		`"subject:\"invoice 17\""`:                "0",
		`"subject:\"17 invoice\""`:                "",
		`"subject:(march invoice)"`:               "0",
		`"subject:invoic* from:lothar"`:           "0",
		`"subject:pizza subject:invoice"`:         "2 0",
		`"pizza OR invoice"`:                      "2 1 0",
		`"pizza NOT from:conrad"`:                 "2",
		`"pizza -from:conrad"`:                    "2",
		`"(pizza OR file) AND from:lothar"`:       "3",
		`"hasAttachments:true"`:                   "3",
		`"hasAttachment=false"`:                   "2 1 0",
		`"attachment:figures.csv"`:                "3",
		`"importance:high"`:                       "1",
		`"kind:email"`:                            "3 2 1 0",
		`"kind:meetings"`:                         "",
		`"received:2026-03-02"`:                   "1",
		`"received:03/02/2026"`:                   "1",
		`"received>=2026-03-03"`:                  "3 2",
		`"sent:2026-03-02..2026-03-03"`:           "2 1",
		`"sent>2026-03-03T12:00:00Z"`:             "3",
		`"size:1..100000"`:                        "3 2 1 0",
		`"size>100000"`:                           "",
		`"subject:pizza's"`:                       "2",
		`"invoice OR"`:                            "refused: ends where",
		`"foo:bar"`:                               `refused: by "foo"`,
		`"received:soon"`:                         "refused: A time is",
		`"size:big"`:                              "refused: A size is",
		`"subject>x"`:                             "refused: no order",
		`"(pizza"`:                                "refused: closing parenthesis",
		`"pizza`:                                  "refused: closing quote",
		`"a" "b"`:                                 "refused: behind the closing quote",
		`"..."`:                                   "refused: a letter or a digit",
		`subject:pizza`:                           "refused: Syntax error: character ':' is not valid at position 7 in 'subject:pizza'",
		`"` + strings.Repeat("(", 50) + `x"`:      "refused: nested too deeply",
		`"` + strings.Repeat("pizza ", 500) + `"`: "refused: longer",
		`"` + strings.Repeat("NOT ", 50) + `x"`:   "",
	} {
		got := w.found("$search", search)
		if why, refused := strings.CutPrefix(want, "refused: "); refused {
			if !strings.HasPrefix(got, "400 BadRequest") || !strings.Contains(got, why) {
				t.Errorf("%s = %s, want it refused: %s", search, got, why)
			}
		} else if got != want {
			t.Errorf("%s = %s, want %s", search, got, want)
		}
	}
	for option, code := range map[string]string{"$filter": "SearchWithFilter", "$orderby": "SearchWithOrderBy"} {
		if got := w.found("$search", "pizza", option, "isRead"); !strings.HasPrefix(got, "400 "+code) {
			t.Errorf("with %s: %s", option, got)
		}
	}
	if got := w.found("$search", "pizza", "$top", "1"); got != "2 1" {
		t.Errorf("page by page it is %s", got)
	}
}
