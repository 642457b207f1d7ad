-- The feed of changes of a distributed database. The rows of an organisation are on one worker, so the change numbers, the
-- transactions that are still running and the origin of the numbers are that worker's. A row that moves to another one keeps its
-- number, which says nothing there.
--
-- A function that looks at its node takes a column as argument: then no node evaluates it but the one that has the row. Such a
-- function is declared immutable, as Citus wants it in an update, and is not in SQL, which would be inlined.

-- change_origin, for one organisation of a distributed database. Written by organisation_renumber alone.
create table organisation_change_origin (
  organisation_id   int8 primary key,
  -- Of the worker (pg_control_system).
  system_identifier int8 not null,
  -- The transaction that wrote this row. A shard that is moved, divided, distributed or restored is a copy, and its rows have another
  -- xmin.
  written_in        xid8 not null,
  -- The last pair that was renumbered. Null: all are.
  after_low         text collate "C",
  after_high        text collate "C",
  constraint organisation_change_origin_pair check ((after_low is null) = (after_high is null))
);

-- The system identifier of the node that has the row.
create function node_of(organisation_id int8) returns int8
language plpgsql immutable as $$
begin
  return (select system_identifier from pg_control_system());
end $$;

-- Which transactions of the node that has the row have ended.
create function snapshot_of(organisation_id int8) returns pg_snapshot
language plpgsql immutable as $$
begin
  return pg_current_snapshot();
end $$;

-- Names the database that has the row in one stretch of its life, in which change numbers only grow. Null: this row is a copy, or
-- the node is a standby.
create function change_history(system_identifier int8, written_in xid8, row_xmin xid) returns bytea
language plpgsql immutable as $$
declare
  v_node constant int8 := node_of(system_identifier);
begin
  if system_identifier <> v_node or row_xmin <> written_in::xid or pg_is_in_recovery() then
    return null;
  end if;
  return substr(sha256(convert_to(concat_ws(
    '/',
    v_node,
    -- A standby that was promoted has another timeline, and `create database … template` copies the row as it is.
    substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8),
    (select oid from pg_database where datname = current_database()),
    written_in
  ), 'UTF8')), 1, 8);
end $$;

-- A page of the feed of changes: what follows the change with this number and pair. There is at least one row; without a pair it
-- stands for an empty page. `history` is null while the organisation has to be renumbered.
--
-- The origin is read before the page: if the shard moves in between, the cursor that is made of both is of no origin any more.
create function match_changes_page(
  organisation int8,
  after_changed_in int8,
  after_low text,
  after_high text,
  most int8,
  -- Of the notices before the last one. Further notices are left out, and no page ends after them.
  most_bytes int8
) returns table (
  node int8,
  history bytea,
  first_running int8,
  next int8,
  low text,
  high text,
  low_is_manager boolean,
  high_is_manager boolean,
  notice text,
  created_at timestamptz,
  matched_at timestamptz,
  updated_at timestamptz,
  ended_at timestamptz,
  version int8,
  changed_in int8
)
language plpgsql stable
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
  v_snapshot pg_snapshot;
begin
  select
    node_of(origin.organisation_id), snapshot_of(origin.organisation_id),
    case when origin.after_low is null then change_history(system_identifier, written_in, origin.xmin) end
  into node, v_snapshot, history
  from organisation_change_origin as origin
  where origin.organisation_id = organisation;
  if history is null then
    return next;
    return;
  end if;
  first_running := pg_snapshot_xmin(v_snapshot)::text::int8;
  next := pg_snapshot_xmax(v_snapshot)::text::int8;

  return query
  select
    match_changes_page.node, match_changes_page.history, match_changes_page.first_running, match_changes_page.next,
    low_cu_ref_no, high_cu_ref_no, m.low_is_manager, m.high_is_manager,
    case when coalesce(sum(octet_length(m.notice)) over two_before, 0) < most_bytes then nullif(m.notice, '') end,
    m.created_at, m.matched_at, m.updated_at, m.deactivated_at, m.version, m.changed_in::text::int8
  from customer_match as m
  where organisation_id = organisation
    and m.changed_in < pg_snapshot_xmin(v_snapshot)
    and (m.changed_in, low_cu_ref_no, high_cu_ref_no) > (after_changed_in::text::xid8, after_low, after_high)
  window two_before as (
    order by m.changed_in, low_cu_ref_no, high_cu_ref_no rows between unbounded preceding and 2 preceding
  )
  order by m.changed_in, low_cu_ref_no, high_cu_ref_no
  limit most;
  if not found then
    return next;
  end if;
end $$;

-- The last change of each of these organisations that can be shown, null without any. They are on the node of `place`, which is one
-- of them; of an organisation that is not, the answer may be wrong.
create function latest_changes(place int8, organisations int8[]) returns table (
  organisation_id int8,
  node int8,
  first_running int8,
  next int8,
  changed_in int8
)
language plpgsql stable
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
  v_first_running constant xid8 := pg_snapshot_xmin(pg_current_snapshot());
  v_organisation int8;
begin
  node := node_of(place);
  first_running := v_first_running::text::int8;
  next := pg_snapshot_xmax(pg_current_snapshot())::text::int8;
  foreach v_organisation in array organisations loop
    organisation_id := v_organisation;
    select m.changed_in::text::int8 into changed_in from customer_match as m
    where m.organisation_id = v_organisation and m.changed_in < v_first_running
    order by m.changed_in desc
    limit 1;
    return next;
  end loop;
end $$;

-- Renumbers some relations of an organisation, if their numbers were drawn elsewhere, in the order of their pairs; true once all are.
-- Where the shard moves between two calls, the next one begins anew.
create function organisation_renumber(organisation int8, most int8) returns boolean
language plpgsql
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  v_history bytea;
  v_low text;
  v_high text;
  v_pair record;
  v_renumbered int8 := 0;
begin
  insert into organisation_change_origin (organisation_id, system_identifier, written_in) values (organisation, 0, '0')
  on conflict (organisation_id) do nothing;
  -- Another call waits here until this one is committed.
  select change_history(system_identifier, written_in, origin.xmin), after_low, after_high
  into v_history, v_low, v_high
  from organisation_change_origin as origin
  where organisation_id = organisation
  for no key update;
  if v_history is null then
    v_low := '';
    v_high := '';
  elsif v_low is null then
    return true;
  end if;

  for v_pair in
    select low_cu_ref_no, high_cu_ref_no from customer_match
    where organisation_id = organisation and (low_cu_ref_no, high_cu_ref_no) > (v_low, v_high)
    order by low_cu_ref_no, high_cu_ref_no
    limit most
    for no key update
  loop
    v_low := v_pair.low_cu_ref_no;
    v_high := v_pair.high_cu_ref_no;
    update customer_match set changed_in = change_number(version)
    where organisation_id = organisation and low_cu_ref_no = v_low and high_cu_ref_no = v_high;
    v_renumbered := v_renumbered + 1;
  end loop;

  update organisation_change_origin set
    system_identifier = node_of(organisation_id),
    written_in = change_number(organisation_id),
    after_low = case when v_renumbered = most then v_low end,
    after_high = case when v_renumbered = most then v_high end
  where organisation_id = organisation;
  return v_renumbered < most;
end $$;
