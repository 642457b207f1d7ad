//! `customer-match customer …`

mod create;
mod delete;
mod erase;
mod export;
mod import;
mod list;
mod merge;
mod show;
mod update;

use anyhow::anyhow;
use clap::Subcommand;

use crate::domain::{CuRefNo, Email, NamedCustomer};

/// Manage the customers of an organisation
#[derive(Subcommand)]
pub(super) enum Customer {
    Create(create::Create),
    Delete(delete::Delete),
    Erase(erase::Erase),
    Export(export::Export),
    Import(import::Import),
    List(list::List),
    Merge(merge::Merge),
    Show(show::Show),
    Update(update::Update),
}

impl Customer {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(command) => command.run().await,
            Self::Delete(command) => command.run().await,
            Self::Erase(command) => command.run().await,
            Self::Export(command) => command.run().await,
            Self::Import(command) => command.run().await,
            Self::List(command) => command.run().await,
            Self::Merge(command) => command.run().await,
            Self::Show(command) => command.run().await,
            Self::Update(command) => command.run().await,
        }
    }
}

/// A cuRefNo or an e-mail address, which only the second can have an @ in.
fn named_customer(text: &str) -> Result<NamedCustomer, String> {
    if text.contains('@') {
        Email::parse(text).map(NamedCustomer::Email).map_err(|rule| rule.to_string())
    } else {
        CuRefNo::parse(text).map(NamedCustomer::CuRefNo).map_err(|rule| rule.to_string())
    }
}

fn not_found(organisation: i64, named: &NamedCustomer) -> anyhow::Error {
    match named {
        NamedCustomer::CuRefNo(cu_ref_no) => {
            anyhow!("organisation {organisation} has no customer {cu_ref_no}")
        }
        NamedCustomer::Email(email) => {
            anyhow!("organisation {organisation} has no customer with the e-mail address {email}")
        }
    }
}
