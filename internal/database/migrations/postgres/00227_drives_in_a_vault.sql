-- +goose NO TRANSACTION

-- How many drives are in a vault is asked after each thousand that come into one, and which
-- they are at the maintenance of each vault.

-- +goose Up

SET lock_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS drive_state_vault;
CREATE INDEX CONCURRENTLY drive_state_vault ON drive_state (tenant, vault);
RESET lock_timeout;
