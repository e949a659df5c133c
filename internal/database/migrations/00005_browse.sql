-- Looking into restore points, restoring parts of them, and restoring the
-- drives of many owners by one request.

-- +goose Up

-- Where people find a drive. '' = not backed up since this was noted.
ALTER TABLE drive_state ADD COLUMN web_url TEXT NOT NULL DEFAULT '';

-- A browse session keeps what it needs of its point, and its point from
-- expiring.
CREATE TABLE browse_session (
    id      TEXT   NOT NULL PRIMARY KEY,
    tenant  TEXT   NOT NULL,
    owner   TEXT   NOT NULL, -- of the drive, a directory object
    point   TEXT   NOT NULL,
    unit    TEXT   NOT NULL,
    drive   TEXT   NOT NULL,
    at      BIGINT NOT NULL,
    tree    TEXT   NOT NULL,
    bytes   BIGINT NOT NULL,
    web_url TEXT   NOT NULL,
    status  TEXT   NOT NULL CHECK (status IN ('creating', 'created', 'failed')),
    problem TEXT,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX browse_session_page ON browse_session (tenant, created, id);
CREATE INDEX browse_session_expires ON browse_session (tenant, expires);
CREATE INDEX browse_session_point ON browse_session (point);

-- Files and folders that a session restores. Clients know them by item_key.
CREATE TABLE granular_artifact (
    id               TEXT   NOT NULL PRIMARY KEY,
    tenant           TEXT   NOT NULL,
    session          TEXT   NOT NULL REFERENCES restore_session (id) ON DELETE CASCADE,
    browse           TEXT   NOT NULL, -- the browse session, which may have gone since
    item_key         TEXT   NOT NULL,
    item             TEXT   NOT NULL,
    name             TEXT   NOT NULL, -- in the new folder; no two of a session have the same
    owner            TEXT   NOT NULL,
    point            TEXT   NOT NULL,
    unit             TEXT   NOT NULL,
    drive            TEXT   NOT NULL,
    at               BIGINT NOT NULL,
    tree             TEXT   NOT NULL,
    web_url          TEXT   NOT NULL,
    status           TEXT   NOT NULL CHECK (status IN (
        'added', 'scheduling', 'scheduled', 'inProgress', 'succeeded', 'failed')),
    problem          TEXT,
    created          BIGINT NOT NULL,
    started          BIGINT NOT NULL,
    completed        BIGINT NOT NULL,
    restored_key     TEXT   NOT NULL,
    restored_path    TEXT   NOT NULL,
    restored_web_url TEXT   NOT NULL,
    UNIQUE (session, item_key)
);
CREATE INDEX granular_artifact_page ON granular_artifact (session, created, id);
CREATE INDEX granular_artifact_point ON granular_artifact (point) WHERE status IN ('scheduled', 'inProgress');

-- The folder in a live drive that a session restores into: noted before it is
-- made, so that a restore that is killed goes on in the same one, and no two
-- sessions share one.
CREATE TABLE restore_folder (
    tenant  TEXT NOT NULL,
    drive   TEXT NOT NULL,
    name    TEXT NOT NULL,
    session TEXT NOT NULL REFERENCES restore_session (id) ON DELETE CASCADE,
    PRIMARY KEY (tenant, drive, name),
    UNIQUE (session, drive)
);

-- A session has at most one bulk restore request.
CREATE TABLE bulk_restore (
    id           TEXT     NOT NULL PRIMARY KEY,
    tenant       TEXT     NOT NULL,
    session      TEXT     NOT NULL UNIQUE REFERENCES restore_session (id) ON DELETE CASCADE,
    display_name TEXT     NOT NULL,
    destination  TEXT     NOT NULL CHECK (destination IN ('new', 'inPlace')),
    from_at      BIGINT   NOT NULL, -- 0 = open
    to_at        BIGINT   NOT NULL,
    tags         TEXT     NOT NULL, -- '' = any
    oldest       SMALLINT NOT NULL,
    status       TEXT     NOT NULL CHECK (status IN ('active', 'completed', 'completedWithErrors')),
    problem      TEXT,
    created      BIGINT   NOT NULL,
    created_by   TEXT     NOT NULL,
    modified     BIGINT   NOT NULL,
    modified_by  TEXT     NOT NULL
);

-- Its lists as they were sent, which only its worker reads.
CREATE TABLE bulk_restore_list (
    request    TEXT NOT NULL PRIMARY KEY REFERENCES bulk_restore (id) ON DELETE CASCADE,
    drives     TEXT NOT NULL,
    object_ids TEXT NOT NULL
);

-- A drive is restored in place once at a time.
CREATE INDEX restore_artifact_running ON restore_artifact (unit) WHERE status = 'inProgress';
