-- The audit log is found by who has done what to which thing.

-- +goose Up

-- Who it was as people know them, in lower case, and by their id: as
-- backup.IdentitySet has it. The service itself is called Holdfast, and has no id.
ALTER TABLE audit ADD COLUMN who TEXT GENERATED ALWAYS AS (lower(coalesce(
    nullif(json_extract(actor, '$.user.email'), ''), nullif(json_extract(actor, '$.user.displayName'), ''), nullif(json_extract(actor, '$.user.id'), ''),
    nullif(json_extract(actor, '$.application.displayName'), ''), nullif(json_extract(actor, '$.application.id'), ''), 'Holdfast'))) VIRTUAL;
ALTER TABLE audit ADD COLUMN actor_id TEXT GENERATED ALWAYS AS (coalesce(
    nullif(json_extract(actor, '$.user.id'), ''), json_extract(actor, '$.application.id'), '')) VIRTUAL;

CREATE INDEX audit_who ON audit (tenant, who, at, id);
CREATE INDEX audit_actor_id ON audit (tenant, actor_id, at, id);
CREATE INDEX audit_operation ON audit (tenant, operation, at, id);
CREATE INDEX audit_object ON audit (tenant, object, at, id);
