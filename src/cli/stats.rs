//! `customer-match stats`

use clap::Args;
use serde_json::json;

use super::database::{DatabaseArgs, with_pool};
use super::output::{Output, table};
use crate::db::statistics::{self, Counts, OrganisationStatistics};

/// Count what the database holds: organisations, customers, relations, matches in the last minute, and the largest lists
///
/// The tables are read whole, which takes seconds with millions of relations and delays no request. Matches that found their relation
/// as it was are not among those of the last minute: the metric matches_total of the servers has them too.
#[derive(Args)]
pub(super) struct Stats {
    /// How many of the largest lists to show
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=1000))]
    largest: u16,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

impl Stats {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let found =
            with_pool(&self.database, async |pool| Ok(statistics::read(pool, self.largest).await?)).await?;
        let organisations = found.organisations.iter().map(|OrganisationStatistics { id, name, counts }| {
            json!({
                "id": id, "name": name, "customers": counts.customers, "relations": counts.relations,
                "endedRelations": counts.ended_relations, "matchesInLastMinute": counts.matches_in_last_minute,
                "keys": counts.keys,
            })
        });
        let lists = found.largest_lists.iter().map(|list| {
            json!({ "organisationId": list.organisation_id, "cuRefNo": list.cu_ref_no, "relations": list.relations })
        });
        let value = json!({
            "organisations": organisations.collect::<Vec<_>>(), "largestLists": lists.collect::<Vec<_>>(), "databaseBytes": found.database_bytes,
        });
        self.output.print(&value, || {
            let rows = found.organisations.iter().map(|OrganisationStatistics { id, name, counts }| {
                let Counts { customers, relations, ended_relations, matches_in_last_minute, keys } = counts;
                let numbers = [customers, relations, ended_relations, matches_in_last_minute, keys];
                let [customers, relations, ended, matches, keys] = numbers.map(i64::to_string);
                [id.to_string(), name.clone(), customers, relations, ended, matches, keys]
            });
            let mut text = table(
                ["ID", "ORGANISATION", "CUSTOMERS", "RELATIONS", "ENDED", "MATCHES A MINUTE", "KEYS"],
                rows,
            );
            if !found.largest_lists.is_empty() {
                let lists = found.largest_lists.iter().map(|list| {
                    [list.organisation_id.to_string(), list.cu_ref_no.clone(), list.relations.to_string()]
                });
                text += &format!("\n\n{}", table(["ID", "LARGEST LISTS", "RELATIONS"], lists));
            }
            text + &format!("\n\nThe database has {} MB.", found.database_bytes / 1_000_000)
        })
    }
}
