-- Units know their owners' names, in lower case as directory_user.name_key has
-- them, so that a page of units by name reads an index and sorts nothing.

-- +goose Up
ALTER TABLE unit ADD COLUMN name_key TEXT NOT NULL DEFAULT ''; -- '' = the directory has none
UPDATE unit SET name_key = coalesce((SELECT d.name_key FROM directory_user d WHERE d.tenant = unit.tenant AND d.id = unit.directory), '');
CREATE INDEX unit_name ON unit (tenant, name_key, id);
CREATE INDEX unit_policy_name ON unit (policy, name_key, id) WHERE policy <> '';
-- As unit_owner, for the units that it leaves out.
CREATE INDEX unit_former_owner ON unit (tenant, directory) WHERE status = 'offboarded';
