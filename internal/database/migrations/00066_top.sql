-- How many items the source last counted in a drive's root folder, so that a
-- delta which speaks of that folder alone is known to leave something out. -1
-- where nobody knows.

-- +goose Up
ALTER TABLE drive_state ADD COLUMN top BIGINT NOT NULL DEFAULT -1;
