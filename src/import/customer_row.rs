//! One row of a file of customers.

use super::file::{Cells, Record};
use crate::db::customer_import;
use crate::domain::{CuRefNo, Email, ProfileText};

/// At least a reference or an e-mail address.
pub struct CustomerRow {
    pub(super) cu_ref_no: Option<CuRefNo>,
    pub(super) email: Option<Email>,
    first_name: Option<ProfileText>,
    last_name: Option<ProfileText>,
    company_name: Option<ProfileText>,
    phone: Option<ProfileText>,
}

impl Record for CustomerRow {
    const COLUMNS: &'static [&'static str] =
        &["email", "cuRefNo", "firstName", "lastName", "companyName", "phone"];
    const REQUIRED: &'static [&'static [&'static str]] = &[&["email", "cuRefNo"]];

    fn parse(cells: &Cells<'_>) -> Result<Self, String> {
        let row = Self {
            cu_ref_no: cells.parse("cuRefNo")?,
            email: cells.parse("email")?,
            first_name: cells.parse("firstName")?,
            last_name: cells.parse("lastName")?,
            company_name: cells.parse("companyName")?,
            phone: cells.parse("phone")?,
        };
        if row.cu_ref_no.is_none() && row.email.is_none() {
            return Err("it has neither an email nor a cuRefNo".into());
        }
        Ok(row)
    }
}

impl CustomerRow {
    /// The customer that the row creates if it is new, with a random reference unless the row has one.
    pub(super) fn to_record(&self) -> customer_import::Record {
        let text = |field: &Option<ProfileText>| field.as_ref().map(|text| text.as_str().to_owned());
        customer_import::Record {
            stored: false,
            cu_ref_no: self.cu_ref_no.clone().unwrap_or_else(CuRefNo::generate).to_string(),
            email: self.email.as_ref().map(Email::to_string),
            first_name: text(&self.first_name),
            last_name: text(&self.last_name),
            company_name: text(&self.company_name),
            phone: text(&self.phone),
            deleted: false,
        }
    }
}
