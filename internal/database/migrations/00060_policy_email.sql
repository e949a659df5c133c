-- Units of a policy by the address of their owner.

-- +goose Up
CREATE INDEX unit_policy_email ON unit (policy, email_key, id) WHERE policy <> '';
