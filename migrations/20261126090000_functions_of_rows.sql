-- The two functions that take a row, as text and not parsed: a parsed one uses the row type, and Postgres (since 15.20) rejects a new
-- constraint on such a table.

create or replace function relation_state(relation customer_match, manager text) returns jsonb
  language sql stable parallel safe as $$
  select jsonb_build_object(
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
  )
$$;

create or replace function customer_profile(given customer) returns jsonb
  language sql stable as $$
  select jsonb_build_object(
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
  )
$$;
