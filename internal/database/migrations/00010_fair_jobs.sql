-- +goose Up
-- Claims go round the tenants, and ask of each for the jobs that are due first.
CREATE INDEX job_tenant_due ON job (kind, tenant, run_at);
