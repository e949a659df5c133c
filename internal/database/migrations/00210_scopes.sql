-- Roles may be limited to a scope: some policies, and the units of some owners. What is
-- of a unit is found by it.

-- +goose Up

-- Who is in the groups that scopes are of, as the source told last.
CREATE TABLE scope_group (
    tenant  TEXT   NOT NULL,
    id      TEXT   NOT NULL,
    read_at BIGINT NOT NULL, -- when it was last read to the end
    PRIMARY KEY (tenant, id)
);
CREATE TABLE scope_member (
    tenant   TEXT   NOT NULL,
    group_id TEXT   NOT NULL,
    subject  TEXT   NOT NULL,
    seen     BIGINT NOT NULL, -- the reading that found it last; each drops what it did not find
    PRIMARY KEY (tenant, group_id, subject)
);

-- The units of owners are asked for one owner after another, by an index that begins with
-- it, so that a database that knows little of the table takes no other.
CREATE INDEX unit_by_subject ON unit (subject, tenant, id);

-- Who made a session, a user or else an application. A draft that restores nothing yet
-- is of no unit, and its maker's.
ALTER TABLE restore_session ADD COLUMN creator TEXT NOT NULL DEFAULT ''; -- '' = from before this was noted
CREATE INDEX restore_session_creator ON restore_session (tenant, creator, id) WHERE creator <> '';
CREATE INDEX restore_artifact_unit ON restore_artifact (unit, session);
CREATE INDEX granular_artifact_unit ON granular_artifact (unit, session);
CREATE INDEX browse_session_unit ON browse_session (unit, id);

-- Of which units an entry of the audit log is, with what they were called then: JSON, the
-- first few; and all of them, where they are not very many.
ALTER TABLE audit ADD COLUMN units TEXT NOT NULL DEFAULT '[]';
CREATE TABLE audit_unit (
    unit  TEXT NOT NULL,
    audit TEXT NOT NULL,
    PRIMARY KEY (unit, audit)
);
CREATE INDEX audit_unit_of ON audit_unit (audit, unit);
