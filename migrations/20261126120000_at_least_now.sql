-- The time of the statement, or `given` if that is later: the times of a row never go back, though the clock may.
--
-- On a cluster it is the clock of the node that has the row, as in what that node writes by itself: the argument is a column, so the
-- coordinator cannot evaluate the function. Declared immutable, as Citus wants it in `coalesce`; not in SQL, which would be inlined.
create function at_least_now(given timestamptz) returns timestamptz
language plpgsql immutable as $$
begin
  return greatest(given, statement_timestamp());
end $$;
