-- An index for each property by which a list may be filtered or ordered. Each
-- begins with whose the list is and ends with the id.

-- +goose Up
CREATE INDEX unit_offboard ON unit (tenant, offboard_requested, id);
CREATE INDEX unit_status ON unit (tenant, status, created, id);
CREATE INDEX unit_failing ON unit (tenant, failing, created, id);
CREATE INDEX unit_of_policy ON unit (tenant, policy, created, id);
CREATE INDEX unit_policy_status ON unit (policy, status, created, id) WHERE policy <> '';
CREATE INDEX unit_policy_failing ON unit (policy, failing, created, id) WHERE policy <> '';

CREATE INDEX policy_name ON policy (tenant, name_key, id);

CREATE INDEX restore_session_status ON restore_session (tenant, status, created, id);
CREATE INDEX restore_session_type ON restore_session (tenant, job_type, created, id);
CREATE INDEX restore_session_modified ON restore_session (tenant, modified, id);
CREATE INDEX restore_artifact_status ON restore_artifact (session, status, created, id);
CREATE INDEX restore_artifact_destination ON restore_artifact (session, destination, created, id);
CREATE INDEX restore_artifact_started ON restore_artifact (session, started, id);

CREATE INDEX audit_result ON audit (tenant, result, at, id);
