-- A customer belongs to one organisation, so its id decides organisation_id. Without being told, Postgres takes the two
-- for independent, expects next to no relations of a customer in a small organisation, and looks up single pairs by
-- reading all of them (measured: 120 ms instead of 3).

create statistics customer_match_low_side (dependencies) on organisation_id, low_id from customer_match;
create statistics customer_match_high_side (dependencies) on organisation_id, high_id from customer_match;
