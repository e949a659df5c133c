package graphapi

import (
	"context"
	"fmt"
	"net/http"
	"unicode/utf8"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

// Approvals are ours: what a tenant lets nobody do alone, and what became of it.

type approvalID = backup.ApprovalID

var approvalType = &entityType{name: "holdfast.approval", properties: []string{"id", "kind", "state", "what", "workload", "objectId", "askedBy", "askedDateTime", "expirationDateTime",
	"decidedBy", "decidedDateTime", "comment"}, listed: catalog.ApprovalProperties}

// approvalView shows an approval.
func approvalView(a *backup.Approval) odata.Entity {
	var e odata.Entity
	e.Add("id", a.ID)
	e.Add("kind", a.Kind)
	e.Add("state", a.State)
	e.Add("what", a.What)
	addText(&e, "workload", string(a.Workload))
	addText(&e, "objectId", a.Object)
	e.Add("askedBy", identities(a.Asked.By))
	e.Add("askedDateTime", odata.FormatTime(a.Asked.At))
	e.Add("expirationDateTime", odata.FormatTime(a.Expires))
	if !a.Decided.At.IsZero() {
		e.Add("decidedBy", identities(a.Decided.By))
		e.Add("decidedDateTime", odata.FormatTime(a.Decided.At))
		addText(&e, "comment", a.Comment)
	}
	return e
}

// addApproval adds to what waits for an approval, or did, how that stands.
func addApproval(e *odata.Entity, a *backup.Approval) {
	if a != nil {
		e.Add("@holdfast.approval", approvalView(a))
	}
}

func (s *Server) approvals(x *exchange) func(catalog.Page) (catalog.List[backup.Approval], error) {
	return func(p catalog.Page) (catalog.List[backup.Approval], error) {
		return s.catalog.Approvals(x.ctx(), x.tenant(), p)
	}
}

// listApprovals serves holdfast.approvals, the newest first.
func (s *Server) listApprovals(x *exchange) (reply, error) {
	return list(s, x, listing[backup.Approval]{
		set: approvalSet, fetch: s.approvals(x),
		view: func(a backup.Approval) (odata.Entity, error) { return approvalView(&a), nil },
	})
}

func (s *Server) countApprovals(x *exchange) (reply, error) { return count(x, s.approvals(x)) }

func (s *Server) getApproval(x *exchange) (reply, error) {
	a, err := s.catalog.Approval(x.ctx(), x.tenant(), guid[approvalID](x, "id"))
	return showApproval(x, a, err)
}

func showApproval(x *exchange, a backup.Approval, err error) (reply, error) {
	if err != nil {
		return reply{}, err
	}
	f := x.form()
	body, err := f.Entity(f.Context(approvalSet, true), approvalView(&a))
	return reply{status: http.StatusOK, body: body, content: x.here()}, err
}

// approve and deny serve what another person says of an approval.
func (s *Server) approve(x *exchange) (reply, error) { return s.decided(x, s.catalog.Approve) }

func (s *Server) deny(x *exchange) (reply, error) { return s.decided(x, s.catalog.Deny) }

func (s *Server) decided(x *exchange, decide func(context.Context, backup.TenantID, approvalID, string, backup.Stamp) (backup.Approval, error)) (reply, error) {
	comment := ""
	if x.body != nil {
		var err error
		if comment, _, err = x.body.String("comment"); err != nil {
			return reply{}, err
		}
	}
	if n := utf8.RuneCountInString(comment); n > backup.MaxApprovalComment {
		return reply{}, backup.Fail(backup.InvalidRequest, fmt.Sprintf("A comment has %d characters at most.", backup.MaxApprovalComment)).On("comment")
	}
	id := guid[approvalID](x, "id")
	a, err := s.catalog.Approval(x.ctx(), x.tenant(), id)
	if err == nil {
		err = x.caller.CheckApproval(a.Kind)
	}
	if err == nil {
		a, err = decide(x.ctx(), x.tenant(), id, comment, s.stamp(x))
	}
	return showApproval(x, a, err)
}
