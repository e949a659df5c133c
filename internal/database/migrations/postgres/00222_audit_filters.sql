-- +goose NO TRANSACTION

-- The audit log is found by who has done what to which thing.

-- +goose Up

SET lock_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS audit_who;
DROP INDEX CONCURRENTLY IF EXISTS audit_actor_id;
DROP INDEX CONCURRENTLY IF EXISTS audit_operation;
DROP INDEX CONCURRENTLY IF EXISTS audit_object;

-- Who it was as people know them, in lower case, and by their id: as
-- backup.IdentitySet has it. The service itself is called Holdfast, and has no id. They
-- are no columns: to work one out for each row that is there would lock the table.
-- What has a NUL in it cannot be taken apart here.
CREATE OR REPLACE FUNCTION audit_who(actor TEXT) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN strpos(actor, '\u0000') > 0 THEN '' ELSE lower(coalesce(
        nullif(actor::jsonb #>> '{user,email}', ''), nullif(actor::jsonb #>> '{user,displayName}', ''), nullif(actor::jsonb #>> '{user,id}', ''),
        nullif(actor::jsonb #>> '{application,displayName}', ''), nullif(actor::jsonb #>> '{application,id}', ''), 'Holdfast') COLLATE "C") END
$$;
CREATE OR REPLACE FUNCTION audit_actor_id(actor TEXT) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN strpos(actor, '\u0000') > 0 THEN '' ELSE coalesce(
        nullif(actor::jsonb #>> '{user,id}', ''), actor::jsonb #>> '{application,id}', '') END
$$;

CREATE INDEX CONCURRENTLY audit_who ON audit (tenant, (audit_who(actor) COLLATE "C"), at, id);
CREATE INDEX CONCURRENTLY audit_actor_id ON audit (tenant, (audit_actor_id(actor) COLLATE "C"), at, id);
CREATE INDEX CONCURRENTLY audit_operation ON audit (tenant, operation, at, id);
CREATE INDEX CONCURRENTLY audit_object ON audit (tenant, object, at, id);
RESET lock_timeout;
