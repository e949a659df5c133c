-- An artifact of a mailbox may be restored into another mailbox than the owner's.

-- +goose Up
ALTER TABLE restore_artifact ADD COLUMN target TEXT NOT NULL DEFAULT ''; -- whose: an object id or address; '' is the owner
