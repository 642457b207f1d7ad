-- The reads of each workload with their answers, as load/src/reads.rs takes them after the workload's name: path and query, the
-- first reference, the number of items on the page, the number of all (empty for a detail).

set client_min_messages = warning;

create temp table matched as
select owner.customer, owner.cu_ref_no as owner, owner.relations, matched_at, c.cu_ref_no, c.email, c.last_name, c.search
from benchmark.owner
cross join lateral (
  select high_cu_ref_no as other, matched_at from customer_match where organisation_id = 101 and low_cu_ref_no = owner.cu_ref_no
  union all
  select low_cu_ref_no, matched_at from customer_match where organisation_id = 101 and high_cu_ref_no = owner.cu_ref_no
) as m
join customer as c on c.organisation_id = 101 and c.cu_ref_no = m.other;
create index on matched (owner);

-- Terms that are found: of each kind one for each owner of 10 relations, and 20 for that of 100,000.
create temp table term as
select owner, relations, kind, term, search_pattern(term) as pattern
from (
  select owner, relations, kind, term, row_number() over (partition by owner, kind order by md5(owner || term)) as number
  from matched
  cross join lateral (values
    ('name', search_fold(last_name)), ('email', email), ('letters', left(search_fold(last_name), 2))
  ) as terms (kind, term)
  group by owner, relations, kind, term
) as numbered
where number <= case relations when 10 then 1 else 20 end;

create temp table request as
select
  kind || '-' || relations as workload,
  '/api/v1/customer/matched-customer-list?apiKey=PRODbenchmarkOrganisation0000101&cuRefNo=' || owner
  || coalesce('&query=' || term, '') as target,
  (array_agg(cu_ref_no order by matched_at desc, cu_ref_no desc))[1] as first,
  least(count(*), 32) as items,
  count(*)::text as item_count
from (
  select 'page' as kind, relations, owner, null as term, cu_ref_no, matched_at from matched
  union all
  select kind, term.relations, owner, term, cu_ref_no, matched_at
  from term join matched using (owner)
  where search like pattern
) as found
group by kind, relations, owner, term
union all
-- The newest of those whom a customer manages.
select distinct on (owner)
  'detail',
  '/api/v1/customer/detail?apiKey=PRODbenchmarkOrganisation0000101&identityId=benchmarkIdentity' || lpad(customer::text, 15, '0')
  || '&cuRefNo=' || cu_ref_no,
  cu_ref_no, 1, ''
from (select * from matched where relations = 10 order by owner, matched_at desc) as newest;

-- Of nine reads of the mix: four pages of 10, three details, one name among 10, one page of 100,000.
insert into request
select 'mix', target, first, items, item_count
from (select *, row_number() over (partition by workload order by target) as number from request) as numbered
join (values ('page-10', 400, 1), ('detail', 300, 1), ('name-10', 100, 1), ('page-100000', 1, 100))
  as share (workload, lines, times) using (workload)
cross join generate_series(1, times)
where number <= lines;

copy (select * from request order by workload, md5(target)) to stdout;
