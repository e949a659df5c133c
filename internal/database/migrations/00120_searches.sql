-- A session restores what several searches found in one mailbox, so that only what
-- is restored in whole is of one unit once. An artifact knows how many items its
-- search counted. The table is made anew, since not every database drops a
-- constraint.

-- +goose Up
CREATE TABLE restore_artifact_new (
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
    unread        BIGINT NOT NULL DEFAULT 0,
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
    search        TEXT   NOT NULL DEFAULT '', -- of a mailbox, the search as the client named it
    query         TEXT   NOT NULL DEFAULT '', -- what that asked for; '' for all of the point
    hits          BIGINT NOT NULL DEFAULT 0, -- that it counted
    items         BIGINT NOT NULL DEFAULT 0 -- that were restored
);
INSERT INTO restore_artifact_new
SELECT id, tenant, session, point, unit, drive, at, expires, tags, tree, files, folders, bytes, unread, destination, status, problem,
    created, started, completed, site_id, site_name, site_web_url, search, query, 0, items
FROM restore_artifact;
DROP TABLE restore_artifact;
ALTER TABLE restore_artifact_new RENAME TO restore_artifact;
CREATE UNIQUE INDEX restore_artifact_whole ON restore_artifact (session, unit) WHERE query = '';
CREATE INDEX restore_artifact_page ON restore_artifact (session, created, id);
-- A point that is being restored does not expire.
CREATE INDEX restore_artifact_point ON restore_artifact (point) WHERE status IN ('scheduled', 'inProgress');
CREATE INDEX restore_artifact_running ON restore_artifact (unit) WHERE status = 'inProgress';
CREATE INDEX restore_artifact_status ON restore_artifact (session, status, created, id);
CREATE INDEX restore_artifact_destination ON restore_artifact (session, destination, created, id);
CREATE INDEX restore_artifact_started ON restore_artifact (session, started, id);
