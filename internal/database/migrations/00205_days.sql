-- How a tenant stood on each day: how many of its units kept what is promised, and how
-- much their newest points hold. It is measured from time to time; a time at which
-- nobody measured counts for nothing.

-- +goose Up
CREATE TABLE day_figure (
    tenant   TEXT   NOT NULL,
    day      BIGINT NOT NULL, -- since 1970, in UTC
    workload TEXT   NOT NULL,
    measured BIGINT NOT NULL, -- how often
    at       BIGINT NOT NULL, -- the last time
    units    BIGINT NOT NULL, -- that something is promised of, at all these times together
    missed   BIGINT NOT NULL, -- of these, those whose newest point was older than promised
    items    BIGINT NOT NULL, -- in the newest points, the last time
    bytes    BIGINT NOT NULL, -- the same
    PRIMARY KEY (tenant, day, workload)
);
