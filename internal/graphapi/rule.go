package graphapi

import (
	"net/http"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

type ruleID = backup.RuleID

// ruleView shows an inclusion rule.
func (s *Server) ruleView(x *exchange, w *workload, r backup.Rule) odata.Entity {
	e := odata.Entity{Type: w.rules.name, Path: root + "/" + w.rules.set + "('" + string(r.ID) + "')"}
	e.Add("id", r.ID)
	e.Add(w.expression, r.Expression)
	e.Add("isAutoApplyEnabled", r.Dynamic)
	e.Add("status", evolved(s, x, r.Status, backup.RuleUpdateRequested, backup.RuleDeleteRequested))
	addStamps(&e, r.Created, r.Modified, identities)
	if p := r.Problem; p != nil {
		e.Add("error", ruleError{*p, p.Details[0]})
	}
	return e
}

// A ruleError is a publicError that repeats, as the page's example has it, what
// was wrong first of all.
type ruleError struct {
	backup.Problem
	Inner backup.Detail `json:"innerError"`
}

// showRule answers with a rule of the policy of the address.
func (s *Server) showRule(x *exchange, status int, r backup.Rule) (reply, error) {
	w := x.route.of
	a, err := show(x, status, w.rules.set, s.ruleView(x, w, r))
	a.content = w.rulePath(r)
	return a, err
}

func (w *workload) rulePath(r backup.Rule) string {
	return root + "/" + w.policies.set + "/" + string(r.Policy) + "/" + w.rules.set + "('" + string(r.ID) + "')"
}

// createRule serves POST of an inclusion rule. What it matches is found
// out by a job.
func (s *Server) createRule(x *exchange) (reply, error) {
	policy := guid[policyID](x, "id")
	w, b := x.route.of, x.body
	if err := b.Only(w.rules.name, append(readOnly, w.expression, "isAutoApplyEnabled")...); err != nil {
		return reply{}, err
	}
	n := catalog.NewRule{By: s.stamp(x)}
	var given bool
	var err error
	if n.Expression, given, err = b.String(w.expression); err != nil {
		return reply{}, err
	}
	if !b.Null("isAutoApplyEnabled") {
		if n.Dynamic, _, err = b.Bool("isAutoApplyEnabled"); err != nil {
			return reply{}, err
		}
	}
	if !given {
		// That there is no such policy comes before what is wrong with the rule.
		if _, err := s.catalog.Policy(x.ctx(), x.tenant(), policy); err != nil {
			return reply{}, err
		}
		return reply{}, backup.Fail(backup.InvalidRuleCreateRequest, "A rule needs a "+w.expression+": "+w.ruleForm+".").On(w.expression)
	}
	r, err := s.catalog.CreateRule(x.ctx(), x.tenant(), policy, n)
	if err != nil {
		return reply{}, w.inWords(err)
	}
	a, err := created(x, w.rules.set, w.policies.set+"/"+string(policy)+"/"+w.rules.set+"/"+string(r.ID), s.ruleView(x, w, r))
	a.content = w.rulePath(r)
	return a, err
}

// updateRule serves PATCH of an inclusion rule: another expression for a
// dynamic one.
func (s *Server) updateRule(x *exchange) (reply, error) {
	policy, id := guid[policyID](x, "id"), guid[ruleID](x, "rule")
	w, b := x.route.of, x.body
	if err := b.Only(w.rules.name, append(readOnly, w.expression, "isAutoApplyEnabled")...); err != nil {
		return reply{}, err
	}
	expression, given, err := b.String(w.expression)
	if err != nil {
		return reply{}, err
	}
	if b.Has("isAutoApplyEnabled") || !given {
		// Whether the rule exists and may be changed comes before what is wrong
		// with the change.
		r, err := s.catalog.Rule(x.ctx(), x.tenant(), policy, id)
		if err != nil {
			return reply{}, err
		}
		if err := r.May(backup.EditRule); err != nil {
			return reply{}, err
		}
		if b.Has("isAutoApplyEnabled") {
			return reply{}, backup.Fail(backup.InvalidRulePatchRequest, "Whether a rule is dynamic is settled when it is created. Send the "+w.expression+" alone.").On("isAutoApplyEnabled")
		}
		return reply{}, backup.Fail(backup.InvalidRulePatchRequest, "The request changes nothing: send a "+w.expression+".").On(w.expression)
	}
	r, err := s.catalog.UpdateRule(x.ctx(), x.tenant(), policy, id, expression, s.stamp(x))
	if err != nil {
		return reply{}, w.inWords(err)
	}
	if x.prefer.Minimal {
		return reply{status: http.StatusNoContent, wrote: true}, nil
	}
	a, err := s.showRule(x, http.StatusOK, r)
	a.wrote = true
	return a, err
}

func (s *Server) deleteRule(x *exchange) (reply, error) {
	if err := s.catalog.DeleteRule(x.ctx(), x.tenant(), guid[policyID](x, "id"), guid[ruleID](x, "rule")); err != nil {
		return reply{}, err
	}
	return s.deleted(x)
}

// runRule serves protectionRuleBase: run.
func (s *Server) runRule(x *exchange) (reply, error) {
	r, err := s.catalog.RunRule(x.ctx(), x.tenant(), guid[policyID](x, "id"), guid[ruleID](x, "rule"), s.stamp(x))
	if err != nil {
		return reply{}, err
	}
	return s.showRule(x, http.StatusAccepted, r)
}

// releaseRule serves protectionRuleBase: deleteAndUnprotect.
func (s *Server) releaseRule(x *exchange) (reply, error) {
	r, err := s.catalog.ReleaseRule(x.ctx(), x.tenant(), guid[policyID](x, "id"), guid[ruleID](x, "rule"), s.stamp(x))
	if err != nil {
		return reply{}, err
	}
	s.replays.forget(x.tenant())
	return s.showRule(x, http.StatusAccepted, r)
}

func (s *Server) rules(x *exchange, policy policyID) func(catalog.Page) (catalog.List[backup.Rule], error) {
	return func(p catalog.Page) (catalog.List[backup.Rule], error) {
		p.Workload = x.workload()
		return s.catalog.Rules(x.ctx(), x.tenant(), policy, p)
	}
}

func (s *Server) ruleList(x *exchange, policy policyID) (reply, error) {
	return list(s, x, listing[backup.Rule]{
		set: x.route.of.rules.set, fetch: s.rules(x, policy),
		view: func(r backup.Rule) (odata.Entity, error) { return s.ruleView(x, x.route.of, r), nil },
	})
}

// listPolicyRules serves the inclusion rules of a policy.
func (s *Server) listPolicyRules(x *exchange) (reply, error) {
	return s.ruleList(x, guid[policyID](x, "id"))
}

func (s *Server) countPolicyRules(x *exchange) (reply, error) {
	return count(x, s.rules(x, guid[policyID](x, "id")))
}

// listRules serves those of the tenant.
func (s *Server) listRules(x *exchange) (reply, error)  { return s.ruleList(x, "") }
func (s *Server) countRules(x *exchange) (reply, error) { return count(x, s.rules(x, "")) }

func (s *Server) getPolicyRule(x *exchange) (reply, error) {
	r, err := s.catalog.Rule(x.ctx(), x.tenant(), guid[policyID](x, "id"), guid[ruleID](x, "rule"))
	if err != nil {
		return reply{}, err
	}
	return s.showRule(x, http.StatusOK, r)
}

func (s *Server) getRule(x *exchange) (reply, error) {
	r, err := s.catalog.Rule(x.ctx(), x.tenant(), "", guid[ruleID](x, "rule"))
	if err != nil {
		return reply{}, err
	}
	return show(x, http.StatusOK, x.route.of.rules.set, s.ruleView(x, x.route.of, r))
}

// explain serves holdfast.explain, a function of ours on a policy: why an
// owner's drive is in the policy, or is not.
func (s *Server) explain(x *exchange) (reply, error) {
	w := x.route.of
	subject, ok := w.kind.ParseSubject(x.r.PathValue(w.subject))
	if !ok {
		return reply{}, backup.Fail(backup.InvalidRequest, "The id in the address is not a GUID.").On(w.subject)
	}
	got, err := s.catalog.Explain(x.ctx(), x.tenant(), guid[policyID](x, "id"), subject)
	if err != nil {
		return reply{}, err
	}
	e := odata.Entity{}
	e.Add("policyId", got.Policy)
	e.Add(w.subject, got.Owner)
	e.Add("isIncluded", got.Included)
	if u := got.Unit; u != nil {
		e.Add("protectionUnitId", u.ID)
		e.Add("status", u.Status)
		e.Add("protectionSources", sources(u.Sources))
	}
	e.Add("reasons", got.Reasons)
	f := x.form()
	body, err := f.Entity(f.Context("holdfast.explanation", false), e)
	return reply{status: http.StatusOK, body: body}, err
}
