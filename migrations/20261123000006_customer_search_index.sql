-- no-transaction
-- Led by the organisation: the others' customers cost a search nothing.
create index concurrently customer_search on customer using gin (organisation_id, search gin_trgm_ops)
  where deleted_at is null;
