package backup

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Every move of every kind of rule in every status.
func TestRuleMoves(t *testing.T) {
	statuses := []RuleStatus{RuleActive, RuleCompleted, RuleCompletedWithErrors, RuleUpdateRequested, RuleDeleteRequested}
	const yes = Code("")
	want := map[bool]map[RuleMove][]Code{
		false: {
			EditRule:    {PatchOfStaticRule, PatchOfStaticRule, PatchOfStaticRule, PatchOfStaticRule, PatchOfStaticRule},
			DeleteRule:  {RuleStatusForDeletion, yes, yes, RuleStatusForDeletion, RuleStatusForDeletion},
			RunRule:     {RuleActionNotAllowed, yes, yes, RuleActionNotAllowed, RuleActionNotAllowed},
			ReleaseRule: {RuleActionNotAllowed, RuleActionNotAllowed, RuleActionNotAllowed, RuleActionNotAllowed, RuleActionNotAllowed},
		},
		true: {
			EditRule:    {RuleStatusForUpdate, yes, yes, RuleStatusForUpdate, DynamicRuleStatusForEdit},
			DeleteRule:  {DynamicRuleStatusForDelete, yes, yes, DynamicRuleStatusForDelete, DynamicRuleStatusForDelete},
			RunRule:     {RunOfDynamicRule, RunOfDynamicRule, RunOfDynamicRule, RunOfDynamicRule, RunOfDynamicRule},
			ReleaseRule: {DynamicRuleStatusForRelease, yes, yes, DynamicRuleStatusForRelease, DynamicRuleStatusForRelease},
		},
	}
	after := map[RuleMove]RuleStatus{EditRule: "updateRequested", RunRule: "active", ReleaseRule: "deleteRequested"}
	for kind, moves := range want {
		if len(moves) != len(ruleMoves[ruleKind(kind)]) {
			t.Errorf("the table has %d moves, want %d", len(ruleMoves[ruleKind(kind)]), len(moves))
		}
		for move, codes := range moves {
			for i, status := range statuses {
				r := Rule{Dynamic: kind, Status: status}
				err := r.May(move)
				if codes[i] == yes && err != nil || codes[i] != yes && !errors.Is(err, codes[i]) {
					t.Errorf("%s in %s, dynamic %v = %v, want %q", move, status, kind, err, codes[i])
				}
				if move == DeleteRule {
					continue
				}
				if err2 := r.Move(move, Stamp{}); (err2 == nil) != (err == nil) {
					t.Errorf("%s in %s, dynamic %v may be made: %v, and was: %v", move, status, kind, err, err2)
				} else if err2 == nil && r.Status != after[move] || err2 != nil && r.Status != status {
					t.Errorf("%s in %s, dynamic %v left %s", move, status, kind, r.Status)
				}
			}
		}
	}
}

const group1, group2 = "6a0de200-4f6b-4c55-8f0e-c0a7050a0100", "6a0de200-4f6b-4c55-8f0e-c0a7050a0200"

func TestParseRuleExpression(t *testing.T) {
	for text, want := range map[string][]ObjectID{
		"(memberOf -any (group.id -in ['" + group1 + "']))":                                            {group1},
		"(memberOf -any (group.id -in ['" + group1 + "','" + group2 + "']))":                           {group1, group2},
		"  ( memberOf  -any\t(group.id\n -in [ '" + group1 + "' ,\r\n'" + group2 + "' ] ) ) ":          {group1, group2},
		"(memberOf -any(group.id -in['" + strings.ToUpper(group1) + "', '" + group1 + "']))":           {group1},
		"(memberOf -any (group.id -in [" + strings.Repeat("'"+group1+"',", 99) + "'" + group2 + "']))": {group1, group2},
	} {
		if got, err := ParseRuleExpression(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("ParseRuleExpression(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", " ", "()", "memberOf -any (group.id -in ['" + group1 + "'])", "(memberOf -any (group.id -in []))", "(memberOf -any (group.id -in ['']))",
		"(memberOf -any (group.id -in ['" + group1 + "',]))", "(memberOf -any (group.id -in [,'" + group1 + "']))", "(memberOf -any (group.id -in ['" + group1 + "' '" + group2 + "']))",
		"(memberOf -any (group.id -in [" + group1 + "]))", `(memberOf -any (group.id -in ["` + group1 + `"]))`, "(memberOf -any (group.id -in [' " + group1 + "']))",
		"(memberOf -any (group.id -in ['" + group1 + "'])", "(memberOf -any (group.id -in ['" + group1 + "'])))", "(memberOf -any (group.id -in ['" + group1 + "'])) -and",
		"(memberOf -all (group.id -in ['" + group1 + "']))", "(memberof -any (group.id -in ['" + group1 + "']))", "(memberOf-any (group.id -in ['" + group1 + "']))",
		"(memberOf -anyx (group.id -in ['" + group1 + "']))", "(memberOf -any (group . id -in ['" + group1 + "']))", "(memberOf -any (group.id -eq ['" + group1 + "']))",
		"(memberOf -any (group.id -in ('" + group1 + "')))", "(memberOf -any (group.id -in ['" + group1, "(memberOf -any (group.id -in ['" + group1[:35],
		"(memberOf -any (group.id -in ['" + group1 + "']))" + strings.Repeat(" ", 16<<10), "(memberOf\u00a0-any (group.id -in ['" + group1 + "']))",
		"(memberOf -any (group.id -in [" + strings.Repeat("'"+group1+"',", 200) + "]))",
	} {
		if got, err := ParseRuleExpression(text); !errors.Is(err, InvalidRuleExpression) {
			t.Errorf("ParseRuleExpression(%.80q) = %v, %v", text, got, err)
		}
	}
	many := "(memberOf -any (group.id -in [" + strings.Repeat("'"+group1+"',", 100) + "'" + group2 + "']))"
	if _, err := ParseRuleExpression(many); !errors.Is(err, RuleGroupLimitExceeded) {
		t.Errorf("a hundred and one groups = %v", err)
	}
}

func FuzzParseRuleExpression(f *testing.F) {
	f.Add("(memberOf -any (group.id -in ['" + group1 + "','" + group2 + "']))")
	f.Add("( memberOf -any\n(group.id -in['" + group1 + "' , '" + group1 + "']))  ")
	f.Add("(memberOf -any (group.id -in ['")
	f.Fuzz(func(t *testing.T, text string) {
		groups, err := ParseRuleExpression(text)
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Message == "" || groups != nil {
				t.Errorf("%q = %v, %v", text, groups, err)
			}
			return
		}
		// What was understood is understood again when it is written plainly.
		var list []string
		for _, g := range groups {
			list = append(list, "'"+string(g)+"'")
		}
		again, err := ParseRuleExpression(fmt.Sprintf("(memberOf -any (group.id -in [%s]))", strings.Join(list, ",")))
		if err != nil || !slices.Equal(groups, again) || len(groups) == 0 {
			t.Errorf("%q = %v, then %v, %v", text, groups, again, err)
		}
	})
}

// Every source by which a unit may join, in every status that it may have.
func TestJoinForTheSakeOfSomething(t *testing.T) {
	p := &Policy{ID: "p", Enabled: true}
	for _, row := range []struct {
		have   ProtectionSources
		status UnitStatus
		source ProtectionSources

		changed bool
		want    ProtectionSources
		then    UnitStatus
	}{
		{SourceManual, UnitProtected, SourceManual, false, SourceManual, UnitProtected},
		{SourceManual, UnitProtected, SourceDynamicRule, true, SourceManual | SourceDynamicRule, UnitProtected},
		{SourceDynamicRule, UnitProtected, SourceManual, true, SourceManual | SourceDynamicRule, UnitProtected},
		{SourceDynamicRule, UnitProtected, SourceDynamicRule, false, SourceDynamicRule, UnitProtected},
		{SourceManual, UnitRemoveRequested, SourceDynamicRule, true, SourceDynamicRule, UnitProtectRequested},
		{SourceDynamicRule, UnitRemoveRequested, SourceManual, true, SourceManual, UnitProtectRequested},
		{SourceDynamicRule, UnitUnprotected, SourceManual, true, SourceManual | SourceDynamicRule, UnitProtectRequested},
		{SourceDynamicRule, UnitUnprotected, SourceDynamicRule, false, SourceDynamicRule, UnitUnprotected},
		{SourceManual, UnitUnprotected, SourceDynamicRule, true, SourceManual | SourceDynamicRule, UnitUnprotected},
	} {
		u := Unit{Policy: p.ID, Status: row.status, Sources: row.have}
		changed, err := u.JoinAs(row.source, p, Stamp{})
		if changed != row.changed || err != nil || u.Sources != row.want || u.Status != row.then {
			t.Errorf("%+v: changed %v, %v, sources %d, status %s", row, changed, err, u.Sources, u.Status)
		}
	}
	leaving := Unit{Policy: p.ID, Status: UnitRemoveRequested, Sources: SourceDynamicRule}
	if err := leaving.Leave(p, Stamp{}); err != nil {
		t.Errorf("the removal of a unit that a rule let go = %v", err)
	}
}
