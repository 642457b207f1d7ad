-- Relations that were there before the run: :relations of those pairs that the load generator leaves alone (ranks that add up
-- to a multiple of 8), older than any run. They are inserted in no order, as in life: indexes that are filled in order end up
-- packed, and the next inserts pay for splitting every page.

-- Checks of foreign keys row by row would take minutes; the rows satisfy them by construction.
set session_replication_role = replica;
-- Only the seed: a run has what initdb gave.
set work_mem = '256MB';

insert into customer_match (
  organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice, created_at, matched_at, updated_at
)
select organisation, least(one, other), greatest(one, other), a % 2 = 0, a % 2 = 1, 'Met on the course, 0',
       '2020-01-01', '2020-01-01', '2020-01-01'
from generate_series(1, 100) as organisation,
     generate_series(0, 999) as a,
     generate_series(8 - a % 8, 999, 8) as b,
     lateral (
       select benchmark.cu_ref_no(a * 100 + organisation) as one, benchmark.cu_ref_no(b * 100 + organisation) as other
     ) as pair
where a < b
order by ((a * 100 + organisation) * 7919::int8 + (b * 100 + organisation) * 104729::int8) % 1000003
limit :relations;
