//! `customer-match customer show`

use clap::Args;
use serde_json::{Value, json};

use super::{named_customer, not_found};
use crate::cli::database::{DatabaseArgs, with_pool};
use crate::cli::organisation_selector::OrganisationSelector;
use crate::cli::output::{Output, table};
use crate::db::customer::{self, CustomerRecord};
use crate::domain::{NamedCustomer, Timestamp};

/// Show all that is stored of a customer, also of a deleted one
#[derive(Args)]
pub(in crate::cli) struct Show {
    /// cuRefNo, or e-mail address if it is not deleted
    #[arg(value_name = "CUREFNO|EMAIL", value_parser = named_customer)]
    customer: NamedCustomer,
    /// Organisation of the customer
    #[arg(long, value_name = "ID|NAME", env = "CUSTOMER_MATCH_ORGANISATION")]
    organisation: OrganisationSelector,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

impl Show {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let record = with_pool(&self.database, async |pool| {
            let organisation = self.organisation.find(pool).await?;
            let record = customer::find_record(pool, organisation, &self.customer).await?;
            record.ok_or_else(|| not_found(organisation, &self.customer))
        })
        .await?;
        self.output.print(&to_json(&record), || to_table(&record))
    }
}

fn to_json(record: &CustomerRecord) -> Value {
    let mut value = json!(record.customer);
    value["customerRealIp"] = json!(record.real_ip);
    value["activeRelations"] = json!(record.active_relations);
    value["mergedFrom"] = json!(record.merged_from);
    value["mergedInto"] = json!(record.merged_into);
    value["deletedAt"] = json!(record.deleted_at.map(Timestamp::from));
    value["deletionReason"] = json!(record.deletion_reason);
    value["erasedAt"] = json!(record.erased_at.map(Timestamp::from));
    value
}

/// What there is a value for.
fn to_table(record: &CustomerRecord) -> String {
    let customer = &record.customer;
    let merged_from = (!record.merged_from.is_empty()).then(|| record.merged_from.join(", "));
    let rows = [
        ("e-mail address", customer.email.clone()),
        ("first name", customer.first_name.clone()),
        ("last name", customer.last_name.clone()),
        ("company", customer.company_name.clone()),
        ("phone", customer.phone.clone()),
        ("company registration number", customer.company_registration_number.clone()),
        ("tax identification number", customer.tax_identification_number.clone()),
        ("IP address", record.real_ip.clone()),
        ("active relations", Some(record.active_relations.to_string())),
        ("created", Some(customer.created_at.to_string())),
        ("updated", Some(customer.updated_at.to_string())),
        ("merged from", merged_from),
        ("merged into", record.merged_into.clone()),
        ("deleted", record.deleted_at.map(|at| Timestamp::from(at).to_string())),
        ("deletion reason", record.deletion_reason.clone()),
        ("erased", record.erased_at.map(|at| Timestamp::from(at).to_string())),
    ];
    let rows = rows.into_iter().filter_map(|(name, value)| Some([name.into(), value?]));
    table(["CUSTOMER", &customer.cu_ref_no], rows)
}
