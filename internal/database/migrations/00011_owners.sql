-- Units know their owners' addresses as they know their names: in lower case,
-- the mail or else the user principal name, so that one is found by an index.
-- All units of an owner are in one index, which the two partial ones were not
-- for statements that do not say which.

-- +goose Up
ALTER TABLE unit ADD COLUMN email_key TEXT NOT NULL DEFAULT ''; -- '' = the directory has none
UPDATE unit SET email_key = coalesce((SELECT coalesce(nullif(d.mail_key, ''), d.upn_key)
    FROM directory_user d WHERE d.tenant = unit.tenant AND d.id = unit.directory), '');
CREATE INDEX unit_email ON unit (tenant, email_key, id);
CREATE INDEX unit_directory ON unit (tenant, directory, id);
DROP INDEX unit_former_owner;
