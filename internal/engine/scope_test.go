package engine

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
)

// Who is in a group that a role is limited to is asked again and again: who left it is
// outside at the next answer. While the source does not tell, the last answer counts for
// a day, and then nobody is in the group; nor is anybody in one that is gone.
func TestGroupsOfScopes(t *testing.T) {
	w := newRuled(t)
	w.engine.Groups = func(backup.TenantID) []backup.ObjectID { return []backup.ObjectID{team, crew} }
	w.restart(w.group(team, 0, 1), w.group(crew, 2))
	var units []catalog.UnitChange
	for _, u := range w.users {
		units = append(units, catalog.UnitChange{Add: backup.SubjectID(u.ID)})
	}
	_, _, err := w.catalog.UpdatePolicy(w.ctx, w.tenant, w.policy.ID, catalog.PolicyPatch{Units: units})
	w.must(err)
	want := func(what string, groups []backup.ObjectID, names ...string) {
		t.Helper()
		l, err := w.catalog.Units(catalog.WithScope(w.ctx, &catalog.Scope{Groups: groups}), w.tenant, catalog.UnitQuery{})
		w.must(err)
		var got []string
		for _, u := range l.Items {
			for _, user := range w.users {
				if backup.SubjectID(user.ID) == u.Subject {
					name, _, _ := strings.Cut(user.UserPrincipalName, "@")
					got = append(got, name)
				}
			}
		}
		if strings.Join(got, " ") != strings.Join(names, " ") {
			t.Errorf("%s: in scope are %v, want %v\n%s", what, got, names, w.log)
		}
	}
	both := []backup.ObjectID{team, crew}
	want("before anybody asked", both)
	read := func() error { return w.try(w.ctx, jobs.Groups, string(w.tenant), w.engine.groups) }
	w.must(read())
	want("one group", both[:1], "ann", "bob")
	want("two groups", both, "ann", "bob", "cid")

	w.restart(w.group(team, 1, 3), w.group(crew, 2))
	want("until it is asked", both[:1], "ann", "bob")
	w.must(read())
	want("ann left, dee came", both[:1], "bob", "dee")

	// The source fails in the middle of a group: who came may be in, who was stays.
	var broken atomic.Bool
	broken.Store(true)
	handler := *w.serving.Load()
	var failing http.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if broken.Load() && strings.Contains(r.URL.Path, string(team)) {
			http.Error(rw, `{"error":{"code":"Forbidden","message":"no"}}`, http.StatusForbidden)
			return
		}
		handler.ServeHTTP(rw, r)
	})
	w.serving.Store(&failing)
	if err := read(); err == nil {
		t.Error("a group that cannot be read is no failure")
	}
	want("not told of", both[:1], "bob", "dee")
	w.skew.Add(int64(catalog.GroupsKnown + time.Hour))
	want("not told of for a day", both[:1])
	want("the other", both)
	_ = read()
	want("the other was read", both, "cid")
	broken.Store(false)
	w.must(read())
	want("told of again", both[:1], "bob", "dee")

	// A group that is gone has nobody, and one that no scope names is forgotten.
	w.restart(w.group(crew, 2))
	w.must(read())
	want("gone", both[:1])
	w.engine.Groups = func(backup.TenantID) []backup.ObjectID { return nil }
	w.must(read())
	want("named by no scope", both)
}
