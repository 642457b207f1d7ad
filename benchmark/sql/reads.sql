-- What is read: organisation 101 with 200,000 customers of its own, one of which has 100,000 relations and 1,000 have 10 each
-- and are logged in. The references of customers are as in seed.sql, so each list has relations on either side of the pair.

set session_replication_role = replica;

insert into organisation (name) values ('Organisation 101');
insert into api_key (organisation_id, hash, kind, mask)
select id, sha256(convert_to('PRODbenchmarkOrganisation' || lpad(id::text, 7, '0'), 'UTF8')), 'prod', 'PROD…'
from organisation where name = 'Organisation 101';

create table benchmark.owner as
select i as customer, benchmark.cu_ref_no(i) as cu_ref_no, case i when 100001 then 100000 else 10 end as relations
from generate_series(100001::int8, 101001) as i;

-- 20 first names, 1,000 family names: one of 1,000 customers has a certain family name, one of 20,000 both.
insert into customer (organisation_id, cu_ref_no, email, first_name, last_name)
select
  101, benchmark.cu_ref_no(i), 'customer' || i || '@example.com',
  (array['Jan','Petr','Eva','Jana','Marie','Pavel','Tomáš','Lucie','Karel','Josef',
         'Anna','Hana','Jiří','Martin','Lenka','Kateřina','Jakub','Ondřej','Filip','Alena'])[1 + i % 20],
  initcap(translate(left(md5((i * 7919 % 1000)::text), 7), '0123456789abcdef', 'aeioukrstvnlmpdz'))
from generate_series(100001::int8, 300000) as i;

-- Older than any run, see verify.sql. Each was matched at another moment.
insert into customer_match (
  organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice, created_at, matched_at, updated_at
)
select 101, least(owner, other), greatest(owner, other), owner < other, other < owner, 'Prefers cardio training.', at, at, at
from (
  select cu_ref_no as owner, benchmark.cu_ref_no(200000 + 1 + (customer * 10 + number) * 7919 % 100000) as other,
         '2020-01-01'::timestamptz + (number * 7919 % 100003) * interval '1 s' + customer * interval '1 us' as at
  from benchmark.owner, generate_series(1, relations) as number
) as pair;

insert into customer_identity (organisation_id, hash, cu_ref_no, created_at, expires_at)
select 101, sha256(convert_to('benchmarkIdentity' || lpad(customer::text, 15, '0'), 'UTF8')), cu_ref_no, now(), now() + interval '1 year'
from benchmark.owner;
