-- +goose NO TRANSACTION

-- The audit log is found by the unit whose backups an entry is of.

-- +goose Up

SET lock_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS audit_unit_at;
CREATE INDEX CONCURRENTLY audit_unit_at ON audit_unit (tenant, unit, at, audit);
RESET lock_timeout;
