package console

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"holdfast/internal/backup"
)

// approvalSet is what waits for another person's approval, or did.
const approvalSet = "/holdfast.approvals"

type approvalAnswer struct {
	ID, Kind, State, What, ObjectID, Comment           string
	AskedBy, DecidedBy                                 identitiesAnswer
	AskedDateTime, ExpirationDateTime, DecidedDateTime time.Time
}

// Waits reports whether nobody has decided it yet.
func (a *approvalAnswer) Waits() bool {
	return a != nil && a.State == string(backup.ApprovalWaiting)
}

// Link is the page of what it is of, if there is one.
func (a approvalAnswer) Link() string {
	page := map[string]string{string(backup.ApprovalRestore): "restores", string(backup.ApprovalOffboard): "units", string(backup.ApprovalRetention): "policies"}[a.Kind]
	if page == "" || a.ObjectID == "" {
		return ""
	}
	return "/console/" + page + "/" + url.PathEscape(a.ObjectID)
}

// Waits reports whether a restore waits for another person's approval.
func (s sessionAnswer) Waits() bool { return s.Approval.Waits() }

// A deciding is an approval with who looks at it.
type deciding struct {
	view
	A approvalAnswer
}

// Mine reports whether they asked for it, and so cannot approve it.
func (d deciding) Mine() bool {
	return d.Person != nil && d.Person.ID != "" && strings.EqualFold(d.Person.ID, d.A.AskedBy.User.ID)
}

// WhyNot says why they may approve nothing, "" if they may.
func (d deciding) WhyNot() string { return d.May.Why("Approve", "Deny") }

type approvalsPage struct {
	Waiting []approvalAnswer
	More    bool // than are shown
	Decided list[approvalAnswer]
}

// maxWaiting is how many approvals a page shows that wait.
const maxWaiting = 100

var waitingApprovals = approvalSet + "?" + query("$filter", "state eq "+text(string(backup.ApprovalWaiting)))

// listApprovals shows what waits for an approval, and what was decided, the newest first.
func listApprovals(v *visit) (err error) {
	var page approvalsPage
	if page.Waiting, page.More, err = take[approvalAnswer](v.api.All(v.ctx(), waitingApprovals), maxWaiting); err != nil {
		return err
	}
	if page.Decided, err = read[approvalAnswer](v, approvalSet, query("$filter", "state ne "+text(string(backup.ApprovalWaiting)))); err != nil {
		return err
	}
	return v.show("approvals", "Approvals", page)
}

// decideApproval approves or denies, and goes back to where that was asked.
func decideApproval(v *visit) error {
	do := v.r.PathValue("do")
	done := map[string]string{"approve": "Approved. It is being done.", "deny": "Denied. It is not done."}[do]
	if done == "" {
		return errNoPage
	}
	body := map[string]any{}
	if comment := strings.TrimSpace(v.r.PostFormValue("comment")); comment != "" {
		body["comment"] = comment
	}
	var a approvalAnswer
	if err := v.api.Act(v.ctx(), approvalSet+"/"+url.PathEscape(v.r.PathValue("id"))+"/"+do, body, &a); err != nil {
		if p := explain(err); p.status >= http.StatusInternalServerError || p.status == http.StatusNotFound {
			return err
		}
		v.say("bad", explain(err).text)
		return v.redirect("/console/approvals")
	}
	v.say("good", done)
	if a.Kind == string(backup.ApprovalRestore) {
		return v.redirect(a.Link())
	}
	return v.redirect("/console/approvals")
}

// approvalNeeds are what waits for somebody's approval.
func approvalNeeds(waiting []approvalAnswer) (needs []need) {
	for _, a := range waiting {
		needs = append(needs, need{"warn", "Waits for another person's approval: " + a.What + ".", "Asked for by " + a.AskedBy.Name() + ", until " + plain(a.ExpirationDateTime) + ".", "/console/approvals", "Decide"})
	}
	return needs
}
