package engine

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
)

const team, crew = backup.ObjectID("40000000-0000-4000-8000-000000000001"), backup.ObjectID("40000000-0000-4000-8000-000000000002")

func expression(groups ...backup.ObjectID) string {
	var list []string
	for _, g := range groups {
		list = append(list, "'"+string(g)+"'")
	}
	return "(memberOf -any (group.id -in [" + strings.Join(list, ",") + "]))"
}

// A ruled world is one whose tenant has groups, which change when the
// simulated tenant is started again with another file.
type ruled struct {
	*world
	serving  atomic.Pointer[http.Handler]
	sim      *simtenant.Service
	policy   backup.Policy
	finished chan backup.RuleStatus // each evaluation that ended
}

func newRuled(t *testing.T) *ruled {
	w := &ruled{world: prepare(t, "ann", "bob", "cid", "dee"), finished: make(chan backup.RuleStatus, 100)}
	w.restart()
	server := httptest.NewServer(w.watch(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { (*w.serving.Load()).ServeHTTP(rw, r) })))
	t.Cleanup(func() {
		server.Close()
		w.must(w.sim.Close())
	})
	w.connect(server.URL)
	p, err := w.catalog.CreatePolicy(w.ctx, w.tenant, catalog.NewPolicy{Workload: backup.OneDrive, DisplayName: "Team"})
	w.must(err)
	w.policy, err = w.catalog.ActivatePolicy(w.ctx, w.tenant, p.ID, backup.Stamp{})
	w.must(err)
	return w
}

// restart starts the simulated tenant anew on the same state.
func (w *ruled) restart(groups ...simtenant.Group) {
	w.t.Helper()
	if w.sim != nil {
		w.must(w.sim.Close())
	}
	cfg := simConfig(w.dir, w.tenant, w.users, w.faults)
	cfg.Tenants[0].Groups = groups
	var err error
	w.sim, err = simtenant.New(cfg)
	w.must(err)
	h := w.sim.Handler()
	w.serving.Store(&h)
}

func (w *ruled) rule(dynamic bool, groups ...backup.ObjectID) backup.Rule {
	w.t.Helper()
	r, err := w.catalog.CreateRule(w.ctx, w.tenant, w.policy.ID, catalog.NewRule{Expression: expression(groups...), Dynamic: dynamic})
	w.must(err)
	return r
}

func (w *ruled) status(id backup.RuleID) backup.Rule {
	w.t.Helper()
	r, err := w.catalog.RuleForWork(w.ctx, w.tenant, id)
	w.must(err)
	return r
}

func (w *ruled) group(id backup.ObjectID, members ...int) simtenant.Group {
	g := simtenant.Group{ID: id, DisplayName: string(id)}
	for _, m := range members {
		g.Members = append(g.Members, w.users[m].ID)
	}
	return g
}

// wantIn compares whom the policy holds, and settles it first.
func (w *ruled) wantIn(what string, want ...string) {
	w.t.Helper()
	w.run(jobs.Settle, string(w.policy.ID), w.engine.settle)
	units, err := w.catalog.Units(w.ctx, w.tenant, catalog.UnitQuery{Policy: w.policy.ID})
	w.must(err)
	var got []string
	for _, u := range units.Items {
		name, _, _ := strings.Cut(u.Address, "@")
		got = append(got, name)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		w.t.Errorf("%s: the policy holds %v, want %v\n%s", what, got, want, w.log)
	}
}

// work runs rule jobs until the test ends.
func (w *ruled) work() {
	ctx, stop := context.WithCancel(w.ctx)
	done := make(chan struct{})
	handler := func(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
		result, err := w.engine.rule(ctx, j)
		if err == nil {
			r, _ := w.catalog.RuleForWork(ctx, j.Tenant, backup.RuleID(j.Key))
			defer func() { w.finished <- r.Status }()
		}
		return result, err
	}
	runner := jobs.NewRunner(jobs.RunnerConfig{Queue: w.queue, Poll: 5 * time.Millisecond,
		Work: map[jobs.Kind]jobs.Work{jobs.Rule: {Handler: handler, Workers: 1}}, Name: "test", Log: w.engine.Log})
	go func() {
		defer close(done)
		runner.Run(ctx)
	}()
	w.t.Cleanup(func() { stop(); <-done })
}

func (w *ruled) wantEvaluated(status backup.RuleStatus) {
	w.t.Helper()
	select {
	case got := <-w.finished:
		if got != status {
			w.t.Errorf("evaluated to %q, want %q\n%s", got, status, w.log)
		}
	case <-time.After(20 * time.Second):
		w.t.Fatalf("nobody evaluated the rule\n%s", w.log)
	}
}

func TestDynamicRuleFollowsTheDirectory(t *testing.T) {
	w := newRuled(t)
	w.restart(w.group(team, 0, 1), w.group(crew, 3))
	w.work()
	r := w.rule(true, team)
	w.wantEvaluated(backup.RuleCompleted)
	w.wantIn("at first", "ann", "bob")
	unit, err := w.catalog.Explain(w.ctx, w.tenant, w.policy.ID, backup.SubjectID(w.users[0].ID))
	w.must(err)
	if ann := unit.Unit; !unit.Included || ann.Status != backup.UnitProtectRequested || ann.Sources != backup.SourceDynamicRule {
		t.Errorf("ann is %+v", ann)
	}

	// The tenant's file says something else from the next start on.
	w.restart(w.group(team, 1, 2), w.group(crew, 3))
	w.wantIn("before it is evaluated again", "ann", "bob")
	w.skew.Add(int64(26 * time.Hour))
	w.wantEvaluated(backup.RuleCompleted)
	w.wantIn("a day later", "ann", "bob", "cid")
	w.skew.Add(int64(61 * time.Minute))
	w.wantEvaluated(backup.RuleCompleted)
	w.wantIn("after a second look", "bob", "cid")
	if ann := w.unit(unit.Unit.ID); ann.Status != backup.UnitUnprotected || ann.Policy != "" || ann.Sources != 0 {
		t.Errorf("ann is %+v", ann)
	}

	// Its change is followed at once.
	_, err = w.catalog.UpdateRule(w.ctx, w.tenant, w.policy.ID, r.ID, expression(team, crew), backup.Stamp{At: time.Now()})
	w.must(err)
	w.wantEvaluated(backup.RuleCompleted)
	w.wantIn("with two groups", "bob", "cid", "dee")

	// A group that is gone, or may not be read, lets nobody go.
	w.restart(w.group(crew, 0))
	w.skew.Add(int64(26 * time.Hour))
	w.wantEvaluated(backup.RuleCompletedWithErrors)
	w.wantIn("without one group", "ann", "bob", "cid", "dee")
	w.skew.Add(int64(61 * time.Minute))
	w.wantEvaluated(backup.RuleCompletedWithErrors)
	w.wantIn("without one group for longer", "ann", "bob", "cid")
	if p := w.status(r.ID).Problem; p.Code != backup.InvalidGroupID || p.Details[0].Target != string(team) {
		t.Errorf("the rule's error is %+v", p)
	}
	w.faults.Add(simtenant.Fault{Times: 1, Status: 403, Body: `{"error":{"code":"Authorization_RequestDenied","message":"no"}}`, Match: isCrew})
	w.skew.Add(int64(26 * time.Hour))
	w.wantEvaluated(backup.RuleCompletedWithErrors)
	w.wantIn("denied", "ann", "bob", "cid")
	if p := w.status(r.ID).Problem; len(p.Details) != 2 || p.Details[1].Code != backup.AccessDenied {
		t.Errorf("the rule's error is %+v", p)
	}

	_, err = w.catalog.ReleaseRule(w.ctx, w.tenant, w.policy.ID, r.ID, backup.Stamp{At: time.Now()})
	w.must(err)
	w.wantEvaluated("") // it is gone
	w.wantIn("released")
}

func isCrew(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/v1.0/groups/"+string(crew)) }

func TestStaticRuleIsEvaluatedWhenItIsRun(t *testing.T) {
	w := newRuled(t)
	w.restart(w.group(team, 0, 1))
	w.work()
	r := w.rule(false, team)
	w.wantEvaluated(backup.RuleCompleted)
	w.restart(w.group(team, 1, 2))
	w.skew.Add(int64(26 * time.Hour))
	w.must(w.engine.Start(w.ctx))
	w.wantIn("a day later", "ann", "bob")
	_, err := w.catalog.RunRule(w.ctx, w.tenant, w.policy.ID, r.ID, backup.Stamp{At: time.Now()})
	w.must(err)
	w.wantEvaluated(backup.RuleCompleted)
	w.wantIn("run", "ann", "bob", "cid")
	if n := len(w.finished); n != 0 {
		t.Errorf("%d evaluations too many", n)
	}
}

// While the source cannot be asked the rule waits, and changes nothing.
func TestRuleWaitsForTheSource(t *testing.T) {
	w := newRuled(t)
	w.restart(w.group(team, 0, 1), w.group(crew, 2))
	r := w.rule(true, team, crew)
	fault := simtenant.Fault{Times: 1000, Status: 503, Match: isCrew}
	w.faults.Add(fault)
	if err := w.try(w.ctx, jobs.Rule, string(r.ID), w.engine.rule); err == nil {
		t.Error("the evaluation ended although the source did not answer")
	}
	w.wantIn("without the source")
	if got := w.status(r.ID).Status; got != backup.RuleActive {
		t.Errorf("the rule is %s", got)
	}
}

// What a source says of a group's members that is not so, once or for good, costs
// nobody their place, and no other group its members.
func TestRuleBelievesNoListThatCannotBeTrue(t *testing.T) {
	empty := func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"value":[]}`) }
	for name, wrong := range map[string]struct {
		answer   func(w http.ResponseWriter, r *http.Request)
		failures int  // so often was it tried before
		named    bool // the group is
	}{
		"one empty answer": {answer: empty},
		"the first page only": {answer: func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"value":[{"id":"20000000-0000-4000-8000-000000000001"}]}`)
		}},
		"a list in a circle": {named: true, answer: func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"value":[],"@odata.nextLink":"http://%s%s"}`, r.Host, r.URL)
		}},
		"the list of another group": {failures: maxGroupFailures, named: true, answer: func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"value":[],"@odata.nextLink":"http://%s/v1.0/groups/%s/members/microsoft.graph.user"}`, r.Host, crew)
		}},
		"members without id": {failures: maxGroupFailures, named: true, answer: func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"value":[{"displayName":"somebody"}]}`)
		}},
		"a text":        {failures: maxGroupFailures, named: true, answer: func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `"members"`) }},
		"500 for good":  {failures: maxGroupFailures, named: true, answer: func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }},
		"another group": {failures: maxGroupFailures, named: true, answer: func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, `{"id":"%s","value":[]}`, crew) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newRuled(t)
			w.restart(w.group(team, 0, 1), w.group(crew, 2))
			r := w.rule(true, team, crew)
			w.must(w.try(w.ctx, jobs.Rule, string(r.ID), w.engine.rule))
			w.wantIn("at first", "ann", "bob", "cid")

			w.restart(w.group(team, 0, 1), w.group(crew, 3))
			honest := *w.serving.Load()
			var lying http.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/v1.0/groups/"+string(team)) {
					wrong.answer(rw, r)
					return
				}
				honest.ServeHTTP(rw, r)
			})
			if name == "one empty answer" || name == "the first page only" {
				// The group itself is there.
				all := lying
				lying = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if strings.HasSuffix(r.URL.Path, string(team)) {
						honest.ServeHTTP(rw, r)
						return
					}
					all.ServeHTTP(rw, r)
				})
			}
			evaluate := func(failures int) {
				w.skew.Add(int64(26 * time.Hour))
				j := w.claim(jobs.Rule, string(r.ID))
				j.Failures = failures
				_, err := w.engine.rule(w.ctx, j)
				w.must(err)
			}
			w.serving.Store(&lying)
			evaluate(wrong.failures)
			w.wantIn("while it lasts", "ann", "bob", "cid", "dee")
			p := w.status(r.ID).Problem
			if named := p != nil && len(p.Details) == 1 && p.Details[0].Target == string(team) && p.Details[0].Message != ""; named != wrong.named {
				t.Errorf("the rule's error is %+v", p)
			}
			w.serving.Store(&honest)
			evaluate(0)
			w.wantIn("afterwards", "ann", "bob", "dee")
			if p := w.status(r.ID).Problem; p != nil {
				t.Errorf("afterwards the rule's error is %+v", p)
			}
		})
	}
}

// A shorter interval holds for rules that wait already.
func TestStartSchedulesRules(t *testing.T) {
	w := newRuled(t)
	w.restart(w.group(team, 0))
	w.work()
	w.rule(true, team)
	w.wantEvaluated(backup.RuleCompleted)
	w.restart(w.group(team, 1))
	w.engine.RuleInterval = time.Minute
	w.must(w.engine.Start(w.ctx))
	for range 2 {
		w.skew.Add(int64(2 * time.Minute))
		w.wantEvaluated(backup.RuleCompleted)
	}
	w.wantIn("after the shorter interval", "bob")
}
