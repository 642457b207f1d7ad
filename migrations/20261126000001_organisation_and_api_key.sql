-- Who may call. Both tables are small, read by every server and written by hand: where the data is distributed
-- (by organisation_id), these two are reference tables, present whole on every node.

create table organisation (
  id         int8 generated always as identity primary key,
  -- People choose an organisation by its name on the command line: two of one name would be mixed up.
  name       text not null constraint organisation_name_key unique
             constraint organisation_name_not_blank check (btrim(name) <> ''),
  created_at timestamptz not null default now()
             constraint organisation_created_at_is_finite check (isfinite(created_at))
);

create table api_key (
  -- Not led by organisation_id, unlike every other table's key: which organisation calls is what is looked up here.
  id               int8 generated always as identity primary key,
  organisation_id  int8 not null references organisation (id),
  -- SHA-256 of the key; the key itself is never stored. 28 random characters carry 166 bits: a slow hash adds nothing.
  hash             bytea not null constraint api_key_hash_key unique
                   constraint api_key_hash_is_sha256 check (octet_length(hash) = 32),
  kind             text not null constraint api_key_kind check (kind in ('prod', 'dev', 'root')),
  -- What people see of the key for the rest of its life.
  mask             text not null,
  description      text not null default '',
  -- Empty: every scope.
  scopes           text[] not null default '{}'
                   constraint api_key_scopes_is_list check (array_ndims(scopes) = 1 and array_position(scopes, null) is null),
  active           boolean not null default true,
  created_at       timestamptz not null default now(),
  -- Null: never.
  expires_at       timestamptz,
  -- Deletion is for ever; the row stays so that its use can still be told from an unknown key.
  deleted_at       timestamptz,
  -- The rate limit of this key. Null: the limit of its kind, a setting of each server.
  limit_per_minute int8 constraint api_key_limit_is_positive check (limit_per_minute between 1 and 4294967295),
  -- To the minute, so that unused keys can be found and revoked. Null: never.
  last_used_at     timestamptz,
  -- The client that used it then. Null: none that is known.
  last_used_ip     inet,
  -- Origins of the web pages that the key may stand in. Not empty: the key is publishable, which is no secret.
  allowed_origins  text[] not null default '{}'
                   constraint api_key_allowed_origins_is_list
                   check (array_ndims(allowed_origins) = 1 and array_position(allowed_origins, null) is null),
  -- Calls a minute of one client with a publishable key, beside the limit of the key.
  client_limit_per_minute int8
                   constraint api_key_client_limit_is_positive check (client_limit_per_minute between 1 and 4294967295),
  constraint api_key_times_are_finite check (
    isfinite(created_at) and isfinite(expires_at) and isfinite(deleted_at) and isfinite(last_used_at)
  ),
  constraint api_key_root_is_unlimited check (kind <> 'root' or limit_per_minute is null),
  -- What stands in a page is public: it opens one scope only, and has a limit for each client.
  constraint api_key_publishable_is_limited check ((allowed_origins = '{}') = (client_limit_per_minute is null) and (allowed_origins = '{}' or kind <> 'root')),
  constraint api_key_publishable_scope check (allowed_origins = '{}' or scopes = '{customer.match}')
);

create index api_key_organisation_id on api_key (organisation_id, id);
