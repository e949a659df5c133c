package graphapi

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

type bulkJobID = backup.BulkJobID

// bulkJobView shows a bulk addition job. A listing leaves its lists out.
func bulkJobView(w *workload, j backup.BulkJob, listed bool) odata.Entity {
	as := w.jobsFor(j.Purpose)
	e := odata.Entity{Type: as.name, Path: root + "/" + as.set + "('" + string(j.ID) + "')"}
	e.Add("id", j.ID)
	e.Add("displayName", j.DisplayName)
	e.Add("status", j.Status)
	switch {
	case listed:
	case j.Purpose == backup.ToExclude:
		e.Add(w.addresses, []string{}) // so the pages have it
	default:
		e.Add(w.addresses, orEmpty(j.Addresses))
		e.Add(w.ids, orEmpty(j.IDs))
	}
	addStamps(&e, j.Created, j.Modified, bareIdentities)
	if j.Problem != nil {
		e.Add("error", j.Problem)
	}
	return e
}

// jobsFor is the collection of the bulk addition jobs of a purpose.
func (w *workload) jobsFor(p backup.Purpose) collection {
	if p == backup.ToExclude {
		return w.exclusionJobs
	}
	return w.bulkJobs
}

// purpose is that of the bulk addition jobs of a set, by whose name an address has it.
func (w *workload) purpose(address string) backup.Purpose {
	if slices.Contains(strings.Split(address, "/"), w.exclusionJobs.set) {
		return backup.ToExclude
	}
	return backup.ToProtect
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// createBulkJob serves POST of a bulk addition job. What its
// entries mean is found out by the job.
func (s *Server) createBulkJob(x *exchange) (reply, error) {
	policy := guid[policyID](x, "id")
	w, b := x.route.of, x.body
	n := catalog.NewBulkJob{Purpose: w.purpose(x.route.path), By: s.stamp(x)}
	as, lists := w.jobsFor(n.Purpose), []string{w.addresses, w.ids}
	if n.Purpose == backup.ToExclude {
		lists = lists[:1]
	}
	if err := b.Only(as.name, slices.Concat(readOnly, []string{"displayName"}, lists)...); err != nil {
		return reply{}, err
	}
	name, named, err := b.String("displayName")
	if err != nil {
		return reply{}, err
	}
	if n.Addresses, _, err = b.Strings(w.addresses); err != nil {
		return reply{}, err
	}
	if n.IDs, _, err = b.Strings(w.ids); err != nil {
		return reply{}, err
	}
	n.DisplayName = name
	if err := w.checkBulkJob(n, named || n.Purpose == backup.ToExclude); err != nil {
		// That there is no such policy comes before what is wrong with the job.
		if _, err := s.catalog.Policy(x.ctx(), x.tenant(), policy); err != nil {
			return reply{}, err
		}
		return reply{}, err
	}
	j, err := s.catalog.CreateBulkJob(x.ctx(), x.tenant(), policy, n)
	if err != nil {
		return reply{}, err
	}
	set := as.set
	if n.Purpose == backup.ToExclude {
		set = as.of(w.policies, string(policy))
	}
	return created(x, set, w.policies.set+"/"+string(policy)+"/"+as.set+"/"+string(j.ID), bulkJobView(w, j, false))
}

func (w *workload) checkBulkJob(n catalog.NewBulkJob, named bool) error {
	entries := len(n.Addresses) + len(n.IDs)
	switch {
	case entries > backup.MaxBulkEntries:
		return backup.Fail(backup.ProtectionUnitsLimitBreached, "One job may name at most 50,000 "+w.things+" in both of its lists together. Send several jobs.")
	case entries == 0:
		return backup.Fail(backup.InvalidCreateRequest, "The job names no "+w.thing+": send "+w.listsFor(n.Purpose)+".")
	case named:
		return checkDisplayName(n.DisplayName)
	}
	return nil
}

// listsFor says which lists a bulk addition job of a purpose has.
func (w *workload) listsFor(p backup.Purpose) string {
	if p == backup.ToExclude {
		return w.addresses
	}
	return w.addresses + ", " + w.ids + ", or both"
}

func (s *Server) bulkJobs(x *exchange, policy policyID, purpose backup.Purpose) func(catalog.Page) (catalog.List[backup.BulkJob], error) {
	return func(p catalog.Page) (catalog.List[backup.BulkJob], error) {
		p.Workload = x.workload()
		return s.catalog.BulkJobs(x.ctx(), x.tenant(), policy, purpose, p)
	}
}

// purpose is that of the bulk addition jobs that the address is of.
func (x *exchange) purpose() backup.Purpose { return x.route.of.purpose(x.route.path) }

// waiting is a bulk addition job with why it cannot go on, where the source cannot be read.
func (s *Server) waiting(x *exchange, j backup.BulkJob) backup.BulkJob {
	if j.Status != backup.BulkJobActive || j.Problem != nil || s.cfg.Source == nil {
		return j
	}
	if wrong, _ := s.cfg.Source(x.ctx(), x.tenant()); len(wrong) > 0 {
		j.Problem = &backup.Problem{Code: backup.DriveUnavailable, Message: strings.Join(wrong, " ") + " The job waits, and goes on by itself then."}
	}
	return j
}

func (s *Server) bulkJobList(x *exchange, policy policyID) (reply, error) {
	return list(s, x, listing[backup.BulkJob]{
		set: x.route.of.jobsFor(x.purpose()).set, fetch: s.bulkJobs(x, policy, x.purpose()),
		view: func(j backup.BulkJob) (odata.Entity, error) {
			return bulkJobView(x.route.of, s.waiting(x, j), true), nil
		},
	})
}

// listPolicyBulkJobs serves the bulk addition jobs of a policy.
func (s *Server) listPolicyBulkJobs(x *exchange) (reply, error) {
	return s.bulkJobList(x, guid[policyID](x, "id"))
}

func (s *Server) countPolicyBulkJobs(x *exchange) (reply, error) {
	return count(x, s.bulkJobs(x, guid[policyID](x, "id"), x.purpose()))
}

// listBulkJobs serves those of the tenant.
func (s *Server) listBulkJobs(x *exchange) (reply, error) { return s.bulkJobList(x, "") }
func (s *Server) countBulkJobs(x *exchange) (reply, error) {
	return count(x, s.bulkJobs(x, "", x.purpose()))
}

func (s *Server) getPolicyBulkJob(x *exchange) (reply, error) {
	return s.showBulkJob(x, guid[policyID](x, "id"))
}

func (s *Server) getBulkJob(x *exchange) (reply, error) { return s.showBulkJob(x, "") }

func (s *Server) showBulkJob(x *exchange, policy policyID) (reply, error) {
	if policy != "" {
		if _, err := s.catalog.Policy(x.ctx(), x.tenant(), policy); err != nil {
			return reply{}, err
		}
	}
	j, err := s.catalog.BulkJob(x.ctx(), x.tenant(), policy, guid[bulkJobID](x, "job"))
	if errors.Is(err, backup.ItemNotFound) || err == nil && j.Purpose != x.purpose() {
		return reply{}, unknown()
	}
	if err != nil {
		return reply{}, err
	}
	return show(x, http.StatusOK, x.route.of.jobsFor(j.Purpose).set, bulkJobView(x.route.of, s.waiting(x, j), false))
}
