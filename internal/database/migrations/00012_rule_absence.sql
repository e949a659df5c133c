-- +goose Up
-- Since when evaluations have found an owner in none of the rule's groups who
-- was in one before: 0 for those whom the last one found. The first evaluation
-- that does not find somebody notes it, a later one lets go.
ALTER TABLE rule_match ADD COLUMN missing BIGINT NOT NULL DEFAULT 0;
