INSERT INTO inclusion_rule (id, tenant, policy, expression, dynamic, status, problem, evaluated, created, created_by, modified, modified_by) VALUES
    ('a1000000-0000-4000-8000-000000000001', '11111111-1111-4111-8111-111111111111', 'b0000000-0000-4000-8000-000000000001', '(memberOf -any (group.id -in [''aaaaaaaa-0000-4000-8000-00000000000a'']))', 1, 'active', NULL, 1794000000000000, 1790000000000006, '{}', 1790000000000006, '{}');
INSERT INTO rule_match (rule, owner, group_id, seen) VALUES ('a1000000-0000-4000-8000-000000000001', 'aaaaaaaa-0000-4000-8000-000000000002', 'aaaaaaaa-0000-4000-8000-00000000000a', 'x');
UPDATE unit SET sources = 3 WHERE id = 'c0000000-0000-4000-8000-000000000002';
