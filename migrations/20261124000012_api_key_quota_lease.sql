-- How servers keep a key's limit together: who runs, and which quota of it each of them holds.
--
-- Unlogged: this is about the last minute only, so it need not survive a crash of Postgres, and writing it costs no flush. Both
-- belong with api_key, not to a tenant: small, read and written by every server.

create unlogged table server_instance (
  -- Random, chosen when the server starts.
  id      int8 primary key,
  -- What a server holds is its own while it is seen; a while after that its calls do not count any more either.
  last_heartbeat_at timestamptz not null
);

create unlogged table api_key_quota_lease (
  api_key_id int8 not null references api_key (id) on delete cascade,
  server_id  int8 not null references server_instance (id) on delete cascade,
  -- Let in within the last minute.
  calls      int8 not null,
  -- How many may be.
  quota      int8 not null constraint api_key_quota_lease_covers_calls check (quota >= calls),
  -- Calls that came lately, let in or not.
  demand     int8 not null,
  primary key (api_key_id, server_id)
);

create index api_key_quota_lease_server_id on api_key_quota_lease (server_id);
