//! `customer-match match list`

use std::io::{Write as _, stderr};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::database::{DatabaseArgs, with_pool};
use super::organisation_selector::OrganisationSelector;
use super::output::{Output, table};
use crate::db::Layout;
use crate::db::matched_customer::{self, List, Owner};
use crate::domain::{CuRefNo, MatchedCustomer, SearchTerm};

/// An operator waits longer than a request for what an index may take.
const INDEX_TIMEOUT: Duration = Duration::from_secs(1);

/// List the customers that a customer is matched with, newest first
#[derive(Args)]
pub(super) struct MatchList {
    /// cuRefNo of the customer
    #[arg(value_name = "CUREFNO")]
    cu_ref_no: CuRefNo,
    /// Organisation of the customer
    #[arg(long, value_name = "ID|NAME", env = "CUSTOMER_MATCH_ORGANISATION")]
    organisation: OrganisationSelector,
    /// Part of a name, a company or an e-mail address; case and diacritics are ignored
    #[arg(long, value_name = "TEXT")]
    query: Option<SearchTerm>,
    /// How many to list at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

impl MatchList {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (items, more) = with_pool(&self.database, async |pool| {
            let organisation = self.organisation.find(pool).await?;
            let owner = Owner::CuRefNo(self.cu_ref_no.clone());
            let mut connection = pool.acquire().await?;
            let layout = Layout::read_on(&mut connection).await?;
            let (mut items, mut cursor) = (Vec::new(), None);
            loop {
                let list = List {
                    layout,
                    organisation_id: organisation,
                    owner: &owner,
                    term: self.query.as_ref(),
                    after: cursor.as_ref(),
                    limit: self.limit as usize - items.len(),
                };
                let page = matched_customer::page(&mut connection, &list, INDEX_TIMEOUT).await?;
                let page = page.with_context(|| {
                    format!("organisation {} has no customer {}", self.organisation, self.cu_ref_no)
                })?;
                items.extend(page.items);
                cursor = page.next_cursor;
                if cursor.is_none() || items.len() >= self.limit as usize {
                    return Ok((items, cursor.is_some()));
                }
            }
        })
        .await?;
        self.output.print(&json!({ "items": items, "more": more }), || {
            table(["CUREFNO", "ROLE", "NAME", "EMAIL", "MATCHED", "NOTICE"], items.iter().map(row))
        })?;
        if more {
            let _ = writeln!(stderr(), "There are more: --limit lists them.");
        }
        Ok(())
    }
}

fn row(item: &MatchedCustomer) -> [String; 6] {
    let name = [&item.first_name, &item.last_name, &item.company_name];
    let name: Vec<_> = name.into_iter().flatten().map(String::as_str).collect();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        item.cu_ref_no.clone(),
        item.role.as_str().into(),
        name.join(" "),
        text(&item.email),
        item.matched_at.to_string(),
        text(&item.notice).replace('\n', " "),
    ]
}
