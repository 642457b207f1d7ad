//! The table `customer_match`: one relation by itself, the demo's sample data, and locks for what operators do. The list is in
//! [`super::matched_customer`], what requests write in [`super::write_batch`].

use sqlx::PgConnection;
use sqlx::types::Json;

use super::layout::Layout;
use crate::domain::{CuRefNo, Notice, RelationState};

/// The relation of two customers, active or ended, as `manager` sees it. `None`: they were never matched, or one of them does not
/// exist or is deleted.
pub async fn find(
    db: &mut PgConnection,
    layout: Layout,
    organisation_id: i64,
    manager: &CuRefNo,
    customer: &CuRefNo,
) -> sqlx::Result<Option<RelationState>> {
    if layout == Layout::Distributed {
        let relation = sqlx::query_scalar!(
            r#"select customer_match_find($1, $2, $3) as "relation: Json<RelationState>""#,
            organisation_id,
            manager.as_str(),
            customer.as_str(),
        )
        .fetch_one(db)
        .await?;
        return Ok(relation.map(|Json(relation)| relation));
    }
    let relation = sqlx::query_scalar!(
        r#"select relation_state(relation, $2) as "relation!: Json<RelationState>"
           from customer_match as relation
           where organisation_id = $1
             and low_cu_ref_no = least($2 collate "C", $3 collate "C") and high_cu_ref_no = greatest($2 collate "C", $3 collate "C")
             and exists (select from customer where organisation_id = $1 and cu_ref_no = $2 and living)
             and exists (select from customer where organisation_id = $1 and cu_ref_no = $3 and living)"#,
        organisation_id,
        manager.as_str(),
        customer.as_str(),
    )
    .fetch_optional(db)
    .await?;
    Ok(relation.map(|Json(relation)| relation))
}

/// Adds a relation that has been there for some hours; for the demo. Requests use the group commit.
pub async fn create_sample(
    transaction: &mut PgConnection,
    organisation_id: i64,
    (manager, customer): (&CuRefNo, &CuRefNo),
    both_are_managers: bool,
    notice: Option<&Notice>,
    hours: i32,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        insert into customer_match (
            organisation_id, created_at, matched_at, updated_at, low_is_manager, high_is_manager, low_cu_ref_no, high_cu_ref_no, notice
        )
        select $1, at, at, at, manager < customer or $4, customer < manager or $4, least(manager, customer),
               greatest(manager, customer), $5
        from (
            values ($2::text collate "C", $3::text collate "C", statement_timestamp() - make_interval(hours => $6))
        ) as relation (manager, customer, at)
        "#,
        organisation_id,
        manager.as_str(),
        customer.as_str(),
        both_are_managers,
        notice.map(Notice::as_str),
        hours,
    )
    .execute(&mut *transaction)
    .await?;
    number_inserted(transaction, organisation_id).await
}

/// Numbers the relations that this transaction has inserted as changes of the node that has them. The coordinator of a cluster has
/// numbered them as its own, since it evaluates the default of the column; no other Postgres finds any to be changed.
pub(super) async fn number_inserted(
    transaction: &mut PgConnection,
    organisation_id: i64,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update customer_match set changed_in = change_number(version)
         where organisation_id = $1 and changed_in = pg_current_xact_id() and changed_in <> change_number(version)",
        organisation_id,
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// Locks all relations of these customers, inactive ones too, in the order of their pairs, until the transaction ends: the
/// step before their customers are locked, in the one lock order that the migration `write_batch` states.
pub(super) async fn lock_all_of(
    transaction: &mut PgConnection,
    organisation_id: i64,
    cu_ref_nos: &[&str],
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"select count(*) from (
               select version from customer_match
               where organisation_id = $1 and (low_cu_ref_no = any ($2) or high_cu_ref_no = any ($2))
               order by low_cu_ref_no, high_cu_ref_no
               for no key update
           ) as locked"#,
        organisation_id,
        cu_ref_nos as &[&str],
    )
    .fetch_one(transaction)
    .await?;
    Ok(())
}
