-- What is known of subjects is of users, and of sites: each kind is enumerated by
-- itself, and drops of its own only what an enumeration did not find. Of a site it
-- is kept when it was last changed, and what the source calls it in full.

-- +goose Up
ALTER TABLE subject ADD COLUMN site SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE subject ADD COLUMN modified BIGINT NOT NULL DEFAULT 0;
ALTER TABLE subject ADD COLUMN source_id TEXT NOT NULL DEFAULT '';
