-- The write path of the relation: whatever waits at the same moment, of however many organisations, in one round trip and
-- one commit. A function because one statement cannot: each organisation's customers are looked up with that organisation as
-- one scalar, and hundreds of round trips for that would cost more than the rest.
--
-- The arrays have an element for each match; matches of one organisation stand together, in the order in which they take
-- effect. A customer is named by reference or by address; a guest is the reference of a new customer, should nobody have
-- the address. The rows of the answer come in the order of the matches. turn: where a pair comes more than once, only the
-- first is written (1), and the others are for the next call. version and matched_now are null where nothing changed.
--
-- Calls do not deadlock with each other: each takes its customers in share mode, then new addresses in their order, then
-- pairs in theirs. `for key share` is what the foreign keys take anyway; taken while looking, it also means that a customer
-- cannot be deleted or merged between look and write.

create function match_customers(
  organisation_ids int8[],
  managers text[],
  cu_ref_nos text[],
  emails text[],
  guests text[],
  notices text[],
  -- How long a lock is waited for: a setting, as `set lock_timeout` takes it.
  patience text
)
returns table (
  manager_id int8, customer_id int8, customer_created boolean, turn int8, version int8, matched_now boolean
)
language plpgsql as $$
#variable_conflict use_column
declare
  total constant int4 := cardinality(organisation_ids);
  manager_ids int8[];
  customer_ids int8[];
  customers_created boolean[];
  -- The organisation whose matches are looked up, and where they stand.
  organisation int8;
  first int4 := 1;
  last int4;
  its_managers int8[];
  its_customers int8[];
begin
  perform set_config('lock_timeout', patience, true);

  while first <= total loop
    organisation := organisation_ids[first];
    last := first;
    while organisation_ids[last + 1] = organisation loop
      last := last + 1;
    end loop;
    -- `deleted_at is null` does not stand in the conditions on the reference: before the table is analysed, it makes the
    -- index of addresses look like the shortest way to a reference.
    select
      array_agg((
        select case when deleted_at is null then id end from customer
        where organisation_id = organisation and cu_ref_no = wanted.manager
        for key share
      ) order by ordinal),
      array_agg(case when wanted.cu_ref_no is not null then (
        select case when deleted_at is null then id end from customer
        where organisation_id = organisation and customer.cu_ref_no = wanted.cu_ref_no
        for key share
      ) else (
        select id from customer
        where organisation_id = organisation and customer.email = wanted.email and deleted_at is null
        for key share
      ) end order by ordinal)
    into its_managers, its_customers
    from unnest(managers[first:last], cu_ref_nos[first:last], emails[first:last])
      with ordinality as wanted (manager, cu_ref_no, email, ordinal);
    manager_ids := manager_ids || its_managers;
    customer_ids := customer_ids || its_customers;
    first := last + 1;
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
      array_agg(guest.cu_ref_no = wanted.guest order by ordinal)
    into customer_ids, customers_created
    from wanted left join guest
      on guest.organisation_id = wanted.organisation_id and guest.email = wanted.email and customer_id is null;
  end if;

  return query
  with pair as materialized (
    select
      wanted.*,
      least(manager_id, customer_id) as low_id,
      greatest(manager_id, customer_id) as high_id,
      -- A statement may touch a row only once.
      row_number() over (
        partition by organisation_id, least(manager_id, customer_id), greatest(manager_id, customer_id)
        order by ordinal
      ) as turn
    from unnest(organisation_ids, manager_ids, customer_ids, customers_created, notices)
      with ordinality as wanted (organisation_id, manager_id, customer_id, customer_created, notice, ordinal)
  ),
  written as (
    insert into customer_match (
      organisation_id, low_id, high_id, low_is_manager, high_is_manager, notice, created_at, matched_at, updated_at
    )
    select organisation_id, low_id, high_id, low_id = manager_id, high_id = manager_id, notice, now(), now(), now()
    from pair
    where low_id < high_id and manager_id is not null and customer_id is not null and turn = 1
    order by organisation_id, low_id, high_id
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
    returning organisation_id, low_id, high_id, version, matched_at
  )
  select
    pair.manager_id, pair.customer_id, coalesce(pair.customer_created, false), pair.turn,
    written.version, written.matched_at = now()
  from pair left join written using (organisation_id, low_id, high_id)
  order by pair.ordinal;
end $$;
