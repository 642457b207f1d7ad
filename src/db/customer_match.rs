//! The table `customer_match`: one relation. The list is in [`super::matched_customer`], what writes it in
//! [`crate::matching`].

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

/// A relation, seen as one of its two directions.
#[derive(Debug)]
pub struct Relation {
    /// The reference of the customer that is asked about as manager.
    pub manager_cu_ref_no: String,
    /// The reference of the other side.
    pub customer_cu_ref_no: String,
    /// The address of the other side.
    pub customer_email: Option<String>,
    /// The same for both sides; a cleared one is none.
    pub notice: Option<String>,
    /// Whether it has not been deactivated.
    pub active: bool,
    /// When the two were first matched.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// The relation of these two customers, whichever of them manages the other.
pub async fn find(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    manager_id: i64,
    customer_id: i64,
) -> sqlx::Result<Option<Relation>> {
    sqlx::query_as!(
        Relation,
        r#"
        select
            manager.cu_ref_no as manager_cu_ref_no, customer.cu_ref_no as customer_cu_ref_no,
            customer.email as customer_email, nullif(m.notice, '') as notice,
            m.deactivated_at is null as "active!", m.created_at, m.updated_at
        from customer_match m
        join customer manager on manager.organisation_id = $1 and manager.id = $2
        join customer on customer.organisation_id = $1 and customer.id = $3
        where m.organisation_id = $1 and m.low_id = least($2, $3) and m.high_id = greatest($2, $3)
        "#,
        organisation_id,
        manager_id,
        customer_id,
    )
    .fetch_optional(db)
    .await
}

/// Locks the active relations of these customers, in the order in which matches lock theirs, until the transaction ends.
/// Whoever is to lock the customers as well does this first, as matches do: else each would wait for the other.
pub(super) async fn lock_all_of(
    transaction: &mut PgConnection,
    organisation_id: i64,
    cu_ref_nos: &[&str],
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"select count(*) from (
               select version from customer_match
               where organisation_id = $1 and deactivated_at is null and (
                   low_id = any (array(select id from customer where organisation_id = $1 and cu_ref_no = any ($2)))
                   or high_id = any (array(select id from customer where organisation_id = $1 and cu_ref_no = any ($2)))
               )
               order by low_id, high_id
               for no key update
           ) as locked"#,
        organisation_id,
        cu_ref_nos as &[&str],
    )
    .fetch_one(transaction)
    .await?;
    Ok(())
}
