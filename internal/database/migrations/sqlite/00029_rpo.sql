-- How old the newest point of each drive under protection may become, and how it
-- was with those before. One row for each unit that is protected and has a point.

-- +goose Up
CREATE TABLE rpo (
    unit     TEXT   NOT NULL PRIMARY KEY,
    tenant   TEXT   NOT NULL,
    newest   BIGINT NOT NULL, -- point
    promised BIGINT NOT NULL, -- how old it may become, in microseconds
    due      BIGINT NOT NULL, -- when it is as old
    points   BIGINT NOT NULL, -- that came since the unit was protected, but the first
    late     BIGINT NOT NULL, -- of these, those that came after they were due
    longest  BIGINT NOT NULL  -- time between two of them
);
CREATE INDEX rpo_due ON rpo (tenant, due, unit);
-- Until the next point of each says what is promised: as long as points take
-- twice where nothing is configured.
INSERT INTO rpo (unit, tenant, newest, promised, due, points, late, longest)
    SELECT u.id, u.tenant, max(r.at), 1200000000, max(r.at) + 1200000000, 0, 0, 0
    FROM unit u JOIN restore_point r ON r.unit = u.id WHERE u.status = 'protected' GROUP BY u.id, u.tenant;

-- +goose StatementBegin
CREATE TRIGGER rpo_over AFTER UPDATE OF status ON unit WHEN OLD.status = 'protected' AND NEW.status <> 'protected' BEGIN
    DELETE FROM rpo WHERE unit = NEW.id;
END;
-- +goose StatementEnd
