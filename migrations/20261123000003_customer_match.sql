-- The relation of two customers: symmetric, one row per unordered pair and organisation.

create table customer_match (
  organisation_id int8 not null,
  -- The pair in its one canonical order. With the primary key this makes a doubled or mirrored pair impossible, and
  -- low < high makes a self-match impossible.
  low_id          int8 not null,
  high_id         int8 not null,
  -- Which side acts as manager: one of them, or both once it was posted in both directions.
  low_is_manager  boolean not null,
  high_is_manager boolean not null,
  -- Shared by both sides. Null: never given; empty: cleared. An upsert tells "keep what is there" from "clear it" by the
  -- two; to whoever reads, both are none.
  notice          text constraint customer_match_notice_length check (char_length(notice) <= 10000),
  created_at      timestamptz not null,
  -- When it last became active: created_at until somebody matches a deactivated relation again.
  matched_at      timestamptz not null,
  updated_at      timestamptz not null,
  -- Null: active.
  deactivated_at  timestamptz,
  -- 1 for a row just inserted: how a statement tells an insert from an update without xmax, which not every
  -- engine that speaks Postgres has.
  version         int8 not null default 1,
  primary key (organisation_id, low_id, high_id),
  constraint customer_match_canonical_order check (low_id < high_id),
  constraint customer_match_has_manager check (low_is_manager or high_is_manager),
  -- Both ends in the same organisation as the row: a relation across organisations cannot be stored. A key to
  -- organisation itself is implied by these and would only cost time.
  constraint customer_match_low_fkey foreign key (organisation_id, low_id) references customer (organisation_id, id),
  constraint customer_match_high_fkey foreign key (organisation_id, high_id) references customer (organisation_id, id)
);
