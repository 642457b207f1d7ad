//! `customer-match customer export`

use std::iter;

use clap::Args;
use futures_util::TryStreamExt;
use serde_json::json;

use crate::cli::export::{ExportArgs, Subject};
use crate::db::export::{self, Customer};
use crate::domain::Timestamp;
use crate::import::customer_row::COLUMNS;

/// Write all customers to a file that `customer import` reads
///
/// Those that are not deleted, in the order of their references. The file shows the customers of one moment.
#[derive(Args)]
pub(in crate::cli) struct Export {
    #[command(flatten)]
    arguments: ExportArgs,
}

impl Export {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let subject = Subject { name: "customer(s)", columns: &COLUMNS, times: &["createdAt", "updatedAt"] };
        self.arguments
            .run(subject, async |connection, organisation, rows| {
                let mut customers = export::customers(connection, organisation);
                while let Some(customer) = customers.try_next().await? {
                    let Customer { cu_ref_no, fields, created_at, updated_at } = customer;
                    let fields = fields.into_iter().map(|field| json!(field));
                    let times = [created_at, updated_at].map(|time| json!(Timestamp::from(time)));
                    rows.write(iter::once(json!(cu_ref_no)).chain(fields).chain(times))?;
                }
                Ok(())
            })
            .await
    }
}
