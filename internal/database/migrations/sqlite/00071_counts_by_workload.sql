-- How many units there are of each kind is kept by workload, too.

-- +goose Up
DROP TRIGGER unit_count_added;
DROP TRIGGER unit_count_gone;
DROP TRIGGER unit_count_changed;
DROP TABLE unit_count;
CREATE TABLE unit_count (
    tenant   TEXT     NOT NULL,
    workload TEXT     NOT NULL,
    policy   TEXT     NOT NULL,
    status   TEXT     NOT NULL,
    failing  SMALLINT NOT NULL,
    n        BIGINT   NOT NULL,
    PRIMARY KEY (tenant, workload, policy, status, failing)
);
INSERT INTO unit_count SELECT tenant, workload, policy, status, failing, count(*) FROM unit GROUP BY 1, 2, 3, 4, 5;

-- +goose StatementBegin
CREATE TRIGGER unit_count_added AFTER INSERT ON unit BEGIN
    INSERT INTO unit_count VALUES (NEW.tenant, NEW.workload, NEW.policy, NEW.status, NEW.problem IS NOT NULL, 1)
        ON CONFLICT (tenant, workload, policy, status, failing) DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER unit_count_gone AFTER DELETE ON unit BEGIN
    UPDATE unit_count SET n = n - 1 WHERE tenant = OLD.tenant AND workload = OLD.workload AND policy = OLD.policy AND status = OLD.status AND failing = (OLD.problem IS NOT NULL);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER unit_count_changed AFTER UPDATE OF tenant, workload, policy, status, problem ON unit
WHEN OLD.tenant <> NEW.tenant OR OLD.workload <> NEW.workload OR OLD.policy <> NEW.policy OR OLD.status <> NEW.status OR (OLD.problem IS NULL) <> (NEW.problem IS NULL) BEGIN
    UPDATE unit_count SET n = n - 1 WHERE tenant = OLD.tenant AND workload = OLD.workload AND policy = OLD.policy AND status = OLD.status AND failing = (OLD.problem IS NOT NULL);
    INSERT INTO unit_count VALUES (NEW.tenant, NEW.workload, NEW.policy, NEW.status, NEW.problem IS NOT NULL, 1)
        ON CONFLICT (tenant, workload, policy, status, failing) DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd
