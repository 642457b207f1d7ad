//! The cursors of an organisation's lists, as its endpoints take and give them.

use crate::domain::{CursorError, CursorKey, SeekPosition, SignedCursor};
use crate::error::{ApiError, InvalidField};

pub(crate) struct Cursors<'a> {
    key: &'a CursorKey,
    organisation_id: i64,
}

impl<'a> Cursors<'a> {
    pub(super) fn new(key: &'a CursorKey, organisation_id: i64) -> Self {
        Self { key, organisation_id }
    }

    /// Where the page begins that the parameter `cursor` asks for. `None`: at the start.
    pub(crate) fn position<P: SeekPosition>(
        &self,
        cursor: Option<&SignedCursor>,
    ) -> Result<Option<P>, ApiError> {
        let position = cursor.map(|cursor| self.key.verify(self.organisation_id, cursor)).transpose();
        position.map_err(|error| invalid_cursor(error).into())
    }

    /// The text that a client gets.
    pub(crate) fn sign<P: SeekPosition>(&self, position: &P) -> String {
        self.key.sign(self.organisation_id, position)
    }
}

pub(crate) fn invalid_cursor(rule: CursorError) -> InvalidField {
    InvalidField::in_query("cursor", rule)
}
