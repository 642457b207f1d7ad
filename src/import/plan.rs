//! Computes what a batch of customers changes before anything is written: rows are applied in order to the records that the
//! database has of their customers.

use std::collections::HashMap;

use super::customer_row::CustomerRow;
use crate::db::customer_import::Record;
use crate::domain::{Change, Email};

/// Imported, or rejected with the reason.
pub(super) type RowResult = Result<Change, String>;

/// The customers that the rows of a batch name, with the changes of the rows applied so far.
pub(super) struct Plan {
    drafts: Vec<Draft>,
    by_cu_ref_no: HashMap<String, usize>,
    /// Without deleted customers.
    by_email: HashMap<String, usize>,
}

struct Draft {
    record: Record,
    changed: bool,
}

impl Plan {
    /// The plan for the rows of a batch, and their results. `known`: the records that the database has of the customers that the
    /// rows name.
    pub(super) fn of(rows: &[&CustomerRow], known: Vec<Record>) -> (Self, Vec<RowResult>) {
        let mut plan = Self { drafts: Vec::new(), by_cu_ref_no: HashMap::new(), by_email: HashMap::new() };
        for record in known {
            plan.add(record, false);
        }
        let results = rows.iter().map(|row| plan.apply(row)).collect();
        (plan, results)
    }

    fn add(&mut self, record: Record, changed: bool) {
        let position = self.drafts.len();
        self.by_cu_ref_no.insert(record.cu_ref_no.clone(), position);
        if let Some(email) = record.email.clone().filter(|_| !record.deleted) {
            self.by_email.insert(email, position);
        }
        self.drafts.push(Draft { record, changed });
    }

    /// A row identifies its customer by reference, or without one by e-mail address. Existing values are kept, missing ones
    /// are filled in.
    fn apply(&mut self, row: &CustomerRow) -> RowResult {
        let email = row.email.as_ref().map(Email::as_str);
        let owner = email.and_then(|email| self.by_email.get(email)).copied();
        let found = match &row.cu_ref_no {
            Some(cu_ref_no) => self.by_cu_ref_no.get(cu_ref_no.as_str()).copied(),
            None => owner,
        };
        if let Some(draft) = found.and_then(|position| self.drafts.get(position)) {
            let Record { cu_ref_no, deleted, .. } = &draft.record;
            if *deleted {
                return Err(format!("customer {cu_ref_no} is deleted"));
            }
            if let (Some(ours), Some(theirs)) = (email, draft.record.email.as_deref())
                && ours != theirs
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
            Some(position) => self.fill(position, row),
            None => {
                self.add(row.to_record(), true);
                Ok(Change::Created)
            }
        }
    }

    fn fill(&mut self, position: usize, row: &CustomerRow) -> RowResult {
        let Some(draft) = self.drafts.get_mut(position) else { return Ok(Change::Unchanged) };
        let given = row.to_record();
        let record = &mut draft.record;
        let mut filled = false;
        for (ours, theirs) in [
            (&mut record.email, given.email),
            (&mut record.first_name, given.first_name),
            (&mut record.last_name, given.last_name),
            (&mut record.company_name, given.company_name),
            (&mut record.phone, given.phone),
        ] {
            if ours.is_none() && theirs.is_some() {
                *ours = theirs;
                filled = true;
            }
        }
        if !filled {
            return Ok(Change::Unchanged);
        }
        draft.changed = true;
        if let Some(email) = record.email.clone() {
            self.by_email.insert(email, position);
        }
        Ok(Change::Updated)
    }

    pub(super) fn changes_nothing(&self) -> bool {
        self.changed().next().is_none()
    }

    pub(super) fn new_records(&self) -> Vec<&Record> {
        self.changed().filter(|record| !record.stored).collect()
    }

    pub(super) fn filled_records(&self) -> Vec<&Record> {
        self.changed().filter(|record| record.stored).collect()
    }

    fn changed(&self) -> impl Iterator<Item = &Record> {
        self.drafts.iter().filter(|draft| draft.changed).map(|draft| &draft.record)
    }
}
