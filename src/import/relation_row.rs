//! One row of a file of relations.

use std::str::FromStr;

use super::record::{Cells, Record};
use crate::domain::{CuRefNo, Email, Match, NamedCustomer};

/// Of an export; an import also takes `customerEmail`.
pub const EXPORTED_COLUMNS: [&str; 5] = ["managerCuRefNo", "customerCuRefNo", "role", "active", "notice"];

/// A relation as it is to be. A blank notice counts as absent, which keeps the stored one: a file cannot clear a notice.
pub struct RelationRow {
    pub(super) wanted: Match,
    /// Whether the customer is a manager too.
    pub(super) mutual: bool,
    /// Whether it is to exist, or to be ended.
    pub(super) active: bool,
}

impl RelationRow {
    /// For a mutual relation: the match by which the customer becomes a manager too.
    pub(super) fn reversed(&self) -> Option<Match> {
        match &self.wanted.customer {
            NamedCustomer::CuRefNo(customer) if self.mutual => Some(Match {
                manager: customer.clone(),
                customer: NamedCustomer::CuRefNo(self.wanted.manager.clone()),
                notice: None,
                ..self.wanted
            }),
            _ => None,
        }
    }
}

impl Record for RelationRow {
    const COLUMNS: &'static [&'static str] =
        &["managerCuRefNo", "customerCuRefNo", "customerEmail", "role", "active", "notice"];
    const REQUIRED: &'static [&'static [&'static str]] =
        &[&["managerCuRefNo"], &["customerCuRefNo", "customerEmail"]];

    fn parse(cells: &Cells<'_>) -> Result<Self, String> {
        let manager = cells.parse::<CuRefNo>("managerCuRefNo")?.ok_or("it has no managerCuRefNo")?;
        let cu_ref_no = cells.parse::<CuRefNo>("customerCuRefNo")?;
        // Must be valid also where the reference decides.
        let email = cells.parse::<Email>("customerEmail")?;
        let mutual = cells.parse("role")?.is_some_and(|role| matches!(role, Role::Both));
        if mutual && cu_ref_no.is_none() {
            return Err("role can be both only for a customerCuRefNo".into());
        }
        let customer = cu_ref_no
            .map(NamedCustomer::CuRefNo)
            .or(email.map(NamedCustomer::Email))
            .ok_or("it has neither a customerCuRefNo nor a customerEmail")?;
        let wanted = Match { manager, customer, notice: cells.parse("notice")?, representation: false };
        let active = cells.parse("active")?.is_none_or(|Active(active)| active);
        Ok(Self { wanted, mutual, active })
    }
}

/// What the customer of the row is to the manager. As in answers, but for `manager`: the manager of a row is one.
enum Role {
    Customer,
    Both,
}

impl FromStr for Role {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "customer" => Ok(Self::Customer),
            "both" => Ok(Self::Both),
            _ => Err("must be customer or both"),
        }
    }
}

struct Active(bool);

impl FromStr for Active {
    type Err = &'static str;

    /// Spreadsheets write them in capitals.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(Self(true)),
            "false" => Ok(Self(false)),
            _ => Err("must be true or false"),
        }
    }
}
