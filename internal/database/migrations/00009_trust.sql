-- What makes a backup to be trusted: the vault is known by its id, a drive's
-- state tells a checkpoint from a point, points know what they lack and when
-- they were last verified, damage is noted, and retention is a fact of the
-- database.

-- +goose Up

CREATE TABLE vault (
    tenant TEXT   NOT NULL PRIMARY KEY,
    id     TEXT   NOT NULL, -- the vault's own
    noted  BIGINT NOT NULL
);

-- 1 = an import was begun and has not come to its end.
ALTER TABLE tenant ADD COLUMN importing SMALLINT NOT NULL DEFAULT 0;

ALTER TABLE drive_state ADD COLUMN checkpoint TEXT NOT NULL DEFAULT ''; -- the tree of a run that has not come to its end; tree is that of the last that has
ALTER TABLE drive_state ADD COLUMN enumerated BIGINT NOT NULL DEFAULT 0; -- when the drive was last listed in full
ALTER TABLE drive_state ADD COLUMN verified BIGINT NOT NULL DEFAULT 0; -- when it was last gone through in the vault
CREATE INDEX drive_state_verify ON drive_state (tenant, verified, unit, drive) WHERE root <> '';
-- A checkpoint stood in the place of the tree. Which tree the cursor belongs to
-- is not certain then: the drive is listed in full.
UPDATE drive_state SET checkpoint = tree, cursor = '', tree = coalesce((
        SELECT r.tree FROM restore_point r WHERE r.unit = drive_state.unit AND r.drive = drive_state.drive ORDER BY r.at DESC, r.id DESC LIMIT 1), '')
    WHERE tree <> '' AND NOT EXISTS (
        SELECT 1 FROM restore_point r WHERE r.unit = drive_state.unit AND r.drive = drive_state.drive AND r.tree = drive_state.tree);

ALTER TABLE restore_point ADD COLUMN unread BIGINT NOT NULL DEFAULT 0; -- items that it does not hold as they were
ALTER TABLE restore_point ADD COLUMN verified BIGINT NOT NULL DEFAULT 0;
ALTER TABLE restore_point ADD COLUMN lost SMALLINT NOT NULL DEFAULT 0; -- 1 = the vault does not hold it whole
ALTER TABLE restore_point ADD COLUMN until BIGINT NOT NULL DEFAULT 0; -- until when the drive stayed as it is here, of a point that was taken up from the vault
ALTER TABLE restore_artifact ADD COLUMN unread BIGINT NOT NULL DEFAULT 0;

-- What the vault should hold, and does not as it was written.
CREATE TABLE damage (
    id      TEXT   NOT NULL PRIMARY KEY,
    tenant  TEXT   NOT NULL,
    unit    TEXT   NOT NULL,
    drive   TEXT   NOT NULL,
    item    TEXT   NOT NULL, -- '' = not one file: a folder's list, an index
    path    TEXT   NOT NULL,
    content TEXT   NOT NULL, -- in the vault
    reason  TEXT   NOT NULL,
    found   BIGINT NOT NULL,
    healed  BIGINT NOT NULL, -- 0 = it is not
    UNIQUE (tenant, drive, content, item)
);
CREATE INDEX damage_page ON damage (tenant, found, id);
CREATE INDEX damage_open ON damage (tenant, drive, found, id) WHERE healed = 0;
CREATE INDEX damage_content ON damage (tenant, content) WHERE healed = 0;

-- How the points of a policy are kept; '' is the tenant's: what no policy has,
-- what new policies begin with, and a hold on everything. applied, which the
-- table had, is what the points stand under.
ALTER TABLE retention ADD COLUMN kept TEXT NOT NULL DEFAULT ''; -- JSON
ALTER TABLE retention ADD COLUMN pending TEXT; -- JSON: what takes the place of kept
ALTER TABLE retention ADD COLUMN effective BIGINT NOT NULL DEFAULT 0; -- when it does
ALTER TABLE retention ADD COLUMN modified BIGINT NOT NULL DEFAULT 0; -- 0 = by nobody: taken from a configuration
ALTER TABLE retention ADD COLUMN modified_by TEXT NOT NULL DEFAULT '{}';
UPDATE retention SET kept = applied;
-- Of a tenant that has rows all is known: what had none was as Microsoft keeps,
-- and policies were as the default. Of others the first start knows.
INSERT INTO retention (tenant, policy, applied, kept)
    SELECT DISTINCT r.tenant, '',
        '{"settings":[{"interval":"R/PT10M","period":"P2W"},{"interval":"R/P1W","period":"P1Y"}]}',
        '{"settings":[{"interval":"R/PT10M","period":"P2W"},{"interval":"R/P1W","period":"P1Y"}]}'
    FROM retention r WHERE NOT EXISTS (SELECT 1 FROM retention d WHERE d.tenant = r.tenant AND d.policy = '');
INSERT INTO retention (tenant, policy, applied, kept)
    SELECT p.tenant, p.policy, d.applied, d.kept
    FROM (SELECT tenant, id AS policy FROM policy UNION SELECT tenant, policy FROM restore_point) p
    JOIN retention d ON d.tenant = p.tenant AND d.policy = ''
    WHERE NOT EXISTS (SELECT 1 FROM retention o WHERE o.tenant = p.tenant AND o.policy = p.policy);
