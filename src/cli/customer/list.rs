//! `customer-match customer list`

use std::io::{Write as _, stderr};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::cli::database::{DatabaseArgs, with_pool};
use crate::cli::organisation_selector::OrganisationSelector;
use crate::cli::output::{Output, table};
use crate::db::{Layout, customer_list};
use crate::domain::{CuRefNo, Customer, PageLimit, SearchTerm};

/// The operator waits for it, unlike the clients of a server.
const INDEX_TIMEOUT: Duration = Duration::from_secs(1);

/// List customers that are not deleted, in the order of their references
#[derive(Args)]
pub(in crate::cli) struct List {
    /// Organisation of the customers
    #[arg(long, value_name = "ID|NAME", env = "CUSTOMER_MATCH_ORGANISATION")]
    organisation: OrganisationSelector,
    /// Part of a name, a company or an e-mail address; case and diacritics are ignored
    #[arg(long, value_name = "TEXT")]
    query: Option<SearchTerm>,
    /// The most customers to list
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: usize,
    /// List those whose reference is behind this one
    #[arg(long, value_name = "CUREFNO")]
    after: Option<CuRefNo>,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

impl List {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        // A blank one finds all, as that of the endpoint does.
        let term = self.query.filter(|term| !term.as_str().is_empty());
        let mut after = self.after;
        let items = with_pool(&self.database, async |pool| {
            let organisation = self.organisation.find(pool).await?;
            let mut db = pool.acquire().await?;
            let layout = Layout::read_on(&mut db).await?;
            let mut items: Vec<Customer> = Vec::new();
            while items.len() < self.limit {
                let limit = (self.limit - items.len()).min(usize::from(*PageLimit::RANGE.end()));
                let page = customer_list::page(
                    &mut db,
                    layout,
                    organisation,
                    term.as_ref(),
                    after.as_ref(),
                    limit,
                    INDEX_TIMEOUT,
                );
                let page = page.await?;
                items.extend(page.items);
                after = page.next_cursor;
                if after.is_none() {
                    break;
                }
            }
            Ok(items)
        })
        .await?;
        self.output.print(&json!({ "items": items, "nextAfter": after }), || {
            let rows = items.iter().map(|customer| {
                let text = |value: &Option<String>| value.clone().unwrap_or_default();
                let names = [&customer.first_name, &customer.last_name].into_iter().flatten();
                let name = names.map(String::as_str).collect::<Vec<_>>().join(" ");
                [
                    customer.cu_ref_no.clone(),
                    text(&customer.email),
                    name,
                    text(&customer.company_name),
                    text(&customer.phone),
                ]
            });
            table(["CUREFNO", "EMAIL", "NAME", "COMPANY", "PHONE"], rows)
        })?;
        if let Some(after) = after {
            let _ = writeln!(stderr(), "There are more: --after {after}");
        }
        Ok(())
    }
}
