-- What number an item of a list of a point has in the list that it was restored into.
-- The source gives a new one to what it makes, and may keep values otherwise than they
-- were sent; so it is noted before an item is made, and once it is there, and a restore
-- that is killed makes nothing twice. Those of restores in place stay, so that the next
-- one knows the items again; those of a restore to a new place go when it has ended.

-- +goose Up
CREATE TABLE list_number (
    unit     TEXT   NOT NULL,
    list     TEXT   NOT NULL, -- that was restored into, in lower case
    artifact TEXT   NOT NULL, -- whose list that is; '' in place
    part     TEXT   NOT NULL, -- the list of the point, in lower case
    item     BIGINT NOT NULL, -- its number in the point
    live     BIGINT NOT NULL, -- and in the list; 0 while it is being made
    PRIMARY KEY (unit, list, artifact, part, item)
);
CREATE UNIQUE INDEX list_number_live ON list_number (unit, list, live) WHERE live > 0;
CREATE INDEX list_number_artifact ON list_number (artifact) WHERE artifact <> '';
