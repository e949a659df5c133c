package holdfasttest_test

import (
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/holdfasttest"
)

const amala = "amala@contoso.com"

// call asks a tenant with its own client.
func call(t *testing.T, x *holdfasttest.Tenant, method, path, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, x.Graph+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := x.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestTenant(t *testing.T) {
	for name, options := range map[string][]holdfasttest.Option{"plain": nil, "tls": {holdfasttest.WithTLS()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := holdfasttest.Start(t, options...)
			x.Write(amala, "docs/a.txt", []byte("hello"))
			x.Save("seeded")
			const file = "/users/" + amala + "/drive/root:/docs/a.txt"
			if status, body := call(t, x, "GET", file+":/content", ""); status != 200 || body != "hello" {
				t.Errorf("content: %d %s", status, body)
			}
			x.Fault(holdfasttest.Fault{Method: "PUT", Times: 1, Status: 429, Header: map[string]string{"Retry-After": "1"}})
			if status, _ := call(t, x, "PUT", file+":/content", "changed"); status != 429 {
				t.Errorf("the first upload: %d", status)
			}
			if status, body := call(t, x, "PUT", file+":/content", "changed"); status != 200 {
				t.Errorf("the second upload: %d %s", status, body)
			}
			if got := string(x.Read(amala, "docs/a.txt")); got != "changed" {
				t.Errorf("the file is %q", got)
			}
			puts := slices.DeleteFunc(x.Requests(), func(r holdfasttest.Request) bool { return r.Method != "PUT" })
			if len(puts) != 2 || puts[0].Status != 429 || puts[1].Status != 200 || string(puts[1].Body) != "changed" {
				t.Errorf("the log tells of %v", puts)
			}

			old := x.Token()
			x.Advance(90 * 24 * time.Hour)
			if x.Token() == old {
				t.Error("after 90 days the token is the same")
			}
			if status, body := call(t, x, "GET", file, ""); status != 200 {
				t.Errorf("after 90 days: %d %s", status, body)
			}

			x.Play("item and content 404 for good", "*.txt")
			x.Habits(holdfasttest.Habits{PageSize: 1})
			x.Calm()
			x.Reset()
			if got := string(x.Read(amala, "docs/a.txt")); got != "hello" {
				t.Errorf("after a reset, the file is %q", got)
			}
			if n := len(x.Requests()); n != 0 {
				t.Errorf("after a reset, the log holds %d requests", n)
			}
			if status, body := call(t, x, "GET", file+":/content", ""); status != 200 || body != "hello" {
				t.Errorf("after a reset: %d %s", status, body)
			}
		})
	}
}

func TestTenantOfAFile(t *testing.T) {
	x := holdfasttest.Start(t, holdfasttest.WithTenant([]byte(`{"tenants":[{
		"id":"11111111-2222-3333-4444-555555555555","displayName":"Fabrikam","domain":"fabrikam.com",
		"users":[{"id":"aaaaaaaa-2222-3333-4444-555555555555","userPrincipalName":"eve@fabrikam.com","mail":"eve@fabrikam.com","displayName":"Eve"}],
		"groups":[],"apps":[{"appId":"bbbbbbbb-2222-3333-4444-555555555555","secret":"s","displayName":"App","roles":["User.Read.All"]}]}]}`)))
	if x.Domain != "fabrikam.com" || !slices.Equal(x.Users, []string{"eve@fabrikam.com"}) {
		t.Errorf("the tenant is %s, with %v", x.Domain, x.Users)
	}
	if status, body := call(t, x, "GET", "/users", ""); status != 200 || !strings.Contains(body, "eve@fabrikam.com") {
		t.Errorf("users: %d %s", status, body)
	}
}

func TestProfilesHaveNames(t *testing.T) {
	names := holdfasttest.Profiles()
	if len(names) < 30 {
		t.Errorf("there are %d profiles", len(names))
	}
	slices.Sort(names)
	if once := slices.Compact(slices.Clone(names)); len(once) != len(names) {
		t.Error("two profiles have the same name")
	}
}

// A tenant that is made up goes on as it does after the same seed, and after a
// reset again.
func TestPopulation(t *testing.T) {
	x := holdfasttest.Start(t, holdfasttest.WithPopulation(holdfasttest.Population{Seed: 4, Users: 1, Files: 50, Size: 100}))
	names := func() string {
		_, body := call(t, x, "GET", "/users/"+x.Users[0]+"/drive/root/search(q='c')?$select=name&$top=1000", "")
		return body
	}
	first := names()
	x.Churn(60)
	churned := names()
	if first == churned || !strings.Contains(first, `"name"`) {
		t.Errorf("after 60 changes there are %s", churned)
	}
	x.Reset()
	if names() != first {
		t.Error("after a reset it is not as it was at the start")
	}
	x.Churn(60)
	if names() != churned {
		t.Error("after the same, other things have changed")
	}
}

// Mail that an app sends is told to the test, and lies in the mailboxes.
func TestTenantsMail(t *testing.T) {
	t.Parallel()
	x := holdfasttest.Start(t)
	status, body := call(t, x, "POST", "/users/"+amala+"/sendMail", `{"message":{"subject":"Done","toRecipients":[{"emailAddress":{"address":"conrad@contoso.com"}},{"emailAddress":{"address":"x@fabrikam.com"}}]}}`)
	if status != 202 {
		t.Fatalf("send: %d %s", status, body)
	}
	sent := x.Sent()
	if len(sent) != 1 || sent[0].Subject != "Done" || len(sent[0].To) != 2 || len(sent[0].Delivered) != 1 {
		t.Errorf("sent: %v", sent)
	}
	if files, _ := filepath.Glob(filepath.Join(x.Mailbox("conrad@contoso.com"), "Inbox", "*.eml")); len(files) != 1 {
		t.Errorf("his inbox has %v", files)
	}
	x.Reset()
	if files, _ := filepath.Glob(filepath.Join(x.Mailbox("conrad@contoso.com"), "Inbox", "*.eml")); len(files) != 0 || len(x.Sent()) != 0 {
		t.Errorf("after the reset his inbox has %v, and the record %v", files, x.Sent())
	}
}
