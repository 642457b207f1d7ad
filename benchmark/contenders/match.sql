-- A match by reference in one statement, with the rules of the server's own (migrations/*_write_batch.sql) and the least work
-- that they can be kept with when each request has a statement of its own: nothing is looked up, the foreign keys reject
-- customers that do not exist or are deleted. $1 organisation, $2 manager, $3 customer, $4 notice.
insert into customer_match (
    organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice,
    created_at, matched_at, updated_at
)
values (
    $1::int8,
    least($2::text collate "C", $3::text), greatest($2::text collate "C", $3::text),
    $2::text collate "C" < $3::text, $3::text collate "C" < $2::text,
    $4::text, now(), now(), now()
)
on conflict (organisation_id, low_cu_ref_no, high_cu_ref_no) do update set
    low_is_manager = customer_match.low_is_manager or excluded.low_is_manager,
    high_is_manager = customer_match.high_is_manager or excluded.high_is_manager,
    notice = coalesce(excluded.notice, customer_match.notice),
    matched_at = case when customer_match.deactivated_at is null
                      then customer_match.matched_at else excluded.matched_at end,
    updated_at = greatest(customer_match.updated_at, excluded.updated_at),
    deactivated_at = null,
    version = customer_match.version + 1
where customer_match.deactivated_at is not null
   or (excluded.low_is_manager and not customer_match.low_is_manager)
   or (excluded.high_is_manager and not customer_match.high_is_manager)
   or excluded.notice <> coalesce(customer_match.notice, '')
