package graphapi

import (
	"errors"
	"net/http"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

type bulkJobID = backup.BulkJobID

// bulkJobView shows a bulk addition job. A listing leaves its lists out.
func bulkJobView(w *workload, j backup.BulkJob, listed bool) odata.Entity {
	e := odata.Entity{Type: w.bulkJobs.name, Path: root + "/" + w.bulkJobs.set + "('" + string(j.ID) + "')"}
	e.Add("id", j.ID)
	e.Add("displayName", j.DisplayName)
	e.Add("status", j.Status)
	if !listed {
		e.Add(w.addresses, orEmpty(j.Addresses))
		e.Add(w.ids, orEmpty(j.IDs))
	}
	addStamps(&e, j.Created, j.Modified, bareIdentities)
	if j.Problem != nil {
		e.Add("error", j.Problem)
	}
	return e
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
	if err := b.Only(w.bulkJobs.name, append(readOnly, "displayName", w.addresses, w.ids)...); err != nil {
		return reply{}, err
	}
	n := catalog.NewBulkJob{By: s.stamp(x)}
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
	if err := w.checkBulkJob(n, named); err != nil {
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
	return created(x, w.bulkJobs.set, w.policies.set+"/"+string(policy)+"/"+w.bulkJobs.set+"/"+string(j.ID), bulkJobView(w, j, false))
}

func (w *workload) checkBulkJob(n catalog.NewBulkJob, named bool) error {
	entries := len(n.Addresses) + len(n.IDs)
	switch {
	case entries > backup.MaxBulkEntries:
		return backup.Fail(backup.ProtectionUnitsLimitBreached, "One job may name at most 50,000 "+w.things+" in both of its lists together. Send several jobs.")
	case entries == 0:
		return backup.Fail(backup.InvalidCreateRequest, "The job names no "+w.thing+": send "+w.addresses+", "+w.ids+", or both.")
	case named:
		return checkDisplayName(n.DisplayName)
	}
	return nil
}

func (s *Server) bulkJobs(x *exchange, policy policyID) func(catalog.Page) (catalog.List[backup.BulkJob], error) {
	return func(p catalog.Page) (catalog.List[backup.BulkJob], error) {
		p.Workload = x.workload()
		return s.catalog.BulkJobs(x.ctx(), x.tenant(), policy, p)
	}
}

func (s *Server) bulkJobList(x *exchange, policy policyID) (reply, error) {
	return list(s, x, listing[backup.BulkJob]{
		set: x.route.of.bulkJobs.set, fetch: s.bulkJobs(x, policy),
		view: func(j backup.BulkJob) (odata.Entity, error) { return bulkJobView(x.route.of, j, true), nil },
	})
}

// listPolicyBulkJobs serves the bulk addition jobs of a policy.
func (s *Server) listPolicyBulkJobs(x *exchange) (reply, error) {
	return s.bulkJobList(x, guid[policyID](x, "id"))
}

func (s *Server) countPolicyBulkJobs(x *exchange) (reply, error) {
	return count(x, s.bulkJobs(x, guid[policyID](x, "id")))
}

// listBulkJobs serves those of the tenant.
func (s *Server) listBulkJobs(x *exchange) (reply, error)  { return s.bulkJobList(x, "") }
func (s *Server) countBulkJobs(x *exchange) (reply, error) { return count(x, s.bulkJobs(x, "")) }

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
	if errors.Is(err, backup.ItemNotFound) {
		return reply{}, unknown()
	}
	if err != nil {
		return reply{}, err
	}
	return show(x, http.StatusOK, x.route.of.bulkJobs.set, bulkJobView(x.route.of, j, false))
}
