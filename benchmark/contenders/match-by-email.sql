-- A match by e-mail address in one statement: the customer is looked up, or created as a guest. The rest is that of match.sql.
-- $1 organisation, $2 manager, $3 e-mail address, $4 notice, $5 reference of the guest.
with known as materialized (
    select cu_ref_no from customer where organisation_id = $1::int8 and email = $3::text and deleted_at is null
),
guest as (
    insert into customer (organisation_id, cu_ref_no, email)
    select $1, $5::text, $3 where not exists (select from known)
    on conflict (organisation_id, email) where deleted_at is null do update set email = excluded.email
    returning cu_ref_no
)
insert into customer_match (
    organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice,
    created_at, matched_at, updated_at
)
select
    $1, least($2::text collate "C", cu_ref_no), greatest($2::text collate "C", cu_ref_no),
    $2::text collate "C" < cu_ref_no, cu_ref_no < $2::text collate "C",
    $4::text, now(), now(), now()
from (select cu_ref_no from known union all select cu_ref_no from guest) as customer
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
