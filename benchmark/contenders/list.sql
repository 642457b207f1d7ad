-- The newest relations of a customer and the number of all, in one statement: each side of the pair through its index, as far
-- as the page. No row: the customer does not exist. $1 organisation, $2 customer, $3 number of items.
with page as (
    (
        select high_cu_ref_no as cu_ref_no, matched_at, updated_at, notice,
               high_is_manager as is_manager, low_is_manager as is_managed
        from customer_match
        where organisation_id = $1::int8 and low_cu_ref_no = $2::text and active is not null
        order by matched_at desc, high_cu_ref_no desc
        limit $3::int8
    )
    union all
    (
        select low_cu_ref_no, matched_at, updated_at, notice, low_is_manager, high_is_manager
        from customer_match
        where organisation_id = $1 and high_cu_ref_no = $2 and active is not null
        order by matched_at desc, low_cu_ref_no desc
        limit $3
    )
),
total as (
    select
        (select count(*) from customer_match where organisation_id = $1 and low_cu_ref_no = $2 and active is not null)
        + (select count(*) from customer_match where organisation_id = $1 and high_cu_ref_no = $2 and active is not null)
        as item_count
)
select
    item_count, item.cu_ref_no, item.email, item.first_name, item.last_name, item.company_name,
    nullif(notice, '') as notice, is_manager, is_managed, matched_at, updated_at
from customer as owner
cross join total
left join (select * from page order by matched_at desc, cu_ref_no desc limit $3) as page on true
left join customer as item on item.organisation_id = $1 and item.cu_ref_no = page.cu_ref_no
where owner.organisation_id = $1 and owner.cu_ref_no = $2 and owner.deleted_at is null
order by matched_at desc, item.cu_ref_no desc
