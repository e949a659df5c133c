-- The catalog: what tenants ask to protect, what was backed up, what is being
-- restored. Ids are lower-case GUIDs, times are microseconds since 1970 in UTC
-- (0 = none), who-columns and problems are JSON. Every row names its tenant.

-- +goose Up

-- A row per tenant that has ever asked for something. Writing it is how the
-- control plane's transactions of one tenant take turns.
CREATE TABLE tenant (
    id               TEXT     NOT NULL PRIMARY KEY,
    writes           BIGINT   NOT NULL,
    directory_cursor TEXT     NOT NULL DEFAULT '', -- where the next read of the source's directory goes on
    directory_at     BIGINT   NOT NULL DEFAULT 0
);

-- The source's directory, mirrored, so that fifty thousand addresses resolve
-- by a join. The keys are the addresses in lower case, folded by us, so that
-- both databases agree on what equal means.
CREATE TABLE directory_user (
    tenant       TEXT   NOT NULL,
    id           TEXT   NOT NULL,
    upn          TEXT   NOT NULL,
    mail         TEXT   NOT NULL,
    display_name TEXT   NOT NULL,
    upn_key      TEXT   NOT NULL,
    mail_key     TEXT   NOT NULL,
    seen         BIGINT NOT NULL, -- last written; a full enumeration drops what it did not write
    PRIMARY KEY (tenant, id)
);
CREATE INDEX directory_user_upn ON directory_user (tenant, upn_key, id);
CREATE INDEX directory_user_mail ON directory_user (tenant, mail_key, id) WHERE mail_key <> '';

CREATE TABLE policy (
    id           TEXT     NOT NULL PRIMARY KEY,
    tenant       TEXT     NOT NULL,
    workload     TEXT     NOT NULL,
    display_name TEXT     NOT NULL,
    enabled      SMALLINT NOT NULL CHECK (enabled IN (0, 1)),
    created      BIGINT   NOT NULL,
    created_by   TEXT     NOT NULL,
    modified     BIGINT   NOT NULL,
    modified_by  TEXT     NOT NULL
);
CREATE INDEX policy_page ON policy (tenant, created, id);

CREATE TABLE unit (
    id                 TEXT     NOT NULL PRIMARY KEY,
    tenant             TEXT     NOT NULL,
    policy             TEXT     NOT NULL, -- '' = in no policy
    directory          TEXT     NOT NULL, -- the owner
    status             TEXT     NOT NULL CHECK (status IN (
        'protectRequested', 'protected', 'unprotectRequested', 'unprotected', 'removeRequested',
        'offboardRequested', 'offboarded', 'cancelOffboardRequested')),
    sources            SMALLINT NOT NULL, -- flags; 0 exactly when in no policy
    problem            TEXT,
    offboard_requested BIGINT   NOT NULL,
    created            BIGINT   NOT NULL,
    created_by         TEXT     NOT NULL,
    modified           BIGINT   NOT NULL,
    modified_by        TEXT     NOT NULL,
    CHECK ((policy = '') = (sources = 0))
);
-- An owner has one unit, until that is offboarded.
CREATE UNIQUE INDEX unit_owner ON unit (tenant, directory) WHERE status <> 'offboarded';
-- Pages, at the same cost wherever they begin. A policy's id names its tenant.
CREATE INDEX unit_page ON unit (tenant, created, id);
CREATE INDEX unit_policy_page ON unit (policy, created, id) WHERE policy <> '';
-- A policy's status asks only whether such units exist; the many that are well
-- are in neither.
CREATE INDEX unit_unsettled ON unit (policy, status, created) WHERE status <> 'protected';
CREATE INDEX unit_problem ON unit (policy, created) WHERE problem IS NOT NULL;

CREATE TABLE bulk_job (
    id           TEXT   NOT NULL PRIMARY KEY,
    tenant       TEXT   NOT NULL,
    policy       TEXT   NOT NULL REFERENCES policy (id) ON DELETE CASCADE,
    display_name TEXT   NOT NULL,
    status       TEXT   NOT NULL CHECK (status IN ('active', 'completed', 'completedWithErrors')),
    done         BIGINT NOT NULL, -- entries dealt with so far: where a worker goes on
    problem      TEXT,            -- of those entries; shown when the job is finished
    created      BIGINT NOT NULL,
    created_by   TEXT   NOT NULL,
    modified     BIGINT NOT NULL,
    modified_by  TEXT   NOT NULL
);
CREATE INDEX bulk_job_page ON bulk_job (policy, created, id);
CREATE INDEX bulk_job_tenant_page ON bulk_job (tenant, created, id);

-- A bulk job's lists as they were sent, megabytes of them. They are apart so
-- that neither a listing nor a worker's progress reads or writes them.
CREATE TABLE bulk_list (
    job        TEXT NOT NULL PRIMARY KEY REFERENCES bulk_job (id) ON DELETE CASCADE,
    drives     TEXT NOT NULL,
    object_ids TEXT NOT NULL
);

-- Where each drive stands: its root in the vault and its place in the source's
-- delta. A unit has several when its owner was given another drive.
CREATE TABLE drive_state (
    unit      TEXT     NOT NULL,
    drive     TEXT     NOT NULL,
    tenant    TEXT     NOT NULL,
    root      TEXT     NOT NULL,
    tree      TEXT     NOT NULL,
    cursor    TEXT     NOT NULL,
    pending   TEXT     NOT NULL,
    committed BIGINT   NOT NULL,
    trim      SMALLINT NOT NULL, -- 1 = the vault may hold trees that no point names any more
    PRIMARY KEY (unit, drive)
);
CREATE INDEX drive_state_tenant ON drive_state (tenant, drive);
CREATE INDEX drive_state_trim ON drive_state (tenant, trim) WHERE trim = 1;

CREATE TABLE restore_point (
    id      TEXT     NOT NULL PRIMARY KEY,
    tenant  TEXT     NOT NULL,
    unit    TEXT     NOT NULL,
    drive   TEXT     NOT NULL,
    at      BIGINT   NOT NULL,
    expires BIGINT   NOT NULL,
    weekly  SMALLINT NOT NULL, -- 1 = the first of its ISO week, kept for a year
    tags    TEXT     NOT NULL CHECK (tags IN ('none', 'fastRestore')),
    tree    TEXT     NOT NULL,
    files   BIGINT   NOT NULL,
    folders BIGINT   NOT NULL,
    bytes   BIGINT   NOT NULL
);
CREATE INDEX restore_point_unit ON restore_point (unit, at, id);
CREATE INDEX restore_point_expires ON restore_point (tenant, expires);

CREATE TABLE restore_session (
    id          TEXT     NOT NULL PRIMARY KEY,
    tenant      TEXT     NOT NULL,
    workload    TEXT     NOT NULL,
    status      TEXT     NOT NULL CHECK (status IN (
        'draft', 'activating', 'active', 'completed', 'completedWithError', 'failed')),
    job_type    TEXT     NOT NULL CHECK (job_type IN ('standard', 'bulk', 'granular')),
    total       BIGINT   NOT NULL, -- artifacts, counted as they come and end
    succeeded   BIGINT   NOT NULL,
    failed      BIGINT   NOT NULL,
    problem     TEXT,
    completed   BIGINT   NOT NULL,
    created     BIGINT   NOT NULL,
    created_by  TEXT     NOT NULL,
    modified    BIGINT   NOT NULL,
    modified_by TEXT     NOT NULL,
    CHECK (succeeded + failed <= total)
);
CREATE INDEX restore_session_page ON restore_session (tenant, created, id);
CREATE INDEX restore_session_working ON restore_session (tenant) WHERE status IN ('activating', 'active');

-- An artifact keeps what it needs of its point, which may expire before the
-- session does.
CREATE TABLE restore_artifact (
    id            TEXT   NOT NULL PRIMARY KEY,
    tenant        TEXT   NOT NULL,
    session       TEXT   NOT NULL REFERENCES restore_session (id) ON DELETE CASCADE,
    point         TEXT   NOT NULL,
    unit          TEXT   NOT NULL,
    drive         TEXT   NOT NULL,
    at            BIGINT NOT NULL,
    expires       BIGINT NOT NULL,
    tags          TEXT   NOT NULL,
    tree          TEXT   NOT NULL,
    files         BIGINT NOT NULL,
    folders       BIGINT NOT NULL,
    bytes         BIGINT NOT NULL,
    destination   TEXT   NOT NULL CHECK (destination IN ('new', 'inPlace')),
    status        TEXT   NOT NULL CHECK (status IN (
        'added', 'scheduling', 'scheduled', 'inProgress', 'succeeded', 'failed')),
    problem       TEXT,
    created       BIGINT NOT NULL,
    started       BIGINT NOT NULL,
    completed     BIGINT NOT NULL,
    site_id       TEXT   NOT NULL,
    site_name     TEXT   NOT NULL,
    site_web_url  TEXT   NOT NULL,
    UNIQUE (session, unit)
);
CREATE INDEX restore_artifact_page ON restore_artifact (session, created, id);
-- A point that is being restored does not expire.
CREATE INDEX restore_artifact_point ON restore_artifact (point) WHERE status IN ('scheduled', 'inProgress');
