-- What a restore of a mailbox at work has put into it. An item gets another id there,
-- and nothing else tells for sure what it is; so it is noted before it is sent, and
-- once it is there, and a restore that is killed goes on without doing anything twice.
-- The rows go when the restore has come to its end.

-- +goose Up
CREATE TABLE mail_restored (
    artifact TEXT NOT NULL,
    item     TEXT NOT NULL, -- its id in the point
    live     TEXT NOT NULL, -- and in the mailbox; '' while it is on its way
    tag      TEXT NOT NULL, -- as which it came there
    PRIMARY KEY (artifact, item)
);
