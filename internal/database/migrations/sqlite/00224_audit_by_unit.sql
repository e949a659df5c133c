-- The audit log is found by the unit whose backups an entry is of.

-- +goose Up
CREATE INDEX audit_unit_at ON audit_unit (tenant, unit, at, audit);
