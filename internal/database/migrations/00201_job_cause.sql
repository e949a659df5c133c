-- What is done is known by the request that caused it, in logs and traces.

-- +goose Up
ALTER TABLE job ADD COLUMN cause TEXT NOT NULL DEFAULT ''; -- the request's id; '' = nobody's, or it was done since
