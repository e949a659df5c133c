-- The tenant's sites are told of by their changes, between lists of all of them; and
-- those that are known are found without reading all users.

-- +goose Up
ALTER TABLE tenant ADD COLUMN sites_cursor TEXT NOT NULL DEFAULT ''; -- where the next look at the source's sites goes on
ALTER TABLE tenant ADD COLUMN sites_at BIGINT NOT NULL DEFAULT 0;    -- when all were listed
CREATE INDEX subject_site ON subject (tenant, id) WHERE site = 1;
