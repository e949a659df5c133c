-- The source tells of changes in drives that are subscribed to. There is a row for
-- each unit whose drive is, or is to be.

-- +goose Up
CREATE TABLE subscription (
    unit    TEXT   NOT NULL PRIMARY KEY,
    tenant  TEXT   NOT NULL,
    drive   TEXT   NOT NULL, -- that is subscribed to
    id      TEXT   NOT NULL, -- at the source; '' for none
    nonce   TEXT   NOT NULL, -- what its notifications are known by, with a key
    look    BIGINT NOT NULL  -- when it is to be made or renewed
);
CREATE INDEX subscription_look ON subscription (tenant, look);
