-- Lists of a batch in one call: the coordinator spends more on a call than a worker on a list. They are of organisations on the node that
-- has `place`; one that is elsewhere makes the call slower. The answers in the order of the batch, as `matched_customer_page` gives them, or
-- `matched_customer_filter` where there is a term; as text, since the coordinator would parse JSON.
create function matched_customer_lists(
  place int8,
  organisations int8[],
  owners text[],
  identities bytea[],
  terms text[],
  after_times timestamptz[],
  after_cu_ref_nos text[],
  mosts int8[],
  max_item_count int8,
  max_short_list int8,
  max_bytes int8,
  -- A session's own does not reach a worker.
  lock_timeout text
)
returns text[]
language plpgsql stable set plan_cache_mode = force_generic_plan as $$
declare
  v_lists text[];
begin
  perform set_config('lock_timeout', lock_timeout, true);
  for i in 1 .. cardinality(organisations) loop
    if terms[i] is null then
      v_lists[i] := matched_customer_page(
        organisations[i], owners[i], identities[i], after_times[i], after_cu_ref_nos[i], mosts[i], max_item_count, max_bytes
      );
    else
      v_lists[i] := matched_customer_filter(
        organisations[i], owners[i], identities[i], terms[i], after_times[i], after_cu_ref_nos[i], mosts[i], max_short_list, max_bytes
      );
    end if;
  end loop;
  return v_lists;
end $$;
