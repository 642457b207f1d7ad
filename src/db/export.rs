//! What an export reads: all customers or relations of an organisation, each with one statement, which is one snapshot, row by row.

use chrono::{DateTime, Utc};
use futures_util::Stream;
use sqlx::{Connection, PgConnection, PgPool};

use super::customer_import::Fields;
use super::dedicated;

/// A connection that only reads, for as long as the file takes: the reader of a pipe may be slow.
pub async fn connect(pool: &PgPool) -> sqlx::Result<PgConnection> {
    let mut connection = dedicated(pool).await?;
    sqlx::raw_sql("set default_transaction_read_only = on; set statement_timeout = 0")
        .execute(&mut connection)
        .await?;
    Ok(connection)
}

/// What [`connect`] has opened.
pub async fn close(connection: PgConnection) -> sqlx::Result<()> {
    connection.close().await
}

#[derive(Debug)]
pub struct Customer {
    pub cu_ref_no: String,
    pub fields: Fields,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// The customers that are not deleted, in the order of their references.
pub fn customers(
    connection: &mut PgConnection,
    organisation_id: i64,
) -> impl Stream<Item = sqlx::Result<Customer>> + Unpin {
    sqlx::query_as!(
        Customer,
        r#"
        select
            cu_ref_no,
            array[
                email, first_name, last_name, company_name, phone, company_registration_number, tax_identification_number,
                host(real_ip)
            ] as "fields!: Fields",
            created_at, updated_at
        from customer
        where organisation_id = $1 and living
        order by cu_ref_no
        "#,
        organisation_id,
    )
    .fetch(connection)
}

#[derive(Debug)]
pub struct Relation {
    pub low_cu_ref_no: String,
    pub high_cu_ref_no: String,
    pub low_is_manager: bool,
    pub high_is_manager: bool,
    pub notice: Option<String>,
    pub created_at: DateTime<Utc>,
    pub matched_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// `None`: it is active.
    pub ended_at: Option<DateTime<Utc>>,
}

/// The relations, ended ones too, in the order of their pairs. Those of a deleted customer are left out: an import could not
/// create them.
pub fn relations(
    connection: &mut PgConnection,
    organisation_id: i64,
) -> impl Stream<Item = sqlx::Result<Relation>> + Unpin {
    sqlx::query_as!(
        Relation,
        r#"
        select
            low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, nullif(notice, '') as notice,
            created_at, matched_at, updated_at, deactivated_at as ended_at
        from customer_match
        where organisation_id = $1
          -- Both ends of an active relation are living customers.
          and (active or (
              (select living from customer where organisation_id = $1 and cu_ref_no = low_cu_ref_no)
              and (select living from customer where organisation_id = $1 and cu_ref_no = high_cu_ref_no)
          ))
        order by low_cu_ref_no, high_cu_ref_no
        "#,
        organisation_id,
    )
    .fetch(connection)
}
