-- When it was last found that the source's deltas of a drive had left something out. A
-- restore then does not go by them.

-- +goose Up
ALTER TABLE drive_state ADD COLUMN doubted BIGINT NOT NULL DEFAULT 0; -- 0 = never
