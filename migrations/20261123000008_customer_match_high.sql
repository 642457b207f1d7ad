-- no-transaction
-- The mirror of customer_match_low: of a customer whose id is the higher one.
create index concurrently customer_match_high on customer_match (organisation_id, high_id, matched_at desc, low_id desc)
  where deactivated_at is null;
