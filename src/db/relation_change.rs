//! The feed of changes: every relation of an organisation, in the order in which it last changed.
//!
//! The order is that of `customer_match.changed_in`, the ids of the transactions that wrote the rows, and a page shows only what is
//! below the oldest transaction that is still running. A transaction that commits later has an id from that one on. So what a reader
//! has passed is complete, however late a transaction commits, and a relation that changes again appears again, further on.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::change_origin::{self, ChangeOrigin, Visible};
use super::page_end::{MAX_PAGE_BYTES, items_that_fit, json_bytes};
use crate::domain::{ChangeCursor, CuRefNo, RelationState, Role};

/// Some changes, each relation once, in its last state.
#[derive(Debug)]
pub struct ChangePage {
    pub items: Vec<RelationState>,
    /// After the last item: where the next page begins.
    pub next_cursor: ChangeCursor,
    /// Whether the next page has items now.
    pub more: bool,
}

/// What a reader finds at its cursor.
#[derive(Debug)]
pub enum ChangesRead {
    Page(ChangePage),
    /// The cursor is of another database, or of a time of this one that was lost.
    ForeignCursor,
    /// The rows have no order, because a dump was restored and not renumbered; or the database is a standby.
    NotNumbered,
}

struct Row {
    low: String,
    high: String,
    low_is_manager: bool,
    high_is_manager: bool,
    notice: Option<String>,
    created_at: DateTime<Utc>,
    matched_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    version: i64,
    changed_in: i64,
}

impl Row {
    fn into_item(self) -> RelationState {
        let (manager, customer) =
            if self.low_is_manager { (self.low, self.high) } else { (self.high, self.low) };
        let role = if self.low_is_manager && self.high_is_manager { Role::Both } else { Role::Customer };
        RelationState {
            manager_cu_ref_no: manager,
            customer_cu_ref_no: customer,
            role,
            notice: self.notice,
            active: self.ended_at.is_none(),
            created_at: self.created_at.into(),
            matched_at: self.matched_at.into(),
            updated_at: self.updated_at.into(),
            ended_at: self.ended_at.map(Into::into),
            version: self.version,
        }
    }
}

/// The page from the cursor on, from the beginning without one; and which changes can be shown.
pub async fn read(
    db: &mut PgConnection,
    organisation_id: i64,
    after: Option<&ChangeCursor>,
    limit: usize,
) -> sqlx::Result<(Visible, ChangesRead)> {
    let ChangeOrigin { history, visible } = change_origin::read(db).await?;
    let Some(history) = history else { return Ok((visible, ChangesRead::NotNumbered)) };
    let start = ChangeCursor::start(history);
    let after = after.unwrap_or(&start);
    // A copy of the disk from before a change has the same history until it has as many transactions again.
    if after.history != history || after.changed_in >= visible.first_running {
        return Ok((visible, ChangesRead::ForeignCursor));
    }
    let rows = rows(db, organisation_id, after, limit).await?;
    Ok((visible, ChangesRead::Page(page(after, rows, limit))))
}

async fn rows(
    db: &mut PgConnection,
    organisation_id: i64,
    after: &ChangeCursor,
    limit: usize,
) -> sqlx::Result<Vec<Row>> {
    let [low, high] = after.pair();
    sqlx::query_as!(
        Row,
        r#"
        with page as (
            select *
            from customer_match
            where organisation_id = $1
              and changed_in < pg_snapshot_xmin(pg_current_snapshot())
              and (changed_in, low_cu_ref_no, high_cu_ref_no) > ($2::text::xid8, $3, $4)
            order by changed_in, low_cu_ref_no, high_cu_ref_no
            limit $5
        )
        select
            low_cu_ref_no as low, high_cu_ref_no as high, low_is_manager, high_is_manager,
            case when coalesce(sum(octet_length(notice)) over two_before, 0) < $6 then nullif(notice, '') end as notice,
            created_at, matched_at, updated_at, deactivated_at as ended_at, version, changed_in::text::int8 as "changed_in!"
        from page
        window two_before as (
            order by changed_in, low_cu_ref_no, high_cu_ref_no rows between unbounded preceding and 2 preceding
        )
        order by page.changed_in, low_cu_ref_no, high_cu_ref_no
        "#,
        organisation_id,
        after.changed_in.to_string(),
        low,
        high,
        limit as i64 + 1,
        MAX_PAGE_BYTES,
    )
    .fetch_all(db)
    .await
}

/// The last change of each of these organisations that can be shown; one without any is left out. There is at
/// least one organisation. They are rows and not scalars, as one statement asks for all.
pub async fn latest(
    db: &mut PgConnection,
    organisation_ids: &[i64],
) -> sqlx::Result<(Visible, HashMap<i64, i64>)> {
    let rows = sqlx::query!(
        r#"select
               named.id as "organisation_id!", latest.changed_in::text::int8 as changed_in,
               pg_snapshot_xmin(pg_current_snapshot())::text::int8 as "first_running!",
               pg_snapshot_xmax(pg_current_snapshot())::text::int8 as "next!"
           from unnest($1::int8[]) as named (id)
           left join lateral (
               select changed_in from customer_match
               where organisation_id = named.id and changed_in < pg_snapshot_xmin(pg_current_snapshot())
               order by changed_in desc
               limit 1
           ) as latest on true"#,
        organisation_ids,
    )
    .fetch_all(db)
    .await?;
    let visible = rows.first().map(|row| Visible { first_running: row.first_running, next: row.next });
    let latest = rows.into_iter().filter_map(|row| Some((row.organisation_id, row.changed_in?))).collect();
    Ok((visible.ok_or(sqlx::Error::RowNotFound)?, latest))
}

fn page(after: &ChangeCursor, rows: Vec<Row>, limit: usize) -> ChangePage {
    let end = items_that_fit(rows.iter().map(|row| json_bytes([&row.notice])), limit);
    let more = rows.len() > end;
    let next_cursor = rows[..end].last().map_or_else(
        || after.clone(),
        |row| ChangeCursor {
            history: after.history,
            changed_in: row.changed_in,
            // The table holds references in their format only.
            pair: CuRefNo::parse(&row.low)
                .ok()
                .zip(CuRefNo::parse(&row.high).ok())
                .map(|(low, high)| [low, high]),
        },
    );
    let items = rows.into_iter().take(end).map(Row::into_item).collect();
    ChangePage { items, next_cursor, more }
}
