-- A visit of a drive that is known need not ask each time which drive its owner
-- has: the state says when that was asked last.

-- +goose Up
ALTER TABLE drive_state ADD COLUMN asked BIGINT NOT NULL DEFAULT 0;
