-- The reads of a distributed database: each is one call, which the coordinator delegates to the worker with the organisation. There, a
-- statement is cheap if it names one organisation and one table, and has no sub-select: it is planned once for each shard. So such
-- statements have functions of their own, and the statements that join, order and bound their rows name no table.
--
-- The answer is one value: the coordinator spends more on a column of a row than on a relation in JSON. It is what the statement of
-- src/db reads from one Postgres, which tests/api/delegated_reads.rs holds the two against: an array of rows, null where that has no row.
-- What is null in a row may be left out.

-- By what a term is judged, see is_rare_term: references are random, the lowest ones are as good as any.
create function customer_search_sample(organisation int8) returns setof text
language plpgsql stable parallel safe as $$
begin
  return query
    select search from customer
    where organisation_id = organisation and deleted_at is null
    order by cu_ref_no
    limit 128;
end $$;

-- As before; the sample has a function of its own.
create or replace function is_rare_term(organisation int8, term text) returns boolean
language plpgsql stable parallel safe as $$
begin
  return (
    with sample as materialized (
      select search from customer_search_sample(organisation) as search
    ),
    -- Letters and digits as pg_trgm sees them, by the database's locale.
    trigram as materialized (
      select distinct substr(word, start, 3) as trigram
      from regexp_split_to_table(search_fold(term) collate "default", '[^[:alnum:]]+') as word,
           generate_series(1, char_length(word) - 2) as start
      limit 32
    )
    select coalesce(min(hits) <= 4, false) from (
      select count(search) as hits
      from trigram left join sample on search like '%' || trigram || '%'
      group by trigram
    ) as counted
  );
end $$;

create function customer_is_living(organisation int8, wanted text) returns boolean
language plpgsql stable as $$
begin
  perform from customer where organisation_id = organisation and cu_ref_no = wanted and living;
  return found;
end $$;

-- The customer whose identity this is. Null: it does not exist, has expired or been revoked, or the customer is deleted.
create function customer_of_identity(organisation int8, identity bytea) returns text
language plpgsql stable set plan_cache_mode = force_generic_plan as $$
declare
  v_cu_ref_no text;
begin
  select cu_ref_no into v_cu_ref_no from customer_identity
  where organisation_id = organisation and hash = identity and revoked_at is null and expires_at > now();
  return case when customer_is_living(organisation, v_cu_ref_no) then v_cu_ref_no end;
end $$;

-- Those of these customers, deleted ones too, that the pattern finds.
create function customer_names(organisation int8, cu_ref_nos text[], pattern text)
returns table (cu_ref_no text, email text, first_name text, last_name text, company_name text)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select cu_ref_no, email, first_name, last_name, company_name from customer
    where organisation_id = organisation and cu_ref_no = any (cu_ref_nos) and search like pattern;
end $$;

-- Some living customers that the pattern finds, by the index of trigrams.
create function customer_search(organisation int8, pattern text, most int8) returns setof text
language plpgsql stable as $$
begin
  return query
    select cu_ref_no from customer
    where organisation_id = organisation and deleted_at is null and search like pattern
    limit most;
end $$;

-- The active relations of a customer from a position on: so many of each side of the pair, each read from its index in the order
-- of the list.
create function matched_customer_sides(organisation int8, owner text, after_time timestamptz, after_cu_ref_no text, most int8)
returns table (other text, matched_at timestamptz, updated_at timestamptz, notice text, is_manager boolean, is_managed boolean)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select high_cu_ref_no, matched_at, updated_at, notice, high_is_manager, low_is_manager
    from customer_match
    where organisation_id = organisation and low_cu_ref_no = owner and active is not null
      and (matched_at, high_cu_ref_no) < (after_time, after_cu_ref_no)
    order by matched_at desc, high_cu_ref_no desc
    limit most;
  return query
    select low_cu_ref_no, matched_at, updated_at, notice, low_is_manager, high_is_manager
    from customer_match
    where organisation_id = organisation and high_cu_ref_no = owner and active is not null
      and (matched_at, low_cu_ref_no) < (after_time, after_cu_ref_no)
    order by matched_at desc, low_cu_ref_no desc
    limit most;
end $$;

-- The active relations of a customer with these others. `deactivated_at` and not `active`, so that the index of the pairs is the only
-- one: those of the active relations would read all that the customer has.
create function matched_customer_pairs(organisation int8, owner text, others text[])
returns table (other text, matched_at timestamptz, updated_at timestamptz, notice text, is_manager boolean, is_managed boolean)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select high_cu_ref_no, matched_at, updated_at, notice, high_is_manager, low_is_manager
    from customer_match
    where organisation_id = organisation and low_cu_ref_no = owner and high_cu_ref_no = any (others) and deactivated_at is null;
  return query
    select low_cu_ref_no, matched_at, updated_at, notice, low_is_manager, high_is_manager
    from customer_match
    where organisation_id = organisation and low_cu_ref_no = any (others) and high_cu_ref_no = owner and deactivated_at is null;
end $$;

-- How many active relations a customer has, at most so many. Reads the indexes alone.
create function matched_customer_count(organisation int8, owner text, most int8) returns int8
language plpgsql stable as $$
declare
  v_low int8;
  v_high int8;
begin
  perform matched_at from customer_match
  where organisation_id = organisation and low_cu_ref_no = owner and active is not null
  limit most;
  get diagnostics v_low = row_count;
  perform matched_at from customer_match
  where organisation_id = organisation and high_cu_ref_no = owner and active is not null
  limit most - v_low;
  get diagnostics v_high = row_count;
  return v_low + v_high;
end $$;

-- A page of all, with the number of all unless the page is the whole list.
create function matched_customer_page(
  organisation int8,
  owner text,
  -- Instead of the owner: the hash of an identity.
  identity bytea,
  after_time timestamptz,
  after_cu_ref_no text,
  most int8,
  max_item_count int8,
  max_bytes int8
)
returns json
language plpgsql stable set plan_cache_mode = force_generic_plan as $$
declare
  v_owner constant text := coalesce(owner, customer_of_identity(organisation, identity));
  v_rows json;
begin
  with page as materialized (
    select *
    from matched_customer_sides(organisation, v_owner, coalesce(after_time, 'infinity'), coalesce(after_cu_ref_no, ''), most)
    order by matched_at desc, other collate "C" desc
    limit most
  )
  select json_agg(item) into v_rows from (
    select
      case when after_time is not null or (select count(*) from page) = most
           then (select matched_customer_count(organisation, v_owner, max_item_count + 1)) end as item_count,
      other as cu_ref_no, email, first_name, last_name, company_name,
      case when coalesce(sum(octet_length(notice)) over two_before, 0) < max_bytes then nullif(notice, '') end as notice,
      is_manager, is_managed, matched_at, updated_at
    from page
    left join customer_names(organisation, array(select other from page), '%') on cu_ref_no = other
    window two_before as (order by matched_at desc, other collate "C" desc rows between unbounded preceding and 2 preceding)
    order by matched_at desc, other collate "C" desc
  ) as item;
  -- Both ends of an active relation are living customers.
  if v_rows is null and customer_is_living(organisation, v_owner) then
    return json_build_array(json_build_object(
      'item_count', case when after_time is not null then matched_customer_count(organisation, v_owner, max_item_count + 1) end
    ));
  end if;
  return v_rows;
end $$;

-- A page of those that a customer is matched with among these, with the number of all.
create function matched_customers_among(
  organisation int8,
  owner text,
  others text[],
  after_time timestamptz,
  after_cu_ref_no text,
  most int8,
  max_bytes int8
)
returns json
language plpgsql stable as $$
begin
  return (
    with found as materialized (
      select * from matched_customer_pairs(organisation, owner, others)
    ),
    page as materialized (
      select * from found
      where (matched_at, other collate "C") < (coalesce(after_time, 'infinity'), coalesce(after_cu_ref_no, ''))
      order by matched_at desc, other collate "C" desc
      limit most
    )
    select json_agg(item) from (
      select
        item_count, other as cu_ref_no, email, first_name, last_name, company_name,
        case when coalesce(sum(octet_length(notice)) over two_before, 0) < max_bytes then nullif(notice, '') end as notice,
        is_manager, is_managed, matched_at, updated_at
      from (select count(*) as item_count from found) as counted
      left join page on true
      left join customer_names(organisation, array(select other from page), '%') on cu_ref_no = other
      window two_before as (order by matched_at desc, other collate "C" desc rows between unbounded preceding and 2 preceding)
      order by matched_at desc, other collate "C" desc
    ) as item
  );
end $$;

-- A page of those that the term finds. Without a count when the list is longer; then nothing is looked for.
create function matched_customer_filter(
  organisation int8,
  owner text,
  identity bytea,
  term text,
  after_time timestamptz,
  after_cu_ref_no text,
  most int8,
  max_short_list int8,
  max_bytes int8
)
returns json
language plpgsql stable set plan_cache_mode = force_generic_plan as $$
declare
  v_owner constant text := coalesce(owner, customer_of_identity(organisation, identity));
  v_others constant text[] := array(
    select other from matched_customer_sides(organisation, v_owner, 'infinity', '', max_short_list + 1)
  );
begin
  if cardinality(v_others) > max_short_list then
    return '[{}]';
  elsif cardinality(v_others) = 0 and not customer_is_living(organisation, v_owner) then
    return null;
  end if;
  return matched_customers_among(
    organisation, v_owner, array(select cu_ref_no from customer_names(organisation, v_others, search_pattern(term))),
    after_time, after_cu_ref_no, most, max_bytes
  );
end $$;

-- The same through the index of trigrams. Without a count when the term is too short for trigrams or more customers match it.
create function matched_customer_look_up(
  organisation int8,
  owner text,
  term text,
  after_time timestamptz,
  after_cu_ref_no text,
  most int8,
  max_candidates int8,
  max_bytes int8
)
returns json
language plpgsql stable set plan_cache_mode = force_generic_plan as $$
declare
  v_candidates text[];
begin
  if not is_rare_term(organisation, term) then
    return '[{}]';
  end if;
  v_candidates := array(select customer_search(organisation, search_pattern(term), max_candidates + 1));
  if cardinality(v_candidates) > max_candidates then
    return '[{}]';
  end if;
  return matched_customers_among(organisation, owner, v_candidates, after_time, after_cu_ref_no, most, max_bytes);
end $$;

-- The same by a walk along the list, in growing steps. A last row without a role is the last relation that was examined: the page is
-- not full and there may be more.
create function matched_customer_walk(
  organisation int8,
  owner text,
  term text,
  after_time timestamptz,
  after_cu_ref_no text,
  most int8,
  max_examined int8,
  max_bytes int8
)
returns json
language plpgsql stable set plan_cache_mode = force_generic_plan as $$
declare
  v_pattern constant text := search_pattern(term);
  v_time timestamptz := coalesce(after_time, 'infinity');
  v_cu_ref_no text := coalesce(after_cu_ref_no, '');
  v_step int8 := least(most, max_examined);
  v_examined int8 := 0;
  v_others text[];
  v_times timestamptz[];
  v_found text[] := '{}';
  v_rows jsonb;
begin
  loop
    select array_agg(other), array_agg(matched_at) into v_others, v_times from (
      select other, matched_at from matched_customer_sides(organisation, owner, v_time, v_cu_ref_no, v_step)
      order by matched_at desc, other collate "C" desc
      limit v_step
    ) as step;
    exit when v_others is null;
    v_found := v_found || array(
      select other from unnest(v_others) with ordinality as step (other, position)
      join customer_names(organisation, v_others, v_pattern) on cu_ref_no = other
      order by position
      limit most - cardinality(v_found)
    );
    v_examined := v_examined + cardinality(v_others);
    v_time := v_times[cardinality(v_times)];
    v_cu_ref_no := v_others[cardinality(v_others)];
    exit when cardinality(v_found) = most or cardinality(v_others) < v_step or v_examined = max_examined;
    v_step := least(4 * v_step, max_examined - v_examined);
  end loop;
  v_rows := '[]';
  if cardinality(v_found) > 0 then
    v_rows := matched_customers_among(organisation, owner, v_found, null, null, most, max_bytes);
  end if;
  if cardinality(v_found) < most and v_examined = max_examined then
    v_rows := v_rows || jsonb_build_object('cu_ref_no', v_cu_ref_no, 'matched_at', v_time);
  end if;
  return v_rows;
end $$;

-- A page of an organisation's customers, from a reference on: those that the pattern finds, by a walk in growing steps. A last row
-- without times is the last customer that was examined, deleted ones too: the page is not full and there may be more.
create function customer_list_steps(organisation int8, pattern text, after_cu_ref_no text, most int8, max_examined int8)
returns table (
  cu_ref_no text, email text, first_name text, last_name text, company_name text, phone text,
  company_registration_number text, tax_identification_number text, created_at timestamptz, updated_at timestamptz
)
language plpgsql stable as $$
#variable_conflict use_column
declare
  v_after text := after_cu_ref_no;
  v_last text;
  v_step int8 := least(most, max_examined);
  v_examined int8 := 0;
  v_left int8 := most;
  v_found int8;
begin
  loop
    select cu_ref_no into v_last from customer
    where organisation_id = organisation and cu_ref_no > v_after
    order by cu_ref_no
    offset v_step - 1
    limit 1;
    return query
      select
        cu_ref_no, email, first_name, last_name, company_name, phone, company_registration_number, tax_identification_number,
        created_at, updated_at
      from customer
      where organisation_id = organisation and cu_ref_no > v_after and (cu_ref_no <= v_last or v_last is null)
        and deleted_at is null and search like pattern
      order by cu_ref_no
      limit v_left;
    get diagnostics v_found = row_count;
    v_left := v_left - v_found;
    exit when v_left = 0 or v_last is null;
    v_after := v_last;
    v_examined := v_examined + v_step;
    if v_examined = max_examined then
      cu_ref_no := v_last;
      return next;
      exit;
    end if;
    v_step := least(4 * v_step, max_examined - v_examined);
  end loop;
end $$;

create function customer_list_walk(organisation int8, term text, after_cu_ref_no text, most int8, max_examined int8) returns json
language plpgsql stable set plan_cache_mode = force_generic_plan as $$
begin
  return (
    select json_agg(item)
    from customer_list_steps(
      organisation, coalesce(search_pattern(term), '%'), coalesce(after_cu_ref_no, ''), most, max_examined
    ) as item
  );
end $$;

create function customer_profiles(organisation int8, cu_ref_nos text[])
returns table (
  cu_ref_no text, email text, first_name text, last_name text, company_name text, phone text,
  company_registration_number text, tax_identification_number text, created_at timestamptz, updated_at timestamptz
)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select
      cu_ref_no, email, first_name, last_name, company_name, phone, company_registration_number, tax_identification_number,
      created_at, updated_at
    from customer
    where organisation_id = organisation and cu_ref_no = any (cu_ref_nos) and living;
end $$;

-- The same through the index of trigrams. Null when the term is too short for trigrams or more customers match it; one empty row when
-- there is none.
create function customer_list_look_up(organisation int8, term text, after_cu_ref_no text, most int8, max_candidates int8) returns json
language plpgsql stable set plan_cache_mode = force_generic_plan as $$
declare
  v_candidates text[];
begin
  if not is_rare_term(organisation, term) then
    return null;
  end if;
  v_candidates := array(select customer_search(organisation, search_pattern(term), max_candidates + 1));
  if cardinality(v_candidates) > max_candidates then
    return null;
  end if;
  v_candidates := array(
    select candidate from unnest(v_candidates) as candidate
    where candidate > coalesce(after_cu_ref_no, '') collate "C"
    order by candidate collate "C"
    limit most
  );
  return (
    select coalesce(json_agg(item order by cu_ref_no collate "C"), '[{}]')
    from customer_profiles(organisation, v_candidates) as item
  );
end $$;

-- What the customer whose identity this is may see of a customer: of itself, or of one that it manages. Null: the identity is none of a
-- customer. Empty: it may not see that one, or there is none.
create function customer_find_for_identity(organisation int8, identity bytea, wanted text) returns json
language plpgsql stable set plan_cache_mode = force_generic_plan as $$
declare
  v_viewer constant text := customer_of_identity(organisation, identity);
  v_wanted constant text := coalesce(wanted, v_viewer);
begin
  if v_viewer is null then
    return null;
  end if;
  if v_wanted <> v_viewer then
    perform from customer_match
    where organisation_id = organisation
      and low_cu_ref_no = least(v_viewer collate "C", v_wanted collate "C")
      and high_cu_ref_no = greatest(v_viewer collate "C", v_wanted collate "C")
      and deactivated_at is null
      and case low_cu_ref_no when v_viewer then low_is_manager else high_is_manager end;
    if not found then
      return '{}';
    end if;
  end if;
  return (
    select coalesce(json_agg(item) -> 0, '{}')
    from (
      select *, cu_ref_no = v_viewer as is_own from customer_profiles(organisation, array[v_wanted])
    ) as item
  );
end $$;

-- The relation of two living customers, active or ended.
create function customer_match_find(organisation int8, manager text, matched text) returns jsonb
language plpgsql stable set plan_cache_mode = force_generic_plan as $$
declare
  v_relation customer_match;
begin
  select * into v_relation from customer_match
  where organisation_id = organisation
    and low_cu_ref_no = least(manager collate "C", matched collate "C")
    and high_cu_ref_no = greatest(manager collate "C", matched collate "C");
  -- Both ends of an active relation are living customers.
  if v_relation.active
     or v_relation.version is not null and customer_is_living(organisation, manager) and customer_is_living(organisation, matched) then
    return relation_state(v_relation, manager);
  end if;
  return null;
end $$;
