-- When that was which an entry of the audit log says of a unit, and of which tenant it is.
-- What is there gets it when somebody looks for the entries of that unit, as does what
-- programs of before write.

-- +goose Up
ALTER TABLE audit_unit ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_unit ADD COLUMN at BIGINT NOT NULL DEFAULT 0;
