-- Drives in which nothing has changed for long are visited less often: as often as
-- what is promised of their points allows.

-- +goose Up
ALTER TABLE drive_state ADD COLUMN changed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE rpo ADD COLUMN every BIGINT NOT NULL DEFAULT 0;
