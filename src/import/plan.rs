//! Computes what a batch of customers changes before anything is written: rows are applied in order to the records that the
//! database has of their customers.

use std::collections::HashMap;

use super::customer_row::CustomerRow;
use crate::db::customer_import::{EMAIL, FIELDS, Fields, Record, Update};
use crate::domain::Change;

/// What becomes of a stored value for which the file has another one.
#[derive(Debug, Clone, Copy)]
pub enum Existing {
    Keep,
    /// A blank cell keeps it, unless the field is marked.
    Overwrite {
        cleared_by_blanks: [bool; FIELDS.len()],
    },
}

/// What a row changed.
#[derive(Debug)]
pub struct RowChange {
    pub change: Change,
    /// Which stored values it replaced or cleared, in words.
    pub overwritten: Vec<String>,
}

/// Imported, or rejected with the reason.
pub(super) type RowResult = Result<RowChange, String>;

/// The customers that the rows of a batch name, with the changes of the rows applied so far.
pub(super) struct Plan {
    existing: Existing,
    drafts: Vec<Draft>,
    by_cu_ref_no: HashMap<String, usize>,
    /// Without deleted customers.
    by_email: HashMap<String, usize>,
}

struct Draft {
    record: Record,
    /// The e-mail address that is stored; the outer `None`: the customer is new.
    stored: Option<Option<String>>,
    /// What a stored customer gets.
    given: Fields,
}

impl Draft {
    fn is_changed(&self) -> bool {
        self.stored.is_none() || self.given.iter().any(Option::is_some)
    }

    /// The e-mail address that it loses.
    fn released_email(&self) -> Option<&str> {
        self.stored.as_ref()?.as_deref().filter(|_| self.given[EMAIL].is_some())
    }
}

impl Plan {
    /// The plan for the rows of a batch, and their results. `known`: the records that the database has of the customers that the
    /// rows name.
    pub(super) fn of(
        rows: &[&CustomerRow],
        known: Vec<Record>,
        existing: Existing,
    ) -> (Self, Vec<RowResult>) {
        let mut plan =
            Self { existing, drafts: Vec::new(), by_cu_ref_no: HashMap::new(), by_email: HashMap::new() };
        for record in known {
            let stored = Some(record.fields[EMAIL].clone());
            plan.add(record, stored);
        }
        let results = rows.iter().map(|row| plan.apply(row)).collect();
        (plan, results)
    }

    fn add(&mut self, record: Record, stored: Option<Option<String>>) {
        let position = self.drafts.len();
        self.by_cu_ref_no.insert(record.cu_ref_no.clone(), position);
        if let Some(email) = record.fields[EMAIL].clone().filter(|_| !record.deleted) {
            self.by_email.insert(email, position);
        }
        self.drafts.push(Draft { record, stored, given: Fields::default() });
    }

    /// A row identifies its customer by reference, or without one by e-mail address.
    fn apply(&mut self, row: &CustomerRow) -> RowResult {
        let email = row.email();
        let owner = email.and_then(|email| self.by_email.get(email)).copied();
        let found = match &row.cu_ref_no {
            Some(cu_ref_no) => self.by_cu_ref_no.get(cu_ref_no.as_str()).copied(),
            None => owner,
        };
        if let Some(draft) = found.and_then(|position| self.drafts.get(position)) {
            let Record { cu_ref_no, fields, deleted } = &draft.record;
            if *deleted {
                return Err(format!("customer {cu_ref_no} is deleted"));
            }
            if let (Some(ours), Some(theirs)) = (email, fields[EMAIL].as_deref())
                && ours != theirs
                && matches!(self.existing, Existing::Keep)
            {
                return Err(format!("customer {cu_ref_no} has another e-mail address, {theirs}"));
            }
        }
        if let (Some(email), Some(position)) = (email, owner.filter(|_| owner != found))
            && let Some(other) = self.drafts.get(position)
        {
            return Err(format!("the e-mail address {email} is customer {}'s", other.record.cu_ref_no));
        }
        match found {
            Some(position) => self.change(position, row),
            None => {
                self.add(row.to_record(), None);
                Ok(RowChange { change: Change::Created, overwritten: Vec::new() })
            }
        }
    }

    fn change(&mut self, position: usize, row: &CustomerRow) -> RowResult {
        let mut result = RowChange { change: Change::Unchanged, overwritten: Vec::new() };
        let Some(Draft { record, given, .. }) = self.drafts.get_mut(position) else { return Ok(result) };
        for (field, name) in FIELDS.iter().enumerate() {
            let (ours, theirs) = (&mut record.fields[field], &row.fields[field]);
            let replaces = match (&ours, theirs, self.existing) {
                (None, Some(_), _) => true,
                (Some(_), None, Existing::Overwrite { cleared_by_blanks }) => cleared_by_blanks[field],
                (Some(ours), Some(theirs), Existing::Overwrite { .. }) => ours != theirs,
                (_, None, _) | (Some(_), Some(_), Existing::Keep) => false,
            };
            if !replaces {
                continue;
            }
            if let Some(ours) = &ours {
                let becomes =
                    theirs.as_ref().map_or("is cleared".to_owned(), |theirs| format!("becomes {theirs:?}"));
                result
                    .overwritten
                    .push(format!("{name} {ours:?} of customer {} {becomes}", record.cu_ref_no));
            }
            if field == EMAIL {
                if let Some(email) = &ours {
                    self.by_email.remove(email);
                }
                self.by_email.extend(theirs.clone().map(|email| (email, position)));
            }
            ours.clone_from(theirs);
            given[field] = Some(theirs.clone().unwrap_or_default());
            result.change = Change::Updated;
        }
        Ok(result)
    }

    pub(super) fn changes_nothing(&self) -> bool {
        !self.drafts.iter().any(Draft::is_changed)
    }

    pub(super) fn overwrites(&self) -> bool {
        matches!(self.existing, Existing::Overwrite { .. })
    }

    pub(super) fn new_records(&self) -> Vec<&Record> {
        self.drafts.iter().filter(|draft| draft.stored.is_none()).map(|draft| &draft.record).collect()
    }

    /// The customers that get another e-mail address, and the one that they lose.
    pub(super) fn released_emails(&self) -> (Vec<&str>, Vec<&str>) {
        self.drafts
            .iter()
            .filter_map(|draft| Some((draft.record.cu_ref_no.as_str(), draft.released_email()?)))
            .unzip()
    }

    /// For when those e-mail addresses are released.
    pub(super) fn updates(&self) -> Vec<Update<'_>> {
        self.drafts
            .iter()
            .filter(|draft| draft.is_changed())
            .filter_map(|draft| {
                let stored = draft.stored.as_ref()?.as_deref();
                Some(Update {
                    cu_ref_no: &draft.record.cu_ref_no,
                    email: stored.filter(|_| draft.released_email().is_none()),
                    fields: &draft.given,
                })
            })
            .collect()
    }
}
