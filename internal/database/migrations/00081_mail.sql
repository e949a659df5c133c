-- What is known of the items of mailboxes, so that they are found by who sent them
-- and what they are about without the vault being read. A row is of an item as it
-- was from one point on until another; of what changed in between there are two.
--
-- Rows are written ahead of their point, many at a time. What is behind the time of
-- the index counts for nothing, and is taken back by the next run.
--
-- An artifact may restore the items of a point that such a search finds.

-- +goose Up
CREATE TABLE mail_index (
    mailbox BIGINT NOT NULL PRIMARY KEY, -- a random number
    unit    TEXT   NOT NULL,
    drive   TEXT   NOT NULL,
    tenant  TEXT   NOT NULL,
    tree    TEXT   NOT NULL, -- of the point that it was last written for; '' while it is made anew
    since   BIGINT NOT NULL, -- what was before that point is not in it
    at      BIGINT NOT NULL, -- that point's
    staged  BIGINT NOT NULL, -- of the point that it is being written for; 0 for none
    UNIQUE (unit, drive)
);
CREATE TABLE mail_item (
    mailbox       BIGINT   NOT NULL,
    item          TEXT     NOT NULL,
    since         BIGINT   NOT NULL, -- the first point that has the item like this
    until         BIGINT   NOT NULL, -- the first that has not; 9223372036854775807 for none yet
    folder        TEXT     NOT NULL,
    kind          TEXT     NOT NULL,
    subject       TEXT     NOT NULL,
    sender        TEXT     NOT NULL,
    at            BIGINT   NOT NULL,
    attachment    SMALLINT NOT NULL,
    size          BIGINT   NOT NULL,
    subject_words TEXT     NOT NULL, -- as they are searched for
    sender_words  TEXT     NOT NULL,
    people_words  TEXT     NOT NULL,
    PRIMARY KEY (mailbox, item, since)
);
CREATE INDEX mail_item_past ON mail_item (mailbox, until) WHERE until < 9223372036854775807;

ALTER TABLE restore_artifact ADD COLUMN search TEXT NOT NULL DEFAULT ''; -- as the client named it
ALTER TABLE restore_artifact ADD COLUMN query TEXT NOT NULL DEFAULT ''; -- of a mailbox, which items; '' for all
ALTER TABLE restore_artifact ADD COLUMN items BIGINT NOT NULL DEFAULT 0; -- that were restored
