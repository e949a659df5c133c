-- A unit is of a subject of its workload: the owner of a drive or a mailbox, or
-- a site. So one owner may have a unit of each workload, and what the source's
-- directory knows of subjects is no longer of users alone.

-- +goose Up
ALTER TABLE directory_user RENAME TO subject;
ALTER TABLE subject RENAME COLUMN upn TO address;
ALTER TABLE subject RENAME COLUMN upn_key TO address_key;
DROP INDEX directory_user_upn;
DROP INDEX directory_user_mail;
CREATE INDEX subject_address ON subject (tenant, address_key, id);
CREATE INDEX subject_mail ON subject (tenant, mail_key, id) WHERE mail_key <> '';

ALTER TABLE unit RENAME COLUMN directory TO subject;
ALTER TABLE unit RENAME COLUMN email_key TO address_key;
DROP INDEX unit_owner;
DROP INDEX unit_directory;
DROP INDEX unit_email;
DROP INDEX unit_policy_email;
-- A subject has one unit of a workload, until that is offboarded.
CREATE UNIQUE INDEX unit_live ON unit (tenant, workload, subject) WHERE status <> 'offboarded';
CREATE INDEX unit_subject ON unit (tenant, subject, id);
CREATE INDEX unit_address ON unit (tenant, address_key, id);
CREATE INDEX unit_policy_address ON unit (policy, address_key, id) WHERE policy <> '';

ALTER TABLE bulk_list RENAME COLUMN drives TO addresses;
ALTER TABLE bulk_list RENAME COLUMN object_ids TO ids;
ALTER TABLE bulk_restore_list RENAME COLUMN drives TO addresses;
ALTER TABLE bulk_restore_list RENAME COLUMN object_ids TO ids;
