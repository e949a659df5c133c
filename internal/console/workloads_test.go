package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/client"
)

const siteID = "contoso.sharepoint.com,481da6ff-f436-5a86-87d2-6d12537edb65,fddeb576-d61e-5607-85d6-198c6317a8e8"

var (
	aSite = map[string]any{"@odata.type": "#microsoft.graph.siteProtectionUnit", "id": unitID, "policyId": policyID, "siteId": siteID,
		"siteName": "Marketing & <Sales>", "siteWebUrl": "https://contoso.sharepoint.com/sites/marketing", "status": "protected"}
	aMailbox = map[string]any{"@odata.type": "#microsoft.graph.mailboxProtectionUnit", "id": unitID, "policyId": policyID, "directoryObjectId": ownerID,
		"displayName": "Amala <Rao>", "email": "amala@contoso.com", "status": "protected"}
)

// says reports what a page does not say, and what it says and should not.
func says(t *testing.T, page string, want ...string) {
	t.Helper()
	for _, text := range want {
		text, not := strings.CutPrefix(text, "!")
		if strings.Contains(page, text) == not {
			t.Errorf("the page says %q: %t\n%s", text, !not, page)
		}
	}
}

// body is that of the last request of a method to a path.
func (w *world) body(method, path string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range slices.Backward(w.asked) {
		if c.Method == method && c.Path == path {
			return c.Body
		}
	}
	return ""
}

// Each workload has its numbers, unless the server does not serve it.
func TestOverviewByWorkload(t *testing.T) {
	w := signedInWorld(t)
	w.on("GET "+client.Sites.Units+"/$count", 12)
	w.on("GET "+client.Mailboxes.Units+"/$count", refusal{404, "itemNotFound", "There is no resource at this address."})
	w.on("GET "+anyPolicy, listOf(map[string]any{"@odata.type": "#microsoft.graph.sharePointProtectionPolicy", "id": policyID, "displayName": "Teams", "status": "inactive",
		"protectionPolicyArtifactCount": map[string]any{"total": 12, "failed": 2}}))
	says(t, w.page("/console/"), "OneDrive drives", "SharePoint sites", "!Exchange mailboxes", "12</b> <span>Protected", "<td>sites</td>",
		"2 sites of “Teams” could not be backed up whole", "12 sites are not backed up", "/console/units?of=sites&amp;status=protected")
}

// A policy of sites is made, given sites by address, and asked why one is in it.
func TestPolicyOfSites(t *testing.T) {
	w := signedInWorld(t)
	policy := map[string]any{"@odata.type": "#microsoft.graph.sharePointProtectionPolicy", "id": policyID, "displayName": "Teams", "status": "inactive"}
	w.on("POST "+client.Sites.Policies, policy)
	w.on("GET "+anyPolicy+"/"+policyID, policy)
	if a := w.post("/console/policies/new", url.Values{"name": {"Teams"}, "of": {"sites"}}); a.to != "/console/policies/"+policyID {
		t.Fatalf("a policy of sites = %d %s", a.status, a.body)
	}
	one := client.Sites.Policies + "/" + policyID
	w.on("GET "+one+client.Sites.Units, listOf(aSite))
	says(t, w.page("/console/policies/"+policyID), "Add sites</a>", "Marketing &amp; &lt;Sales&gt;", "https://contoso.sharepoint.com/sites/marketing", "Table of sites", "!drive")

	at := "/console/policies/" + policyID + "/add"
	says(t, w.page(at), "!Pick people")
	entries := "https://contoso.sharepoint.com/sites/a\n" + siteID + "\nnobody@contoso.com"
	a := w.post(at, url.Values{"step": {"preview"}, "text": {entries}})
	says(t, a.body, "<b>2 sites</b> will be added", "1 entry names no site", "Add 2 sites</button>")
	if got := w.lastQuery(client.Sites.Units).Get("$filter"); got != "siteId in ('"+siteID+"') or email in ('https://contoso.sharepoint.com/sites/a')" {
		t.Errorf("looked up by %s", got)
	}
	w.on("POST "+one+client.Sites.Jobs, map[string]any{"id": "j1"})
	w.post(at, url.Values{"step": {"add"}, "text": {"https://contoso.sharepoint.com/sites/a\n" + siteID}})
	if got, want := w.body("POST", one+client.Sites.Jobs), `{"displayName":"Added in the console","siteIds":["`+siteID+`"],"siteWebUrls":["https://contoso.sharepoint.com/sites/a"]}`; got != want {
		t.Errorf("the job is %s, want %s", got, want)
	}
	w.on("GET "+client.Drives.Jobs+"/j1", refusal{404, "itemNotFound", "There is no such resource."})
	w.on("GET "+client.Sites.Jobs+"/j1", map[string]any{"id": "j1", "status": "completed", "siteWebUrls": []string{"a", "b"}})
	says(t, w.page("/console/jobs/j1"), "<dd>2</dd>")
	says(t, w.page("/console/jobs?of=sites"), "Additions of sites")

	w.on("GET "+client.Sites.Units, listOf(aSite))
	w.on("GET "+one+"/holdfast.explain/"+siteID, map[string]any{"isIncluded": true, "reasons": []any{map[string]any{"message": "It was added by itself."}}})
	says(t, w.page("/console/policies/"+policyID+"/explain?who=https://contoso.sharepoint.com/sites/marketing"), "is in this policy", "It was added by itself.")

	set := client.Sites.Units[1:] + "@delta"
	w.on("PATCH "+one, map[string]any{set: []any{map[string]any{"id": unitID}}})
	w.post("/console/policies/"+policyID+"/remove", url.Values{"unit": {unitID}})
	says(t, w.page("/console/policies/"+policyID), "1 site leaves the policy.")
}

// A point of a site is looked into from the site through its libraries and lists
// down to a file, which is restored by itself, and the site as a whole.
func TestSiteIsBrowsedAndRestored(t *testing.T) {
	w := unitWorld(t)
	w.on("GET "+anyUnit+"/"+unitID, aSite)
	w.on("GET "+client.Sites.Units, listOf(aSite))
	const site, lib, f = "11111111-0000-4000-8000-000000000000,22222222-0000-4000-8000-000000000000", "33333333-0000-4000-8000-000000000000,44444444-0000-4000-8000-000000000000",
		"33333333-0000-4000-8000-000000000000,55555555-0000-4000-8000-000000000000"
	w.on("GET "+anyBrowse+"/"+browseID, map[string]any{"@odata.type": "#microsoft.graph.sharePointBrowseSession", "id": browseID, "status": "created", "restorePointId": pointID, "siteId": siteID, "restorePointDateTime": "2026-11-27T07:50:00Z"})
	w.on("POST "+anyBrowse+"/"+browseID+"/browse", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var asked struct{ BrowseLocationItemKey string }
		w.mu.Lock()
		body := w.asked[len(w.asked)-1].Body
		w.mu.Unlock()
		if err := json.Unmarshal([]byte(body), &asked); err != nil {
			t.Error(err)
		}
		item, ok := map[string]any{
			"":               map[string]any{"itemKey": site, "name": "marketing", "type": "site"},
			site:             map[string]any{"itemKey": site + "," + lib, "name": "Offers", "type": "documentLibrary", "itemsCount": 1},
			site + "," + lib: map[string]any{"itemKey": site + "," + f, "name": "17.json", "type": "file", "sizeInBytes": "9"},
		}[asked.BrowseLocationItemKey]
		if !ok {
			t.Errorf("browsed at %q", asked.BrowseLocationItemKey)
		}
		fmt.Fprint(rw, mustJSON(listOf(item)))
	}))
	w.on("POST "+client.Sites.Browses, map[string]any{"id": browseID})
	if a := w.post("/console/points/"+pointID+"/browse", nil); a.to != "/console/browse/"+browseID {
		t.Fatalf("browse the point = %d %s %s", a.status, a.to, a.body)
	}
	top := w.page("/console/browse/" + browseID)
	says(t, top, "Offers", "Restore the site", "Open a library or a list", "!checkbox")
	list := w.page(between(top, `<a class="item documentLibrary" href="`, `"`))
	says(t, list, "17.json", "Restore what is chosen", `aria-current="page">Offers</a>`)
	item := between(list, `name="item" value="`, `"`)
	w.on("POST "+client.Sites.Sessions, map[string]any{"id": "s1"})
	w.on("POST "+anySession+"/s1/activate", map[string]any{})
	says(t, w.post("/console/browse/"+browseID+"/restore", url.Values{"item": {item}}).body, "Restore from the site Marketing &amp; &lt;Sales&gt;", "a new list beside a list")
	w.post("/console/browse/"+browseID+"/restore", url.Values{"item": {item}, "step": {"go"}})
	if got, want := w.body("POST", client.Sites.Sessions), `{"granularSiteRestoreArtifacts":[{"browseSessionId":"`+browseID+`","id":"`+site+","+f+`"}]}`; got != want {
		t.Errorf("restored is %s, want %s", got, want)
	}
	at := "/console/points/" + pointID + "/restore"
	says(t, w.page(at+"?to=inPlace"), "This changes the live site Marketing", "Lists get the items of that time back", "!mailbox")
	w.post(at, url.Values{"to": {"inPlace"}, "understood": {"1"}})
	if got, want := w.body("POST", client.Sites.Sessions), `{"siteRestoreArtifacts":[{"destinationType":"inPlace","restorePoint":{"id":"`+pointID+`"}}]}`; got != want {
		t.Errorf("restored is %s, want %s", got, want)
	}
}

func mustJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // a test made it
	}
	return string(data)
}

// Mail is found by what is known of it and restored as it was found; a point that
// came since is not restored unseen, and what is wrong is said.
func TestMailIsFoundAndRestored(t *testing.T) {
	w := unitWorld(t)
	w.on("GET "+anyUnit+"/"+unitID, aMailbox)
	says(t, w.page("/console/units/"+unitID), "Find mail</a>", "Restore the mailbox", "!Browse")
	if a := w.post("/console/points/"+pointID+"/browse", nil); a.to != "/console/points/"+pointID+"/mail" {
		t.Errorf("a mailbox is looked into: %d %s", a.status, a.to)
	}
	at := "/console/units/" + unitID + "/mail"
	says(t, w.page(at), "What to look for", "!What was found")
	w.on("POST "+pointSet+"/search", map[string]any{"searchResponseId": "the search", "searchResults": []any{map[string]any{"artifactHitCount": 3,
		"restorePoint": map[string]any{"id": pointID, "protectionDateTime": "2026-11-27T07:50:00Z"}}}})
	q := url.Values{"q": {"from:o'hara invoice*"}, "until": {"2026-11-27"}}
	says(t, w.page(at+"?"+q.Encode()), "<b>3 items</b>", "Restore 3 items")
	var asked struct {
		ArtifactQuery        struct{ QueryExpression string }
		ProtectionTimePeriod struct{ EndDateTime string }
	}
	if err := json.Unmarshal([]byte(w.body("POST", pointSet+"/search")), &asked); err != nil {
		t.Fatal(err)
	}
	if asked.ArtifactQuery.QueryExpression != "(Sender -like 'o''hara') -and (Subject -like 'invoice*')" || asked.ProtectionTimePeriod.EndDateTime != "2026-11-28T00:00:00Z" {
		t.Errorf("searched by %+v", asked)
	}
	w.on("POST "+client.Mailboxes.Sessions, map[string]any{"id": "s1"})
	w.on("POST "+anySession+"/s1/activate", map[string]any{})
	q.Set("to", "inPlace")
	q.Set("point", "another")
	if a := w.post(at, q); !strings.Contains(a.body, "backed up since") {
		t.Errorf("another point is restored: %d %s", a.status, a.to)
	}
	q.Set("point", pointID)
	w.post(at, q)
	if got, want := w.body("POST", client.Mailboxes.Sessions), `{"granularMailboxRestoreArtifacts":[{"destinationType":"inPlace","restorePoint":{"id":"`+pointID+`"},"searchResponseId":"the search"}]}`; got != want {
		t.Errorf("restored is %s, want %s", got, want)
	}
	q.Set("to", "elsewhere")
	says(t, w.post(at, q).body, "Say where to")

	w.on("POST "+pointSet+"/search", map[string]any{"searchResults": []any{}})
	says(t, w.page(at+"?q=nothing"), "No backup of the mailbox holds such mail")
	says(t, w.page(at+"?q=size:5"), "&#34;size:5&#34; is none of them", "!What was found")
	says(t, w.page(at+"?q=x&until=soon"), "That is no day")
	w.on("POST "+pointSet+"/search", refusal{400, "InvalidSearchRequest", "A <query> of this form is not understood."})
	says(t, w.page(at+"?q=x"), "A &lt;query&gt; of this form")
	w.on("GET "+anyUnit+"/"+unitID, aSite)
	if a := w.get(at); a.status != http.StatusNotFound {
		t.Errorf("mail of a site = %d", a.status)
	}
}

// A restore of messages says where they are and how many; one of sites, which.
func TestRestoresOfWorkloads(t *testing.T) {
	w := signedInWorld(t)
	session := map[string]any{"@odata.type": "#microsoft.graph.exchangeRestoreSession", "id": "s1", "status": "completed", "restoreJobType": "granular"}
	w.on("GET "+anySession+"/s1", session)
	w.on("GET "+anySession, listOf(session))
	w.on("GET "+client.Mailboxes.Sessions+"/s1"+client.Mailboxes.Granular, listOf(map[string]any{"status": "succeeded", "destinationType": "new", "restoredFolderName": "Restored <1>",
		"artifactCount": 3, "restorePoint": map[string]any{"id": "p", "protectionDateTime": "2026-11-27T07:50:00Z"}}))
	w.on("GET "+pointSet+"/p/protectionUnit", aMailbox)
	says(t, w.page("/console/restores/s1"), "Restored &lt;1&gt;, 3 items", "Mailbox of", "Amala &lt;Rao&gt;")

	// The list says of each what it is of: once found out, it is known, but of one that was not
	// started yet; and one that does not say is no less there.
	files := map[string]any{"@odata.type": "#microsoft.graph.oneDriveForBusinessRestoreSession", "id": "s2", "status": "active", "restoreJobType": "granular",
		"restoreSessionArtifactCount": map[string]any{"total": 3}}
	draft := map[string]any{"@odata.type": "#microsoft.graph.oneDriveForBusinessRestoreSession", "id": "s3", "status": "draft"}
	secret := map[string]any{"@odata.type": "#microsoft.graph.sharePointRestoreSession", "id": "s4", "status": "completed"}
	w.on("GET "+anySession, listOf(session, files, draft, secret))
	w.on("GET "+client.Drives.Sessions+"/s2"+client.Drives.Granular, listOf(map[string]any{"webUrl": "https://contoso-my.sharepoint.com/personal/x/Documents/Q3%20%26%20Q4.txt"}))
	w.on("GET "+client.Drives.Sessions+"/s3"+client.Drives.Artifacts, listOf(map[string]any{"restorePoint": map[string]any{"id": "p"}}))
	w.on("GET "+client.Sites.Sessions+"/s4"+client.Sites.Artifacts, refusal{403, "Authorization_RequestDenied", "No."})
	asked := func() (n int) {
		for _, c := range w.calls("GET") {
			if strings.Contains(c.Path, "/s1/") || strings.Contains(c.Path, "/s2/") {
				n++
			}
		}
		return n
	}
	before := asked()
	for range 2 {
		says(t, w.page("/console/restores"), "Amala &lt;Rao&gt; <small>messages</small>", "Q3 &amp; Q4.txt and 2 others <small>files and folders</small>", "Amala &lt;Rao&gt; <small>drives</small>", "<td>sites</td>")
	}
	if asked() != before+2 {
		t.Errorf("what two restores are of was asked %d times", asked()-before)
	}
}
