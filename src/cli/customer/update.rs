//! `customer-match customer update`

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::{named_customer, not_found};
use crate::cli::database::{DatabaseArgs, with_pool};
use crate::cli::error::usage_error;
use crate::cli::organisation_selector::OrganisationSelector;
use crate::cli::output::Output;
use crate::db::customer;
use crate::db::retry::{is_retryable, retry};
use crate::domain::{Email, HostIp, NamedCustomer, ProfileChanges, ProfileText, ProfileUpdate, Updated};

/// Change the profile of a customer, by the rules of the endpoint
#[derive(Args)]
pub(in crate::cli) struct Update {
    /// cuRefNo or e-mail address
    #[arg(value_name = "CUREFNO|EMAIL", value_parser = named_customer)]
    customer: NamedCustomer,
    /// Organisation of the customer
    #[arg(long, value_name = "ID|NAME", env = "CUSTOMER_MATCH_ORGANISATION")]
    organisation: OrganisationSelector,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

/// One of them at least.
#[derive(Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// New e-mail address; stored in its normal form
    #[arg(long)]
    email: Option<Email>,
    #[arg(long, value_name = "NAME")]
    first_name: Option<ProfileText>,
    #[arg(long, value_name = "NAME")]
    last_name: Option<ProfileText>,
    #[arg(long, value_name = "NAME")]
    company_name: Option<ProfileText>,
    /// Phone number in any notation
    #[arg(long)]
    phone: Option<ProfileText>,
    #[arg(long, value_name = "NUMBER")]
    company_registration_number: Option<ProfileText>,
    #[arg(long, value_name = "NUMBER")]
    tax_identification_number: Option<ProfileText>,
    /// The customer's own IP address
    #[arg(long, value_name = "IP")]
    customer_real_ip: Option<HostIp>,
    /// Field to clear; may be repeated
    #[arg(long, value_enum, value_name = "FIELD")]
    clear: Vec<Field>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Field {
    FirstName,
    LastName,
    CompanyName,
    Phone,
    CompanyRegistrationNumber,
    TaxIdentificationNumber,
    CustomerRealIp,
}

impl Update {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let update = ProfileUpdate { customer: self.customer, changes: self.changes.check()? };
        let customer = with_pool(&self.database, async |pool| {
            let organisation = self.organisation.find(pool).await?;
            match retry(async || customer::update(pool, organisation, &update).await, is_retryable).await? {
                Updated::Updated(customer) => Ok(customer),
                Updated::EmailTaken(owner) => bail!("customer {owner} has the e-mail address"),
                Updated::NotFound => Err(not_found(organisation, &update.customer)),
            }
        })
        .await?;
        self.output.print(&json!(customer), || format!("Customer {} is updated.", customer.cu_ref_no))
    }
}

impl Changes {
    fn check(self) -> anyhow::Result<ProfileChanges> {
        let cleared = &self.clear;
        Ok(ProfileChanges {
            email: self.email,
            first_name: change(self.first_name, Field::FirstName, cleared)?,
            last_name: change(self.last_name, Field::LastName, cleared)?,
            company_name: change(self.company_name, Field::CompanyName, cleared)?,
            phone: change(self.phone, Field::Phone, cleared)?,
            company_registration_number: change(
                self.company_registration_number,
                Field::CompanyRegistrationNumber,
                cleared,
            )?,
            tax_identification_number: change(
                self.tax_identification_number,
                Field::TaxIdentificationNumber,
                cleared,
            )?,
            real_ip: change(self.customer_real_ip, Field::CustomerRealIp, cleared)?,
        })
    }
}

fn change<T>(value: Option<T>, field: Field, cleared: &[Field]) -> anyhow::Result<Option<Option<T>>> {
    match (value, cleared.contains(&field)) {
        (Some(_), true) => Err(usage_error("a field has a new value and is to be cleared: say which")),
        (Some(value), false) => Ok(Some(Some(value))),
        (None, true) => Ok(Some(None)),
        (None, false) => Ok(None),
    }
}
