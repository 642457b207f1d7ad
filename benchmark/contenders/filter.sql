-- list.sql for those whose name, company or e-mail address holds a text. $1 organisation, $2 customer, $3 number of items,
-- $4 the pattern for like, in lower case.
with found as materialized (
    select high_cu_ref_no as cu_ref_no, matched_at, updated_at, notice,
           high_is_manager as is_manager, low_is_manager as is_managed, email, first_name, last_name, company_name
    from customer_match
    join customer on customer.organisation_id = $1::int8 and customer.cu_ref_no = high_cu_ref_no
    where customer_match.organisation_id = $1 and low_cu_ref_no = $2::text and active is not null
      and customer.deleted_at is null and search like $4::text
    union all
    select low_cu_ref_no, matched_at, updated_at, notice, low_is_manager, high_is_manager,
           email, first_name, last_name, company_name
    from customer_match
    join customer on customer.organisation_id = $1 and customer.cu_ref_no = low_cu_ref_no
    where customer_match.organisation_id = $1 and high_cu_ref_no = $2 and active is not null
      and customer.deleted_at is null and search like $4
)
select
    (select count(*) from found) as item_count, item.cu_ref_no, item.email, item.first_name, item.last_name,
    item.company_name, nullif(notice, '') as notice, is_manager, is_managed, matched_at, updated_at
from customer as owner
left join (select * from found order by matched_at desc, cu_ref_no desc limit $3::int8) as item on true
where owner.organisation_id = $1 and owner.cu_ref_no = $2 and owner.deleted_at is null
order by matched_at desc, item.cu_ref_no desc
