//! `GET /api/v1/customer/match-changes` (contract §2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::change_watcher::Waited;
use crate::db::relation_change::{self, ChangePage, ChangesRead};
use crate::db::{Layout, change_origin};
use crate::domain::{ChangeCursor, ChangeWait, CursorError, PageLimit, RelationState, Scope, SignedCursor};
use crate::error::{ApiError, ErrorCode};
use crate::http::cursors::invalid_cursor;
use crate::http::extract::{ApiQuery, OngoingKey, ParseQuery, Prefer, QueryParameters};
use crate::http::openapi::{self, ErrorExamples, ErrorResponses};
use crate::http::required_scope::{RequiredScope, RequiresScope};
use crate::http::state::AppState;

pub(crate) struct ChangesQuery {
    cursor: Option<SignedCursor>,
    limit: PageLimit,
    wait: ChangeWait,
}

impl RequiresScope for ChangesQuery {
    const SCOPES: &'static [RequiredScope] = &[RequiredScope::always(Scope::Read)];
}

impl ParseQuery for ChangesQuery {
    fn parse(parameters: &mut QueryParameters<'_>) -> Result<Option<Self>, ApiError> {
        let cursor = parameters.get("cursor");
        let limit = parameters.get("limit").unwrap_or_default();
        let wait = parameters.get("wait").unwrap_or_default();
        Ok(Some(Self { cursor, limit, wait }))
    }
}

impl ErrorExamples for ChangesQuery {
    fn error_examples() -> Vec<ApiError> {
        vec![invalid_cursor(CursorError).into(), ErrorCode::ChangesStartAgain.into()]
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MatchChanges {
    /// In the order of the changes; each relation once, in its last state, ended ones too.
    items: Vec<RelationState>,
    /// After the last item: what the next call passes as `cursor`.
    #[schema(value_type = ChangeCursor)]
    next_cursor: String,
    /// Whether another page is there at once.
    more: bool,
}

/// What changed: every relation of the organisation, in the order in which it last changed.
///
/// Without a cursor it begins with all relations, and passes over into what changes from then on without a gap. Save the items and
/// `nextCursor` together, and call again with it. A relation that changes again comes again. In each item the manager stands first;
/// if both are, the lower reference.
#[utoipa::path(
    get,
    path = "/api/v1/customer/match-changes",
    tag = openapi::CUSTOMER,
    params(
        ("cursor" = inline(Option<ChangeCursor>), Query, description = "The `nextCursor` of the answer before; absent at the start."),
        ("limit" = inline(Option<PageLimit>), Query, description = "The most items of a page."),
        ("wait" = inline(Option<ChangeWait>), Query,
         description = "For how many seconds the call waits for a change if there is none. It may be answered before, with an empty page."),
        ("Prefer" = inline(Option<Prefer>), Header, nullable = false, example = "handling=strict",
         description = "`handling=strict`: unknown parameters are invalid (RFC 7240)."),
    ),
    responses(
        (status = OK, body = MatchChanges, description = "One page, which may be empty."),
        ErrorResponses<ApiQuery<ChangesQuery>>,
    ),
)]
pub(crate) async fn list_match_changes(
    State(app): State<Arc<AppState>>,
    ApiQuery { caller, query }: ApiQuery<ChangesQuery>,
    mut api_key: OngoingKey,
) -> Result<Json<MatchChanges>, ApiError> {
    let organisation = caller.organisation_id;
    let cursors = app.cursors(organisation).await?;
    let after = cursors.position(query.cursor.as_ref())?;
    let mut page = read(&app, organisation, after.as_ref(), query.limit).await?;
    if page.items.is_empty() && !query.wait.get().is_zero() {
        let after = page.next_cursor.changed_in;
        let longest = query.wait.get();
        let changed = app.changes.wait(organisation, after, longest);
        let changed = app.shutdown.run_until_cancelled(changed);
        if caller.wait(&app, longest, changed).await? == Some(Waited::Changed) {
            api_key.check_again(&app).await?;
            page = read(&app, organisation, Some(&page.next_cursor), query.limit).await?;
        }
    }
    Ok(Json(MatchChanges {
        next_cursor: cursors.sign(&page.next_cursor),
        items: page.items,
        more: page.more,
    }))
}

async fn read(
    app: &AppState,
    organisation: i64,
    after: Option<&ChangeCursor>,
    limit: PageLimit,
) -> Result<ChangePage, ApiError> {
    let limit = usize::from(limit.get());
    let layout = app.pool.layout();
    let read = async || {
        let read =
            async |db: &mut PgConnection| relation_change::read(db, layout, organisation, after, limit).await;
        app.pool.with_connection(organisation, read).await
    };
    let mut found = match read_on_replica(app, organisation, after, limit).await? {
        Some(found) => found,
        None => read().await?,
    };
    if matches!(found, ChangesRead::NotNumbered)
        && layout == Layout::Distributed
        && app.renumbering.renumber(organisation).await
    {
        found = read().await?;
    }
    match found {
        ChangesRead::Page(page) => {
            app.changes.observe(page.visible);
            Ok(page)
        }
        ChangesRead::ForeignCursor => Err(ErrorCode::ChangesStartAgain.into()),
        ChangesRead::NotNumbered => {
            if layout == Layout::Single {
                tracing::warn!(
                    "the feed of changes is not served: the database is a standby, or was restored from a dump and the change \
                     numbers of its relations were drawn elsewhere; `customer-match migrate` gives them new ones"
                );
            }
            Err(ApiError::unavailable("The changes are being put in order."))
        }
    }
}

/// The page from the replica, below the bound that the primary sets: so a cursor that it leads to is never beyond what the primary
/// shows. `None`: the primary has to answer.
async fn read_on_replica(
    app: &AppState,
    organisation: i64,
    after: Option<&ChangeCursor>,
    limit: usize,
) -> sqlx::Result<Option<ChangesRead>> {
    let Some(replica) = app.replica.get().filter(|replica| replica.is_in_use()) else { return Ok(None) };
    let origin = app.pool.with_connection(organisation, change_origin::read).await?;
    let read = async |db: &mut PgConnection| {
        relation_change::read_below(db, &origin, organisation, after, limit).await
    };
    Ok(replica.read(organisation, read).await)
}
