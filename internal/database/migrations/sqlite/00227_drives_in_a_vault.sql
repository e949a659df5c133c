-- How many drives are in a vault is asked after each thousand that come into one, and which
-- they are at the maintenance of each vault.

-- +goose Up
CREATE INDEX drive_state_vault ON drive_state (tenant, vault);
