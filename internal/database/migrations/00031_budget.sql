-- What may be asked of a tenant's source is shared out among all processes. Each
-- reads and writes the row for what it needs in the next second.

-- +goose Up
CREATE TABLE budget (
    tenant TEXT NOT NULL PRIMARY KEY,
    state  TEXT NOT NULL -- JSON, of the package budget
);
