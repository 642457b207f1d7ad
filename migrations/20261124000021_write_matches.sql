-- The write path of the relation: whatever waits at the same moment, of however many organisations, in one round trip and
-- one commit. A function because one statement cannot: each organisation's customers are looked up with that organisation as
-- one scalar, and hundreds of round trips for that would cost more than the rest.
--
-- It takes the place of `match_customers`, which stays for servers of the version before.
--
-- The arrays have an element for each match; matches of one organisation stand together, in the order in which they take
-- effect, and where a pair comes more than once only the first is written. A customer is named by reference or by address;
-- a guest is the reference of a new customer, should nobody have the address.
--
-- A customer that is deleted or merged between look and write is not matched, and is not locked while looking: the foreign
-- keys of a new relation lock it `for key share`, and only then it is asked whether one has gone. Whoever deletes it has
-- committed by then and is seen, or waits for this commit and sees the relation.

create function write_matches(
  organisation_ids int8[],
  managers text[],
  cu_ref_nos text[],
  emails text[],
  guests text[],
  notices text[],
  -- How long a lock is waited for: a setting, as `set lock_timeout` takes it.
  patience text,
  -- Of each match; null: there is none.
  out manager_ids int8[],
  out customer_ids int8[],
  -- Empty: none was.
  out customers_created boolean[],
  -- The relations that are new or changed.
  out written_organisation_ids int8[],
  out low_ids int8[],
  out high_ids int8[],
  -- c: created, r: reactivated, u: updated.
  out changes "char"[]
)
language plpgsql as $$
#variable_conflict use_column
declare
  customers_gone constant numeric := (
    select sum(organisation.customers_gone) from organisation where id = any (organisation_ids)
  );
  organisation int8;
  its_manager text;
  its_cu_ref_no text;
  its_email text;
  its_id int8;
  its_low_id int8;
  its_high_id int8;
begin
  patience := set_config('lock_timeout', patience, true);
  customers_created := '{}';

  -- One by one: a plan for one name starts in a fraction of the time of one for many.
  for ordinal in 1 .. cardinality(organisation_ids) loop
    organisation := organisation_ids[ordinal];
    its_manager := managers[ordinal];
    its_cu_ref_no := cu_ref_nos[ordinal];
    -- `deleted_at is null` is no condition on the reference: before the table is analysed, it makes the index of addresses
    -- look like the shortest way to a reference.
    select case when deleted_at is null then id end into its_id
    from customer where organisation_id = organisation and cu_ref_no = its_manager;
    manager_ids[ordinal] := its_id;
    if its_cu_ref_no is not null then
      select case when deleted_at is null then id end into its_id
      from customer where organisation_id = organisation and cu_ref_no = its_cu_ref_no;
    else
      its_email := emails[ordinal];
      select id into its_id
      from customer where organisation_id = organisation and email = its_email and deleted_at is null;
    end if;
    customer_ids[ordinal] := its_id;
  end loop;

  if array_position(customer_ids, null) is not null then
    with wanted as materialized (
      select * from unnest(organisation_ids, manager_ids, customer_ids, emails, guests)
        with ordinality as wanted (organisation_id, manager_id, customer_id, email, guest, ordinal)
    ),
    -- A concurrent call may have created the guest since the look: the update, which changes nothing, waits for its
    -- commit and then returns its row.
    guest as (
      insert into customer (organisation_id, cu_ref_no, email)
      select distinct on (organisation_id, email) organisation_id, guest, email from wanted
      where manager_id is not null and customer_id is null and email is not null
      order by organisation_id, email, ordinal
      on conflict (organisation_id, email) where deleted_at is null do update set email = excluded.email
      returning organisation_id, id, cu_ref_no, email
    )
    select
      array_agg(coalesce(customer_id, guest.id) order by ordinal),
      array_agg(coalesce(guest.cu_ref_no = wanted.guest, false) order by ordinal)
    into customer_ids, customers_created
    from wanted left join guest
      on guest.organisation_id = wanted.organisation_id and guest.email = wanted.email and customer_id is null;
  end if;

  with pair as (
    select
      organisation_id, least(manager_id, customer_id) as low_id, greatest(manager_id, customer_id) as high_id,
      manager_id, notice, ordinal
    from unnest(organisation_ids, manager_ids, customer_ids, notices)
      with ordinality as wanted (organisation_id, manager_id, customer_id, notice, ordinal)
    where manager_id <> customer_id
  ),
  written as (
    insert into customer_match (
      organisation_id, low_id, high_id, low_is_manager, high_is_manager, notice, created_at, matched_at, updated_at
    )
    -- A statement may touch a row only once.
    select distinct on (organisation_id, low_id, high_id)
      organisation_id, low_id, high_id, low_id = manager_id, high_id = manager_id, notice, now(), now(), now()
    from pair
    order by organisation_id, low_id, high_id, ordinal
    on conflict (organisation_id, low_id, high_id) do update set
      low_is_manager = customer_match.low_is_manager or excluded.low_is_manager,
      high_is_manager = customer_match.high_is_manager or excluded.high_is_manager,
      notice = coalesce(excluded.notice, customer_match.notice),
      matched_at = case when customer_match.deactivated_at is null
                        then customer_match.matched_at else excluded.matched_at end,
      -- A call that waited for another began before it: time does not run backwards in a row.
      updated_at = greatest(customer_match.updated_at, excluded.updated_at),
      deactivated_at = null,
      version = customer_match.version + 1
    where customer_match.deactivated_at is not null
       or (excluded.low_is_manager and not customer_match.low_is_manager)
       or (excluded.high_is_manager and not customer_match.high_is_manager)
       or excluded.notice <> coalesce(customer_match.notice, '')
    returning
      organisation_id, low_id, high_id,
      (case when version = 1 then 'c' when matched_at = now() then 'r' else 'u' end)::"char" as change
  )
  select
    coalesce(array_agg(organisation_id), '{}'), coalesce(array_agg(low_id), '{}'), coalesce(array_agg(high_id), '{}'),
    coalesce(array_agg(change), '{}')
  into written_organisation_ids, low_ids, high_ids, changes
  from written;

  -- Of a relation that was there before, the foreign keys have locked nobody.
  if 'c' <> any (changes) then
    for at in 1 .. cardinality(changes) loop
      organisation := written_organisation_ids[at];
      its_low_id := low_ids[at];
      its_high_id := high_ids[at];
      if changes[at] <> 'c' then
        perform from customer
        where organisation_id = organisation and id in (its_low_id, its_high_id)
        for key share;
      end if;
    end loop;
  end if;

  if customers_gone <> (
    select sum(organisation.customers_gone) from organisation where id = any (organisation_ids)
  ) then
    raise exception 'a customer has gone since it was looked up' using errcode = 'CM001';
  end if;
end $$;
