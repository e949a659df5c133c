package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/backup"
)

func (c *cli) jobCommand() *cobra.Command {
	var policy string
	list := &cobra.Command{Use: "list [--policy POLICY]", Short: "List the bulk addition jobs", Args: args(0, 0),
		RunE: c.run(func(ctx context.Context, _ []string) error { return c.jobList(ctx, policy) })}
	c.policyFlag(list, &policy, "only those of this policy")
	show := &cobra.Command{Use: "show JOB...", Short: "Show a job and the entries that it could not add", Args: args(1, -1), RunE: c.run(func(ctx context.Context, ids []string) error {
		_, err := c.jobShow(ctx, ids)
		return err
	})}
	wait := &cobra.Command{Use: "wait JOB...", Short: "Wait until jobs are over", Args: args(1, -1), RunE: c.run(c.jobWait)}
	return group("job", "Look at bulk addition jobs and wait for them", "A bulk addition job adds up to 50,000 drives, sites or mailboxes to a policy.\n'holdfast drive add', 'holdfast site add' and 'holdfast mailbox add' make them.", list, show, wait)
}

func printJobs(c *cli, jobs []bulkJobAnswer, values []json.RawMessage) error {
	return printList(c, values, jobs, func(j bulkJobAnswer) string { return j.ID }, []string{"ID", "NAME", "STATUS", "CREATED", "FAILED"},
		func(j bulkJobAnswer) []string {
			failed := ""
			if j.Error != nil && len(j.Error.Details) == 0 { // for the source
				failed = "waits"
			} else if j.Error != nil {
				failed = fmt.Sprint(len(j.Error.Details))
			}
			return []string{j.ID, j.DisplayName, j.Status, clock(j.CreatedDateTime), failed}
		}, "There are no jobs. 'holdfast drive add' and 'holdfast site add' make them.")
}

func (c *cli) jobList(ctx context.Context, policy string) error {
	if policy != "" {
		p, err := c.policy(ctx, policy)
		if err != nil {
			return err
		}
		w := workloadOf(p.Type)
		jobs, values, err := read[bulkJobAnswer](c.api.All(ctx, w.policies+"/"+p.ID+w.jobs))
		if err != nil {
			return err
		}
		return printJobs(c, jobs, values)
	}
	var jobs []bulkJobAnswer
	var values []json.RawMessage
	for _, w := range workloads {
		some, raw, err := read[bulkJobAnswer](c.api.All(ctx, w.jobs))
		if err != nil && !notServed(err) {
			return err
		}
		jobs, values = append(jobs, some...), append(values, raw...)
	}
	return printJobs(c, jobs, values)
}

// job finds a job among those of every workload.
func (c *cli) job(ctx context.Context, id string) (j bulkJobAnswer, value json.RawMessage, err error) {
	var first error
	for _, w := range workloads {
		if j, value, err = get[bulkJobAnswer](ctx, c, w.jobs+"/"+segment(id)); err == nil || !notServed(err) {
			return j, value, err
		}
		if first == nil {
			first = err
		}
	}
	return j, nil, first
}

// jobShow shows jobs, and returns them.
func (c *cli) jobShow(ctx context.Context, ids []string) ([]bulkJobAnswer, error) {
	var jobs []bulkJobAnswer
	for i, id := range ids {
		j, value, err := c.job(ctx, id)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
		if i > 0 {
			c.say("")
		}
		if err := c.printOne(value, j.ID, "ID", j.ID, "Name", j.DisplayName, "Status", j.Status, "Entries", fmt.Sprint(len(j.Drives)+len(j.DirectoryObjectIDs)+len(j.SiteWebURLs)+len(j.SiteIDs)+len(j.Mailboxes)),
			"Created", clock(j.CreatedDateTime), "Changed", clock(j.LastModifiedDateTime), "Error", blame(j.Error)); err != nil {
			return nil, err
		}
		if j.Error == nil || len(j.Error.Details) == 0 || c.script() {
			continue
		}
		var rows [][]string
		for _, d := range j.Error.Details {
			rows = append(rows, []string{d.Target, d.Code, d.Message})
		}
		c.say("")
		if err := c.table([]string{strings.ToUpper(workloadOf(j.Type).entry), "CODE", "WHY"}, rows); err != nil {
			return nil, err
		}
	}
	return jobs, nil
}

func (c *cli) jobWait(ctx context.Context, ids []string) error {
	var jobs []sentJob
	for _, id := range ids {
		j, _, err := c.job(ctx, id)
		if err != nil {
			return err
		}
		jobs = append(jobs, sentJob{bulkJobAnswer: j, w: workloadOf(j.Type)})
	}
	if _, err := c.waitJobs(ctx, jobs); err != nil {
		return err
	}
	shown, err := c.jobShow(ctx, ids)
	if err != nil {
		return err
	}
	for _, j := range shown {
		if j.Status != string(backup.BulkJobCompleted) {
			return fail(exitPartial, "the job %s could not add all of its entries", j.ID)
		}
	}
	return nil
}
