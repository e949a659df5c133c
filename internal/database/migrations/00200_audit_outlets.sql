-- The audit log is handed on to where it is kept outside, in the order of seq.

-- +goose Up

-- Its place in that order, from 1 in each tenant; 0 = it has none yet. It is given
-- after the entry has been committed: an order by time, or by a sequence, would have
-- places that are filled behind the back of whoever has passed them.
ALTER TABLE audit ADD COLUMN seq BIGINT NOT NULL DEFAULT 0;
CREATE INDEX audit_unnumbered ON audit (tenant, at, id) WHERE seq = 0;
CREATE UNIQUE INDEX audit_seq ON audit (tenant, seq) WHERE seq > 0;

CREATE TABLE audit_tail (
    tenant TEXT   NOT NULL PRIMARY KEY,
    last   BIGINT NOT NULL -- the last seq that was given
);

-- How far each outlet has come in a tenant's log.
CREATE TABLE audit_outlet (
    tenant  TEXT   NOT NULL,
    name    TEXT   NOT NULL,
    sent    BIGINT NOT NULL, -- the last seq that it has taken
    tries   BIGINT NOT NULL, -- in vain since then
    since   BIGINT NOT NULL, -- when the first of them was; 0 = there is none
    problem TEXT   NOT NULL,
    PRIMARY KEY (tenant, name)
);
