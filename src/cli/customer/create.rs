//! `customer-match customer create`

use anyhow::bail;
use clap::Args;
use serde_json::json;

use crate::cli::database::{DatabaseArgs, with_pool};
use crate::cli::organisation_selector::OrganisationSelector;
use crate::cli::output::Output;
use crate::db;
use crate::db::customer;
use crate::domain::{CuRefNo, Email, Profile, ProfileText};

/// Create a customer and print its cuRefNo, alone on stdout
#[derive(Args)]
pub(in crate::cli) struct Create {
    /// Organisation of the customer
    #[arg(long, value_name = "ID|NAME", env = "CUSTOMER_MATCH_ORGANISATION")]
    organisation: OrganisationSelector,
    /// Reference number of 16 letters or digits [default: a random one]
    #[arg(long, value_name = "CUREFNO")]
    cu_ref_no: Option<CuRefNo>,
    /// E-mail address; stored in its normal form
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
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

impl Create {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let cu_ref_no = self.cu_ref_no.unwrap_or_else(CuRefNo::generate);
        let email = self.email.as_ref();
        let profile = Profile {
            first_name: self.first_name,
            last_name: self.last_name,
            company_name: self.company_name,
            phone: self.phone,
            company_registration_number: self.company_registration_number,
            tax_identification_number: self.tax_identification_number,
            real_ip: None,
        };
        with_pool(&self.database, async |pool| {
            let organisation = self.organisation.find(pool).await?;
            let Err(error) = customer::create(pool, organisation, &cu_ref_no, email, &profile).await else {
                return Ok(());
            };
            if db::violates(&error, customer::CU_REF_NO_KEY) {
                bail!("organisation {organisation} has a customer {cu_ref_no} already");
            }
            if let Some(email) = email.filter(|_| db::violates(&error, customer::EMAIL_KEY)) {
                bail!("organisation {organisation} has a customer with the e-mail address {email} already");
            }
            Err(error.into())
        })
        .await?;
        self.output.print_created(&json!({ "cuRefNo": cu_ref_no, "email": email }), &cu_ref_no, || {
            let email = email.map(|email| format!(" <{email}>")).unwrap_or_default();
            format!("Customer {cu_ref_no}{email} created.")
        })
    }
}
