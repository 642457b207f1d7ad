//! One row of a file of customers.

use std::fmt::Display;
use std::str::FromStr;

use super::record::{Cells, Record};
use crate::db::customer_import::{self, EMAIL, FIELDS, Fields};
use crate::domain::{CuRefNo, Email, HostIp, ProfileText};

/// At least a reference or an e-mail address.
pub struct CustomerRow {
    pub(super) cu_ref_no: Option<CuRefNo>,
    pub(super) fields: Fields,
}

/// Of an export too.
pub const COLUMNS: [&str; FIELDS.len() + 1] = {
    let mut columns = ["cuRefNo"; FIELDS.len() + 1];
    let (_, fields) = columns.split_at_mut(1);
    fields.copy_from_slice(&FIELDS);
    columns
};

impl Record for CustomerRow {
    const COLUMNS: &'static [&'static str] = &COLUMNS;
    const REQUIRED: &'static [&'static [&'static str]] = &[&["email", "cuRefNo"]];

    fn parse(cells: &Cells<'_>) -> Result<Self, String> {
        let mut row = Self { cu_ref_no: cells.parse("cuRefNo")?, fields: Fields::default() };
        for (field, column) in row.fields.iter_mut().zip(FIELDS) {
            *field = match column {
                "email" => normal::<Email>(cells, column)?,
                "customerRealIp" => normal::<HostIp>(cells, column)?,
                _ => cells.parse::<ProfileText>(column)?.map(|text| text.as_str().to_owned()),
            };
        }
        if row.cu_ref_no.is_none() && row.email().is_none() {
            return Err("it has neither an email nor a cuRefNo".into());
        }
        Ok(row)
    }
}

/// The normal form of a value.
fn normal<T: FromStr<Err: Display> + Display>(
    cells: &Cells<'_>,
    column: &str,
) -> Result<Option<String>, String> {
    Ok(cells.parse::<T>(column)?.map(|value| value.to_string()))
}

impl CustomerRow {
    pub(super) fn email(&self) -> Option<&str> {
        self.fields[EMAIL].as_deref()
    }

    /// The customer that the row creates if it is new, with a random reference unless the row has one.
    pub(super) fn to_record(&self) -> customer_import::Record {
        customer_import::Record {
            cu_ref_no: self.cu_ref_no.clone().unwrap_or_else(CuRefNo::generate).to_string(),
            fields: self.fields.clone(),
            deleted: false,
        }
    }
}
