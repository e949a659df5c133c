-- How many units there are of each kind is kept by workload, too.

-- +goose Up
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
CREATE OR REPLACE FUNCTION unit_count_added() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO unit_count AS c SELECT tenant, workload, policy, status, failing, count(*) FROM added GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT (tenant, workload, policy, status, failing) DO UPDATE SET n = c.n + excluded.n;
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION unit_count_gone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO unit_count AS c SELECT tenant, workload, policy, status, failing, -count(*) FROM gone GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT (tenant, workload, policy, status, failing) DO UPDATE SET n = c.n + excluded.n;
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION unit_count_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO unit_count AS c
        SELECT tenant, workload, policy, status, failing, sum(n) FROM (
            SELECT tenant, workload, policy, status, failing, 1 AS n FROM added UNION ALL SELECT tenant, workload, policy, status, failing, -1 FROM gone) AS u
        GROUP BY 1, 2, 3, 4, 5 HAVING sum(n) <> 0 ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT (tenant, workload, policy, status, failing) DO UPDATE SET n = c.n + excluded.n;
    RETURN NULL;
END $$;
-- +goose StatementEnd
