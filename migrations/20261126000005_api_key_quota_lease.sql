-- How several servers enforce one rate limit: each server that runs holds a lease on a part of a key's limit.
--
-- Unlogged: the rows describe the last minute only, so they need not survive a crash of Postgres, and writing them needs no
-- flush. Both tables belong with api_key and not to a tenant: small, read and written by every server.

create unlogged table server_instance (
  -- Random, chosen when the server starts.
  id                int8 primary key,
  -- A lease is valid for two seconds after the last heartbeat; for a minute more its calls still count. Minus infinity: the
  -- server has stopped.
  last_heartbeat_at timestamptz not null
                    constraint server_instance_heartbeat_is_no_future check (last_heartbeat_at < 'infinity')
);

create unlogged table api_key_quota_lease (
  api_key_id int8 not null references api_key (id) on delete cascade,
  server_id  int8 not null references server_instance (id) on delete cascade,
  -- Calls admitted within the last minute.
  calls      int8 not null,
  -- Calls that may be admitted within a minute.
  quota      int8 not null constraint api_key_quota_lease_covers_calls check (quota >= calls),
  -- Recent calls, admitted or not: the weight for dividing what is unused.
  demand     int8 not null,
  primary key (api_key_id, server_id)
);

create index api_key_quota_lease_server_id on api_key_quota_lease (server_id);
