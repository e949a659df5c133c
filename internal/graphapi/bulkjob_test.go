package graphapi

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
)

func TestBulkJobStory(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if err := w.catalog.ApplyDirectory(t.Context(), contoso, catalog.DirectoryChange{Users: []backup.Subject{
			{ID: backup.SubjectID(ownerN(1)), Address: "amala@contoso.com", Mail: "amala@contoso.com", DisplayName: "Amala"},
			{ID: backup.SubjectID(ownerN(2)), Address: "conrad@contoso.com", DisplayName: "Conrad"},
		}}); err != nil {
			t.Fatal(err)
		}
		c := w.user(contoso)
		policy := c.policy("A")
		at := "/" + drivePolicySet + "/" + policy + "/" + bulkJobSet
		made := c.do("POST", at, obj{"displayName": "drives-I", "drives": []string{"AMALA@contoso.com", "nobody@contoso.com"},
			"directoryObjectIds": []string{ownerN(2), ownerN(1)}}).want(201)
		job := made.str("id")
		if made.str("status") != "active" || made.str("drives.0") != "AMALA@contoso.com" || len(made.list("directoryObjectIds")) != 2 ||
			made.str("createdBy.user.id") != userID || made.get("createdBy.user.displayName") != nil || made.get("createdBy.application.displayName") != nil {
			t.Errorf("created = %s", made.text)
		}
		if _, has := made.json["error"]; has {
			t.Errorf("created with error: %s", made.text)
		}
		// As long as the source cannot be read it says what it waits for, wherever it is shown.
		w.server.cfg.Source = func(_ context.Context, tenant backup.TenantID) ([]string, bool) {
			return map[backup.TenantID][]string{contoso: {"It is mute."}}[tenant], true
		}
		for _, waits := range []obj{c.do("GET", at+"('"+job+"')", nil).want(200).json, c.do("GET", at, nil).want(200).list("value")[0].(obj), c.do("GET", "/"+bulkJobSet+"/"+job, nil).want(200).json} {
			if said, _ := waits["error"].(obj); waits["status"] != "active" || said["code"] != string(backup.DriveUnavailable) || !strings.HasPrefix(fmt.Sprint(said["message"]), "It is mute. The job waits") {
				t.Errorf("it waits as %v", waits)
			}
		}
		w.work()
		got := c.do("GET", at+"('"+job+"')", nil).want(200)
		if got.str("status") != "completedWithErrors" || got.str("error.code") != "ProtectionResourcesNotFound" || len(got.list("error.details")) != 1 ||
			got.str("error.details.0.code") != "EmailNotFound" || got.str("error.details.0.target") != "nobody@contoso.com" || got.str("drives.0") != "AMALA@contoso.com" {
			t.Errorf("done = %s", got.text)
		}
		listed := c.do("GET", at+"?$top=3", nil).want(200).list("value")[0].(obj)
		if _, has := listed["drives"]; has || listed["error"] == nil {
			t.Errorf("listed = %v", listed)
		}
		if u := c.do("GET", "/"+drivePolicySet+"/"+policy+"/"+driveUnitSet, nil).want(200); len(u.list("value")) != 2 || u.str("value.0.displayName") == "" {
			t.Errorf("units = %s", u.text)
		}
		if u := w.app(contoso).do("GET", "/"+driveUnitSet, nil).want(200); strings.Contains(u.text, "displayName\":\"Amala") || strings.Contains(u.text, "email\":\"amala") {
			t.Errorf("an application sees whose drives they are: %s", u.text)
		}
		other := c.policy("B")
		c.do("GET", "/"+drivePolicySet+"/"+other+"/"+bulkJobSet+"/"+job, nil).want(404, backup.ItemNotFound)
		c.do("GET", "/"+bulkJobSet+"/"+job, nil).want(200)
		c.do("GET", "/"+bulkJobSet+"/x", nil).want(400, backup.InvalidRequest)
		if got := c.do("GET", "/"+bulkJobSet+"/$count", nil).want(200); got.text != "1" {
			t.Errorf("count = %s", got.text)
		}
	})
}

func TestBulkJobLimits(t *testing.T) {
	w := sqlite(t)
	c := w.app(contoso)
	policy := c.policy("A")
	at := "/" + drivePolicySet + "/" + policy + "/" + bulkJobSet
	entries := make([]string, 50_000)
	for i := range entries { // longer than 4 MiB in all
		entries[i] = fmt.Sprintf("a.person.with.a.rather.long.name.%06d@department.of.long.names.subsidiary.of.contoso.example.com", i)
	}
	body, _ := json.Marshal(obj{"drives": entries})
	if len(body) < bodyLimit {
		t.Fatalf("the body is only %d bytes", len(body))
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(body)
	z.Close()
	if got := c.do("POST", at, zipped.Bytes(), "Content-Encoding", "gzip").want(201); len(got.list("drives")) != 50_000 || got.json["displayName"] != "" {
		t.Errorf("%d drives came back", len(got.list("drives")))
	}
	c.do("POST", at, obj{"drives": entries, "directoryObjectIds": []string{ownerN(1)}}).want(413, backup.ProtectionUnitsLimitBreached)
	c.do("POST", "/"+drivePolicySet+"/"+backup.NewID[string]()+"/"+bulkJobSet, obj{"drives": append(slices.Clone(entries), "x")}).want(404, backup.PolicyNotFound)
	c.do("POST", at, `{"drives":["`+strings.Repeat("x", bulkBodyLimit)+`"]}`).want(413, backup.InvalidRequest)
	for name, row := range map[string]struct {
		body any
		code backup.Code
	}{
		"nothing":        {obj{}, backup.InvalidCreateRequest},
		"no body":        {"", backup.InvalidCreateRequest},
		"two empty":      {obj{"drives": []string{}, "directoryObjectIds": []string{}}, backup.InvalidCreateRequest},
		"null":           {obj{"drives": nil}, backup.InvalidCreateRequest},
		"a string":       {obj{"drives": "amala@contoso.com"}, backup.InvalidCreateRequest},
		"numbers":        {obj{"directoryObjectIds": []int{1}}, backup.InvalidCreateRequest},
		"a null":         {obj{"drives": []any{nil}}, backup.InvalidCreateRequest},
		"an empty name":  {obj{"displayName": "", "drives": entries[:1]}, backup.InvalidDisplayName},
		"a long name":    {obj{"displayName": strings.Repeat("x", 1025), "drives": entries[:1]}, backup.InvalidDisplayName},
		"mailboxes":      {obj{"mailboxes": entries[:1]}, backup.InvalidRequest},
		"another's type": {obj{"@odata.type": "#microsoft.graph.siteProtectionUnitsBulkAdditionJob", "drives": entries[:1]}, backup.InvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			c.do("POST", at, row.body).want(400, row.code)
		})
	}
	w.t = t
	// Malformed entries are the job's business.
	c.do("POST", at, obj{"displayName": nil, "drives": []string{"", "not an address"}, "directoryObjectIds": []string{"x"}}).want(201)
	c.do("POST", "/"+drivePolicySet+"/x/"+bulkJobSet, obj{"drives": entries[:1]}).want(400, backup.InvalidPolicyID)
	c.do("PATCH", at+"/"+backup.NewID[string](), obj{}).want(405, backup.NotAllowed)
}
