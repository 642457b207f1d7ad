-- 100 organisations with a PROD key each, and 100,000 customers dealt out among them. The same arithmetic as
-- load/src/pairs.rs, so that the load generator and pgbench know every reference without asking.

insert into organisation (name) select 'Organisation ' || i from generate_series(1, 100) as i order by i;

insert into api_key (organisation_id, hash, kind, mask)
select id, sha256(convert_to('PRODbenchmarkOrganisation' || lpad(id::text, 7, '0'), 'UTF8')), 'prod', 'PROD…'
from organisation;

insert into customer (organisation_id, cu_ref_no, email)
select (i - 1) % 100 + 1,
       (1000000000000000 + i * 79228162514263 % 8999999999999989)::text,
       'customer' || i || '@example.com'
from generate_series(1::int8, 100000) as i
order by i;

-- Identities are given in order of insertion: organisation 1 … 100, and customer i in organisation (i - 1) % 100 + 1.
do $$
begin
  assert (select min(id) = 1 and max(id) = 100 from organisation), 'organisations are numbered otherwise';
  assert not exists (select from customer where email <> 'customer' || id || '@example.com'), 'customers are numbered otherwise';
end $$;
