-- People are told of what needs them: what stands since when, and each message to
-- each recipient until it is sent.

-- +goose Up

-- Since when each run of the unit has failed, and the oldest item not read that its
-- newest point lacks. They count while there is a problem.
ALTER TABLE unit ADD COLUMN failed_since BIGINT NOT NULL DEFAULT 0;
ALTER TABLE unit ADD COLUMN unread_since BIGINT NOT NULL DEFAULT 0;
-- Of what stands already nobody knows since when; the newest point was there then.
UPDATE unit SET failed_since = coalesce((SELECT r.newest FROM rpo r WHERE r.unit = unit.id), modified)
    WHERE problem IS NOT NULL AND problem NOT LIKE '{"code":"ItemsNotBackedUp"%';
UPDATE unit SET unread_since = coalesce((SELECT r.newest FROM rpo r WHERE r.unit = unit.id), modified)
    WHERE problem LIKE '{"code":"ItemsNotBackedUp"%';
CREATE INDEX unit_failed_since ON unit (tenant, failed_since, id) WHERE problem IS NOT NULL AND failed_since > 0;
CREATE INDEX unit_unread_since ON unit (tenant, unread_since, id) WHERE problem IS NOT NULL AND unread_since > 0;

CREATE TABLE alert (
    id       TEXT     NOT NULL PRIMARY KEY,
    tenant   TEXT     NOT NULL,
    kind     TEXT     NOT NULL,
    raised   BIGINT   NOT NULL,
    resolved BIGINT   NOT NULL, -- 0 = it stands
    absent   BIGINT   NOT NULL, -- since when it was not seen; 0 = it is
    count    BIGINT   NOT NULL, -- of how many things it is
    more     SMALLINT NOT NULL, -- 1 = of more than that
    examples TEXT     NOT NULL, -- JSON
    told     BIGINT   NOT NULL,
    tell_of  BIGINT   NOT NULL -- of how many things people were told
);
CREATE UNIQUE INDEX alert_open ON alert (tenant, kind) WHERE resolved = 0;
CREATE INDEX alert_page ON alert (tenant, raised, id);
CREATE INDEX alert_over ON alert (tenant, resolved) WHERE resolved > 0;

CREATE TABLE message (
    id          TEXT   NOT NULL PRIMARY KEY,
    tenant      TEXT   NOT NULL,
    destination TEXT   NOT NULL,
    recipient   TEXT   NOT NULL,
    body        TEXT   NOT NULL, -- JSON
    created     BIGINT NOT NULL,
    due         BIGINT NOT NULL,
    tries       BIGINT NOT NULL,
    state       TEXT   NOT NULL CHECK (state IN ('waiting', 'sent', 'givenUp')),
    ended       BIGINT NOT NULL, -- 0 = it waits
    problem     TEXT   NOT NULL
);
CREATE INDEX message_due ON message (tenant, destination, due, id) WHERE state = 'waiting';
CREATE INDEX message_page ON message (tenant, created, id);
CREATE INDEX message_over ON message (tenant, ended) WHERE ended > 0;

-- What recurs and has been done: the weekly report, by tenant.
CREATE TABLE alert_report (
    tenant TEXT   NOT NULL PRIMARY KEY,
    last   BIGINT NOT NULL, -- when the newest was written
    bytes  BIGINT NOT NULL, -- how much was protected then
    units  BIGINT NOT NULL
);
