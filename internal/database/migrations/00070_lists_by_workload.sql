-- What is of a workload is listed by it, from an index that begins with it: a
-- handful of sites is not looked for among a million drives. Rules and bulk
-- addition jobs, which are of their policies' workloads, say so themselves. All
-- there is yet is of OneDrive.

-- +goose Up
ALTER TABLE inclusion_rule ADD COLUMN workload TEXT NOT NULL DEFAULT 'oneDriveForBusiness';
ALTER TABLE bulk_job ADD COLUMN workload TEXT NOT NULL DEFAULT 'oneDriveForBusiness';
CREATE INDEX policy_workload ON policy (tenant, workload, created, id);
CREATE INDEX unit_workload ON unit (tenant, workload, created, id);
CREATE INDEX inclusion_rule_workload ON inclusion_rule (tenant, workload, created, id);
CREATE INDEX bulk_job_workload ON bulk_job (tenant, workload, created, id);
CREATE INDEX restore_session_workload ON restore_session (tenant, workload, created, id);
CREATE INDEX browse_session_workload ON browse_session (tenant, workload, created, id);
