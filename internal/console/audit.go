package console

import (
	"net/url"
	"strings"
	"time"
)

type auditPage struct {
	Entries    list[activityAnswer]
	Result     string
	From, Till string // days, as forms have them
	Wrong      string
}

// Results is what an entry may say of what was done.
func (auditPage) Results() []string { return []string{"succeeded", "failed", "partiallySucceeded"} }

// Link is the page of what was done to, if there is one.
func (a activityAnswer) Link() string {
	switch {
	case a.PolicyID != "":
		return "/console/policies/" + url.PathEscape(a.PolicyID)
	case a.RestoreSessionID != "":
		return "/console/restores/" + url.PathEscape(a.RestoreSessionID)
	}
	return ""
}

// Place is what was done to, as the API has it, below what all have in common.
func (a activityAnswer) Place() string {
	return strings.TrimPrefix(a.Target, "/solutions/backupRestore/")
}

// What is what was done, in words: the operation's name taken apart.
func (a activityAnswer) What() string {
	var b strings.Builder
	for i, r := range a.Operation {
		if upper := r >= 'A' && r <= 'Z'; upper && i > 0 {
			b.WriteByte(' ')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// listAudit shows who has done what, or was refused it, the newest first.
func listAudit(v *visit) error {
	q := v.r.URL.Query()
	page := auditPage{Result: q.Get("result"), From: q.Get("from"), Till: q.Get("till")}
	var terms []string
	if page.Result != "" {
		terms = append(terms, "resultStatus eq "+text(page.Result))
	}
	for _, day := range []struct {
		text, op string
		add      int
	}{{page.From, "ge", 0}, {page.Till, "lt", 1}} {
		if day.text == "" {
			continue
		}
		at, err := time.Parse(time.DateOnly, day.text)
		if err != nil {
			page.Wrong = "A day is written as 2026-03-14."
			continue
		}
		terms = append(terms, "eventDateTime "+day.op+" "+iso(at.AddDate(0, 0, day.add)))
	}
	var options []string
	if len(terms) > 0 {
		options = append(options, query("$filter", strings.Join(terms, " and ")))
	}
	var err error
	if page.Entries, err = rows[activityAnswer](v, activitySet, options...); err != nil {
		return err
	}
	return v.show("audit", "Audit", page)
}
