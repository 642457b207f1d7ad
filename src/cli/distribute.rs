//! `customer-match distribute`

use clap::Args;
use serde_json::json;

use super::database::DatabaseArgs;
use super::output::Output;
use crate::db::distribution::{Distribution, Plan, Table};

/// Distribute the tables over the workers of a Citus cluster, by organisation
///
/// The database URL names the coordinator, on which Citus is installed and knows its workers. Stop the servers first and start them
/// again afterwards; docs/distributed.md has all steps. Can be run again at any time: it distributes what is not distributed yet.
#[derive(Args)]
pub(super) struct Distribute {
    /// Print what would be distributed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Distribute although the coordinator is the only node; workers can be added later
    #[arg(long)]
    on_one_node: bool,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

impl Distribute {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let database = self.database.open().await?;
        let result = async {
            database.check().await?;
            database.ensure_current(false).await?;
            let mut distribution = Distribution::open(&database.options, self.on_one_node).await?;
            let plan = distribution.plan().await?;
            if !self.dry_run {
                distribution.run(&plan).await?;
            }
            anyhow::Ok(plan)
        }
        .await;
        database.close().await?;
        let plan = result?;
        let table = |table: &Table| json!({ "name": table.name, "rows": table.rows, "bytes": table.bytes });
        let functions = plan
            .functions
            .iter()
            .map(|function| json!({ "signature": function.signature, "delegatedBy": function.delegated_by }));
        let value = json!({
            "dryRun": self.dry_run,
            "nodes": plan.nodes,
            "referenceTables": plan.reference_tables.iter().map(table).collect::<Vec<_>>(),
            "tables": plan.tables.iter().map(table).collect::<Vec<_>>(),
            "functions": functions.collect::<Vec<_>>(),
            "localCopies": plan.local_copies,
        });
        self.output.print(&value, || self.describe(&plan))
    }

    fn describe(&self, plan: &Plan) -> String {
        if plan.is_empty() {
            return "All tables are distributed.".into();
        }
        let (copied, distributed, created, removed) = if self.dry_run {
            ("would be copied", "would be distributed", "would be created", "would be removed")
        } else {
            ("was copied", "was distributed", "was created", "was removed")
        };
        let size = |table: &Table| {
            format!("{} (about {} rows, {} MB)", table.name, table.rows, table.bytes / 1_000_000)
        };
        let references =
            plan.reference_tables.iter().map(|table| format!("{} {copied} to every node.", size(table)));
        let tables = plan
            .tables
            .iter()
            .map(|table| format!("{} {distributed} over {} node(s).", size(table), plan.nodes));
        let functions = plan.functions.iter().map(|function| {
            let name = function.signature.split('(').next().unwrap_or_default();
            match &function.delegated_by {
                None => format!("The function {name} {created} on every node."),
                Some(parameter) => {
                    format!("The function {name} {created} on every node, delegated by {parameter}.")
                }
            }
        });
        let copies = plan
            .local_copies
            .iter()
            .map(|table| format!("The copy of {table} on the coordinator {removed}."));
        let mut lines: Vec<_> = references.chain(tables).chain(functions).chain(copies).collect();
        if !self.dry_run {
            lines.push("Start the servers: they know a distributed database by themselves.".into());
        }
        lines.join("\n")
    }
}
