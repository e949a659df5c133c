-- What was asked of a restore session while it is at work: to pause, or to be cancelled.
-- The workers look at it; wished is when it was asked, 0 without a wish.

-- +goose Up
ALTER TABLE restore_session ADD COLUMN wish TEXT NOT NULL DEFAULT '';
ALTER TABLE restore_session ADD COLUMN wished BIGINT NOT NULL DEFAULT 0;
