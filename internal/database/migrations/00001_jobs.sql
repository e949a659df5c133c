-- Durable work. A row is a job that is to run, waits for its time, or runs; a
-- finished job has no row.
--
-- One column says when a job may be claimed, run_at: the time it is due or,
-- while a worker holds its lease, the time at which the lease lapses. So one
-- index finds what there is to do, however many rows wait for a later time.

-- +goose Up
CREATE TABLE job (
    kind       TEXT     NOT NULL,
    key        TEXT     NOT NULL,
    tenant     TEXT     NOT NULL,
    args       TEXT     NOT NULL DEFAULT 'null', -- JSON
    run_at     BIGINT   NOT NULL,
    lease      TEXT     NOT NULL DEFAULT '',     -- a random token for each claim; '' while no worker holds the job
    worker     TEXT     NOT NULL DEFAULT '',     -- who holds it, for people
    wake_at    BIGINT   NOT NULL DEFAULT 0,      -- the time asked for by an enqueue during the present run; 0 for none
    attempts   BIGINT   NOT NULL DEFAULT 0,      -- claims so far
    failures   BIGINT   NOT NULL DEFAULT 0,      -- failures since the last success
    last_error TEXT     NOT NULL DEFAULT '',
    PRIMARY KEY (kind, key)
);
CREATE INDEX job_due ON job (kind, run_at);

-- A migration that two processes apply at once must fail for one of them.
CREATE UNIQUE INDEX goose_db_version_once ON goose_db_version (version_id);
