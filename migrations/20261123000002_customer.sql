-- A customer of an organisation. organisation_id leads every key, so the table can be distributed by it.

create table customer (
  organisation_id int8 not null references organisation (id),
  -- Internal and never shown; two of them give a pair its canonical order.
  id              int8 generated always as identity,
  -- Byte order, not a language's: an opaque reference is compared, never sorted for people.
  cu_ref_no       text collate "C" not null
                  constraint customer_cu_ref_no_format check (cu_ref_no ~ '^[A-Za-z0-9]{16}$'),
  -- The normal form, made by the server (domain::Email). The database holds what it can see of it: one @, no upper
  -- case, a domain of A-labels with two labels at least, the length of RFC 5321.
  email           text collate "C"
                  constraint customer_email_normal_form check (
                    email ~ '^[^@[:space:][:cntrl:]A-Z]+@[a-z0-9-]+([.][a-z0-9-]+)+$' and octet_length(email) <= 254
                  ),
  first_name      text,
  last_name       text,
  company_name    text,
  phone           text,
  created_at      timestamptz not null default now(),
  -- Hidden everywhere from this moment; the row stays because relations point at it.
  deleted_at      timestamptz,
  primary key (organisation_id, id),
  constraint customer_cu_ref_no_key unique (organisation_id, cu_ref_no)
);

-- Among the living only: whoever registers with the address of a deleted customer is a new customer.
create unique index customer_email_key on customer (organisation_id, email) where deleted_at is null;
