-- An artifact of a site may bring back who could read and write its files.

-- +goose Up
ALTER TABLE restore_artifact ADD COLUMN permissions SMALLINT NOT NULL DEFAULT 0; -- 1 = it does
