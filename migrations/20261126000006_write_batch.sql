-- The write path: one batch of pending writes, of however many organisations, in one round trip and one commit.
--
-- Lock order, the same for every writer of these tables: the organisation (deletions and merges alone), e-mail addresses of
-- new customers in byte order, relations in the order of their pairs (inactive ones too), customers. A batch waits for a lock
-- for milliseconds only (`lock_timeout`), so it can never be part of a deadlock.
--
-- Every reference to a table of tenants names one scalar organisation_id, except the insert of matches, which reads arrays.

-- What each writer's last batch did, updated in the transaction of the batch: it takes effect once, however often it is
-- attempted, and the client is told what the one effective attempt did. Logged, as durable as the batch itself.
create table write_receipt (
  -- Random, one for each connection of a writer.
  writer_id    int8 not null,
  -- Of the last batch that took effect. Part of the key, so that the update finds this one version of the row, also while
  -- an old transaction keeps all earlier versions from being removed.
  batch_number int8 not null,
  -- The writer has given up on its connection: no batch of this writer takes effect any more.
  fenced       boolean not null default false,
  written_at   timestamptz not null default now() constraint write_receipt_time_is_finite check (isfinite(written_at)),
  -- The answer of write_batch.
  results      text,
  customers    text[],
  relations    jsonb,
  others       jsonb,
  primary key (writer_id, batch_number)
);

-- The next time that a row can show. Declared immutable, unlike the operator in it: microseconds depend on no time zone.
create function next_microsecond(given timestamptz) returns timestamptz
  language sql immutable strict parallel safe
  return given + interval '1 microsecond';

-- The reference of the customer with this e-mail address; a guest customer with the reference `guest` is created if there is
-- none. Null: the customer was deleted between two looks.
create function customer_for_email(organisation int8, address text, guest text) returns text
language plpgsql as $$
declare
  v_cu_ref_no text;
begin
  select cu_ref_no into v_cu_ref_no from customer
  where organisation_id = organisation and email = address and deleted_at is null;
  if not found then
    insert into customer (organisation_id, cu_ref_no, email) values (organisation, guest, address)
    on conflict (organisation_id, email) where deleted_at is null do nothing
    returning cu_ref_no into v_cu_ref_no;
    -- A concurrent transaction has created it: the next statement has a snapshot of its own.
    if not found then
      select cu_ref_no into v_cu_ref_no from customer
      where organisation_id = organisation and email = address and deleted_at is null;
    end if;
  end if;
  return v_cu_ref_no;
end $$;

-- Matches, all in one statement. It fails as a whole when one of them meets a lock or names a customer that does not exist or
-- is deleted, which the foreign keys find.
--
-- The arrays have an element for each match. `customers` has the reference of the customer, or null where `emails` has the
-- address; `emails` and `guests` are null when all are named by reference. `represented` has the positions of matches whose
-- row is wanted. `results` has a letter for each match: c created, r reactivated, u updated, = unchanged, s both sides are the
-- same customer, d deferred (an earlier match of this call has the same pair, under another name, or the customer was deleted
-- between two looks).
create function customer_match_write(
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
  v_at constant timestamptz := clock_timestamp();
  v_created int8;
  v_organisation_ids int8[];
  v_lows text[];
  v_highs text[];
  v_changes text[];
  v_position int4;
  v_relation jsonb;
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

  with written as (
    insert into customer_match (
      organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice,
      created_at, matched_at, updated_at
    )
    -- A statement may touch a row only once.
    select distinct on (organisation_id, low, high)
      organisation_id, low, high, low = manager, high = manager, notice, v_at, v_at, v_at
    from (
      select
        organisation_id, manager, notice, ordinal,
        least(manager collate "C", customer collate "C") as low, greatest(manager collate "C", customer collate "C") as high
      from unnest(organisation_ids, managers, customers, notices)
        with ordinality as named (organisation_id, manager, customer, notice, ordinal)
      where manager <> customer
    ) as pair
    order by organisation_id, low, high, ordinal
    on conflict (organisation_id, low_cu_ref_no, high_cu_ref_no) do update set
      low_is_manager = customer_match.low_is_manager or excluded.low_is_manager,
      high_is_manager = customer_match.high_is_manager or excluded.high_is_manager,
      notice = coalesce(excluded.notice, customer_match.notice),
      matched_at = case when customer_match.deactivated_at is null
                        then customer_match.matched_at
                        else greatest(next_microsecond(customer_match.updated_at), excluded.matched_at) end,
      -- The times of a row never go back, though the clock may, and each change has its own: of the changes of a row, only
      -- a reactivation makes the two equal.
      updated_at = greatest(next_microsecond(customer_match.updated_at), excluded.updated_at),
      deactivated_at = null,
      version = customer_match.version + 1,
      changed_in = excluded.changed_in
    where customer_match.deactivated_at is not null
       or (excluded.low_is_manager and not customer_match.low_is_manager)
       or (excluded.high_is_manager and not customer_match.high_is_manager)
       or excluded.notice <> coalesce(customer_match.notice, '')
    returning
      organisation_id, low_cu_ref_no as low, high_cu_ref_no as high,
      case when version = 1 then 'c' when matched_at = updated_at then 'r' else 'u' end as change
  )
  select
    count(*) filter (where change = 'c'),
    array_agg(organisation_id), array_agg(low), array_agg(high), array_agg(change)
  into v_created, v_organisation_ids, v_lows, v_highs, v_changes
  from written;

  if v_created = cardinality(managers) then
    results := repeat('c', v_created::int4);
  else
    select string_agg(
      case
        when customer is null then 'd'
        when manager = customer then 's'
        when turn > 1 then 'd'
        else coalesce(change, '=')
      end, '' order by ordinal
    )
    into results
    from (
      select
        organisation_id, manager, customer, ordinal,
        least(manager collate "C", customer collate "C") as low, greatest(manager collate "C", customer collate "C") as high,
        row_number() over (
          partition by organisation_id, least(manager collate "C", customer collate "C"), greatest(manager collate "C", customer collate "C")
          order by ordinal
        ) as turn
      from unnest(organisation_ids, managers, customers)
        with ordinality as named (organisation_id, manager, customer, ordinal)
    ) as pair
    left join unnest(v_organisation_ids, v_lows, v_highs, v_changes) as written (organisation_id, low, high, change)
      using (organisation_id, low, high);
  end if;

  -- The rows as this call leaves them: the upsert has locked them all, unchanged ones too.
  if represented is not null then
    relations := '[]';
    foreach v_position in array represented loop
      select relation_state(customer_match, managers[v_position]) || jsonb_build_object('customer_email', customer.email)
      into v_relation
      from customer_match
      join customer on customer.organisation_id = organisation_ids[v_position]
        and customer.cu_ref_no = customers[v_position]
      where customer_match.organisation_id = organisation_ids[v_position]
        and low_cu_ref_no = least(managers[v_position] collate "C", customers[v_position] collate "C")
        and high_cu_ref_no = greatest(managers[v_position] collate "C", customers[v_position] collate "C");
      relations := relations || jsonb_build_array(v_relation);
    end loop;
  end if;
end $$;

-- Whether a list of entity tags names the version; `"*"` names any. Null: there is no list, or no version.
create function names_version(tags jsonb, version int8) returns boolean
  language sql immutable strict parallel safe
  return tags = '"*"' or tags @> to_jsonb(version);

-- Whether the condition of a write holds for a relation of this version (RFC 9110, 13.1). Null: there is no relation.
create function precondition_holds(wanted jsonb, version int8) returns boolean
  language sql immutable parallel safe
  return (wanted -> 'if_match' is null or coalesce(names_version(wanted -> 'if_match', version), false))
    and not coalesce(names_version(wanted -> 'if_none_match', version), false);

-- One match by itself: one with a condition, one that follows another write of its pair, or an isolated one. It waits for no lock
-- that another transaction holds, and costs twice as much. `result` is a letter as above, or m: the manager and k: the customer
-- does not exist, p: the condition does not hold. Then `relation` is as it is, else as this match left it, if it is
-- `represented`.
create function customer_match_write_one(organisation int8, wanted jsonb) returns jsonb
language plpgsql as $$
declare
  v_manager constant text := wanted ->> 'manager';
  v_customer text := wanted ->> 'customer';
  v_email constant text := wanted ->> 'email';
  v_found customer_match;
  v_written record;
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
  select * into v_written from customer_match_write(
    array[organisation], array[v_manager], array[v_customer], null, null, array[wanted ->> 'notice'],
    case when (wanted -> 'represented')::boolean then '{1}'::int4[] end
  );
  if wanted -> 'if_none_match' is not null and v_found.version is null and v_written.results <> 'c' then
    -- A concurrent transaction has created the relation since: the next attempt finds it.
    raise lock_not_available;
  end if;
  return jsonb_build_object(
    'result', v_written.results,
    'customer_created', coalesce(v_customer = wanted ->> 'guest', false),
    'relation', v_written.relations -> 0
  );
end $$;

-- Deactivates a relation. `result` is e: ended now or before, x: the two were never matched, or m, k, p as above; `relation` is
-- as above.
create function customer_match_end(organisation int8, wanted jsonb) returns jsonb
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
      changed_in = pg_current_xact_id()
    where organisation_id = organisation and low_cu_ref_no = v_low and high_cu_ref_no = v_high
    returning * into v_relation;
  end if;
  return jsonb_build_object(
    'result', 'e',
    'relation', case when (wanted -> 'represented')::boolean then relation_state(v_relation, v_manager) end
  );
end $$;

-- What a key with the scope customer.read sees of a customer.
create function customer_profile(given customer) returns jsonb
  language sql stable
  return jsonb_build_object(
    'cu_ref_no', given.cu_ref_no,
    'email', given.email,
    'first_name', given.first_name,
    'last_name', given.last_name,
    'company_name', given.company_name,
    'phone', given.phone,
    'company_registration_number', given.company_registration_number,
    'tax_identification_number', given.tax_identification_number,
    'created_at', given.created_at,
    'updated_at', given.updated_at
  );

-- Registers a customer, or finds the one with this e-mail address and fills in what it lacks; nothing is overwritten. Returns
-- the profile, the client's IP address that is stored, and whether the customer was created.
create function customer_register(organisation int8, wanted jsonb) returns jsonb
language plpgsql as $$
declare
  v_wanted constant customer := jsonb_populate_record(null::customer, wanted);
  v_customer customer;
  v_created boolean := false;
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
    update customer set
      first_name = coalesce(first_name, v_wanted.first_name),
      last_name = coalesce(last_name, v_wanted.last_name),
      company_name = coalesce(company_name, v_wanted.company_name),
      phone = coalesce(phone, v_wanted.phone),
      company_registration_number = coalesce(company_registration_number, v_wanted.company_registration_number),
      tax_identification_number = coalesce(tax_identification_number, v_wanted.tax_identification_number),
      real_ip = coalesce(real_ip, v_wanted.real_ip),
      updated_at = greatest(next_microsecond(updated_at), clock_timestamp())
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
create function customer_update(organisation int8, wanted jsonb) returns jsonb
language plpgsql as $$
declare
  v_before customer;
  v_after customer;
  v_owner text;
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
        updated_at = greatest(next_microsecond(updated_at), clock_timestamp())
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

-- Logs in the customer with this e-mail address for three months (contract §2); registers it first if there is none.
create function customer_identity_open(organisation int8, wanted jsonb) returns void
language plpgsql as $$
declare
  v_cu_ref_no constant text := customer_register(organisation, wanted) ->> 'cu_ref_no';
begin
  -- A deletion waits for this session, and ends it; or this session waits for the deletion.
  perform from customer
  where organisation_id = organisation and cu_ref_no = v_cu_ref_no and living for key share nowait;
  if not found then
    raise lock_not_available;
  end if;
  insert into customer_identity (organisation_id, hash, cu_ref_no, created_at, expires_at)
  values (organisation, decode(wanted ->> 'hash', 'hex'), v_cu_ref_no, now(), now() + interval '3 months')
  on conflict (organisation_id, hash) do nothing;
end $$;

-- Ends a session. False: there is none (it never was, has expired, was ended before, or its customer is deleted).
create function customer_identity_end(organisation int8, wanted jsonb) returns boolean
language plpgsql as $$
declare
  v_hash constant bytea := decode(wanted ->> 'hash', 'hex');
begin
  perform from customer_identity where organisation_id = organisation and hash = v_hash for no key update nowait;
  update customer_identity set revoked_at = greatest(created_at, now())
  where organisation_id = organisation and hash = v_hash and revoked_at is null and expires_at > now()
    and exists (
      select from customer
      where customer.organisation_id = organisation and customer.cu_ref_no = customer_identity.cu_ref_no and living
    );
  return found;
end $$;

-- Writes one after the other, each in a savepoint of its own: none fails for another. `wanted` is an array of objects with
-- `organisation_id`, `operation` and the fields of that operation; the answer has for each of them `{"done": …}`,
-- `{"blocked": true}` or `{"failed": reason}`.
create function write_each(wanted jsonb) returns jsonb
language plpgsql as $$
declare
  v_write jsonb;
  v_organisation int8;
  v_answer jsonb;
  v_answers jsonb := '[]';
begin
  for v_write in select value from jsonb_array_elements(wanted) loop
    v_organisation := (v_write ->> 'organisation_id')::int8;
    begin
      case v_write ->> 'operation'
        when 'match' then
          v_answer := customer_match_write_one(v_organisation, v_write);
        when 'unmatch' then
          v_answer := customer_match_end(v_organisation, v_write);
        when 'register' then
          v_answer := customer_register(v_organisation, v_write);
        when 'update' then
          v_answer := customer_update(v_organisation, v_write);
        when 'open_identity' then
          perform customer_identity_open(v_organisation, v_write);
          v_answer := 'true';
        when 'end_identity' then
          v_answer := to_jsonb(customer_identity_end(v_organisation, v_write));
      end case;
      v_answer := jsonb_build_object('done', v_answer);
    exception
      when lock_not_available then
        v_answer := '{"blocked": true}';
      when others then
        v_answer := jsonb_build_object('failed', sqlstate || ' ' || sqlerrm);
    end;
    v_answers := v_answers || jsonb_build_array(v_answer);
  end loop;
  return v_answers;
end $$;

-- Writes a batch and its receipt. The batch takes effect only as the one that follows the writer's last, and only while
-- the database's clock stands between the two times: an attempt that the network delivers late writes nothing.
--
-- The check of the time comes last, when all rows of the batch are locked: the commit may take as long as it likes, since a
-- newer write of the same rows waits for it.
--
-- Errors: WB001 the clock is outside the two times, WB002 the writer is fenced or has no receipt.
create function write_batch(
  writer int8,
  number int8,
  not_before timestamptz,
  not_after timestamptz,
  -- Whether a lock was met a moment ago: then `others` has all writes, and they wait for locks as briefly as possible.
  isolated boolean,
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
  out database_time timestamptz
)
language plpgsql as $$
#variable_conflict use_column
begin
  if managers is not null then
    select answer.customers, answer.results, answer.relations
    into customers, results, relations
    from customer_match_write(organisation_ids, managers, customers, emails, guests, notices, represented) as answer;
  end if;
  if emails is null then
    -- The writer knows them.
    customers := null;
  end if;
  if others is not null then
    if isolated then
      perform set_config('lock_timeout', '2ms', true);
    end if;
    others := write_each(others);
  end if;

  update write_receipt set
    batch_number = number,
    written_at = clock_timestamp(),
    results = write_batch.results,
    customers = write_batch.customers,
    relations = write_batch.relations,
    others = write_batch.others
  where writer_id = writer and batch_number = number - 1 and not fenced;
  if not found then
    raise exception 'writer % is fenced, or its last batch was not %', writer, number - 1 using errcode = 'WB002';
  end if;

  database_time := clock_timestamp();
  if database_time not between not_before and not_after then
    raise exception 'the clock stands at %, the batch was to be written between % and %', database_time, not_before, not_after
      using errcode = 'WB001';
  end if;
end $$;
