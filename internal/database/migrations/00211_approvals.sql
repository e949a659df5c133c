-- What a tenant lets nobody do alone waits for another person's approval.

-- +goose Up
CREATE TABLE approval (
    id         TEXT   PRIMARY KEY,
    tenant     TEXT   NOT NULL,
    kind       TEXT   NOT NULL,
    object     TEXT   NOT NULL,            -- the session's, unit's or policy's id; '' = the tenant's own retention
    session    TEXT,                       -- of a restore, to be shown with it
    workload   TEXT   NOT NULL DEFAULT '', -- '' = of none
    what       TEXT   NOT NULL,            -- in words, for whoever decides
    request    TEXT   NOT NULL,            -- JSON: what the object itself does not hold of it
    hash       TEXT   NOT NULL,            -- of all that would be done, as it was when it was asked for
    actors     TEXT   NOT NULL,            -- JSON: who had part in it, and cannot approve it
    asked      BIGINT NOT NULL,
    asked_by   TEXT   NOT NULL,            -- JSON
    expires    BIGINT NOT NULL,
    state      TEXT   NOT NULL,
    decided    BIGINT NOT NULL DEFAULT 0,  -- 0 = it waits
    decided_by TEXT   NOT NULL DEFAULT '{}',
    comment    TEXT   NOT NULL DEFAULT '',
    CHECK ((state = 'waiting') = (decided = 0))
);
CREATE UNIQUE INDEX approval_session ON approval (session);
CREATE UNIQUE INDEX approval_waiting ON approval (tenant, kind, object) WHERE state = 'waiting'; -- one of a thing at a time
CREATE INDEX approval_page ON approval (tenant, asked, id);
CREATE INDEX approval_state ON approval (tenant, state, asked, id);
CREATE INDEX approval_object ON approval (object, id);

-- What each tenant lets nobody do alone, as a server's configuration said last: for
-- commands that work on the database beside it.
CREATE TABLE approval_rule (
    tenant TEXT PRIMARY KEY,
    rule   TEXT NOT NULL -- JSON
);
