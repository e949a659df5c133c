package console

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

// mailPage finds mail in the points of a mailbox, which the API searches and does
// not show, and restores what was found.
type mailPage struct {
	Unit   unitAnswer
	Query  string
	Until  string // a day, after which points are not wanted; "" for none
	Wrong  string
	Asked  bool
	Hits   int
	Point  *pointAnswer
	Search string // the id of the search
	Note   string // what the search says of itself
	Target string // to whom what was found is to be restored
}

// searched is the page of a mailbox and of what is looked for in it.
func (v *visit) searched() (page mailPage, err error) {
	page.Query, page.Until = strings.TrimSpace(v.r.FormValue("q")), strings.TrimSpace(v.r.FormValue("until"))
	if page.Unit, err = get[unitAnswer](v.ctx(), v.api, anyUnit+"/"+url.PathEscape(v.r.PathValue("id"))); err != nil {
		return page, err
	}
	v.ofUnit(page.Unit)
	if page.Unit.Of() != client.Mailboxes {
		return page, errNoPage
	}
	if page.Query == "" {
		return page, nil
	}
	expression, err := client.MailExpression(page.Query)
	if err != nil {
		page.Wrong = strings.ToUpper(err.Error()[:1]) + err.Error()[1:] + "."
		return page, nil
	}
	period := map[string]string{"startDateTime": "2000-01-01T00:00:00Z"}
	if page.Until != "" {
		day, err := time.Parse(time.DateOnly, page.Until)
		if err != nil {
			page.Wrong = "That is no day. Give it as 2026-11-27."
			return page, nil
		}
		period["endDateTime"] = iso(day.AddDate(0, 0, 1))
	}
	var answer searchAnswer
	err = v.api.Ask(v.ctx(), pointSet+"/search", map[string]any{
		"protectionUnitIds": []string{page.Unit.ID}, "protectionTimePeriod": period, "restorePointPreference": "latest",
		"artifactQuery": map[string]string{"artifactType": "message", "queryExpression": expression},
	}, &answer)
	if err != nil {
		if p := explain(err); p.status == http.StatusBadRequest {
			page.Wrong = p.text
			return page, nil
		}
		return page, err
	}
	page.Asked, page.Search, page.Note = true, answer.SearchResponseID, answer.Note
	if len(answer.SearchResults) > 0 {
		page.Hits, page.Point = answer.SearchResults[0].ArtifactHitCount, &answer.SearchResults[0].RestorePoint
	}
	return page, nil
}

// findMail shows which point holds what is looked for.
func findMail(v *visit) error {
	page, err := v.searched()
	if err != nil {
		return err
	}
	return v.show("mail", "Find mail of "+page.Unit.Name(), page)
}

// restoreMail restores what a search found, which it does again: what is restored
// is what the page said.
func restoreMail(v *visit) error {
	page, err := v.searched()
	if err != nil {
		return err
	}
	to := v.r.PostFormValue("to")
	artifact := map[string]any{"destinationType": to, "searchResponseId": page.Search}
	if page.Target = strings.TrimSpace(v.r.PostFormValue("target")); to == toOther && page.Target != "" {
		to = string(backup.DestinationNew)
		artifact["destinationType"], artifact[elsewhere[client.Mailboxes]] = to, page.Target
	}
	switch {
	case page.Point == nil:
	case page.Point.ID != v.r.PostFormValue("point"):
		page.Wrong = "The mailbox was backed up since, and the newest point that holds it is another now. Look again and restore."
	case to != string(backup.DestinationInPlace) && to != string(backup.DestinationNew):
		page.Wrong = "Say where to: into its folders, into a new one, or to whom."
	default:
		artifact["restorePoint"] = map[string]string{"id": page.Point.ID}
		err := v.restore(client.Mailboxes, map[string]any{client.Mailboxes.Granular[1:]: []any{artifact}})
		p := explain(err)
		if err == nil || p.status != http.StatusBadRequest {
			return err
		}
		page.Wrong = p.text
	}
	return v.show("mail", "Find mail of "+page.Unit.Name(), page)
}
