-- How many items a restore lacks that brought back the rest: of an artifact that failed,
-- items_of is -1 where that is not so, and 0 where it is not known of how many. A session
-- has how many of its artifacts are so, and their sums; -1 once one of them is not known.

-- +goose Up
ALTER TABLE restore_artifact ADD COLUMN items_failed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE restore_artifact ADD COLUMN items_of BIGINT NOT NULL DEFAULT -1;
ALTER TABLE granular_artifact ADD COLUMN items_failed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE granular_artifact ADD COLUMN items_of BIGINT NOT NULL DEFAULT -1;
ALTER TABLE restore_session ADD COLUMN in_part BIGINT NOT NULL DEFAULT 0;
ALTER TABLE restore_session ADD COLUMN items_failed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE restore_session ADD COLUMN items_of BIGINT NOT NULL DEFAULT 0;
