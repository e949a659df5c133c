-- Who is signed in to the console is so at every process of the database, and over a restart.

-- +goose Up

-- A sign-in of a browser to a tenant. What is sealed, each process reads with a key that the
-- browser brings along in its cookie and that is nowhere else.
CREATE TABLE sign_in (
    browser TEXT   NOT NULL, -- what follows from the cookie, and from which that does not
    tenant  TEXT   NOT NULL,
    about   TEXT   NOT NULL, -- sealed: who it is
    tokens  TEXT   NOT NULL, -- sealed
    notes   TEXT   NOT NULL DEFAULT '', -- sealed: what the next page says; '' = nothing
    created BIGINT NOT NULL,
    used    BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    PRIMARY KEY (browser, tenant)
);
CREATE INDEX sign_in_expires ON sign_in (expires);
CREATE INDEX sign_in_used ON sign_in (used);
