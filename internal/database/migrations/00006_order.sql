-- What lists are filtered and ordered by: names in lower case, folded by us so
-- that both databases agree on what equal means, and units by their last change.

-- +goose Up
ALTER TABLE policy ADD COLUMN name_key TEXT NOT NULL DEFAULT '';
UPDATE policy SET name_key = lower(display_name);

-- The keys of users are written when the directory is read from its beginning.
ALTER TABLE directory_user ADD COLUMN name_key TEXT NOT NULL DEFAULT '';
UPDATE directory_user SET name_key = lower(display_name);
UPDATE tenant SET directory_cursor = '';

CREATE INDEX unit_modified ON unit (tenant, modified, id);
CREATE INDEX unit_policy_modified ON unit (policy, modified, id) WHERE policy <> '';
