//! The feed of changes: every relation of an organisation, in the order in which it last changed.
//!
//! The order is that of `customer_match.changed_in`, the ids of the transactions that wrote the rows, and a page shows only what is
//! below the oldest transaction that is still running. A transaction that commits later has an id from that one on. So what a reader
//! has passed is complete, however late a transaction commits, and a relation that changes again appears again, further on.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::change_origin::{self, ChangeOrigin, Visible};
use super::layout::Layout;
use super::page_end::{MAX_PAGE_BYTES, items_that_fit, json_bytes};
use crate::domain::{ChangeCursor, ChangeHistory, CuRefNo, RelationState, Role};

/// Some changes, each relation once, in its last state.
#[derive(Debug)]
pub struct ChangePage {
    /// Which changes could be shown.
    pub visible: Visible,
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
    /// The cursor is of another database, or of a time of this one that was lost; or the organisation was on another worker.
    ForeignCursor,
    /// The rows have no order, because a dump was restored and not renumbered, or the organisation was moved to another worker; or the
    /// database is a standby.
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

/// The page from the cursor on, from the beginning without one.
pub async fn read(
    db: &mut PgConnection,
    layout: Layout,
    organisation_id: i64,
    after: Option<&ChangeCursor>,
    limit: usize,
) -> sqlx::Result<ChangesRead> {
    match layout {
        Layout::Single => {
            let origin = change_origin::read(db).await?;
            read_below(db, &origin, organisation_id, after, limit).await
        }
        Layout::Distributed => {
            let Some((origin, rows)) = origin_and_rows(db, organisation_id, after, limit).await? else {
                return Ok(ChangesRead::NotNumbered);
            };
            Ok(match begin(&origin, after) {
                Ok(after) => ChangesRead::Page(page(origin.visible, &after, rows, limit)),
                Err(other) => other,
            })
        }
    }
}

/// The same where one Postgres has the tables, or a standby of it, with what the primary has said of its numbers.
///
/// A page ends below the oldest transaction that was running on the primary, and below the oldest that is running here. On a standby
/// the latter is one whose end has not been replayed. So no reader passes a change that it has not seen, and none gets beyond what the
/// primary shows.
pub async fn read_below(
    db: &mut PgConnection,
    origin: &ChangeOrigin,
    organisation_id: i64,
    after: Option<&ChangeCursor>,
    limit: usize,
) -> sqlx::Result<ChangesRead> {
    let after = match begin(origin, after) {
        Ok(after) => after,
        Err(other) => return Ok(other),
    };
    let rows = rows(db, organisation_id, &after, origin.visible.first_running, limit).await?;
    Ok(ChangesRead::Page(page(origin.visible, &after, rows, limit)))
}

/// Where the page begins.
fn begin(origin: &ChangeOrigin, after: Option<&ChangeCursor>) -> Result<ChangeCursor, ChangesRead> {
    let Some(history) = origin.history else { return Err(ChangesRead::NotNumbered) };
    let after = after.cloned().unwrap_or_else(|| ChangeCursor::start(history));
    // A copy of the disk from before a change has the same history until it has as many transactions again.
    if after.history != history || after.changed_in >= origin.visible.first_running {
        return Err(ChangesRead::ForeignCursor);
    }
    Ok(after)
}

async fn rows(
    db: &mut PgConnection,
    organisation_id: i64,
    after: &ChangeCursor,
    below: i64,
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
              and changed_in < least(pg_snapshot_xmin(pg_current_snapshot()), $7::text::xid8)
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
        below.to_string(),
    )
    .fetch_all(db)
    .await
}

/// The origin, and what [`rows`] returns if the cursor is of it: in one call of a function on the worker. `None`: the organisation is not
/// numbered.
async fn origin_and_rows(
    db: &mut PgConnection,
    organisation_id: i64,
    after: Option<&ChangeCursor>,
    limit: usize,
) -> sqlx::Result<Option<(ChangeOrigin, Vec<Row>)>> {
    let [low, high] = after.map_or(["", ""], ChangeCursor::pair);
    let found = sqlx::query!(
        "select
             node, history, first_running, next, low, high, low_is_manager, high_is_manager, notice, created_at, matched_at, updated_at,
             ended_at, version, changed_in
         from match_changes_page($1, $2, $3, $4, $5, $6)",
        organisation_id,
        after.map_or(0, |after| after.changed_in),
        low,
        high,
        limit as i64 + 1,
        MAX_PAGE_BYTES,
    )
    .fetch_all(db)
    .await?;
    let origin = found.first().and_then(|row| {
        let history = row.history.as_deref()?.try_into().ok().map(ChangeHistory);
        let visible = Visible { node: row.node?, first_running: row.first_running?, next: row.next? };
        Some(ChangeOrigin { history, visible })
    });
    let rows = found.into_iter().filter_map(|row| {
        Some(Row {
            low: row.low?,
            high: row.high?,
            low_is_manager: row.low_is_manager?,
            high_is_manager: row.high_is_manager?,
            notice: row.notice,
            created_at: row.created_at?,
            matched_at: row.matched_at?,
            updated_at: row.updated_at?,
            ended_at: row.ended_at,
            version: row.version?,
            changed_in: row.changed_in?,
        })
    });
    Ok(origin.map(|origin| (origin, rows.collect())))
}

/// The last change of each of these organisations that can be shown; one without any is left out. There is at least one organisation, and
/// all are on one node.
pub async fn latest(
    db: &mut PgConnection,
    layout: Layout,
    organisation_ids: &[i64],
) -> sqlx::Result<(Visible, HashMap<i64, i64>)> {
    match layout {
        Layout::Single => latest_single(db, organisation_ids).await,
        Layout::Distributed => latest_distributed(db, organisation_ids).await,
    }
}

/// The organisations are rows and not scalars, as one statement asks for all.
async fn latest_single(
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
    let visible = rows.first().map(|row| Visible {
        node: Visible::ONLY_NODE,
        first_running: row.first_running,
        next: row.next,
    });
    let latest = rows.into_iter().filter_map(|row| Some((row.organisation_id, row.changed_in?))).collect();
    Ok((visible.ok_or(sqlx::Error::RowNotFound)?, latest))
}

async fn latest_distributed(
    db: &mut PgConnection,
    organisation_ids: &[i64],
) -> sqlx::Result<(Visible, HashMap<i64, i64>)> {
    let place = organisation_ids.first().copied().unwrap_or_default();
    let rows = sqlx::query!(
        r#"select
               organisation_id as "organisation_id!", node as "node!", first_running as "first_running!", next as "next!", changed_in
           from latest_changes($1, $2)"#,
        place,
        organisation_ids,
    )
    .fetch_all(db)
    .await?;
    let visible =
        rows.first().map(|row| Visible { node: row.node, first_running: row.first_running, next: row.next });
    let latest = rows.into_iter().filter_map(|row| Some((row.organisation_id, row.changed_in?))).collect();
    Ok((visible.ok_or(sqlx::Error::RowNotFound)?, latest))
}

fn page(visible: Visible, after: &ChangeCursor, rows: Vec<Row>, limit: usize) -> ChangePage {
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
    ChangePage { visible, items, next_cursor, more }
}
