-- Which keys are in use, to the minute: what is not used may be revoked.
-- Null: not since this column is there.
alter table api_key add column last_used_at timestamptz;
