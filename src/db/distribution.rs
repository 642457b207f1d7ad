//! Distributes the tables of tenants over the workers of a Citus cluster, by `organisation_id`.
//!
//! Which tables those are is seen by their keys, so what a later migration adds is distributed without a word in here. `organisation`
//! is copied to every node, as each write refers to it. All others stay on the coordinator, `api_key` among them: what is on every
//! node needs every node to be written.
//!
//! The statements use the catalogue and functions of the extension, so none can be checked at compile time.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, FromRow, PgConnection};

use super::change_origin;
use super::layout::Layout;
use super::schema_change;

/// The functions that the coordinator hands to a worker as a whole, and the parameter that is an organisation there.
pub const DELEGATED_FUNCTIONS: [(&str, &str); 13] = [
    ("customer_find_for_identity", "organisation"),
    ("customer_list_look_up", "organisation"),
    ("customer_list_walk", "organisation"),
    ("customer_match_find", "organisation"),
    ("customer_match_import_ended", "organisation"),
    ("customer_of_identity", "organisation"),
    ("latest_changes", "place"),
    ("match_changes_page", "organisation"),
    ("matched_customer_lists", "place"),
    ("matched_customer_look_up", "organisation"),
    ("matched_customer_walk", "organisation"),
    ("organisation_renumber", "organisation"),
    ("write_batch_at", "place"),
];

/// What there is to distribute.
#[derive(Debug, Default)]
pub struct Plan {
    /// Nodes that get shards.
    pub nodes: i64,
    /// To be copied to every node.
    pub reference_tables: Vec<Table>,
    /// To be divided into shards.
    pub tables: Vec<Table>,
    /// To be created on every node.
    pub functions: Vec<Function>,
    /// Distributed tables whose rows are still on the coordinator too, where nothing reads them.
    pub local_copies: Vec<String>,
}

#[derive(Debug, Clone, FromRow)]
pub struct Table {
    pub name: String,
    /// As Postgres estimates it.
    pub rows: i64,
    pub bytes: i64,
}

#[derive(Debug, Clone, FromRow)]
pub struct Function {
    /// With the types of its parameters.
    pub signature: String,
    /// Its parameter that is an organisation, if it is delegated.
    pub delegated_by: Option<String>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.reference_tables.is_empty()
            && self.tables.is_empty()
            && self.functions.is_empty()
            && self.local_copies.is_empty()
    }
}

/// Why a database cannot be distributed.
#[derive(Debug, thiserror::Error)]
pub enum DistributionError {
    #[error(
        "the database has no extension citus: install Citus on every node, set shared_preload_libraries = 'citus', restart \
         Postgres and run `create extension citus` in this database on each of them (docs/distributed.md)"
    )]
    NoExtension,
    #[error("Citus {0} is too old: this server was tried with 13.2.0")]
    OldVersion(String),
    #[error(
        "Citus {0} plans each statement on a worker anew and leaks the plans (citusdata/citus#8824), so workers run out of \
         memory: use 13.2.0, or a version with the fix"
    )]
    LeakingVersion(String),
    #[error("this database is not the coordinator of its cluster: name the coordinator in the database URL")]
    NotCoordinator,
    #[error(
        "the cluster has no worker: add each with `select citus_add_node('HOST', PORT)`, or distribute on this node alone \
         with --on-one-node"
    )]
    NoWorkers,
    #[error("node {0} of the cluster cannot be used now: `select * from pg_dist_node` shows its state")]
    InactiveNode(String),
    #[error(
        "{0} connection(s) of customer-match use the database, {1}: stop the servers first, since they would go on as if it were \
         not distributed"
    )]
    InUse(i64, String),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Versions that keep no plan of a statement in a function.
const LEAKING_VERSIONS: [&str; 4] = ["13.2.1", "13.2.2", "14.0.0", "14.0.1"];
const OLDEST_VERSION: [u32; 2] = [13, 2];

/// A connection that distributes. No other process migrates or distributes meanwhile.
pub struct Distribution {
    connection: PgConnection,
}

impl Distribution {
    /// Checks that the database, which has every migration, can be distributed. Changes nothing.
    ///
    /// # Errors
    ///
    /// What has to be done first.
    pub async fn open(options: &PgConnectOptions, on_one_node: bool) -> Result<Self, DistributionError> {
        let mut connection = schema_change::connect(options).await?;
        schema_change::lock(&mut connection).await?;
        check_version(&mut connection).await?;
        check_nodes(&mut connection, on_one_node).await?;
        Ok(Self { connection })
    }

    pub async fn plan(&mut self) -> sqlx::Result<Plan> {
        plan(&mut self.connection).await
    }

    /// Carries the plan out: the tables in one transaction, which keeps all others from them.
    ///
    /// # Errors
    ///
    /// Servers use the database while there are tables to be distributed.
    pub async fn run(mut self, plan: &Plan) -> Result<(), DistributionError> {
        if !plan.tables.is_empty() {
            check_unused(&mut self.connection).await?;
        }
        run(&mut self.connection, plan).await?;
        change_origin::renumber_distributed(&mut self.connection).await?;
        self.connection.close().await?;
        Ok(())
    }
}

/// Distributes what a migration has added to a database that is distributed.
pub(super) async fn complete(connection: &mut PgConnection) -> sqlx::Result<()> {
    if Layout::read_on(connection).await? == Layout::Distributed {
        let plan = plan(connection).await?;
        run(connection, &plan).await?;
    }
    Ok(())
}

async fn check_version(connection: &mut PgConnection) -> Result<(), DistributionError> {
    let installed: bool =
        sqlx::query_scalar("select exists (select from pg_extension where extname = 'citus')")
            .fetch_one(&mut *connection)
            .await?;
    if !installed {
        return Err(DistributionError::NoExtension);
    }
    let version: String =
        sqlx::query_scalar(r"select substring(citus_version() from '^Citus (\d+\.\d+\.\d+)')")
            .fetch_one(connection)
            .await?;
    if LEAKING_VERSIONS.contains(&version.as_str()) {
        return Err(DistributionError::LeakingVersion(version));
    }
    let numbers: Vec<u32> = version.split('.').filter_map(|number| number.parse().ok()).collect();
    if numbers[..] < OLDEST_VERSION[..] {
        return Err(DistributionError::OldVersion(version));
    }
    Ok(())
}

async fn check_nodes(connection: &mut PgConnection, on_one_node: bool) -> Result<(), DistributionError> {
    let is_coordinator: bool =
        sqlx::query_scalar("select groupid = 0 from pg_dist_local_group").fetch_one(&mut *connection).await?;
    if !is_coordinator {
        return Err(DistributionError::NotCoordinator);
    }
    let inactive: Option<String> = sqlx::query_scalar(
        "select format('%s:%s', nodename, nodeport) from pg_dist_node
         where not (isactive and hasmetadata and metadatasynced) order by nodeid limit 1",
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(node) = inactive {
        return Err(DistributionError::InactiveNode(node));
    }
    let has_workers: bool = sqlx::query_scalar(
        "select exists (select from pg_dist_node where groupid <> 0 and shouldhaveshards)",
    )
    .fetch_one(connection)
    .await?;
    if has_workers || on_one_node { Ok(()) } else { Err(DistributionError::NoWorkers) }
}

async fn check_unused(connection: &mut PgConnection) -> Result<(), DistributionError> {
    let (connections, whose): (i64, String) = sqlx::query_as(
        "select
             count(*),
             coalesce(string_agg(distinct concat_ws(' ', application_name, 'from ' || host(client_addr)), ', '), '')
         from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid() and application_name like 'customer-match%'",
    )
    .fetch_one(connection)
    .await?;
    if connections > 0 { Err(DistributionError::InUse(connections, whose)) } else { Ok(()) }
}

async fn plan(connection: &mut PgConnection) -> sqlx::Result<Plan> {
    let nodes = sqlx::query_scalar("select count(*) from pg_dist_node where isactive and shouldhaveshards")
        .fetch_one(&mut *connection)
        .await?;
    Ok(Plan {
        nodes,
        reference_tables: reference_tables(connection).await?,
        tables: tables(connection).await?,
        functions: functions(connection).await?,
        local_copies: local_copies(connection).await?,
    })
}

async fn reference_tables(connection: &mut PgConnection) -> sqlx::Result<Vec<Table>> {
    sqlx::query_as(
        "select relname::text as name, greatest(reltuples, 0)::int8 as rows, pg_total_relation_size(oid) as bytes
         from pg_class
         where oid = 'organisation'::regclass and not exists (select from pg_dist_partition where logicalrelid = oid)",
    )
    .fetch_all(connection)
    .await
}

/// Tables whose primary key contains the organisation. That of customers comes first: the others are placed by it and refer to it.
async fn tables(connection: &mut PgConnection) -> sqlx::Result<Vec<Table>> {
    sqlx::query_as(
        "select
             relname::text as name, greatest(reltuples, 0)::int8 as rows, pg_total_relation_size(pg_class.oid) as bytes
         from pg_class
         join pg_index on indrelid = pg_class.oid and indisprimary
         join pg_attribute on attrelid = pg_class.oid and attname = 'organisation_id' and attnum = any (indkey)
         where relnamespace = (select relnamespace from pg_class where oid = 'customer'::regclass)
           and not exists (select from pg_dist_partition where logicalrelid = pg_class.oid)
         order by relname <> 'customer', relname",
    )
    .fetch_all(connection)
    .await
}

/// Those that Citus has not created on every node by itself, as it does for a migration of a cluster.
async fn functions(connection: &mut PgConnection) -> sqlx::Result<Vec<Function>> {
    let (names, parameters): (Vec<_>, Vec<_>) = DELEGATED_FUNCTIONS.into_iter().unzip();
    sqlx::query_as(
        "select function.oid::regprocedure::text as signature, parameter as delegated_by
         from pg_proc as function
         left join unnest($1::text[], $2::text[]) as delegated (name, parameter) on name = proname
         left join pg_dist_object as known on known.classid = 'pg_proc'::regclass and known.objid = function.oid
         where pronamespace = (select relnamespace from pg_class where oid = 'customer'::regclass)
           and not exists (
               select from pg_depend
               where pg_depend.classid = 'pg_proc'::regclass and pg_depend.objid = function.oid and deptype = 'e'
           )
           and (known.objid is null or (parameter is not null and distribution_argument_index is null))
         order by parameter is not null, 1",
    )
    .bind(names)
    .bind(parameters)
    .fetch_all(connection)
    .await
}

/// A reference table keeps its copy, since tables of the coordinator refer to it.
async fn local_copies(connection: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "select logicalrelid::text from pg_dist_partition
         where partmethod = 'h' and pg_relation_size(logicalrelid) > 0 order by logicalrelid::text",
    )
    .fetch_all(connection)
    .await
}

async fn run(connection: &mut PgConnection, plan: &Plan) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    // A table with rows and a foreign key to a reference table that was created in the same transaction is copied shard by shard.
    sqlx::raw_sql("set local citus.multi_shard_modify_mode = 'sequential'")
        .execute(&mut *transaction)
        .await?;
    for table in &plan.reference_tables {
        tracing::info!(table = table.name, "copying a table to every node");
        call(&mut transaction, "select create_reference_table($1::regclass)", [&table.name]).await?;
    }
    for table in &plan.tables {
        tracing::info!(table = table.name, "distributing a table");
        let distribute = if table.name == "customer" {
            "select create_distributed_table($1::regclass, 'organisation_id')"
        } else {
            "select create_distributed_table($1::regclass, 'organisation_id', colocate_with => 'customer')"
        };
        call(&mut transaction, distribute, [&table.name]).await?;
    }
    for Function { signature, delegated_by } in &plan.functions {
        match delegated_by {
            None => {
                call(&mut transaction, "select create_distributed_function($1::regprocedure)", [signature])
                    .await?;
            }
            Some(parameter) => {
                let distribute =
                    "select create_distributed_function($1::regprocedure, $2, colocate_with => 'customer')";
                call(&mut transaction, distribute, [signature, parameter]).await?;
            }
        }
    }
    transaction.commit().await?;
    for table in local_copies(connection).await? {
        call(connection, "select truncate_local_data_after_distributing_table($1::regclass)", [&table])
            .await?;
    }
    for table in &plan.tables {
        // Nothing is known of the rows of new shards. Names come from the catalogue.
        sqlx::raw_sql(&format!("analyze {}", table.name)).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn call<const N: usize>(
    connection: &mut PgConnection,
    statement: &str,
    arguments: [&String; N],
) -> sqlx::Result<()> {
    let mut query = sqlx::query(statement);
    for argument in arguments {
        query = query.bind(argument);
    }
    query.execute(connection).await?;
    Ok(())
}
