-- What the service itself remembers of a tenant: units on their way out, its
-- own status, the applications that use it, whom it writes to, under what each
-- point is kept, and who did what.

-- +goose Up

-- When the unit's backups were given up; 0 = they were not.
ALTER TABLE unit ADD COLUMN offboarded BIGINT NOT NULL DEFAULT 0;

-- The policy under which a point was made, which says how long it is kept.
ALTER TABLE restore_point ADD COLUMN policy TEXT NOT NULL DEFAULT '';
CREATE INDEX restore_point_policy ON restore_point (tenant, policy, unit);

-- Under which retention the points of a policy stand, so that a change of the
-- configuration is seen.
CREATE TABLE retention (
    tenant  TEXT NOT NULL,
    policy  TEXT NOT NULL, -- '' = what no policy has its own for
    applied TEXT NOT NULL, -- JSON, as configured
    PRIMARY KEY (tenant, policy)
);

-- A tenant without a row is as the configuration says.
CREATE TABLE service (
    tenant         TEXT   NOT NULL PRIMARY KEY,
    status         TEXT   NOT NULL CHECK (status IN ('disabled', 'enabled', 'protectionChangeLocked', 'restoreLocked')),
    disable_reason TEXT   NOT NULL,
    modified       BIGINT NOT NULL,
    modified_by    TEXT   NOT NULL
);

CREATE TABLE service_app (
    id          TEXT     NOT NULL PRIMARY KEY,
    tenant      TEXT     NOT NULL,
    application TEXT     NOT NULL, -- its id
    name        TEXT     NOT NULL,
    status      TEXT     NOT NULL CHECK (status IN ('inactive', 'active', 'pendingActive', 'pendingInactive')),
    effective   BIGINT   NOT NULL, -- when a pending status ends; 0 = never asked for
    removal     BIGINT   NOT NULL, -- when it is deleted; 0 = it is not to be
    created     BIGINT   NOT NULL,
    modified    BIGINT   NOT NULL,
    modified_by TEXT     NOT NULL,
    UNIQUE (tenant, application)
);

CREATE TABLE email_setting (
    tenant     TEXT     NOT NULL PRIMARY KEY,
    enabled    SMALLINT NOT NULL,
    events     TEXT     NOT NULL,
    role       TEXT     NOT NULL,
    recipients TEXT     NOT NULL -- JSON
);

-- Who did what, with which result. Rows are only ever added.
CREATE TABLE audit (
    id           TEXT     NOT NULL PRIMARY KEY,
    tenant       TEXT     NOT NULL,
    at           BIGINT   NOT NULL,
    actor        TEXT     NOT NULL, -- JSON; of the service itself: {}
    operation    TEXT     NOT NULL,
    target       TEXT     NOT NULL, -- the address that was called
    object       TEXT     NOT NULL, -- the id of what it was done to; '' if there is none
    result       TEXT     NOT NULL CHECK (result IN ('succeeded', 'failed', 'partiallySucceeded')),
    problem      TEXT,
    request      TEXT     NOT NULL  -- request-id; '' of the service itself
);
CREATE INDEX audit_page ON audit (tenant, at, id);
CREATE INDEX audit_time ON audit (at, id);
