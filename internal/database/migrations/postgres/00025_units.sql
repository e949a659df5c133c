-- Names and addresses in the order of their bytes, as SQLite has them, so that
-- what begins with a text is a range of an index. Whether something stands
-- against a unit, for indexes.

-- +goose Up
ALTER TABLE unit ALTER COLUMN name_key TYPE TEXT COLLATE "C", ALTER COLUMN email_key TYPE TEXT COLLATE "C",
    ADD COLUMN failing SMALLINT GENERATED ALWAYS AS (CASE WHEN problem IS NULL THEN 0 ELSE 1 END) STORED;
ALTER TABLE policy ALTER COLUMN name_key TYPE TEXT COLLATE "C";
