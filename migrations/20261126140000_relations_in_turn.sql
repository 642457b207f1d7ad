-- Merges, and imports of relations that have ended, write their relations one after the other: of a statement that inserts what it selects,
-- the coordinator of a cluster sends the rows to every worker, and fails if one is down.

-- Ends the legacy customer's relations, which stay as rows, and writes the survivor's. The notice moves; only the relation of the two with
-- each other keeps its own. A relation with a customer that was merged itself is left out: it was moved then.
--
-- The select locks again what is locked already, for the sake of a relation that was made before both customers were locked: so it reads
-- the row's last version.
create function customer_match_merge(organisation int8, legacy text, survivor text, out relations int8, out self_relation bool)
language plpgsql as $$
declare
  v_relation record;
begin
  relations := 0;
  self_relation := false;
  for v_relation in
    select
      low_cu_ref_no, high_cu_ref_no,
      case when low_cu_ref_no = legacy then high_cu_ref_no else low_cu_ref_no end as other,
      case when low_cu_ref_no = legacy then low_is_manager else high_is_manager end as is_manager,
      case when low_cu_ref_no = legacy then high_is_manager else low_is_manager end as other_is_manager,
      notice, created_at, matched_at, updated_at, deactivated_at, version
    from customer_match
    where organisation_id = organisation and (low_cu_ref_no = legacy or high_cu_ref_no = legacy)
      and not exists (
        select from customer
        where organisation_id = organisation and cu_ref_no in (low_cu_ref_no, high_cu_ref_no) and merged_into_cu_ref_no is not null
      )
    order by low_cu_ref_no, high_cu_ref_no
    for no key update of customer_match
  loop
    update customer_match set
      notice = case when v_relation.other = survivor then notice end,
      updated_at = at_least_now(next_microsecond(updated_at)),
      deactivated_at = coalesce(deactivated_at, at_least_now(next_microsecond(updated_at))),
      version = version + 1,
      changed_in = change_number(version)
    where organisation_id = organisation
      and low_cu_ref_no = v_relation.low_cu_ref_no and high_cu_ref_no = v_relation.high_cu_ref_no
      and (deactivated_at is null or v_relation.other <> survivor and notice <> '');
    if v_relation.other = survivor then
      self_relation := true;
      continue;
    end if;
    insert into customer_match (
      organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice,
      created_at, matched_at, updated_at, deactivated_at, version
    )
    values (
      organisation,
      least(survivor collate "C", v_relation.other collate "C"), greatest(survivor collate "C", v_relation.other collate "C"),
      case when survivor collate "C" < v_relation.other then v_relation.is_manager else v_relation.other_is_manager end,
      case when survivor collate "C" < v_relation.other then v_relation.other_is_manager else v_relation.is_manager end,
      v_relation.notice, v_relation.created_at, v_relation.matched_at,
      at_least_now(next_microsecond(v_relation.updated_at)), v_relation.deactivated_at,
      -- Not a new relation: 1 is the sign of those.
      v_relation.version + 1
    )
    on conflict (organisation_id, low_cu_ref_no, high_cu_ref_no) do update set
      low_is_manager = customer_match.low_is_manager or excluded.low_is_manager,
      high_is_manager = customer_match.high_is_manager or excluded.high_is_manager,
      -- None is null, or empty once it was cleared.
      notice = case
        when coalesce(excluded.notice, '') in ('', customer_match.notice) then customer_match.notice
        when coalesce(customer_match.notice, '') = '' then excluded.notice
        else customer_match.notice || e'\n\n' || excluded.notice
      end,
      created_at = least(customer_match.created_at, excluded.created_at),
      -- Both active: since the first of them. One active: since that one. Neither: the last that was.
      matched_at = case
        when customer_match.deactivated_at is null and excluded.deactivated_at is null
          then least(customer_match.matched_at, excluded.matched_at)
        when customer_match.deactivated_at is null then customer_match.matched_at
        when excluded.deactivated_at is null then excluded.matched_at
        else greatest(customer_match.matched_at, excluded.matched_at)
      end,
      updated_at = greatest(next_microsecond(customer_match.updated_at), excluded.updated_at),
      deactivated_at = case
        when customer_match.deactivated_at is null or excluded.deactivated_at is null then null
        else greatest(customer_match.deactivated_at, excluded.deactivated_at)
      end,
      version = greatest(customer_match.version, excluded.version) + 1,
      changed_in = excluded.changed_in;
    relations := relations + 1;
  end loop;
end $$;

-- What `customer_match_import::end` of src/db does on one Postgres, in one delegated call; tests/api/distributed_layout.rs holds the two
-- together. No pair may be there twice.
create function customer_match_import_ended(
  organisation int8, managers text[], cu_ref_nos text[], emails text[], notices text[], mutual bool[]
)
returns table (manager_lives bool, customer text, customer_lives bool, change text)
language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
  v_customer text;
  v_customers text[] := cu_ref_nos;
  v_manager_lives bool[];
  v_customer_lives bool[];
  v_change text;
  v_changes text[] := array_fill(null::text, array[cardinality(managers)]);
  v_position int8;
  v_now timestamptz;
begin
  for i in 1 .. cardinality(managers) loop
    if v_customers[i] is null then
      select cu_ref_no into v_customer from customer
      where organisation_id = organisation and email = emails[i] and deleted_at is null;
      v_customers[i] := v_customer;
    end if;
    v_manager_lives[i] := customer_is_living(organisation, managers[i]);
    v_customer_lives[i] := customer_is_living(organisation, v_customers[i]);
  end loop;
  for v_position in
    select position
    from unnest(managers, v_customers, v_manager_lives, v_customer_lives)
      with ordinality as named (manager, customer, manager_lives, customer_lives, position)
    where named.manager_lives and named.customer_lives and named.manager <> named.customer
    order by least(named.manager collate "C", named.customer collate "C"), greatest(named.manager collate "C", named.customer collate "C")
  loop
    v_now := clock_timestamp();
    insert into customer_match (
      organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice,
      created_at, matched_at, updated_at, deactivated_at
    )
    values (
      organisation,
      least(managers[v_position] collate "C", v_customers[v_position]),
      greatest(managers[v_position] collate "C", v_customers[v_position]),
      mutual[v_position] or managers[v_position] collate "C" < v_customers[v_position],
      mutual[v_position] or managers[v_position] collate "C" > v_customers[v_position],
      notices[v_position],
      v_now, v_now, v_now, v_now
    )
    on conflict (organisation_id, low_cu_ref_no, high_cu_ref_no) do update set
      low_is_manager = customer_match.low_is_manager or excluded.low_is_manager,
      high_is_manager = customer_match.high_is_manager or excluded.high_is_manager,
      notice = coalesce(excluded.notice, customer_match.notice),
      updated_at = greatest(next_microsecond(customer_match.updated_at), excluded.updated_at),
      deactivated_at = coalesce(
        customer_match.deactivated_at, greatest(next_microsecond(customer_match.updated_at), excluded.updated_at)
      ),
      version = customer_match.version + 1,
      changed_in = excluded.changed_in
    where customer_match.deactivated_at is null
       or (excluded.low_is_manager and not customer_match.low_is_manager)
       or (excluded.high_is_manager and not customer_match.high_is_manager)
       or excluded.notice <> coalesce(customer_match.notice, '')
    returning case when version = 1 then 'created' when deactivated_at = updated_at then 'ended' else 'updated' end
    into v_change;
    v_changes[v_position] := v_change;
  end loop;
  return query select * from unnest(v_manager_lives, v_customers, v_customer_lives, v_changes);
end $$;
