-- Compares the answers (stdin: those of the load generator) with the table, and prints one JSON object.
-- Rows of the seed are older than 2021, see relations.sql.

set client_min_messages = warning;
create temp table answer (number int8, organisation int8, manager int8, customer int8, status int4, micros int8);
\copy answer from pstdin

create temp table acknowledged as
select organisation, least(manager, customer) as low, greatest(manager, customer) as high,
       bool_or(manager < customer) as low_is_manager, bool_or(customer < manager) as high_is_manager,
       array_agg('Met on the course, ' || number) as notices
from (
  select organisation, number, status, benchmark.cu_ref_no(manager) as manager, benchmark.cu_ref_no(customer) as customer
  from answer
) as named
where status = 200
group by 1, 2, 3;

create temp table written as
select *, least(low_cu_ref_no, high_cu_ref_no) as low, greatest(low_cu_ref_no, high_cu_ref_no) as high
from customer_match
where created_at >= '2021-01-01';

analyze acknowledged;
analyze written;

select json_build_object(
    'acknowledged', (select count(*) from acknowledged),
    'rows', (select count(*) from written),
    -- Acknowledged and not there.
    'missing', (select count(*) from acknowledged a
        where not exists (select from written w
            where (w.organisation_id, w.low, w.high) = (a.organisation, a.low, a.high))),
    -- There and never acknowledged.
    'unasked', (select count(*) from written w
        where not exists (select from acknowledged a
            where (w.organisation_id, w.low, w.high) = (a.organisation, a.low, a.high))),
    -- The same two customers in more than one row.
    'doubled', (select count(*) - count(distinct (organisation_id, low, high)) from written),
    -- Another side as manager, a notice that no request had for this pair, or not active.
    'wrong', (select count(*) from acknowledged a join written w
            on (w.organisation_id, w.low, w.high) = (a.organisation, a.low, a.high)
        where w.low_is_manager <> a.low_is_manager or w.high_is_manager <> a.high_is_manager
            or w.deactivated_at is not null or w.notice is null or w.notice <> all (a.notices)),
    -- Rows from before the run that are as they were.
    'untouched', (select count(*) from customer_match where created_at < '2021-01-01' and version = 1)
);
