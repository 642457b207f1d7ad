-- What the documentation lets a caller register besides names: whom to invoice, and where the customer came from.

alter table customer
  add column company_registration_number text,
  add column tax_identification_number   text,
  -- The customer's own address, as the caller's web server saw it (customerRealIp): an address, never a network.
  add column real_ip                     inet
    constraint customer_real_ip_is_host check (masklen(real_ip) = case family(real_ip) when 4 then 32 else 128 end);

-- A customer that is logged in: a session, opened by magic-auth and ended by logout.

create table customer_identity (
  organisation_id int8 not null,
  -- SHA-256 of the identity id, which is never stored: 32 random characters carry 190 bits, a slow hash adds nothing.
  hash            bytea not null constraint customer_identity_hash_is_sha256 check (octet_length(hash) = 32),
  customer_id     int8 not null,
  created_at      timestamptz not null,
  expires_at      timestamptz not null,
  -- Null: until expires_at. Never taken back.
  revoked_at      timestamptz,
  -- An identity of one organisation does not exist for another's key, however it came by it.
  primary key (organisation_id, hash),
  constraint customer_identity_customer_fkey foreign key (organisation_id, customer_id)
    references customer (organisation_id, id)
);

-- All sessions of a customer, to end them together.
create index customer_identity_customer on customer_identity (organisation_id, customer_id);
