-- Several processes may be replaced one after another by those of a newer version: the
-- database knows which there are, and how old one may be that still works on it.

-- +goose Up

-- The processes that serve on this database. Who is not seen for some minutes is gone.
CREATE TABLE process (
    id      TEXT   PRIMARY KEY,
    name    TEXT   NOT NULL, -- for people: host and process id
    version TEXT   NOT NULL,
    role    TEXT   NOT NULL,
    newest  BIGINT NOT NULL, -- the last migration that it has
    since   BIGINT NOT NULL,
    seen    BIGINT NOT NULL
);

-- One row: programs whose last migration comes before floor do not work on this database
-- any more.
CREATE TABLE schema_floor (
    floor BIGINT NOT NULL
);
INSERT INTO schema_floor (floor) VALUES (0);
