UPDATE unit SET offboarded = 1788000000000000 WHERE status = 'offboarded';
-- The older drive's point was made under a policy that is under a hold.
UPDATE restore_point SET policy = 'b0000000-0000-4000-8000-000000000001' WHERE drive = 'd1';
UPDATE restore_point SET policy = 'b0000000-0000-4000-8000-000000000002', expires = 253402214400000000 WHERE drive = 'd0';
INSERT INTO retention (tenant, policy, applied) VALUES
    ('11111111-1111-4111-8111-111111111111', 'b0000000-0000-4000-8000-000000000002', '{"settings":[{"interval":"R/PT10M","period":"P2W"},{"interval":"R/P1W","period":"P1Y"}],"legalHold":true}');
INSERT INTO service (tenant, status, disable_reason, modified, modified_by) VALUES ('11111111-1111-4111-8111-111111111111', 'enabled', 'none', 1790000000000000, '{}');
INSERT INTO service_app (id, tenant, application, name, status, effective, removal, created, modified, modified_by) VALUES
    ('a2000000-0000-4000-8000-000000000001', '11111111-1111-4111-8111-111111111111', 'app', 'App', 'active', 0, 0, 1790000000000000, 1790000000000000, '{}');
INSERT INTO email_setting (tenant, enabled, events, role, recipients) VALUES ('11111111-1111-4111-8111-111111111111', 1, 'none', 'none', '[{"id":"r"}]');
INSERT INTO audit (id, tenant, at, actor, operation, target, object, result, problem, request) VALUES
    ('a3000000-0000-4000-8000-000000000001', '11111111-1111-4111-8111-111111111111', 1790000000000000, '{"application":{"id":"app"}}', 'CreatePolicy', '/v1.0', 'b0000000-0000-4000-8000-000000000001', 'succeeded', NULL, 'q');
