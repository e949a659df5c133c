-- A unit of a site has several containers, each with a delta of its own, which are
-- committed together as one point. What is in a container's state is for one run of
-- a backup to say to the next.

-- +goose Up
CREATE TABLE container_state (
    unit      TEXT   NOT NULL,
    drive     TEXT   NOT NULL, -- that of the unit's drive_state
    container TEXT   NOT NULL, -- what the source knows it by
    tenant    TEXT   NOT NULL,
    state     TEXT   NOT NULL, -- JSON
    PRIMARY KEY (unit, drive, container)
);
CREATE INDEX container_state_container ON container_state (tenant, container);
