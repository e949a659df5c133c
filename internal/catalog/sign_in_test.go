package catalog_test

import (
	"fmt"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/jobs"
)

func (w *world) signIn(browser string, tenant backup.TenantID) backup.SignIn {
	return backup.SignIn{Browser: browser, Tenant: tenant, About: "about " + browser, Tokens: "tokens of " + browser, Created: w.clock(), Used: w.clock(), Expires: w.clock().Add(time.Hour)}
}

// signIns are those of a browser, in words.
func (w *world) signIns(browser string) (said string) {
	w.t.Helper()
	for _, s := range must[[]backup.SignIn](w.t)(w.SignIns(w.t.Context(), browser)) {
		tokens := must[string](w.t)(w.SignInTokens(w.t.Context(), browser, s.Tenant))
		said += fmt.Sprintf("%.4s %s %s %q %v; ", s.Tenant, s.About, tokens, s.Notes, s.Expires.Sub(w.clock()))
	}
	return said
}

func TestSignIns(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		ok(t, w.BeginSignIns(ctx, "", nil, []backup.SignIn{w.signIn("a", contoso)}))
		ok(t, w.BeginSignIns(ctx, "", nil, []backup.SignIn{w.signIn("x", contoso)}))
		w.pass(time.Minute)
		ok(t, w.BeginSignIns(ctx, "a", []backup.SignIn{w.signIn("b", contoso)}, []backup.SignIn{w.signIn("b", fabrikam)}))
		if a, b := w.signIns("a"), w.signIns("b"); a != "" || b != `1111 about b tokens of b "" 1h0m0s; 2222 about b tokens of b "" 1h0m0s; ` {
			t.Errorf("before %s, afterwards %s", a, b)
		}

		// One that has ended meanwhile does not go on, and what is changed of it neither.
		was := w.signIn("b", contoso)
		ok(t, w.EndSignIns(ctx, "b", contoso))
		ok(t, w.ChangeSignIn(ctx, was, was))
		ok(t, w.BeginSignIns(ctx, "b", []backup.SignIn{w.signIn("c", contoso), w.signIn("c", fabrikam)}, nil))
		if b, c := w.signIns("b"), w.signIns("c"); b != "" || c != `2222 about c tokens of c "" 1h0m0s; ` {
			t.Errorf("before %s, afterwards %s", b, c)
		}

		// Of two who change the same, the first does; a later use is not made an earlier one.
		was = w.signIn("c", fabrikam)
		faster, slower := was, was
		faster.Tokens, faster.Notes, faster.Used, faster.Expires = "faster", "note", w.clock().Add(2*time.Minute), w.clock().Add(3*time.Hour)
		slower.Tokens, slower.Used, slower.Expires = "slower", w.clock().Add(time.Minute), w.clock().Add(2*time.Hour)
		ok(t, w.ChangeSignIn(ctx, was, faster))
		ok(t, w.ChangeSignIn(ctx, was, slower))
		if c := w.signIns("c"); c != `2222 about c faster "note" 3h0m0s; ` {
			t.Errorf("two who change: %s", c)
		}

		// What is over is gone, at once for who asks and from the table by the tenant's job.
		w.pass(2 * time.Hour)
		count := func() (n int) {
			ok(t, w.db.Read().QueryRow(`SELECT count(*) FROM sign_in`).Scan(&n))
			return n
		}
		if x := w.signIns("x"); x != "" || count() != 2 {
			t.Errorf("after its time there is %s, of %d", x, count())
		}
		ok(t, enqueue(w, jobs.Spec{Kind: jobs.Expire, Key: string(fabrikam), Tenant: fabrikam}))
		ok(t, w.ExpireSignIns(ctx, w.claim(jobs.Expire)[string(fabrikam)]))
		if c := w.signIns("c"); c == "" || count() != 1 {
			t.Errorf("afterwards there is %s, of %d", c, count())
		}
		ok(t, w.EndSignIns(ctx, "c", ""))
		if count() != 0 {
			t.Error("signing out of all tenants leaves some")
		}
	})
}

// Beyond so many sign-ins those end that were not used for the longest time.
func TestManySignIns(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		ok(t, w.BeginSignIns(ctx, "", nil, []backup.SignIn{w.signIn("oldest", contoso)}))
		w.pass(time.Second)
		ok(t, w.BeginSignIns(ctx, "", nil, []backup.SignIn{w.signIn("used", contoso)}))
		w.pass(time.Second)
		was := w.signIn("used", contoso)
		var many []backup.SignIn
		for i := range 9_998 {
			many = append(many, w.signIn(fmt.Sprint("b", i), contoso))
		}
		ok(t, w.BeginSignIns(ctx, "", nil, many))
		w.pass(time.Second)
		is := was
		is.Used = w.clock()
		is.Expires = w.clock().Add(time.Hour)
		ok(t, w.ChangeSignIn(ctx, was, is))
		if w.signIns("oldest") == "" {
			t.Error("one ended before there were too many")
		}
		ok(t, w.BeginSignIns(ctx, "", nil, []backup.SignIn{w.signIn("last", contoso)}))
		if w.signIns("oldest") != "" || w.signIns("used") == "" || w.signIns("last") == "" {
			t.Errorf("the oldest %q, the one that is used %q, the last %q", w.signIns("oldest"), w.signIns("used"), w.signIns("last"))
		}
	})
}
