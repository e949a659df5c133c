-- Inclusion rules: the members of directory groups belong to a policy.

-- +goose Up

CREATE TABLE inclusion_rule (
    id          TEXT     NOT NULL PRIMARY KEY,
    tenant      TEXT     NOT NULL,
    policy      TEXT     NOT NULL REFERENCES policy (id) ON DELETE CASCADE,
    expression  TEXT     NOT NULL,
    dynamic     SMALLINT NOT NULL CHECK (dynamic IN (0, 1)),
    status      TEXT     NOT NULL CHECK (status IN (
        'active', 'completed', 'completedWithErrors', 'updateRequested', 'deleteRequested')),
    problem     TEXT,
    evaluated   BIGINT   NOT NULL, -- when an evaluation last ended; 0 = none did yet
    created     BIGINT   NOT NULL,
    created_by  TEXT     NOT NULL,
    modified    BIGINT   NOT NULL,
    modified_by TEXT     NOT NULL,
    CHECK (dynamic = 1 OR status NOT IN ('updateRequested', 'deleteRequested'))
);
CREATE INDEX inclusion_rule_page ON inclusion_rule (policy, created, id);
CREATE INDEX inclusion_rule_tenant_page ON inclusion_rule (tenant, created, id);
-- A policy has one dynamic rule at most. So its units whose sources name a
-- dynamic rule are held by that one, and no table of who holds what is needed.
CREATE UNIQUE INDEX inclusion_rule_dynamic ON inclusion_rule (policy) WHERE dynamic = 1;

-- Whom a rule matched when it was last evaluated, and by which group: one of
-- them, where there are several.
CREATE TABLE rule_match (
    rule      TEXT   NOT NULL REFERENCES inclusion_rule (id) ON DELETE CASCADE,
    owner     TEXT   NOT NULL,
    group_id  TEXT   NOT NULL,
    seen      TEXT   NOT NULL, -- the evaluation that wrote it last; each drops what it did not write
    PRIMARY KEY (rule, owner)
);

-- The units that a dynamic rule holds: sources 2, and 3 with a manual one.
CREATE INDEX unit_dynamic ON unit (policy) WHERE sources >= 2;
