//! The list of the customers that one customer is matched with: `customer_match` seen from either side of the pair.
//!
//! Both sides are read, since the order of the references decides which side of its pairs a customer is on. Every statement
//! has one plan that is right for all values, and is bounded, however many relations the customer has and however many
//! customers the organisation: by the number of rows it reads, or by its time. So no call costs the database more than 100 ms.
//! A page and the count beside it are two statements, so relations that change between them may be in one of them only.
//!
//! One Postgres has statements of its own (`single`), a distributed database a function for each (`delegated`), with the same rows.

mod delegated;
mod single;

use std::time::Duration;

pub(crate) use self::delegated::{ListAnswer, ListParameters, read_batch};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::PgConnection;

use super::connections::bounded;
use super::customer_identity;
use super::layout::Layout;
use super::page_end::{MAX_PAGE_BYTES, items_that_fit, json_bytes};
use super::pool::LOCK_TIMEOUT;
use super::transaction::within_statement_timeout;
use crate::domain::{CuRefNo, Cursor, IdentityId, MatchedCustomer, Role, SearchTerm};

/// Of a longer list only this many relations are counted.
pub const MAX_ITEM_COUNT: i64 = 10_000;
/// A list of up to this many relations is filtered whole, and what is found is counted.
const MAX_SHORT_LIST: i64 = 500;
/// A term that more customers of the organisation match is not worth the way through the index of trigrams.
pub(super) const MAX_CANDIDATES: i64 = 5_000;
/// How many relations of a long list one call examines at most for a frequent or short term.
pub const MAX_EXAMINED: i64 = 5_000;

/// Of all statements of a filter together. They are bounded by rows, which take so long only while the database is overloaded;
/// then nothing gets better by more of them.
pub(super) const SEARCH_TIMEOUT: Duration = Duration::from_secs(2);

/// Whose list it is.
pub enum Owner {
    /// The customer that is logged in.
    Identity(IdentityId),
    /// Any customer of the organisation.
    CuRefNo(CuRefNo),
}

/// A page of one list, and where that is.
#[derive(Clone, Copy)]
pub struct List<'a> {
    pub layout: Layout,
    pub organisation_id: i64,
    pub owner: &'a Owner,
    /// Only those in whose name, company or e-mail address it is found.
    pub term: Option<&'a SearchTerm>,
    /// The position from which on; `None`: the first page.
    pub after: Option<&'a Cursor>,
    /// The most items of the page.
    pub limit: usize,
}

impl List<'_> {
    fn after_time(&self) -> Option<DateTime<Utc>> {
        self.after.map(|cursor| cursor.matched_at)
    }

    fn after_cu_ref_no(&self) -> Option<&str> {
        self.after.map(|cursor| cursor.cu_ref_no.as_str())
    }

    /// One more than the page has, which tells whether there is another one.
    fn most(&self) -> i64 {
        self.limit as i64 + 1
    }
}

/// Some items and the number of all.
#[derive(Debug)]
pub struct Page {
    /// Newest first.
    pub items: Vec<MatchedCustomer>,
    /// How many there are over all pages; at least, unless it is exact.
    pub item_count: i64,
    pub item_count_exact: bool,
    /// Where the next page begins; `None` on the last.
    pub next_cursor: Option<Cursor>,
}

/// What each statement returns: the items of the page and one more, which tells whether there is another page. A row without
/// `is_manager` is no item.
#[derive(Deserialize)]
struct Row {
    /// Of the whole list; `None` where the statement did not count.
    item_count: Option<i64>,
    cu_ref_no: Option<String>,
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    company_name: Option<String>,
    notice: Option<String>,
    is_manager: Option<bool>,
    is_managed: Option<bool>,
    matched_at: Option<DateTime<Utc>>,
    updated_at: Option<DateTime<Utc>>,
}

impl Row {
    /// Where the page after this row begins. The table holds references in their format only.
    fn cursor(&self) -> Option<Cursor> {
        let cu_ref_no = CuRefNo::parse(self.cu_ref_no.as_deref()?).ok()?;
        Some(Cursor { matched_at: self.matched_at?, cu_ref_no })
    }

    fn json_bytes(&self) -> i64 {
        json_bytes([&self.email, &self.first_name, &self.last_name, &self.company_name, &self.notice])
    }

    fn into_item(self) -> Option<MatchedCustomer> {
        Some(MatchedCustomer {
            cu_ref_no: self.cu_ref_no?,
            email: self.email,
            first_name: self.first_name,
            last_name: self.last_name,
            company_name: self.company_name,
            notice: self.notice,
            role: match (self.is_manager?, self.is_managed?) {
                (true, true) => Role::Both,
                (true, false) => Role::Manager,
                (false, _) => Role::Customer,
            },
            matched_at: self.matched_at?.into(),
            updated_at: self.updated_at?.into(),
        })
    }
}

impl Page {
    fn of(rows: Vec<Row>, limit: usize, item_count: i64) -> Self {
        let is_item = |row: &&Row| row.is_manager.is_some();
        let end = items_that_fit(rows.iter().filter(is_item).map(Row::json_bytes), limit);
        let is_full = rows.iter().filter(is_item).count() > end;
        let last = rows.get(end.saturating_sub(1)).filter(|_| is_full);
        let next_cursor = last.and_then(Row::cursor);
        let items = rows.into_iter().filter_map(Row::into_item).take(end).collect();
        Self { items, item_count, item_count_exact: true, next_cursor }
    }
}

/// What the first statement about a list has found. It is the only one about most lists.
pub(crate) enum Beginning<'a> {
    /// `None`: the owner does not exist or is not logged in.
    Page(Option<Page>),
    /// The list is too long to be filtered whole, see [`search_long_list`].
    LongList(&'a SearchTerm),
}

impl<'a> Beginning<'a> {
    fn of(rows: Vec<Row>, list: &List<'a>) -> Self {
        match (rows.first().map(|first| first.item_count), list.term) {
            (None, _) => Self::Page(None),
            (Some(Some(item_count)), Some(_)) => Self::Page(Some(Page::of(rows, list.limit, item_count))),
            (Some(None), Some(term)) => Self::LongList(term),
            (Some(counted), None) => {
                let items = rows.iter().filter(|row| row.is_manager.is_some()).count();
                let counted = counted.unwrap_or(items as i64);
                let page = Page::of(rows, list.limit, counted.min(MAX_ITEM_COUNT));
                Self::Page(Some(Page { item_count_exact: counted <= MAX_ITEM_COUNT, ..page }))
            }
        }
    }
}

/// One page. `None`: the owner does not exist or is not logged in.
///
/// Without a term, each side is one index read in the order of the list, as far as the page, so a page costs the same however many
/// relations there are. A first page that is not full is the whole list; only others are counted.
///
/// With a term, a short list is filtered whole; for a long one see [`search_long_list`].
pub async fn page(
    db: &mut PgConnection,
    list: &List<'_>,
    index_timeout: Duration,
) -> sqlx::Result<Option<Page>> {
    let read = async {
        match begin(&mut *db, list).await? {
            Beginning::Page(page) => Ok(page),
            Beginning::LongList(term) => search_unbounded(db, list, term, index_timeout).await,
        }
    };
    match list.term {
        None => read.await,
        Some(_) => bounded(SEARCH_TIMEOUT, read).await,
    }
}

async fn begin<'a>(db: &mut PgConnection, list: &List<'a>) -> sqlx::Result<Beginning<'a>> {
    let rows = match (list.layout, list.term) {
        (Layout::Distributed, _) => {
            let answer = read_batch(db, &[ListParameters::new(list)], LOCK_TIMEOUT).await?.pop();
            return answer.ok_or(sqlx::Error::RowNotFound)?.beginning(list);
        }
        (Layout::Single, Some(term)) => single::filter_short_list(db, list, term).await?,
        (Layout::Single, None) => {
            let mut rows = single::page(&mut *db, list).await?;
            let is_whole_list = list.after.is_none() && rows.len() <= list.limit;
            if let Some(first) = rows.first_mut()
                && !is_whole_list
            {
                first.item_count = Some(single::count(db, list).await?);
            }
            rows
        }
    };
    Ok(Beginning::of(rows, list))
}

/// A page of a long list that is filtered. A rare term leads through the index of trigrams to the customers and from them to their
/// relations; for any other term the list is walked newest first, until the page is full or the bound reached. The list is also walked
/// when the index takes longer than `index_timeout`: how much of it a term reads is not known beforehand.
pub(crate) async fn search_long_list(
    db: &mut PgConnection,
    list: &List<'_>,
    term: &SearchTerm,
    index_timeout: Duration,
) -> sqlx::Result<Option<Page>> {
    bounded(SEARCH_TIMEOUT, search_unbounded(db, list, term, index_timeout)).await
}

async fn search_unbounded(
    db: &mut PgConnection,
    list: &List<'_>,
    term: &SearchTerm,
    index_timeout: Duration,
) -> sqlx::Result<Option<Page>> {
    let owner = match list.owner {
        Owner::CuRefNo(cu_ref_no) => cu_ref_no.as_str().to_owned(),
        Owner::Identity(identity) => {
            match customer_identity::find(&mut *db, list.layout, list.organisation_id, identity).await? {
                Some(cu_ref_no) => cu_ref_no,
                // Logged out since.
                None => return Ok(None),
            }
        }
    };
    let look_up = async |db: &mut PgConnection| match list.layout {
        Layout::Single => single::look_up_in_index(db, list, &owner, term).await,
        Layout::Distributed => delegated::look_up_in_index(db, list, &owner, term).await,
    };
    let rows = within_statement_timeout(db, list.layout, index_timeout, look_up).await?.unwrap_or_default();
    if let Some(item_count) = rows.first().and_then(|first| first.item_count) {
        return Ok(Some(Page::of(rows, list.limit, item_count)));
    }
    let rows = match list.layout {
        Layout::Single => single::walk(db, list, &owner, term).await?,
        Layout::Distributed => delegated::walk(db, list, &owner, term).await?,
    };
    let last_examined = rows.iter().find(|row| row.is_manager.is_none()).and_then(Row::cursor);
    let found = rows.iter().filter(|row| row.is_manager.is_some()).count();
    let page = Page::of(rows, list.limit, found as i64);
    let next_cursor = page.next_cursor.or(last_examined);
    let item_count_exact = list.after.is_none() && next_cursor.is_none();
    Ok(Some(Page { item_count_exact, next_cursor, ..page }))
}

impl Owner {
    /// The reference or the hash of the identity, as the statements take them.
    fn names(&self) -> (Option<&str>, Option<Vec<u8>>) {
        match self {
            Self::CuRefNo(cu_ref_no) => (Some(cu_ref_no.as_str()), None),
            Self::Identity(identity) => (None, Some(identity.hash().as_bytes().to_vec())),
        }
    }
}
