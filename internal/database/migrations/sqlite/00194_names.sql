-- What is in drives and libraries by name, from one point on until another, so that a
-- name is found in all points without the vault being read. What else there is to know
-- of an item, the vault tells of those that are found. A row lies where its name is, and
-- nowhere else: of a million files they take 110 MB.
--
-- Rows are written ahead of their point, as those of mail_item are.

-- +goose Up
CREATE TABLE name_index (
    place  BIGINT NOT NULL PRIMARY KEY, -- a random number
    unit   TEXT   NOT NULL,
    drive  TEXT   NOT NULL, -- or a library of a site
    tenant TEXT   NOT NULL,
    tree   TEXT   NOT NULL, -- that it was last written for; '' while it is made anew
    since  BIGINT NOT NULL, -- what was before that point is not in it
    at     BIGINT NOT NULL, -- the newest point at which something was written
    staged BIGINT NOT NULL, -- the point that it is being written for; 0 for none
    UNIQUE (unit, drive)
);
CREATE TABLE name_item (
    place BIGINT NOT NULL,
    name  TEXT   NOT NULL, -- without regard to case
    item  TEXT   NOT NULL,
    since BIGINT NOT NULL, -- the first point that has the item by that name
    until BIGINT NOT NULL, -- the first that has not; 9223372036854775807 for none yet
    PRIMARY KEY (place, name, item, since)
) WITHOUT ROWID;
CREATE INDEX name_item_past ON name_item (place, until) WHERE until < 9223372036854775807;
