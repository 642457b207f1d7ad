//! The list of the customers that one customer is matched with: `customer_match` seen from either side of the pair.
//!
//! Both sides are read, since the order of the references decides which side of its pairs a customer is on. Every statement
//! has one plan that is right for all values, and is bounded, however many relations the customer has and however many
//! customers the organisation: by the number of rows it reads, or by its time. So no call costs the database more than 100 ms.
//! A page and the count beside it are two statements, so relations that change between them may be in one of them only.
//!
//! The statements here are those of one Postgres. A distributed database has a function for each (`delegated`), with the same rows.

mod delegated;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::PgConnection;

use super::customer_identity;
use super::layout::Layout;
use super::page_end::{MAX_PAGE_BYTES, items_that_fit, json_bytes};
use super::pool::bounded;
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

/// One list, and where it is.
pub struct List<'a> {
    pub layout: Layout,
    pub organisation_id: i64,
    pub owner: &'a Owner,
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

/// One page of all, from the position `after` on. `None`: the owner does not exist or is not logged in.
///
/// Each side is one index read in the order of the list, as far as the page, so a page costs the same however many relations
/// there are. A first page that is not full is the whole list; only others are counted.
pub async fn page(
    db: &mut PgConnection,
    list: &List<'_>,
    after: Option<&Cursor>,
    limit: usize,
) -> sqlx::Result<Option<Page>> {
    let rows = match list.layout {
        Layout::Single => first_rows(db, list, after, limit).await?,
        Layout::Distributed => delegated::page(db, list, after, limit).await?,
    };
    let Some(first) = rows.first() else { return Ok(None) };
    let counted_beside = first.item_count;
    let items = rows.iter().filter(|row| row.is_manager.is_some()).count();
    if after.is_none() && items <= limit {
        return Ok(Some(Page::of(rows, limit, items as i64)));
    }
    let counted = match counted_beside {
        Some(counted) => counted,
        None => count(db, list).await?,
    };
    let page = Page::of(rows, limit, counted.min(MAX_ITEM_COUNT));
    Ok(Some(Page { item_count_exact: counted <= MAX_ITEM_COUNT, ..page }))
}

/// One row at least, unless the owner does not exist or is not logged in.
async fn first_rows(
    db: &mut PgConnection,
    list: &List<'_>,
    after: Option<&Cursor>,
    limit: usize,
) -> sqlx::Result<Vec<Row>> {
    let (cu_ref_no, identity) = list.owner.names();
    sqlx::query_as!(
        Row,
        r#"
        with owner as materialized (
            select cu_ref_no from customer
            where organisation_id = $1 and living and cu_ref_no = coalesce($2, (
                select cu_ref_no from customer_identity
                where organisation_id = $1 and hash = $3 and revoked_at is null and expires_at > now()
            ))
        ),
        page as (
            (
                select
                    high_cu_ref_no as other, matched_at, updated_at, notice,
                    high_is_manager as is_manager, low_is_manager as is_managed
                from customer_match
                where organisation_id = $1 and low_cu_ref_no = (select cu_ref_no from owner) and active is not null
                  and (matched_at, high_cu_ref_no) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::text, '') collate "C")
                order by matched_at desc, high_cu_ref_no desc
                limit $6
            )
            union all
            (
                select low_cu_ref_no, matched_at, updated_at, notice, low_is_manager, high_is_manager
                from customer_match
                where organisation_id = $1 and high_cu_ref_no = (select cu_ref_no from owner) and active is not null
                  and (matched_at, low_cu_ref_no) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::text, '') collate "C")
                order by matched_at desc, low_cu_ref_no desc
                limit $6
            )
            order by matched_at desc, other desc
            limit $6
        )
        select
            null::int8 as item_count, other as "cu_ref_no?", c.email as "email?", c.first_name as "first_name?",
            c.last_name as "last_name?", c.company_name as "company_name?",
            case when coalesce(sum(octet_length(notice)) over two_before, 0) < $7 then nullif(notice, '') end as notice,
            is_manager as "is_manager?", is_managed as "is_managed?",
            matched_at as "matched_at?", page.updated_at as "updated_at?"
        from owner
        left join page on true
        left join customer c on c.organisation_id = $1 and c.cu_ref_no = other
        window two_before as (order by matched_at desc, other desc rows between unbounded preceding and 2 preceding)
        order by matched_at desc nulls last, other desc nulls last
        "#,
        list.organisation_id,
        cu_ref_no,
        identity.as_deref(),
        after.map(|cursor| cursor.matched_at),
        after.map(|cursor| cursor.cu_ref_no.as_str()),
        limit as i64 + 1,
        MAX_PAGE_BYTES,
    )
    .fetch_all(db)
    .await
}

/// How many relations there are, or one more than [`MAX_ITEM_COUNT`]. Reads the indexes alone: both ends of an active relation
/// are living customers.
async fn count(db: &mut PgConnection, list: &List<'_>) -> sqlx::Result<i64> {
    let (cu_ref_no, identity) = list.owner.names();
    sqlx::query_scalar!(
        r#"
        with owner as materialized (
            select coalesce($2, (select cu_ref_no from customer_identity where organisation_id = $1 and hash = $3)) as cu_ref_no
        )
        select count(*) as "count!" from (
            select from customer_match
            where organisation_id = $1 and low_cu_ref_no = (select cu_ref_no from owner) and active is not null
            union all
            select from customer_match
            where organisation_id = $1 and high_cu_ref_no = (select cu_ref_no from owner) and active is not null
            limit $4::int8 + 1
        ) as counted
        "#,
        list.organisation_id,
        cu_ref_no,
        identity.as_deref(),
        MAX_ITEM_COUNT,
    )
    .fetch_one(db)
    .await
}

/// [`page`] of those in whose name, company or e-mail address the term is found.
///
/// A short list is filtered whole. In a long one, a rare term leads through the index of trigrams to the customers and from
/// them to their relations; for any other term the list is walked newest first, until the page is full or the bound reached.
/// The list is also walked when the index takes longer than `index_timeout`: how much of it a term reads is not known beforehand.
pub async fn search(
    db: &mut PgConnection,
    list: &List<'_>,
    term: &SearchTerm,
    after: Option<&Cursor>,
    limit: usize,
    index_timeout: Duration,
) -> sqlx::Result<Option<Page>> {
    let search = search_unbounded(db, list, term, after, limit, index_timeout);
    bounded(SEARCH_TIMEOUT, search).await
}

async fn search_unbounded(
    db: &mut PgConnection,
    list: &List<'_>,
    term: &SearchTerm,
    after: Option<&Cursor>,
    limit: usize,
    index_timeout: Duration,
) -> sqlx::Result<Option<Page>> {
    let List { layout, organisation_id, owner } = *list;
    let rows = match layout {
        Layout::Single => filter_short_list(db, list, term, after, limit).await?,
        Layout::Distributed => delegated::filter_short_list(db, list, term, after, limit).await?,
    };
    match rows.first().map(|first| first.item_count) {
        None => return Ok(None),
        Some(Some(item_count)) => return Ok(Some(Page::of(rows, limit, item_count))),
        Some(None) => {}
    }
    let owner = match owner {
        Owner::CuRefNo(cu_ref_no) => cu_ref_no.as_str().to_owned(),
        Owner::Identity(identity) => {
            match customer_identity::find(&mut *db, layout, organisation_id, identity).await? {
                Some(cu_ref_no) => cu_ref_no,
                // Logged out since.
                None => return Ok(None),
            }
        }
    };
    let look_up = async |db: &mut PgConnection| match layout {
        Layout::Single => look_up_in_index(db, organisation_id, &owner, term, after, limit).await,
        Layout::Distributed => {
            delegated::look_up_in_index(db, organisation_id, &owner, term, after, limit).await
        }
    };
    let rows = within_statement_timeout(db, layout, index_timeout, look_up).await?.unwrap_or_default();
    if let Some(item_count) = rows.first().and_then(|first| first.item_count) {
        return Ok(Some(Page::of(rows, limit, item_count)));
    }
    let rows = match layout {
        Layout::Single => walk(db, organisation_id, &owner, term, after, limit).await?,
        Layout::Distributed => delegated::walk(db, organisation_id, &owner, term, after, limit).await?,
    };
    let last_examined = rows.iter().find(|row| row.is_manager.is_none()).and_then(Row::cursor);
    let found = rows.iter().filter(|row| row.is_manager.is_some()).count();
    let page = Page::of(rows, limit, found as i64);
    let next_cursor = page.next_cursor.or(last_examined);
    let item_count_exact = after.is_none() && next_cursor.is_none();
    Ok(Some(Page { item_count_exact, next_cursor, ..page }))
}

/// Without a count when the list has more than [`MAX_SHORT_LIST`] relations; then nothing is looked for. No row: the owner does
/// not exist.
async fn filter_short_list(
    db: &mut PgConnection,
    list: &List<'_>,
    term: &SearchTerm,
    after: Option<&Cursor>,
    limit: usize,
) -> sqlx::Result<Vec<Row>> {
    let (cu_ref_no, identity) = list.owner.names();
    sqlx::query_as!(
        Row,
        r#"
        with owner as materialized (
            select cu_ref_no from customer
            where organisation_id = $1 and living and cu_ref_no = coalesce($2, (
                select cu_ref_no from customer_identity
                where organisation_id = $1 and hash = $3 and revoked_at is null and expires_at > now()
            ))
        ),
        list as materialized (
            select high_cu_ref_no as other, matched_at
            from customer_match
            where organisation_id = $1 and low_cu_ref_no = (select cu_ref_no from owner) and active is not null
            union all
            select low_cu_ref_no, matched_at
            from customer_match
            where organisation_id = $1 and high_cu_ref_no = (select cu_ref_no from owner) and active is not null
            limit $7::int8 + 1
        ),
        -- The pattern in a sub-select is made once, not for each row.
        found as materialized (
            select other, matched_at, email, first_name, last_name, company_name
            from list
            join customer c on c.organisation_id = $1 and c.cu_ref_no = other
            where (select count(*) from list) <= $7 and search like (select search_pattern($8))
        ),
        page as (
            select * from found
            where (matched_at, other) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::text, '') collate "C")
            order by matched_at desc, other desc
            limit $6
        )
        select
            case when (select count(*) from list) <= $7 then (select count(*) from found) end as item_count,
            other as "cu_ref_no?", email as "email?", first_name as "first_name?", last_name as "last_name?",
            company_name as "company_name?",
            case when coalesce(sum(octet_length(notice)) over two_before, 0) < $9 then nullif(notice, '') end as notice,
            case other when m.low_cu_ref_no then low_is_manager else high_is_manager end as "is_manager?",
            case other when m.low_cu_ref_no then high_is_manager else low_is_manager end as "is_managed?",
            m.matched_at as "matched_at?", updated_at as "updated_at?"
        from owner
        left join page on true
        left join customer_match m on m.organisation_id = $1
            and m.low_cu_ref_no = least(owner.cu_ref_no, other) and m.high_cu_ref_no = greatest(owner.cu_ref_no, other)
        window two_before as (order by page.matched_at desc, other desc rows between unbounded preceding and 2 preceding)
        order by page.matched_at desc nulls last, other desc nulls last
        "#,
        list.organisation_id,
        cu_ref_no,
        identity.as_deref(),
        after.map(|cursor| cursor.matched_at),
        after.map(|cursor| cursor.cu_ref_no.as_str()),
        limit as i64 + 1,
        MAX_SHORT_LIST,
        term.as_str(),
        MAX_PAGE_BYTES,
    )
    .fetch_all(db)
    .await
}

/// Without a count when the term is too short for trigrams or too many customers match it.
async fn look_up_in_index(
    db: &mut PgConnection,
    organisation_id: i64,
    owner: &str,
    term: &SearchTerm,
    after: Option<&Cursor>,
    limit: usize,
) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"
        with term as materialized (select is_rare_term($1, $7) as is_rare),
        candidate as materialized (
            select cu_ref_no from customer
            where organisation_id = $1 and deleted_at is null and search like (select search_pattern($7))
              and (select is_rare from term)
            limit $6::int8 + 1
        ),
        usable as materialized (
            select (select is_rare from term) and count(*) <= $6 as usable from candidate
        ),
        found as materialized (
            select candidate.cu_ref_no as other, m.*
            from candidate
            cross join lateral (
                select
                    matched_at, updated_at, notice,
                    case candidate.cu_ref_no when low_cu_ref_no then low_is_manager else high_is_manager end as is_manager,
                    case candidate.cu_ref_no when low_cu_ref_no then high_is_manager else low_is_manager end as is_managed
                from customer_match
                where organisation_id = $1 and active is not null
                  and low_cu_ref_no = least($2 collate "C", candidate.cu_ref_no)
                  and high_cu_ref_no = greatest($2 collate "C", candidate.cu_ref_no)
                limit 1
            ) as m
            where (select usable from usable)
        ),
        page as (
            select * from found
            where (matched_at, other) < (coalesce($3::timestamptz, 'infinity'), coalesce($4::text, '') collate "C")
            order by matched_at desc, other desc
            limit $5
        )
        select
            case when usable then (select count(*) from found) end as item_count,
            other as "cu_ref_no?", c.email as "email?", c.first_name as "first_name?",
            c.last_name as "last_name?", c.company_name as "company_name?",
            case when coalesce(sum(octet_length(notice)) over two_before, 0) < $8 then nullif(notice, '') end as notice,
            is_manager as "is_manager?", is_managed as "is_managed?",
            matched_at as "matched_at?", page.updated_at as "updated_at?"
        from usable
        left join page on true
        left join customer c on c.organisation_id = $1 and c.cu_ref_no = other
        window two_before as (order by matched_at desc, other desc rows between unbounded preceding and 2 preceding)
        order by matched_at desc nulls last, other desc nulls last
        "#,
        organisation_id,
        owner,
        after.map(|cursor| cursor.matched_at),
        after.map(|cursor| cursor.cu_ref_no.as_str()),
        limit as i64 + 1,
        MAX_CANDIDATES,
        term.as_str(),
        MAX_PAGE_BYTES,
    )
    .fetch_all(db)
    .await
}

/// Examines at most [`MAX_EXAMINED`] relations. When the page is not full and there are more, the row without `is_manager` is the last
/// one that was examined.
async fn walk(
    db: &mut PgConnection,
    organisation_id: i64,
    owner: &str,
    term: &SearchTerm,
    after: Option<&Cursor>,
    limit: usize,
) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"
        -- Read lazily, in the order of both indexes, by each of the two that use it.
        with list as not materialized (
            select * from (
                (
                    select high_cu_ref_no as other, matched_at
                    from customer_match
                    where organisation_id = $1 and low_cu_ref_no = $2 and active is not null
                      and (matched_at, high_cu_ref_no) < (coalesce($3::timestamptz, 'infinity'), coalesce($4::text, '') collate "C")
                    order by matched_at desc, high_cu_ref_no desc
                    limit $6
                )
                union all
                (
                    select low_cu_ref_no, matched_at
                    from customer_match
                    where organisation_id = $1 and high_cu_ref_no = $2 and active is not null
                      and (matched_at, low_cu_ref_no) < (coalesce($3::timestamptz, 'infinity'), coalesce($4::text, '') collate "C")
                    order by matched_at desc, low_cu_ref_no desc
                    limit $6
                )
            ) as sides
            order by matched_at desc, other desc
            limit $6
        ),
        found as materialized (
            select list.other, list.matched_at, c.*
            from list
            cross join lateral (
                select email, first_name, last_name, company_name
                from customer
                where organisation_id = $1 and cu_ref_no = other and search like (select search_pattern($7))
                limit 1
            ) as c
            order by list.matched_at desc, list.other desc
            limit $5
        ),
        examined as materialized (
            select matched_at, other from list
            where (select count(*) from found) < $5
            offset $6 - 1
        )
        select
            null::int8 as item_count, found.other as "cu_ref_no?", email as "email?", first_name as "first_name?",
            last_name as "last_name?", company_name as "company_name?",
            case when coalesce(sum(octet_length(notice)) over two_before, 0) < $8 then nullif(notice, '') end as notice,
            case found.other when m.low_cu_ref_no then m.low_is_manager else m.high_is_manager end as "is_manager?",
            case found.other when m.low_cu_ref_no then m.high_is_manager else m.low_is_manager end as "is_managed?",
            found.matched_at as "matched_at?", updated_at as "updated_at?"
        from found
        join customer_match m on m.organisation_id = $1
            and m.low_cu_ref_no = least($2 collate "C", found.other) and m.high_cu_ref_no = greatest($2 collate "C", found.other)
        window two_before as (order by found.matched_at desc, found.other desc rows between unbounded preceding and 2 preceding)
        union all
        select null, other, null, null, null, null, null, null, null, matched_at, null from examined
        order by 10 desc, 2 desc
        "#,
        organisation_id,
        owner,
        after.map(|cursor| cursor.matched_at),
        after.map(|cursor| cursor.cu_ref_no.as_str()),
        limit as i64 + 1,
        MAX_EXAMINED,
        term.as_str(),
        MAX_PAGE_BYTES,
    )
    .fetch_all(db)
    .await
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
