package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/client"
	"holdfast/internal/simtenant"
)

// A group of the tenant's file changes between two runs of dev; the dynamic
// rule follows.
func TestDevFollowsTheTenantFile(t *testing.T) {
	tenants := simtenant.Sample()
	users, group := tenants[0].Users, &tenants[0].Groups[0]
	file := filepath.Join(t.TempDir(), "tenants.json")
	start := func(o *devOptions, members ...int) {
		group.Members = nil
		for _, m := range members {
			group.Members = append(group.Members, users[m].ID)
		}
		data, err := json.Marshal(map[string]any{"tenants": tenants})
		if err == nil {
			err = os.WriteFile(file, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		o.tenant, o.rules = file, time.Second
	}
	data := t.TempDir()
	first, err := startDev(t.Context(), func() devOptions {
		o := devOptions{listen: "127.0.0.1:0", data: data, interval: time.Hour}
		start(&o, 0, 1)
		return o
	}(), testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	c := signedIn(t, first, first.origin)
	var policy struct{ ID string }
	if err := c.Call(t.Context(), http.MethodPost, "/oneDriveForBusinessProtectionPolicies", map[string]any{"displayName": "Research"}, &policy); err != nil {
		t.Fatal(err)
	}
	at := "/oneDriveForBusinessProtectionPolicies/" + policy.ID
	err = c.Call(t.Context(), http.MethodPost, at+"/driveInclusionRules", map[string]any{
		"driveExpression": "(memberOf -any (group.id -in ['" + string(group.ID) + "']))", "isAutoApplyEnabled": true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	holds := func(c *client.Client, numbers ...int) {
		t.Helper()
		var want []backup.SubjectID
		for _, n := range numbers {
			want = append(want, backup.SubjectID(users[n].ID))
		}
		slices.Sort(want)
		type unit struct {
			Owner backup.SubjectID `json:"directoryObjectId"`
		}
		if err := poll(t.Context(), 20*time.Millisecond, func() (bool, error) {
			units, err := list[unit](t.Context(), c, at+"/driveProtectionUnits")
			var got []backup.SubjectID
			for _, u := range units {
				got = append(got, u.Owner)
			}
			slices.Sort(got)
			return slices.Equal(got, want), err
		}); err != nil {
			t.Fatal(err)
		}
	}
	holds(c, 0, 1)
	if err := first.close(); err != nil {
		t.Fatal(err)
	}
	second := startTestDev(t, func(o *devOptions) {
		o.data = data
		start(o, 1, 2)
	})
	holds(signedIn(t, second, second.origin), 1, 2)
}
