-- Whether a subject is excluded is asked for one after another, by an index that
-- begins with it, so that a database that knows little of the table takes no other.

-- +goose Up
CREATE INDEX exclusion_by_subject ON exclusion (subject, tenant, workload);
