-- 100 pairs of one organisation in a statement: the most that one Postgres makes of this schema when no client waits for a
-- single answer. Customers that lie the same gap apart are 100 different pairs; the notice is never the same twice, so that
-- every transaction adds 100 to the versions of the rows.
\set organisation random(1, 100)
\set start random(0, 999)
\set gap random(1, 499)
\set notice random(1, 1000000000000000)
with pair as materialized (
    select (1000000000000000 + (a * 100 + :organisation) * 79228162514263 % 8999999999999989)::text collate "C" as manager,
           (1000000000000000 + (b * 100 + :organisation) * 79228162514263 % 8999999999999989)::text collate "C" as customer
    from generate_series(:start::int8, :start::int8 + 99) as n,
         lateral (select n % 1000 as a, (n + :gap) % 1000 as b) as ranks
)
insert into customer_match (
    organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice, created_at, matched_at, updated_at
)
select :organisation, least(manager, customer), greatest(manager, customer), manager < customer, customer < manager,
       :notice, now(), now(), now()
from pair
order by 2, 3
on conflict (organisation_id, low_cu_ref_no, high_cu_ref_no) do update set
    low_is_manager = customer_match.low_is_manager or excluded.low_is_manager,
    high_is_manager = customer_match.high_is_manager or excluded.high_is_manager,
    notice = excluded.notice,
    updated_at = greatest(customer_match.updated_at, excluded.updated_at),
    version = customer_match.version + 1;
