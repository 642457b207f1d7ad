-- Some keys have a limit of their own.
alter table api_key
  -- Null: that of the kind, which each server is told. Keys of the kind root are not limited.
  add column limit_per_minute int8 constraint api_key_limit_is_positive check (limit_per_minute > 0),
  add constraint api_key_root_is_unlimited check (kind <> 'root' or limit_per_minute is null);
