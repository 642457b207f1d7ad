-- A match in one statement, with the rules of the server's own (src/matching/statement.rs) and the least work that they can be
-- kept with when each request has a statement to itself. $1 organisation, $2 manager, $3 customer by reference, $4 or by
-- address, $5 reference of a guest if the address is new, $6 notice.
with manager as materialized (
    select id from customer
    where organisation_id = $1 and cu_ref_no = $2 and deleted_at is null
    for key share
),
by_cu_ref_no as materialized (
    select id from customer
    where organisation_id = $1 and cu_ref_no = $3 and deleted_at is null
    for key share
),
by_email as materialized (
    select id from customer
    where organisation_id = $1 and email = $4 and deleted_at is null
    for key share
),
guest as (
    insert into customer (organisation_id, cu_ref_no, email)
    select $1, $5, $4 from manager where $4::text is not null and not exists (select from by_email)
    on conflict (organisation_id, email) where deleted_at is null do update set email = excluded.email
    returning id, cu_ref_no
),
pair as materialized (
    select
        (select id from manager) as manager_id,
        coalesce(
            (select id from by_cu_ref_no), (select id from by_email), (select id from guest)
        ) as customer_id
),
written as (
    insert into customer_match (
        organisation_id, low_id, high_id, low_is_manager, high_is_manager, notice,
        created_at, matched_at, updated_at
    )
    select
        $1, least(manager_id, customer_id), greatest(manager_id, customer_id),
        manager_id < customer_id, customer_id < manager_id, $6,
        now(), now(), now()
    from pair
    where manager_id <> customer_id
    on conflict (organisation_id, low_id, high_id) do update set
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
    returning version
)
select manager_id, customer_id, (select version from written) as version from pair
