-- A tenant's vault that has grown large is followed by another, for new drives.

-- +goose Up

CREATE TABLE vault_of (
    tenant TEXT   NOT NULL,
    number BIGINT NOT NULL DEFAULT 1, -- the first is 1
    id     TEXT   NOT NULL, -- the vault's own; '' = it is to be made
    noted  BIGINT NOT NULL,
    PRIMARY KEY (tenant, number)
);
INSERT INTO vault_of (tenant, id, noted) SELECT tenant, id, noted FROM vault;
DROP TABLE vault;
ALTER TABLE vault_of RENAME TO vault;

ALTER TABLE drive_state ADD COLUMN vault BIGINT NOT NULL DEFAULT 1; -- the number of the tenant's vault that it is in
