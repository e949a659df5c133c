package backup

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestParseGUID(t *testing.T) {
	for _, test := range []struct {
		in, want string
		ok       bool
	}{
		{"1FEC4E78-bce4-4aaf-ab1b-5451cc387264", "1fec4e78-bce4-4aaf-ab1b-5451cc387264", true},
		{"1fec4e78-bce4-4aaf-ab1b-5451cc38726", "", false},
		{"1fec4e78-bce4-4aaf-ab1b-5451cc3872645", "", false},
		{"1fec4e78bbce4-4aaf-ab1b-5451cc387264", "", false},
		{"gfec4e78-bce4-4aaf-ab1b-5451cc387264", "", false},
		{"{fec4e78-bce4-4aaf-ab1b-5451cc38726}", "", false},
		{"", "", false},
	} {
		if got, ok := ParseGUID(test.in); got != test.want || ok != test.ok {
			t.Errorf("ParseGUID(%q) = %q, %v, want %q, %v", test.in, got, ok, test.want, test.ok)
		}
	}
	if id := NewID[UnitID](); id == NewID[UnitID]() {
		t.Error("NewID gave the same id twice")
	} else if s, ok := ParseGUID(string(id)); !ok || s != string(id) {
		t.Errorf("NewID() = %q, which is no lower-case GUID", id)
	}
}

func TestErrorIsItsCode(t *testing.T) {
	cause := errors.New("the disk is gone")
	err := fmt.Errorf("save policy: %w", &Error{Problem: Problem{Code: PolicySaveFailed, Message: "Not saved."}, Err: cause})
	if !errors.Is(err, PolicySaveFailed) || errors.Is(err, PolicyNotFound) || !errors.Is(err, cause) {
		t.Errorf("%v should be PolicySaveFailed, caused by %v, and nothing else", err, cause)
	}
}

func TestPolicyStatusFollowsFromUnits(t *testing.T) {
	for _, test := range []struct {
		enabled bool
		units   UnitTally
		want    PolicyStatus
	}{
		{false, UnitTally{}, PolicyInactive},
		{false, UnitTally{Failing: true}, PolicyInactive},
		// A request pending in a policy that is not in force keeps it inactive,
		{false, UnitTally{Requested: true, Failing: true}, PolicyInactive},
		// unless it is the deactivation itself that is pending.
		{false, UnitTally{Requested: true, Unprotecting: true}, PolicyUpdating},
		{true, UnitTally{}, PolicyActive},
		{true, UnitTally{Requested: true}, PolicyUpdating},
		{true, UnitTally{Requested: true, Failing: true}, PolicyUpdating},
		{true, UnitTally{Failing: true}, PolicyActiveWithErrors},
	} {
		if got := StatusOf(test.enabled, test.units); got != test.want {
			t.Errorf("StatusOf(%v, %+v) = %s, want %s", test.enabled, test.units, got, test.want)
		}
	}
}

// Every state of a policy times every move.
func TestPolicyMoves(t *testing.T) {
	const activate, deactivate, remove = "activate", "deactivate", "delete"
	allowed := map[PolicyStatus][]string{
		PolicyInactive:         {activate, remove},
		PolicyUpdating:         {},
		PolicyActive:           {deactivate},
		PolicyActiveWithErrors: {activate, deactivate},
	}
	for status, moves := range allowed {
		for _, move := range []string{activate, deactivate, remove} {
			p := Policy{Status: status}
			var err error
			refusal := InvalidStateForActivation
			switch move {
			case activate:
				err = p.Activate(Stamp{})
			case deactivate:
				err = p.Deactivate(Stamp{})
			case remove:
				err, refusal = p.Deletable(), PolicyActionNotAllowed
			}
			want := false
			for _, m := range moves {
				want = want || m == move
			}
			if (err == nil) != want || err != nil && !errors.Is(err, refusal) {
				t.Errorf("%s in %s = %v, want allowed %v or %s", move, status, err, want, refusal)
			}
			if err == nil && move != remove && (p.Status != PolicyUpdating || p.Enabled != (move == activate)) {
				t.Errorf("%s in %s left %s, enabled %v", move, status, p.Status, p.Enabled)
			}
			if err != nil && p.Status != status {
				t.Errorf("refused %s changed %s to %s", move, status, p.Status)
			}
		}
	}
}

// Every state of a session, times what it holds, times every move.
func TestSessionMoves(t *testing.T) {
	moves := map[string]func(*Session) error{
		"change":          func(s *Session) error { return s.Editable() },
		"delete":          func(s *Session) error { return s.Deletable() },
		"activate":        func(s *Session) error { return s.Activate(Stamp{}) },
		"take a drive":    func(s *Session) error { return s.Take(RestoreStandard) },
		"take a file":     func(s *Session) error { return s.Take(RestoreGranular) },
		"take a bulk one": func(s *Session) error { return s.TakeBulk() },
	}
	const no = RestoreSessionActionNotAllowed
	kinds := []struct {
		kind    RestoreJobType
		total   int
		refused map[string]Code // in a draft
	}{
		{RestoreStandard, 0, map[string]Code{"activate": no}},
		{RestoreStandard, 1, map[string]Code{"take a file": InvalidArtifactRequest, "take a bulk one": no}},
		{RestoreGranular, 0, map[string]Code{"activate": no}},
		{RestoreGranular, 1, map[string]Code{"take a drive": InvalidArtifactRequest, "take a bulk one": no}},
		{RestoreBulk, 0, map[string]Code{"change": no, "take a bulk one": BulkRestoreInvalidCreate}},
	}
	for _, status := range []SessionStatus{SessionDraft, SessionActivating, SessionActive, SessionCompleted, SessionCompletedWithError, SessionFailed} {
		for _, k := range kinds {
			for move, try := range moves {
				s := Session{Status: status, JobType: k.kind, Counts: ArtifactCounts{Total: k.total}}
				err := try(&s)
				want, refused := k.refused[move]
				if status != SessionDraft && !strings.HasPrefix(move, "take a ") || status != SessionDraft && move == "take a bulk one" {
					want, refused = no, true
				}
				if strings.HasPrefix(move, "take a ") && move != "take a bulk one" && (status != SessionDraft || k.kind == RestoreBulk) {
					continue // asked only of what is editable
				}
				if refused != (err != nil) || refused && !errors.Is(err, want) {
					t.Errorf("%s in %s of %d %s = %v, want %q", move, status, k.total, k.kind, err, want)
				}
				if err != nil && (s.Status != status || s.JobType != k.kind) {
					t.Errorf("refused %s changed %s %s to %s %s", move, status, k.kind, s.Status, s.JobType)
				}
			}
		}
	}
	for _, test := range []struct {
		counts ArtifactCounts
		want   SessionStatus
	}{
		{ArtifactCounts{Total: 3, Completed: 2, InProgress: 1}, SessionActive},
		{ArtifactCounts{Total: 3, Failed: 2, InProgress: 1}, SessionActive},
		{ArtifactCounts{Total: 3, Completed: 3}, SessionCompleted},
		{ArtifactCounts{Total: 3, Completed: 2, Failed: 1}, SessionCompletedWithError},
		{ArtifactCounts{Total: 3, Failed: 3}, SessionFailed},
	} {
		if got := test.counts.Settle(); got != test.want {
			t.Errorf("%+v.Settle() = %s, want %s", test.counts, got, test.want)
		}
		if got := test.counts.Settle(); got.Final() != (test.counts.InProgress == 0) {
			t.Errorf("%s.Final() = %v with %+v", got, got.Final(), test.counts)
		}
	}
}

func TestParseSubject(t *testing.T) {
	const id, web = "ABCDEF01-0000-4000-8000-000000000001", "abcdef02-0000-4000-8000-000000000002"
	for _, tt := range []struct {
		workload Workload
		text     string
		ok       bool
	}{
		{OneDrive, id, true}, {Exchange, id, true}, {SharePoint, id, true},
		{SharePoint, "contoso.sharepoint.com," + id + "," + web, true},
		{OneDrive, "contoso.sharepoint.com," + id + "," + web, false},
		{SharePoint, "," + id + "," + web, false},
		{SharePoint, "contoso.sharepoint.com," + id + ",x", false},
		{SharePoint, "contoso.sharepoint.com,x," + web, false},
		{SharePoint, "contoso.sharepoint.com," + id, false},
		{OneDrive, "", false}, {SharePoint, "", false}, {Exchange, "x", false},
	} {
		got, ok := tt.workload.ParseSubject(tt.text)
		if ok != tt.ok || ok && got != SubjectID(strings.ToLower(id)) {
			t.Errorf("%s: ParseSubject(%q) = %q, %v", tt.workload, tt.text, got, ok)
		}
	}
}

func TestParseAddress(t *testing.T) {
	for _, tt := range []struct {
		workload   Workload
		text, want string
		ok         bool
	}{
		{OneDrive, " Ann@Contoso.com ", "ann@contoso.com", true}, {Exchange, "ann@contoso.com", "ann@contoso.com", true},
		{SharePoint, "https://Contoso.sharepoint.com/sites/Sales/", "https://contoso.sharepoint.com/sites/sales", true},
		{OneDrive, "ann", "", false}, {OneDrive, "@contoso.com", "", false}, {OneDrive, "ann@", "", false}, {OneDrive, "a nn@contoso.com", "", false},
		{SharePoint, "ann@contoso.com", "", false}, {SharePoint, "https://", "", false}, {OneDrive, "", "", false}, {OneDrive, "a@\x00", "", false},
	} {
		got, ok := tt.workload.ParseAddress(tt.text)
		if ok != tt.ok || got != tt.want {
			t.Errorf("%s: ParseAddress(%q) = %q, %v", tt.workload, tt.text, got, ok)
		}
	}
}
