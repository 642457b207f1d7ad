-- A customer that is logged in: a session, opened by magic-auth and ended by logout.

create table customer_identity (
  organisation_id int8 not null,
  -- SHA-256 of the identity id, which is never stored: 32 random characters carry 190 bits, a slow hash adds nothing.
  hash            bytea not null constraint customer_identity_hash_is_sha256 check (octet_length(hash) = 32),
  cu_ref_no       text collate "C" not null,
  created_at      timestamptz not null,
  expires_at      timestamptz not null,
  -- Null: until expires_at. Never taken back.
  revoked_at      timestamptz,
  -- An identity of one organisation does not exist for the key of another, however it got there.
  primary key (organisation_id, hash),
  constraint customer_identity_times check (
    created_at > '-infinity' and created_at <= expires_at and expires_at < 'infinity'
    and created_at <= revoked_at and revoked_at < 'infinity'
  ),
  constraint customer_identity_customer_fkey foreign key (organisation_id, cu_ref_no)
    references customer (organisation_id, cu_ref_no)
);

-- All sessions of a customer, to end them together.
create index customer_identity_customer on customer_identity (organisation_id, cu_ref_no);

-- Those that have ended, to remove them.
create index customer_identity_end on customer_identity (organisation_id, least(expires_at, revoked_at));
