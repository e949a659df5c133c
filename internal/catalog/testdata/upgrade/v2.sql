INSERT INTO tenant (id, writes, directory_cursor, directory_at) VALUES
    ('11111111-1111-4111-8111-111111111111', 17, 'https://graph.example/users/delta?token=a', 1794000000000000);
INSERT INTO directory_user (tenant, id, upn, mail, display_name, upn_key, mail_key, seen) VALUES
    ('11111111-1111-4111-8111-111111111111', 'aaaaaaaa-0000-4000-8000-000000000001', 'Amala@Contoso.com', 'amala@contoso.com', 'Amala', 'amala@contoso.com', 'amala@contoso.com', 1794000000000000),
    ('11111111-1111-4111-8111-111111111111', 'aaaaaaaa-0000-4000-8000-000000000002', 'conrad@contoso.com', '', 'Conrad', 'conrad@contoso.com', '', 1794000000000000);
INSERT INTO policy (id, tenant, workload, display_name, enabled, created, created_by, modified, modified_by) VALUES
    ('b0000000-0000-4000-8000-000000000001', '11111111-1111-4111-8111-111111111111', 'oneDriveForBusiness', 'Sales', 1, 1790000000000000, '{"application":{"id":"app"}}', 1790000000000001, '{"application":{"id":"app"}}'),
    ('b0000000-0000-4000-8000-000000000002', '11111111-1111-4111-8111-111111111111', 'oneDriveForBusiness', 'Held', 0, 1790000000000002, '{}', 1790000000000002, '{}');
INSERT INTO unit (id, tenant, policy, directory, status, sources, problem, offboard_requested, created, created_by, modified, modified_by) VALUES
    ('c0000000-0000-4000-8000-000000000001', '11111111-1111-4111-8111-111111111111', 'b0000000-0000-4000-8000-000000000001', 'aaaaaaaa-0000-4000-8000-000000000001', 'protected', 1, '{"code":"ItemsNotBackedUp","message":"m"}', 0, 1790000000000003, '{}', 1790000000000003, '{}'),
    ('c0000000-0000-4000-8000-000000000002', '11111111-1111-4111-8111-111111111111', 'b0000000-0000-4000-8000-000000000001', 'aaaaaaaa-0000-4000-8000-000000000002', 'protectRequested', 1, NULL, 0, 1790000000000004, '{}', 1790000000000004, '{}'),
    ('c0000000-0000-4000-8000-000000000003', '11111111-1111-4111-8111-111111111111', '', 'aaaaaaaa-0000-4000-8000-000000000003', 'offboarded', 0, NULL, 1780000000000000, 1770000000000000, '{}', 1780000000000000, '{}');
INSERT INTO bulk_job (id, tenant, policy, display_name, status, done, problem, created, created_by, modified, modified_by) VALUES
    ('d0000000-0000-4000-8000-000000000001', '11111111-1111-4111-8111-111111111111', 'b0000000-0000-4000-8000-000000000001', 'many', 'completedWithErrors', 2, '{"code":"ProtectionResourcesNotFound","message":"m"}', 1790000000000005, '{}', 1790000000000005, '{}');
INSERT INTO bulk_list (job, drives, object_ids) VALUES ('d0000000-0000-4000-8000-000000000001', '["a@contoso.com"]', '["aaaaaaaa-0000-4000-8000-000000000009"]');
-- One drive with its points, one whose first run was killed after a checkpoint,
-- one that was killed after a checkpoint upon points.
INSERT INTO drive_state (unit, drive, tenant, root, tree, cursor, pending, committed, trim) VALUES
    ('c0000000-0000-4000-8000-000000000001', 'd1', '11111111-1111-4111-8111-111111111111', 'r1', 't2', 'c1', '[{"item":"i","path":"/a","code":"malwareDetected","message":"m","attempts":2}]', 1795000000000000, 0),
    ('c0000000-0000-4000-8000-000000000001', 'd0', '11111111-1111-4111-8111-111111111111', 'r0', 't-killed', 'c0', 'null', 1790000000000000, 1),
    ('c0000000-0000-4000-8000-000000000002', 'd2', '11111111-1111-4111-8111-111111111111', 'r2', 't-first', '', '[]', 1795000000000000, 1);
INSERT INTO restore_point (id, tenant, unit, drive, at, expires, weekly, tags, tree, files, folders, bytes) VALUES
    ('e0000000-0000-4000-8000-000000000001', '11111111-1111-4111-8111-111111111111', 'c0000000-0000-4000-8000-000000000001', 'd1', 1794900000000000, 2000000000000000, 1, 'fastRestore', 't1', 1, 2, 3),
    ('e0000000-0000-4000-8000-000000000002', '11111111-1111-4111-8111-111111111111', 'c0000000-0000-4000-8000-000000000001', 'd1', 1795000000000000, 1999000000000000, 0, 'none', 't2', 4, 5, 6),
    ('e0000000-0000-4000-8000-000000000003', '11111111-1111-4111-8111-111111111111', 'c0000000-0000-4000-8000-000000000001', 'd0', 1789000000000000, 1998000000000000, 1, 'fastRestore', 't0', 7, 8, 9);
INSERT INTO restore_session (id, tenant, workload, status, job_type, total, succeeded, failed, problem, completed, created, created_by, modified, modified_by) VALUES
    ('f0000000-0000-4000-8000-000000000001', '11111111-1111-4111-8111-111111111111', 'oneDriveForBusiness', 'completedWithError', 'standard', 1, 0, 1, NULL, 1795000000000002, 1795000000000001, '{}', 1795000000000001, '{}'),
    ('f0000000-0000-4000-8000-000000000002', '11111111-1111-4111-8111-111111111111', 'oneDriveForBusiness', 'active', 'granular', 1, 0, 0, NULL, 0, 1795000000000003, '{}', 1795000000000003, '{}'),
    ('f0000000-0000-4000-8000-000000000003', '11111111-1111-4111-8111-111111111111', 'oneDriveForBusiness', 'draft', 'bulk', 0, 0, 0, NULL, 0, 1795000000000004, '{}', 1795000000000004, '{}');
INSERT INTO restore_artifact (id, tenant, session, point, unit, drive, at, expires, tags, tree, files, folders, bytes, destination, status, problem, created, started, completed, site_id, site_name, site_web_url) VALUES
    ('f1000000-0000-4000-8000-000000000001', '11111111-1111-4111-8111-111111111111', 'f0000000-0000-4000-8000-000000000001', 'e0000000-0000-4000-8000-000000000001', 'c0000000-0000-4000-8000-000000000001', 'd1', 1794900000000000, 2000000000000000, 'fastRestore', 't1', 1, 2, 3, 'new', 'failed', '{"code":"ArtifactCannotBeRestored","message":"m"}', 1795000000000001, 1795000000000001, 1795000000000002, 's', 'DocumentsR0', 'https://w');
