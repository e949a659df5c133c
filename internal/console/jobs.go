package console

import (
	"net/url"

	"holdfast/internal/backup"
)

type jobsPage struct {
	Jobs  list[bulkJobAnswer]
	Rules []ruleAnswer
	More  bool // rules
}

// listJobs shows what is under way besides backups: additions and rules.
func listJobs(v *visit) error {
	var page jobsPage
	var err error
	if page.Jobs, err = read[bulkJobAnswer](v, bulkJobSet, "$select=id,displayName,status,createdBy,createdDateTime,lastModifiedDateTime", query("$orderby", "createdDateTime desc")); err != nil {
		return err
	}
	if page.Rules, page.More, err = take[ruleAnswer](v.api.All(v.ctx(), ruleSet+"?"+query("$orderby", "createdDateTime desc")), pageSize); err != nil {
		return err
	}
	return v.show("jobs", "Jobs", page)
}

type jobPage struct {
	Job      bulkJobAnswer
	Total    int
	Running  bool
	Failures []failure
	More     int // failures beyond those shown
}

// A failure is an entry of a job that was not added, and why.
type failure struct{ Target, Message string }

const maxFailures = 1000 // that a page shows

func showJob(v *visit) error {
	job, err := get[bulkJobAnswer](v.ctx(), v.api, bulkJobSet+"/"+url.PathEscape(v.r.PathValue("id")))
	if err != nil {
		return err
	}
	page := jobPage{Job: job, Total: len(job.Drives) + len(job.DirectoryObjectIDs), Running: job.Status == string(backup.BulkJobActive)}
	page.Failures, page.More = failuresOf(job.Error)
	return v.show("job", job.DisplayName, page)
}
