//! The table `customer_match`: locks for what operators do. The list is in [`super::matched_customer`], what requests write in
//! [`super::write_batch`].

use sqlx::PgConnection;

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
