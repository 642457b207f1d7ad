//! `customer-match migrate`

use clap::Args;

use super::database::DatabaseArgs;
use super::output::Output;

/// Apply pending migrations; safe on several machines at once
#[derive(Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let database = self.database.open().await?;
        let result = async {
            database.check().await?;
            database.migrate().await
        }
        .await;
        database.close().await?;
        result?;
        self.output.print(&serde_json::json!({ "migrated": true }), || "The schema is current.".into())
    }
}
