-- Policies that protect all there is of a workload, and what is kept out of that.
-- An activity says of which workload it is.

-- +goose Up
ALTER TABLE policy ADD COLUMN full_service SMALLINT NOT NULL DEFAULT 0; -- 1 = it protects all there is
CREATE UNIQUE INDEX policy_full_service ON policy (tenant, workload) WHERE full_service = 1;

CREATE TABLE exclusion (
    id         TEXT   NOT NULL PRIMARY KEY,
    tenant     TEXT   NOT NULL,
    workload   TEXT   NOT NULL,
    policy     TEXT   NOT NULL REFERENCES policy (id) ON DELETE CASCADE,
    subject    TEXT   NOT NULL,
    source_id  TEXT   NOT NULL, -- of a site: what the source calls it in full, where that is known
    created    BIGINT NOT NULL,
    created_by TEXT   NOT NULL
);
-- A workload has one policy that has exclusions.
CREATE UNIQUE INDEX exclusion_of ON exclusion (tenant, workload, subject);
CREATE INDEX exclusion_subject ON exclusion (tenant, subject, id);
CREATE INDEX exclusion_page ON exclusion (policy, created, id);
CREATE INDEX exclusion_tenant_page ON exclusion (tenant, created, id);
CREATE INDEX exclusion_workload ON exclusion (tenant, workload, created, id);

-- What such a policy protects and the directory does not know any more, and since
-- when: the first look that misses it notes it, a later one lets it go.
CREATE TABLE absence (
    policy  TEXT   NOT NULL REFERENCES policy (id) ON DELETE CASCADE,
    subject TEXT   NOT NULL,
    since   BIGINT NOT NULL,
    PRIMARY KEY (policy, subject)
);

-- Bulk addition jobs add units to be protected, or to be excluded.
ALTER TABLE bulk_job ADD COLUMN purpose TEXT NOT NULL DEFAULT 'protect' CHECK (purpose IN ('protect', 'exclude'));
DROP INDEX bulk_job_page;
DROP INDEX bulk_job_tenant_page;
DROP INDEX bulk_job_workload;
CREATE INDEX bulk_job_page ON bulk_job (policy, purpose, created, id);
CREATE INDEX bulk_job_tenant_page ON bulk_job (tenant, purpose, created, id);
CREATE INDEX bulk_job_workload ON bulk_job (tenant, workload, purpose, created, id);

ALTER TABLE audit ADD COLUMN workload TEXT NOT NULL DEFAULT ''; -- '' = of none, or of what was before there were several
