-- What a database of version 1 may hold. Those of later versions hold this too.
INSERT INTO job (kind, key, tenant, run_at, attempts, failures, last_error) VALUES
    ('backup', 'c0000000-0000-4000-8000-000000000001', '11111111-1111-4111-8111-111111111111', 1795000000000000, 3, 1, 'the source cannot be used now'),
    ('expire', '11111111-1111-4111-8111-111111111111', '11111111-1111-4111-8111-111111111111', 1795000000000000, 0, 0, '');
