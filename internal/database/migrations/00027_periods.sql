-- A row of restore_point is a point and those of the runs after it that found
-- nothing changed: one for each would be 14.4 million rows a day for 100,000
-- drives at ten minutes. See period in the catalog. Of rows that hold more than
-- one point, tags and expires are those of the last.

-- +goose Up
ALTER TABLE restore_point ADD COLUMN runs TEXT NOT NULL DEFAULT '';
