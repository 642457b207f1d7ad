-- A key may have a rate limit of its own.
alter table api_key
  -- Null: the limit of its kind, a setting of each server. Keys of the kind root have no limit.
  add column limit_per_minute int8 constraint api_key_limit_is_positive check (limit_per_minute > 0),
  add constraint api_key_root_is_unlimited check (kind <> 'root' or limit_per_minute is null);
