-- When a key was last used, to the minute, so that unused keys can be found and revoked.
-- Null: not since this column exists.
alter table api_key add column last_used_at timestamptz;
