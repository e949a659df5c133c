package graphapi

import (
	"errors"
	"net/http"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

type bulkJobID = backup.BulkJobID

// bulkJobView shows a driveProtectionUnitsBulkAdditionJob. A listing leaves its
// lists out.
func bulkJobView(j backup.BulkJob, listed bool) odata.Entity {
	e := odata.Entity{Type: driveBulkJob, Path: root + "/" + bulkJobSet + "('" + string(j.ID) + "')"}
	e.Add("id", j.ID)
	e.Add("displayName", j.DisplayName)
	e.Add("status", j.Status)
	if !listed {
		e.Add("drives", orEmpty(j.Drives))
		e.Add("directoryObjectIds", orEmpty(j.ObjectIDs))
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

// createBulkJob serves POST of a driveProtectionUnitsBulkAdditionJob. What its
// entries mean is found out by the job.
func (s *Server) createBulkJob(x *exchange) (reply, error) {
	policy := guid[policyID](x, "id")
	b := x.body
	if err := b.Only(driveBulkJob, append(readOnly, "displayName", "drives", "directoryObjectIds")...); err != nil {
		return reply{}, err
	}
	n := catalog.NewBulkJob{By: s.stamp(x)}
	name, named, err := b.String("displayName")
	if err != nil {
		return reply{}, err
	}
	if n.Drives, _, err = b.Strings("drives"); err != nil {
		return reply{}, err
	}
	if n.ObjectIDs, _, err = b.Strings("directoryObjectIds"); err != nil {
		return reply{}, err
	}
	n.DisplayName = name
	if err := checkBulkJob(n, named); err != nil {
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
	return created(x, bulkJobSet, drivePolicySet+"/"+string(policy)+"/"+bulkJobSet+"/"+string(j.ID), bulkJobView(j, false))
}

func checkBulkJob(n catalog.NewBulkJob, named bool) error {
	entries := len(n.Drives) + len(n.ObjectIDs)
	switch {
	case entries > backup.MaxBulkEntries:
		return backup.Fail(backup.ProtectionUnitsLimitBreached, "One job may name at most 50,000 drives in both of its lists together. Send several jobs.")
	case entries == 0:
		return backup.Fail(backup.InvalidCreateRequest, "The job names no drive: send drives, directoryObjectIds, or both.")
	case named:
		return checkDisplayName(n.DisplayName)
	}
	return nil
}

func (s *Server) bulkJobs(x *exchange, policy policyID) func(catalog.Page) (catalog.List[backup.BulkJob], error) {
	return func(p catalog.Page) (catalog.List[backup.BulkJob], error) {
		return s.catalog.BulkJobs(x.ctx(), x.tenant(), policy, p)
	}
}

func (s *Server) bulkJobList(x *exchange, policy policyID) (reply, error) {
	return list(s, x, listing[backup.BulkJob]{
		set: bulkJobSet, fetch: s.bulkJobs(x, policy),
		view: func(j backup.BulkJob) (odata.Entity, error) { return bulkJobView(j, true), nil },
	})
}

// listPolicyBulkJobs serves the driveProtectionUnitsBulkAdditionJobs of a policy.
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
	return show(x, http.StatusOK, bulkJobSet, bulkJobView(j, false))
}
