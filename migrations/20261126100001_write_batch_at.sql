-- The write path of a distributed database: the same writes, of organisations that one worker holds, in one call that the coordinator
-- delegates to that worker. There, a statement is cheap if it names one organisation and one table, and inserts values: it is
-- planned once for each shard. So matches are written in turn and not in one statement.
--
-- Citus evaluates clock_timestamp() in a statement before it sends it, and rejects it in an update: it stands in a variable.

-- The number of a change, drawn on the node that has the row: its argument is a column, so no other node can evaluate it. Declared
-- immutable, as Citus wants it of a function in `returning`; not in SQL, which would be inlined.
create function change_number(version int8) returns xid8
language plpgsql immutable as $$
begin
  return pg_current_xact_id();
end $$;

-- Makes the relation of two customers exist, active. Returns a letter as customer_match_write.
create function customer_match_upsert(organisation int8, manager text, matched text, given_notice text) returns text
language plpgsql as $$
declare
  v_at constant timestamptz := clock_timestamp();
  v_low constant text collate "C" := least(manager collate "C", matched collate "C");
  v_high constant text collate "C" := greatest(manager collate "C", matched collate "C");
  -- Citus evaluates what stands in the statement, each time: a variable costs it less.
  v_low_is_manager constant boolean := v_low = manager;
  v_high_is_manager constant boolean := v_high = manager;
  v_change text;
  v_is_numbered boolean;
begin
  insert into customer_match (
    organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice,
    created_at, matched_at, updated_at
  )
  values (organisation, v_low, v_high, v_low_is_manager, v_high_is_manager, given_notice, v_at, v_at, v_at)
  on conflict (organisation_id, low_cu_ref_no, high_cu_ref_no) do update set
    low_is_manager = customer_match.low_is_manager or excluded.low_is_manager,
    high_is_manager = customer_match.high_is_manager or excluded.high_is_manager,
    notice = coalesce(excluded.notice, customer_match.notice),
    matched_at = case when customer_match.deactivated_at is null
                      then customer_match.matched_at
                      else greatest(next_microsecond(customer_match.updated_at), excluded.matched_at) end,
    updated_at = greatest(next_microsecond(customer_match.updated_at), excluded.updated_at),
    deactivated_at = null,
    version = customer_match.version + 1,
    changed_in = excluded.changed_in
  where customer_match.deactivated_at is not null
     or (excluded.low_is_manager and not customer_match.low_is_manager)
     or (excluded.high_is_manager and not customer_match.high_is_manager)
     or excluded.notice <> coalesce(customer_match.notice, '')
  returning
    case when version = 1 then 'c' when matched_at = updated_at then 'r' else 'u' end, changed_in = change_number(version)
  into v_change, v_is_numbered;
  if not v_is_numbered then
    -- The shard has just moved to another worker, and the number is this one's.
    update customer_match set changed_in = change_number(version)
    where organisation_id = organisation and low_cu_ref_no = v_low and high_cu_ref_no = v_high;
  end if;
  return coalesce(v_change, '=');
end $$;

-- A relation as the answer to a match has it (domain::Relation).
create function customer_match_representation(organisation int8, manager text, matched text) returns jsonb
language plpgsql stable as $$
declare
  v_relation customer_match;
  v_email text;
begin
  select * into v_relation from customer_match
  where organisation_id = organisation
    and low_cu_ref_no = least(manager collate "C", matched collate "C")
    and high_cu_ref_no = greatest(manager collate "C", matched collate "C");
  select email into v_email from customer where organisation_id = organisation and cu_ref_no = matched;
  return relation_state(v_relation, manager) || jsonb_build_object('customer_email', v_email);
end $$;

-- As customer_match_write, one statement for each match.
create function customer_match_write_in_turn(
  organisation_ids int8[],
  managers text[],
  inout customers text[],
  emails text[],
  guests text[],
  notices text[],
  represented int4[],
  out results text,
  out relations jsonb
)
language plpgsql as $$
#variable_conflict use_column
declare
  v_letters text[] := array_fill('d'::text, array[cardinality(managers)]);
  v_position int4;
  v_turn int8;
begin
  if emails is not null then
    for v_position in
      select ordinal from unnest(organisation_ids, emails) with ordinality as named (organisation_id, email, ordinal)
      where email is not null
      order by organisation_id, email collate "C", ordinal
    loop
      customers[v_position] :=
        customer_for_email(organisation_ids[v_position], emails[v_position], guests[v_position]);
    end loop;
  end if;

  for v_position, v_turn in
    select ordinal, row_number() over (partition by organisation_id, low, high order by ordinal)
    from (
      select
        organisation_id, ordinal,
        least(manager collate "C", customer collate "C") as low, greatest(manager collate "C", customer collate "C") as high
      from unnest(organisation_ids, managers, customers)
        with ordinality as named (organisation_id, manager, customer, ordinal)
      where customer is not null
    ) as pair
    order by organisation_id, low, high, ordinal
  loop
    if managers[v_position] = customers[v_position] then
      v_letters[v_position] := 's';
    elsif v_turn = 1 then
      v_letters[v_position] := customer_match_upsert(
        organisation_ids[v_position], managers[v_position], customers[v_position], notices[v_position]
      );
    end if;
  end loop;
  results := array_to_string(v_letters, '');

  if represented is not null then
    relations := '[]';
    foreach v_position in array represented loop
      relations := relations || jsonb_build_array(customer_match_representation(
        organisation_ids[v_position], managers[v_position], customers[v_position]
      ));
    end loop;
  end if;
end $$;

-- One match by itself: one with a condition, one that follows another write of its pair, or an isolated one. It waits for no lock
-- that another transaction holds. `result` is a letter as above, or m: the manager and k: the customer
-- does not exist, p: the condition does not hold. Then `relation` is as it is, else as this match left it, if it is
-- `represented`.
create or replace function customer_match_write_one(organisation int8, wanted jsonb) returns jsonb
language plpgsql as $$
declare
  v_manager constant text := wanted ->> 'manager';
  v_customer text := wanted ->> 'customer';
  v_email constant text := wanted ->> 'email';
  v_found customer_match;
  v_result text;
begin
  perform from customer
  where organisation_id = organisation and cu_ref_no = v_manager and living for key share nowait;
  if not found then
    return '{"result": "m"}';
  end if;
  if v_customer is null and wanted -> 'if_match' is null then
    v_customer := customer_for_email(organisation, v_email, wanted ->> 'guest');
  elsif v_customer is null then
    -- Where there is no customer, there is no relation, and no guest is created for it.
    select cu_ref_no into v_customer from customer
    where organisation_id = organisation and email = v_email and deleted_at is null;
    if not found then
      return '{"result": "p"}';
    end if;
  end if;
  perform from customer
  where organisation_id = organisation and cu_ref_no = v_customer and living for key share nowait;
  if not found then
    return jsonb_build_object('result', case when v_email is null then 'k' else 'd' end);
  elsif v_manager = v_customer then
    return '{"result": "s"}';
  end if;

  select * into v_found from customer_match
  where organisation_id = organisation
    and low_cu_ref_no = least(v_manager collate "C", v_customer collate "C")
    and high_cu_ref_no = greatest(v_manager collate "C", v_customer collate "C")
  for no key update nowait;
  if not precondition_holds(wanted, v_found.version) then
    return jsonb_build_object(
      'result', 'p',
      'relation', case when v_found.version is not null then relation_state(v_found, v_manager) end
    );
  end if;
  v_result := customer_match_upsert(organisation, v_manager, v_customer, wanted ->> 'notice');
  if wanted -> 'if_none_match' is not null and v_found.version is null and v_result <> 'c' then
    -- A concurrent transaction has created the relation since: the next attempt finds it.
    raise lock_not_available;
  end if;
  return jsonb_build_object(
    'result', v_result,
    'customer_created', coalesce(v_customer = wanted ->> 'guest', false),
    'relation', case
      when (wanted -> 'represented')::boolean then customer_match_representation(organisation, v_manager, v_customer)
    end
  );
end $$;

-- Deactivates a relation. `result` is e: ended now or before, x: the two were never matched, or m, k, p as above; `relation` is
-- as above.
create or replace function customer_match_end(organisation int8, wanted jsonb) returns jsonb
language plpgsql as $$
declare
  v_manager constant text := wanted ->> 'manager';
  v_customer constant text := wanted ->> 'customer';
  v_low constant text collate "C" := least(v_manager collate "C", v_customer collate "C");
  v_high constant text collate "C" := greatest(v_manager collate "C", v_customer collate "C");
  v_at constant timestamptz := clock_timestamp();
  v_relation customer_match;
begin
  select * into v_relation from customer_match
  where organisation_id = organisation and low_cu_ref_no = v_low and high_cu_ref_no = v_high
  for no key update nowait;
  -- Both ends of an active relation are living customers.
  if v_relation.active is null then
    perform from customer where organisation_id = organisation and cu_ref_no = v_manager and living;
    if not found then
      return '{"result": "m"}';
    end if;
    perform from customer where organisation_id = organisation and cu_ref_no = v_customer and living;
    if not found then
      return '{"result": "k"}';
    end if;
    if v_relation.version is null then
      return '{"result": "x"}';
    end if;
  end if;
  if not precondition_holds(wanted, v_relation.version) then
    return jsonb_build_object('result', 'p', 'relation', relation_state(v_relation, v_manager));
  end if;
  if v_relation.active then
    update customer_match set
      deactivated_at = greatest(next_microsecond(updated_at), v_at),
      updated_at = greatest(next_microsecond(updated_at), v_at),
      version = version + 1,
      changed_in = change_number(version)
    where organisation_id = organisation and low_cu_ref_no = v_low and high_cu_ref_no = v_high
    returning * into v_relation;
  end if;
  return jsonb_build_object(
    'result', 'e',
    'relation', case when (wanted -> 'represented')::boolean then relation_state(v_relation, v_manager) end
  );
end $$;

-- Registers a customer, or finds the one with this e-mail address and fills in what it lacks; nothing is overwritten. Returns
-- the profile, the client's IP address that is stored, and whether the customer was created.
create or replace function customer_register(organisation int8, wanted jsonb) returns jsonb
language plpgsql as $$
declare
  v_wanted constant customer := jsonb_populate_record(null::customer, wanted);
  v_customer customer;
  v_created boolean := false;
  v_at timestamptz;
begin
  loop
    select * into v_customer from customer
    where organisation_id = organisation and email = v_wanted.email and deleted_at is null;
    exit when found;
    insert into customer (
      organisation_id, cu_ref_no, email, first_name, last_name, company_name, phone,
      company_registration_number, tax_identification_number, real_ip
    )
    values (
      organisation, v_wanted.cu_ref_no, v_wanted.email, v_wanted.first_name, v_wanted.last_name, v_wanted.company_name,
      v_wanted.phone, v_wanted.company_registration_number, v_wanted.tax_identification_number, v_wanted.real_ip
    )
    on conflict (organisation_id, email) where deleted_at is null do nothing
    returning * into v_customer;
    v_created := found;
    exit when v_created;
  end loop;

  if (v_customer.first_name is null and v_wanted.first_name is not null)
    or (v_customer.last_name is null and v_wanted.last_name is not null)
    or (v_customer.company_name is null and v_wanted.company_name is not null)
    or (v_customer.phone is null and v_wanted.phone is not null)
    or (v_customer.company_registration_number is null and v_wanted.company_registration_number is not null)
    or (v_customer.tax_identification_number is null and v_wanted.tax_identification_number is not null)
    or (v_customer.real_ip is null and v_wanted.real_ip is not null)
  then
    perform from customer
    where organisation_id = organisation and cu_ref_no = v_customer.cu_ref_no for no key update nowait;
    v_at := clock_timestamp();
    update customer set
      first_name = coalesce(first_name, v_wanted.first_name),
      last_name = coalesce(last_name, v_wanted.last_name),
      company_name = coalesce(company_name, v_wanted.company_name),
      phone = coalesce(phone, v_wanted.phone),
      company_registration_number = coalesce(company_registration_number, v_wanted.company_registration_number),
      tax_identification_number = coalesce(tax_identification_number, v_wanted.tax_identification_number),
      real_ip = coalesce(real_ip, v_wanted.real_ip),
      updated_at = greatest(next_microsecond(updated_at), v_at)
    where organisation_id = organisation and cu_ref_no = v_customer.cu_ref_no and deleted_at is null
    returning * into v_customer;
    if not found then
      -- Deleted between look and lock: the next attempt registers a new customer.
      raise lock_not_available;
    end if;
  end if;

  return customer_profile(v_customer)
    || jsonb_build_object('created', v_created, 'real_ip', host(v_customer.real_ip));
end $$;

-- Changes the profile of a customer, which `wanted` names by `cu_ref_no` or, without it, by `email`. A member of its `changes`
-- replaces the column of its name, null clears it. Returns `{"updated": profile}`, `{"email_taken": reference}` if another
-- customer has the new e-mail address, or `"not_found"`.
create or replace function customer_update(organisation int8, wanted jsonb) returns jsonb
language plpgsql as $$
declare
  v_before customer;
  v_after customer;
  v_owner text;
  v_at timestamptz;
begin
  if wanted ->> 'cu_ref_no' is not null then
    select * into v_before from customer
    where organisation_id = organisation and cu_ref_no = wanted ->> 'cu_ref_no' and deleted_at is null
    for no key update nowait;
  else
    select * into v_before from customer
    where organisation_id = organisation and email = wanted ->> 'email' and deleted_at is null
    for no key update nowait;
  end if;
  if not found then
    return '"not_found"';
  end if;

  v_after := jsonb_populate_record(v_before, wanted -> 'changes');
  if v_after is distinct from v_before then
    v_at := clock_timestamp();
    begin
      update customer set
        email = v_after.email,
        first_name = v_after.first_name,
        last_name = v_after.last_name,
        company_name = v_after.company_name,
        phone = v_after.phone,
        company_registration_number = v_after.company_registration_number,
        tax_identification_number = v_after.tax_identification_number,
        real_ip = v_after.real_ip,
        updated_at = greatest(next_microsecond(updated_at), v_at)
      where organisation_id = organisation and cu_ref_no = v_before.cu_ref_no
      returning * into v_after;
    exception
      -- Of the e-mail address. While its owner is not committed this waits, for as long as the lock timeout.
      when unique_violation then
        select cu_ref_no into v_owner from customer
        where organisation_id = organisation and email = v_after.email and deleted_at is null;
        if not found then
          -- Its owner has given it up since: the next attempt takes it.
          raise lock_not_available;
        end if;
        return jsonb_build_object('email_taken', v_owner);
    end;
  end if;
  return jsonb_build_object('updated', customer_profile(v_after));
end $$;

-- Writes a batch and its receipt, as write_batch does.
create function write_batch_at(
  -- An organisation of the batch, whose worker gets the call and whose shard the receipt. All other organisations of the batch
  -- should be on the same worker; where one is not, the batch is slow. 0: the database is not distributed.
  place int8,
  writer int8,
  number int8,
  not_before timestamptz,
  not_after timestamptz,
  -- How long the writes wait for a lock.
  lock_timeout text,
  -- Matches, see customer_match_write. Null: there are none.
  organisation_ids int8[],
  managers text[],
  inout customers text[],
  emails text[],
  guests text[],
  notices text[],
  represented int4[],
  -- Writes that follow them, see write_each. Null: there are none.
  inout others jsonb,
  out results text,
  out relations jsonb,
  out began timestamptz,
  out database_time timestamptz
)
language plpgsql as $$
#variable_conflict use_column
declare
  v_written_at timestamptz;
begin
  perform set_config('lock_timeout', lock_timeout, true);
  if place <> 0 then
    -- What a writer sets for its session (db::connect) does not reach the session of the coordinator on a worker.
    perform
      set_config('plan_cache_mode', 'force_generic_plan', true),
      set_config('enable_seqscan', 'off', true),
      set_config('enable_bitmapscan', 'off', true);
  end if;
  if managers is null then
    customers := null;
  elsif place = 0 then
    select answer.customers, answer.results, answer.relations
    into customers, results, relations
    from customer_match_write(organisation_ids, managers, customers, emails, guests, notices, represented) as answer;
  else
    select answer.customers, answer.results, answer.relations
    into customers, results, relations
    from customer_match_write_in_turn(organisation_ids, managers, customers, emails, guests, notices, represented) as answer;
  end if;
  if emails is null then
    -- The writer knows them.
    customers := null;
  end if;
  if others is not null then
    others := write_each(others);
  end if;

  v_written_at := clock_timestamp();
  update write_receipt set
    batch_number = number,
    written_at = v_written_at,
    results = write_batch_at.results,
    customers = write_batch_at.customers,
    relations = write_batch_at.relations,
    others = write_batch_at.others
  where organisation_id = place and writer_id = writer and batch_number = number - 1 and not fenced;
  if not found then
    raise exception 'writer % is fenced, or its last batch was not %', writer, number - 1 using errcode = 'WB002';
  end if;

  began := statement_timestamp();
  database_time := clock_timestamp();
  if database_time not between not_before and not_after then
    raise exception 'the clock stands at %, the batch was to be written between % and %', database_time, not_before, not_after
      using errcode = 'WB001';
  end if;
end $$;
