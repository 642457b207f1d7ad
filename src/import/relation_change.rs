//! What a row of relations came to.

use crate::domain::{Change, Matched};
use crate::group_commit::WriteError;

/// What a row did to its relation.
#[derive(Debug, Clone, Copy)]
pub enum RelationChange {
    /// `guest`: its customer did not exist either.
    Created {
        guest: bool,
    },
    Updated,
    Unchanged,
    Reactivated,
    Ended,
}

/// Imported, or rejected with the reason.
pub(super) type RowResult = Result<RelationChange, String>;

impl From<Matched> for RelationChange {
    fn from(matched: Matched) -> Self {
        match matched.change {
            Change::Created => Self::Created { guest: matched.customer_created },
            Change::Updated => Self::Updated,
            Change::Unchanged => Self::Unchanged,
            Change::Reactivated => Self::Reactivated,
        }
    }
}

impl RelationChange {
    /// What the two matches of a mutual relation came to together.
    pub(super) fn of_both(first: Matched, second: Matched) -> Self {
        match first.change {
            Change::Unchanged => second.into(),
            _ => first.into(),
        }
    }
}

/// The row's result, or the error that stops the import.
pub(super) fn row_result(result: Result<RelationChange, WriteError>) -> Result<RowResult, WriteError> {
    match result {
        Ok(change) => Ok(Ok(change)),
        Err(
            error @ (WriteError::CustomerNotFound(_) | WriteError::SameCustomer | WriteError::Rejected(_)),
        ) => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}
