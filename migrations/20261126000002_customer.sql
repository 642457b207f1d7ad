-- A customer of an organisation. organisation_id leads every key, so the table can be distributed by it.

-- Substring search by trigrams; organisation_id and the trigrams in one index.
create extension if not exists pg_trgm;
create extension if not exists btree_gin;

-- The form in which texts are compared: "Novak" finds "Novák". It does not depend on the database's locale.
create function search_fold(given text) returns text
  language sql immutable strict parallel safe
  return replace(replace(replace(replace(
    translate(
      lower(
        -- NFKD separates letters from their diacritics, and makes full-width letters and ligatures plain ones. Removed are
        -- combining marks, Hebrew points and Arabic vowel signs.
        regexp_replace(
          normalize(given, NFKD),
          '[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u065f\u0670\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]',
          '', 'g'
        )
        -- lower() folds ASCII alone here, independent of any locale; the other cased letters of names are spelled out.
        collate "C"
      ),
      'ŁłØøĐđÐðĦħŦŧŊŋıÆŒÞẞ' || 'ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣςΤΥΦΧΨΩ'
        || 'АБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯЂЄЅІЈЉЊЋЏҐ' || 'ԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖ',
      'llooddddhhttnniæœþß' || 'αβγδεζηθικλμνξοπρσστυφχψω'
        || 'абвгдежзиклмнопрстуфхцчшщъыьэюяђєѕіјљњћџґ' || 'աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ'
    ),
    'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th');

-- The pattern for `like` that finds the term anywhere; % and _ in it stand for themselves.
create function search_pattern(term text) returns text
  language sql immutable strict parallel safe
  return '%' || regexp_replace(search_fold(term), '([\\%_])', '\\\1', 'g') || '%';

create table customer (
  organisation_id             int8 not null references organisation (id),
  -- The public reference is the key: relations and sessions name customers by what clients know, so no statement has to
  -- look an internal id up. Byte order: an opaque reference is compared, never sorted for people.
  cu_ref_no                   text collate "C" not null
                              constraint customer_cu_ref_no_format check (cu_ref_no ~ '^[A-Za-z0-9]{16}$'),
  -- The normal form, made by the server (domain::Email). The database checks what it can see of it: one @, no upper case,
  -- a domain of A-labels with two labels at least, the length of RFC 5321.
  email                       text collate "C"
                              constraint customer_email_normal_form check (
                                email ~ '^[^@[:space:][:cntrl:]A-Z]+@[a-z0-9-]+([.][a-z0-9-]+)+$'
                                and octet_length(email) <= 254
                              ),
  first_name                  text,
  last_name                   text,
  company_name                text,
  phone                       text,
  company_registration_number text,
  tax_identification_number   text,
  -- The customer's own IP address, as the client's web server saw it (customerRealIp): an address, never a network.
  real_ip                     inet constraint customer_real_ip_is_host
                              check (masklen(real_ip) = case family(real_ip) when 4 then 32 else 128 end),
  created_at                  timestamptz not null default now(),
  -- Hidden everywhere from this moment on; the row stays because relations reference it.
  deleted_at                  timestamptz,
  -- In the words of the operator who deleted it.
  deletion_reason             text constraint customer_deletion_reason_not_blank check (btrim(deletion_reason) <> ''),
  -- The customer that holds its relations now. Null: it was not merged.
  merged_into_cu_ref_no       text collate "C",
  -- True, or null once deleted: the target of the foreign keys of active relations.
  living                      boolean generated always as (case when deleted_at is null then true end) stored,
  -- The first name stands on both sides of the last name, so that either order finds it. A line break, which no term
  -- holds, keeps a term from reaching from one field into the next.
  search                      text collate "C" not null generated always as (
                                search_fold(
                                  coalesce(first_name, '') || ' ' || coalesce(last_name, '') || ' '
                                  || coalesce(first_name, '') || E'\n' || coalesce(company_name, '')
                                  || E'\n' || coalesce(email, '')
                                )
                              ) stored,
  constraint customer_cu_ref_no_key primary key (organisation_id, cu_ref_no),
  constraint customer_living_key unique (organisation_id, cu_ref_no, living),
  constraint customer_deletion_reason_of_deleted check (deletion_reason is null or deleted_at is not null),
  -- A merge is a deletion: two living customers never stand for each other.
  constraint customer_merged_is_deleted check (merged_into_cu_ref_no is null or deleted_at is not null),
  constraint customer_merged_into_another check (merged_into_cu_ref_no <> cu_ref_no),
  -- Costs nothing while merged_into_cu_ref_no is null.
  constraint customer_merged_into_fkey foreign key (organisation_id, merged_into_cu_ref_no)
    references customer (organisation_id, cu_ref_no)
);

-- Not of deleted customers: who registers with the e-mail address of one becomes a new customer.
create unique index customer_email_key on customer (organisation_id, email) where deleted_at is null;

-- Led by the organisation: a search costs nothing for the customers of others.
create index customer_search on customer using gin (organisation_id, search gin_trgm_ops) where deleted_at is null;
