package backup

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestParseSiteExpression(t *testing.T) {
	sites := []Subject{
		{DisplayName: "Finance and Law", Address: "https://contoso.sharepoint.com/sites/money", Modified: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)},
		{DisplayName: "Lawyers", Address: "https://contoso.sharepoint.com/sites/LEGAL", Modified: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)},
		{DisplayName: "Bob's", Address: "https://contoso.sharepoint.com/sites/bob"},
	}
	for text, want := range map[string]string{
		"(displayName -contains 'finance')":                                                                                           "0",
		"((displayName -contains 'Finance') -or (webUrl -contains 'legal'))":                                                          "01",
		"(displayName -contains 'Finance') -or (webUrl -contains 'legal')":                                                            "01",
		" ( displayName -contains 'law' )-and( webUrl -contains 'money' ) ":                                                           "0",
		"((displayName -contains 'Finance') -or (webUrl -contains 'legal')) -and (lastModifiedDateTime -ge '2026-02-26T11:36:20Z')":   "0",
		"(((displayName -contains 'Finance') -or (webUrl -contains 'legal')) -and (lastModifiedDateTime -ge '2026-02-26T11:36:20Z'))": "0",
		"(displayName -contains 'bob''s')":                                                                                            "2",
		"(webUrl -contains 'sites') -and (lastModifiedDateTime -ge '2020-01-01T00:00:00Z')":                                           "01",
	} {
		e, err := ParseSiteExpression(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := ""
		for i, s := range sites {
			if e.Match(s) {
				got += fmt.Sprint(i)
			}
		}
		if got != want {
			t.Errorf("%s is met by %q, want %q", text, got, want)
		}
	}
	ten := strings.Repeat("(webUrl -contains 'abc') -or ", 9) + "(webUrl -contains 'abc')"
	if _, err := ParseSiteExpression(ten); err != nil {
		t.Errorf("ten keywords: %v", err)
	}
	for _, text := range []string{
		"", "()", "displayName -contains 'Finance'", "(displayName -contains 'Finance'", "(displayName -contains 'Finance'))", "(displayName -eq 'Finance')",
		"(displayName -contains Finance)", "(displayName -contains 'Fi')", "(displayName -contains '" + strings.Repeat("x", 256) + "')", "(title -contains 'Finance')",
		"(displayName -contains 'abc') -or (webUrl -contains 'abc') -and (webUrl -contains 'def')", "(displayName -contains 'abc') -xor (webUrl -contains 'abc')",
		"(lastModifiedDateTime -ge '2026-02-26T11:36:20Z')", "(webUrl -contains 'abc') -and (lastModifiedDateTime -ge 'yesterday')", "(webUrl -contains 'a\x00c')",
		ten + " -or (webUrl -contains 'abc')", strings.Repeat("(", 20) + "webUrl -contains 'abc'" + strings.Repeat(")", 20), strings.Repeat("(", 17<<10),
		"(memberOf -any (group.id -in ['5767e382-71a9-4c07-bef7-bda97e09c0d2']))",
	} {
		if _, err := ParseSiteExpression(text); !errors.Is(err, InvalidRuleExpression) {
			t.Errorf("ParseSiteExpression(%.80q) = %v", text, err)
		}
	}
	for _, w := range []Workload{OneDrive, Exchange} {
		if err := w.CheckRule("(memberOf -any (group.id -in ['5767e382-71a9-4c07-bef7-bda97e09c0d2']))", true); err != nil {
			t.Errorf("%s: %v", w, err)
		}
	}
	if err := SharePoint.CheckRule("(webUrl -contains 'abc')", true); !errors.Is(err, InvalidRuleCreateRequest) {
		t.Errorf("a dynamic rule of sites: %v", err)
	}
}

func FuzzParseSiteExpression(f *testing.F) {
	f.Add("((displayName -contains 'Finance') -or (webUrl -contains 'legal')) -and (lastModifiedDateTime -ge '2026-02-26T11:36:20Z')")
	f.Add("(displayName -contains 'bob''s')")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := ParseSiteExpression(text)
		if err != nil {
			if !errors.Is(err, InvalidRuleExpression) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		e.Match(Subject{DisplayName: text, Address: text})
		if _, err := ParseSiteExpression("(" + text + ")"); err != nil && !strings.Contains(err.Error(), "character") {
			t.Errorf("%q in parentheses: %v", text, err)
		}
	})
}

func TestSourceID(t *testing.T) {
	const ids = ",aaaaaaaa-0000-4000-8000-000000000001,bbbbbbbb-0000-4000-8000-000000000001"
	for text, known := range map[string]bool{
		"contoso.sharepoint.com" + ids: true, "127.0.0.1:8443" + ids: true, "aaaaaaaa-0000-4000-8000-000000000001": false, "": false,
		"a\x00b" + ids: false, "<b>" + ids: false, strings.Repeat("x", 300) + ids: false, "contoso.sharepoint.com,x,y": false,
	} {
		if got := SharePoint.SourceID(text); (got != "") != known || known && got != text {
			t.Errorf("SourceID(%.60q) = %q", text, got)
		}
		if got := OneDrive.SourceID(text); got != "" {
			t.Errorf("of a drive, SourceID(%.60q) = %q", text, got)
		}
	}
}
