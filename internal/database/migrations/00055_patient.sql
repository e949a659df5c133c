-- The first backup of a drive may take hours, and lets the visits of drives that
-- have points go first.

-- +goose Up
ALTER TABLE job ADD COLUMN patient SMALLINT NOT NULL DEFAULT 0;
UPDATE job SET patient = 1 WHERE kind = 'backup'
    AND NOT EXISTS (SELECT 1 FROM drive_state d WHERE d.unit = job.key AND d.root <> '');
DROP INDEX job_due;
CREATE INDEX job_due ON job (kind, patient, run_at);
DROP INDEX job_tenant_due;
CREATE INDEX job_tenant_due ON job (kind, tenant, patient, run_at);
