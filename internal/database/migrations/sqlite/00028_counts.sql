-- How many units and activities there are of each kind, kept as they come and
-- change: to count a million of them takes a tenth of a second.

-- +goose Up
CREATE TABLE unit_count (
    tenant  TEXT     NOT NULL,
    policy  TEXT     NOT NULL,
    status  TEXT     NOT NULL,
    failing SMALLINT NOT NULL,
    n       BIGINT   NOT NULL,
    PRIMARY KEY (tenant, policy, status, failing)
);
INSERT INTO unit_count SELECT tenant, policy, status, failing, count(*) FROM unit GROUP BY 1, 2, 3, 4;

CREATE TABLE audit_count (
    tenant TEXT   NOT NULL,
    result TEXT   NOT NULL,
    n      BIGINT NOT NULL,
    PRIMARY KEY (tenant, result)
);
INSERT INTO audit_count SELECT tenant, result, count(*) FROM audit GROUP BY 1, 2;

-- +goose StatementBegin
CREATE TRIGGER unit_count_added AFTER INSERT ON unit BEGIN
    INSERT INTO unit_count VALUES (NEW.tenant, NEW.policy, NEW.status, NEW.problem IS NOT NULL, 1)
        ON CONFLICT (tenant, policy, status, failing) DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER unit_count_gone AFTER DELETE ON unit BEGIN
    UPDATE unit_count SET n = n - 1 WHERE tenant = OLD.tenant AND policy = OLD.policy AND status = OLD.status AND failing = (OLD.problem IS NOT NULL);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER unit_count_changed AFTER UPDATE OF tenant, policy, status, problem ON unit
WHEN OLD.tenant <> NEW.tenant OR OLD.policy <> NEW.policy OR OLD.status <> NEW.status OR (OLD.problem IS NULL) <> (NEW.problem IS NULL) BEGIN
    UPDATE unit_count SET n = n - 1 WHERE tenant = OLD.tenant AND policy = OLD.policy AND status = OLD.status AND failing = (OLD.problem IS NOT NULL);
    INSERT INTO unit_count VALUES (NEW.tenant, NEW.policy, NEW.status, NEW.problem IS NOT NULL, 1)
        ON CONFLICT (tenant, policy, status, failing) DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_count_added AFTER INSERT ON audit BEGIN
    INSERT INTO audit_count VALUES (NEW.tenant, NEW.result, 1) ON CONFLICT (tenant, result) DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd
