-- The relation of two customers: symmetric, one row per unordered pair and organisation.

create table customer_match (
  organisation_id int8 not null,
  created_at      timestamptz not null,
  -- When it last became active: created_at until a deactivated relation is matched again.
  matched_at      timestamptz not null,
  updated_at      timestamptz not null,
  -- Null: active.
  deactivated_at  timestamptz,
  -- 1 for a row just inserted: how a statement tells an insert from an update without xmax, which not every engine that
  -- speaks Postgres has.
  version         int8 not null default 1 constraint customer_match_version_is_positive check (version >= 1),
  -- The transaction of the last change, set by every insert and update: the order of the feed of changes. All that will ever
  -- be committed has a number of at least pg_snapshot_xmin(pg_current_snapshot()), so a reader that takes what is below it, in
  -- order, misses nothing that is committed later. Numbers of a sequence, and times, are not in the order of commits.
  changed_in      xid8 not null default pg_current_xact_id(),
  -- Which side acts as manager: one of them, or both once it was posted in both directions.
  low_is_manager  boolean not null,
  high_is_manager boolean not null,
  -- True, or null once deactivated: a foreign key with a null in it is not checked.
  active          boolean generated always as (case when deactivated_at is null then true end) stored,
  -- The pair in its one canonical order. With the primary key this makes a doubled or mirrored pair impossible, and
  -- low < high makes a self-match impossible.
  low_cu_ref_no   text collate "C" not null,
  high_cu_ref_no  text collate "C" not null,
  -- Shared by both sides. Null: never given; empty: cleared. An upsert tells "keep what is there" from "clear it" by the
  -- two; a reader sees neither.
  notice          text constraint customer_match_notice_length check (char_length(notice) <= 10000),
  primary key (organisation_id, low_cu_ref_no, high_cu_ref_no),
  -- In their order, and finite: clients get them as dates.
  constraint customer_match_times check (
    created_at > '-infinity' and created_at <= matched_at and matched_at <= updated_at and updated_at < 'infinity'
    and deactivated_at between matched_at and updated_at
  ),
  -- The normal form, made by the server (domain::Notice): outer white space trimmed, lines end with a line feed.
  constraint customer_match_notice_normal_form check (
    strpos(notice, E'\r') = 0
    and notice = btrim(
      notice,
      E' \t\n\u000B\f\u0085\u00A0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200A\u2028\u2029\u202F\u205F\u3000'
    )
  ),
  constraint customer_match_canonical_order check (low_cu_ref_no < high_cu_ref_no),
  constraint customer_match_has_manager check (low_is_manager or high_is_manager),
  -- Both ends of an active relation are living customers of the row's organisation. So a match needs no look-up: the keys
  -- find unknown and deleted customers, and lock both `for key share` until the commit, so that a deletion waits. A key to
  -- organisation itself is implied by these and would only cost time.
  constraint customer_match_low_fkey foreign key (organisation_id, low_cu_ref_no, active)
    references customer (organisation_id, cu_ref_no, living),
  constraint customer_match_high_fkey foreign key (organisation_id, high_cu_ref_no, active)
    references customer (organisation_id, cu_ref_no, living)
);

-- The active relations of a customer, newest first: one index for each side of the pair that it may stand on.
create index customer_match_low on customer_match
  (organisation_id, low_cu_ref_no, matched_at desc, high_cu_ref_no desc) where active is not null;
create index customer_match_high on customer_match
  (organisation_id, high_cu_ref_no, matched_at desc, low_cu_ref_no desc) where active is not null;

-- The feed of changes. With the pair, so that a page is one index read, whatever one transaction has changed: an index without
-- it is half as large, but what an import, a merge or a deletion changes in one transaction would be sorted for each page.
create index customer_match_changes on customer_match (organisation_id, changed_in, low_cu_ref_no, high_cu_ref_no);

-- A customer belongs to one organisation, so its reference decides organisation_id. Without these, Postgres takes the two
-- for independent, expects next to no relations of a customer in a small organisation, and looks up single pairs by
-- reading all of them (measured: 120 ms instead of 3).
create statistics customer_match_low_side (dependencies) on organisation_id, low_cu_ref_no from customer_match;
create statistics customer_match_high_side (dependencies) on organisation_id, high_cu_ref_no from customer_match;

-- A relation as clients see it (domain::RelationState), with this one of its customers in the place of the manager.
create function relation_state(relation customer_match, manager text) returns jsonb
  language sql stable parallel safe
  return jsonb_build_object(
    'manager_cu_ref_no', manager,
    'customer_cu_ref_no', case manager
      when (relation).low_cu_ref_no then (relation).high_cu_ref_no else (relation).low_cu_ref_no
    end,
    'role', case
      when (relation).low_is_manager and (relation).high_is_manager then 'both'
      when (relation).low_is_manager = (manager = (relation).low_cu_ref_no) then 'customer'
      else 'manager'
    end,
    'notice', nullif((relation).notice, ''),
    'active', (relation).deactivated_at is null,
    'created_at', (relation).created_at,
    'matched_at', (relation).matched_at,
    'updated_at', (relation).updated_at,
    'ended_at', (relation).deactivated_at,
    'version', (relation).version
  );
