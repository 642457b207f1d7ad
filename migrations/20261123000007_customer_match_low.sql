-- no-transaction
-- A page of the active relations of a customer, newest first, whose id is the lower one of the pair.
create index concurrently customer_match_low on customer_match (organisation_id, low_id, matched_at desc, high_id desc)
  where deactivated_at is null;
