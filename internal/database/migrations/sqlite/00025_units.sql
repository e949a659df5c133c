-- Whether something stands against a unit, for indexes.

-- +goose Up
ALTER TABLE unit ADD COLUMN failing SMALLINT GENERATED ALWAYS AS (problem IS NOT NULL) VIRTUAL;
