-- Where the change numbers (customer_match.changed_in) were drawn. Transaction ids begin anew in another database cluster, where
-- the numbers of a restored dump stand before any that are drawn there. `migrate` renumbers such rows and then writes this row
-- anew (src/db/change_origin.rs); until then the feed of changes is not served.
create table change_origin (
  -- There is one.
  id                boolean primary key default true constraint change_origin_is_one check (id),
  -- Of the cluster (pg_control_system).
  system_identifier int8 not null,
  -- The transaction that wrote this row. A row that a restore has copied has another xmin: so a dump is told from the original
  -- also in the same cluster.
  written_in        xid8 not null default pg_current_xact_id()
);
