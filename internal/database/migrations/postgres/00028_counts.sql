-- How many units and activities there are of each kind, kept as they come and
-- change: to count a million of them takes a tenth of a second. Each statement
-- writes each count once, however many rows it has changed, and always in the
-- same order.

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
CREATE FUNCTION unit_count_added() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO unit_count AS c SELECT tenant, policy, status, failing, count(*) FROM added GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        ON CONFLICT (tenant, policy, status, failing) DO UPDATE SET n = c.n + excluded.n;
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION unit_count_gone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO unit_count AS c SELECT tenant, policy, status, failing, -count(*) FROM gone GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        ON CONFLICT (tenant, policy, status, failing) DO UPDATE SET n = c.n + excluded.n;
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION unit_count_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO unit_count AS c
        SELECT tenant, policy, status, failing, sum(n) FROM (
            SELECT tenant, policy, status, failing, 1 AS n FROM added UNION ALL SELECT tenant, policy, status, failing, -1 FROM gone) AS u
        GROUP BY 1, 2, 3, 4 HAVING sum(n) <> 0 ORDER BY 1, 2, 3, 4
        ON CONFLICT (tenant, policy, status, failing) DO UPDATE SET n = c.n + excluded.n;
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION audit_count_added() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO audit_count AS c SELECT tenant, result, count(*) FROM added GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (tenant, result) DO UPDATE SET n = c.n + excluded.n;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER unit_count_added AFTER INSERT ON unit REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION unit_count_added();
CREATE TRIGGER unit_count_gone AFTER DELETE ON unit REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION unit_count_gone();
CREATE TRIGGER unit_count_changed AFTER UPDATE ON unit REFERENCING OLD TABLE AS gone NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION unit_count_changed();
CREATE TRIGGER audit_count_added AFTER INSERT ON audit REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION audit_count_added();
