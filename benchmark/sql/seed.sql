-- 100 organisations with a PROD key each, and 100,000 customers dealt out among them: customer i belongs to organisation
-- (i - 1) % 100 + 1. The load generator and pgbench compute the same references (load/src/pairs.rs).

-- Beside the shipped schema, for these files.
create schema benchmark;
create function benchmark.cu_ref_no(customer int8) returns text
  language sql immutable
  return (1000000000000000 + customer::numeric * 79228162514263 % 8999999999999989)::int8::text;

insert into organisation (name) select 'Organisation ' || i from generate_series(1, 100) as i order by i;

insert into api_key (organisation_id, hash, kind, mask)
select id, sha256(convert_to('PRODbenchmarkOrganisation' || lpad(id::text, 7, '0'), 'UTF8')), 'prod', 'PROD…'
from organisation;

insert into customer (organisation_id, cu_ref_no, email)
select (i - 1) % 100 + 1, benchmark.cu_ref_no(i), 'customer' || i || '@example.com'
from generate_series(1::int8, 100000) as i
order by i;

-- Identities are given in order of insertion.
do $$
begin
  assert (select min(id) = 1 and max(id) = 100 from organisation), 'organisations are numbered otherwise';
end $$;
