-- A unit of a site keeps what the site was called in full when it was added: its
-- host, its collection and its web. What the source says of it goes before.

-- +goose Up
ALTER TABLE unit ADD COLUMN source_id TEXT NOT NULL DEFAULT '';
