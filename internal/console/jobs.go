package console

import (
	"cmp"
	"net/url"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

type jobsPage struct {
	Of    *client.Workload
	Jobs  list[bulkJobAnswer]
	Rules []ruleAnswer
	More  bool // rules
	me    person
}

// By is who began a job. The API tells the id only, as Microsoft's does.
func (p jobsPage) By(job bulkJobAnswer) string { return p.me.or(job.CreatedBy) }

// or is what somebody is called whose id may be all that is known of them.
func (p person) or(by identitiesAnswer) string {
	if by.User.DisplayName == "" && by.User.Email == "" && strings.EqualFold(by.User.ID, p.ID) {
		return p.Name
	}
	return by.Name()
}

// Workloads is what jobs are of.
func (jobsPage) Workloads() []*client.Workload { return client.Workloads }

// listJobs shows what is under way besides backups: additions and rules.
func listJobs(v *visit) error {
	page := jobsPage{Of: cmp.Or(workloadNamed(v.r.URL.Query().Get("of")), client.Drives), me: v.s.person}
	var err error
	if page.Jobs, err = read[bulkJobAnswer](v, page.Of.Jobs, "$select=id,displayName,status,createdBy,createdDateTime,lastModifiedDateTime", query("$orderby", "createdDateTime desc")); err != nil {
		return err
	}
	if page.Rules, page.More, err = take[ruleAnswer](v.api.All(v.ctx(), page.Of.Rules+"?"+query("$orderby", "createdDateTime desc")), pageSize); err != nil {
		return err
	}
	return v.show("jobs", "Jobs", page)
}

type jobPage struct {
	Job      bulkJobAnswer
	By       string
	Policy   *policyAnswer // nil if the address does not say
	Total    int
	Running  bool
	Failures []failure
	More     int // failures beyond those shown
}

// A failure is an entry of a job that was not added, and why.
type failure struct{ Target, Message string }

const maxFailures = 1000 // that a page shows

func showJob(v *visit) error {
	var job bulkJobAnswer
	var err error
	for _, w := range client.Workloads { // no set has the jobs of all
		if job, err = get[bulkJobAnswer](v.ctx(), v.api, w.Jobs+"/"+url.PathEscape(v.r.PathValue("id"))); !notServed(err) {
			break
		}
	}
	if err != nil {
		return err
	}
	page := jobPage{Job: job, Total: job.Entries(), Running: job.Status == string(backup.BulkJobActive)}
	page.By = v.s.person.or(job.CreatedBy)
	if id := v.r.URL.Query().Get("policy"); id != "" {
		p, err := get[policyAnswer](v.ctx(), v.api, anyPolicy+"/"+url.PathEscape(id))
		if err == nil {
			page.Policy = &p
		}
	}
	page.Failures, page.More = failuresOf(job.Error)
	return v.show("job", job.DisplayName, page)
}
