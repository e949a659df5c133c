package backup

import (
	"strconv"
	"strings"
	"time"
)

// A RuleStatus is where an inclusion rule stands.
type RuleStatus string

const (
	RuleActive              RuleStatus = "active" // to be evaluated
	RuleCompleted           RuleStatus = "completed"
	RuleCompletedWithErrors RuleStatus = "completedWithErrors"
	RuleUpdateRequested     RuleStatus = "updateRequested" // to be evaluated by its new expression
	RuleDeleteRequested     RuleStatus = "deleteRequested" // to let its units go, and then vanish
)

// A Rule brings the members of directory groups, or the sites that have certain
// words in their names, into a policy. A static rule
// does so once, and again whenever it is run. A dynamic one is evaluated again
// and again: it holds its members in the policy for as long as they are members.
// A policy has one dynamic rule at most.
type Rule struct {
	ID         RuleID
	Tenant     TenantID
	Workload   Workload
	Policy     PolicyID
	Expression string // as it was sent
	Dynamic    bool
	Status     RuleStatus
	Problem    *Problem  // of the last evaluation
	Evaluated  time.Time // when it was last evaluated to its end; zero before that
	Created    Stamp
	Modified   Stamp
}

// CheckRule reports, as an error, why a policy of w may have no rule of an
// expression. Rules of sites are static.
func (w Workload) CheckRule(expression string, dynamic bool) (err error) {
	switch {
	case w != SharePoint:
		_, err = ParseRuleExpression(expression)
	case dynamic:
		err = Fail(InvalidRuleCreateRequest, "Rules of sites are static. Leave isAutoApplyEnabled out, and run the rule again when there are new sites.").On("isAutoApplyEnabled")
	default:
		_, err = ParseSiteExpression(expression)
	}
	return err
}

// Groups returns the groups that r's expression names, each once.
func (r *Rule) Groups() []ObjectID {
	groups, _ := ParseRuleExpression(r.Expression)
	return groups
}

// A RuleMove is what a caller may ask of a rule that exists.
type RuleMove string

const (
	EditRule    RuleMove = "changed"
	DeleteRule  RuleMove = "deleted"
	RunRule     RuleMove = "run"
	ReleaseRule RuleMove = "deleted with its protection" // deleteAndUnprotect
)

// A ruleKind is whether a rule is dynamic, for the table's sake.
type ruleKind bool

const (
	static  ruleKind = false
	dynamic ruleKind = true
)

// ruleMoves is every move of every kind of rule in every status: the code that
// refuses it, or "" where it may be made. A static rule is never in the last
// two.
var ruleMoves = map[ruleKind]map[RuleMove]map[RuleStatus]Code{
	static: {
		EditRule: {RuleActive: PatchOfStaticRule, RuleCompleted: PatchOfStaticRule, RuleCompletedWithErrors: PatchOfStaticRule,
			RuleUpdateRequested: PatchOfStaticRule, RuleDeleteRequested: PatchOfStaticRule},
		DeleteRule: {RuleActive: RuleStatusForDeletion, RuleCompleted: "", RuleCompletedWithErrors: "",
			RuleUpdateRequested: RuleStatusForDeletion, RuleDeleteRequested: RuleStatusForDeletion},
		RunRule: {RuleActive: RuleActionNotAllowed, RuleCompleted: "", RuleCompletedWithErrors: "",
			RuleUpdateRequested: RuleActionNotAllowed, RuleDeleteRequested: RuleActionNotAllowed},
		ReleaseRule: {RuleActive: RuleActionNotAllowed, RuleCompleted: RuleActionNotAllowed, RuleCompletedWithErrors: RuleActionNotAllowed,
			RuleUpdateRequested: RuleActionNotAllowed, RuleDeleteRequested: RuleActionNotAllowed},
	},
	dynamic: {
		EditRule: {RuleActive: RuleStatusForUpdate, RuleCompleted: "", RuleCompletedWithErrors: "",
			RuleUpdateRequested: RuleStatusForUpdate, RuleDeleteRequested: DynamicRuleStatusForEdit},
		DeleteRule: {RuleActive: DynamicRuleStatusForDelete, RuleCompleted: "", RuleCompletedWithErrors: "",
			RuleUpdateRequested: DynamicRuleStatusForDelete, RuleDeleteRequested: DynamicRuleStatusForDelete},
		RunRule: {RuleActive: RunOfDynamicRule, RuleCompleted: RunOfDynamicRule, RuleCompletedWithErrors: RunOfDynamicRule,
			RuleUpdateRequested: RunOfDynamicRule, RuleDeleteRequested: RunOfDynamicRule},
		ReleaseRule: {RuleActive: DynamicRuleStatusForRelease, RuleCompleted: "", RuleCompletedWithErrors: "",
			RuleUpdateRequested: DynamicRuleStatusForRelease, RuleDeleteRequested: DynamicRuleStatusForRelease},
	},
}

// ruleAfter is the status that a move leads to. A deleted rule has none.
var ruleAfter = map[RuleMove]RuleStatus{EditRule: RuleUpdateRequested, RunRule: RuleActive, ReleaseRule: RuleDeleteRequested}

// May reports, as an error, why a move may not be made now.
func (r *Rule) May(m RuleMove) error {
	code, known := ruleMoves[ruleKind(r.Dynamic)][m][r.Status]
	if known && code == "" {
		return nil
	}
	switch code {
	case PatchOfStaticRule:
		return Fail(code, "A static rule cannot be changed. Delete it and create another; the units that it added stay.")
	case RunOfDynamicRule:
		return Fail(code, "A dynamic rule is evaluated by itself and cannot be run. Change its expression to have it evaluated at once.")
	case RuleActionNotAllowed:
		if m == ReleaseRule {
			return Fail(code, "The units of a static rule are held by hand. Delete the rule, and remove the units from the policy.")
		}
	}
	if r.Status == RuleDeleteRequested {
		return Fail(code, "The rule is being deleted: its drives are let go, and then it is gone.").On("status")
	}
	return Fail(code, "A rule can be "+string(m)+" only once it is completed or completedWithErrors; this one is "+
		string(r.Status)+". Wait until its evaluation has ended.").On("status")
}

// Move makes a move that leaves the rule there: any but its deletion.
func (r *Rule) Move(m RuleMove, by Stamp) error {
	if err := r.May(m); err != nil {
		return err
	}
	r.Status, r.Modified = ruleAfter[m], by
	return nil
}

// Pending reports whether r waits for its evaluation.
func (s RuleStatus) Pending() bool { return s == RuleActive || s == RuleUpdateRequested }

// Bounds of a rule's expression.
const (
	MaxRuleGroups     = 100
	maxRuleExpression = 16 << 10 // in bytes: a hundred groups, and many blanks
)

// ParseRuleExpression reads the expression of a rule,
//
//	(memberOf -any (group.id -in ['GUID','GUID']))
//
// in which blanks may stand between any two words and signs, and returns the
// groups it names, in lower case and each once. An expression of another form
// is InvalidRuleExpression, one of more than a hundred groups
// RuleGroupLimitExceeded.
func ParseRuleExpression(text string) ([]ObjectID, error) {
	if len(text) > maxRuleExpression {
		return nil, Fail(InvalidRuleExpression, "The expression is longer than 16 KiB. Send a shorter one.").On("expression")
	}
	p := ruleParser{text: text}
	p.sign("(")
	p.word("memberOf")
	p.word("-any")
	p.sign("(")
	p.word("group.id")
	p.word("-in")
	p.sign("[")
	var groups []ObjectID
	seen := map[ObjectID]bool{}
	named := 0
	for more := true; more && !p.failed; {
		if g := p.group(); !seen[g] {
			seen[g] = true
			groups = append(groups, g)
		}
		named++
		if more = p.at(","); more {
			p.sign(",")
		}
	}
	p.sign("]")
	p.sign(")")
	p.sign(")")
	p.end()
	switch {
	case p.failed:
		return nil, Fail(InvalidRuleExpression, "The expression is not of the form (memberOf -any (group.id -in ['GUID','GUID'])): character "+
			strconv.Itoa(p.pos+1)+" is not what belongs there.").On("expression")
	case named > MaxRuleGroups:
		return nil, Fail(RuleGroupLimitExceeded, "The expression names "+strconv.Itoa(named)+" groups, and may name 100. Use a group that holds more users, or another policy.").On("expression")
	}
	return groups, nil
}

// A ruleParser reads an expression from the left, by recursive descent of the
// one form there is. After the first failure it stands still.
type ruleParser struct {
	text   string
	pos    int
	failed bool
}

func (p *ruleParser) blanks() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

// at reports whether s comes next, after blanks.
func (p *ruleParser) at(s string) bool {
	if !p.failed {
		p.blanks()
	}
	return !p.failed && strings.HasPrefix(p.text[p.pos:], s)
}

// sign takes s, after blanks.
func (p *ruleParser) sign(s string) {
	if !p.at(s) {
		p.failed = true
		return
	}
	p.pos += len(s)
}

// word takes s, which must not run into another word.
func (p *ruleParser) word(s string) {
	p.sign(s)
	if p.failed || p.pos == len(p.text) {
		return
	}
	switch c := p.text[p.pos]; {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
		p.failed = true
	}
}

// group takes a GUID in single quotes.
func (p *ruleParser) group() ObjectID {
	p.sign("'")
	if p.failed {
		return ""
	}
	rest := p.text[p.pos:]
	id, ok := ParseGUID(rest[:min(36, len(rest))])
	if !ok || !strings.HasPrefix(rest[36:], "'") {
		p.failed = true
		return ""
	}
	p.pos += 37
	return ObjectID(id)
}

// end wants nothing more to come.
func (p *ruleParser) end() {
	if p.blanks(); p.pos < len(p.text) {
		p.failed = true
	}
}
