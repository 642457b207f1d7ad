//! Dry runs execute the real statements on temporary tables.
//!
//! A transaction that is rolled back at the end would lock every customer of the file until then, and a file may be a pipe. So a
//! dry run has a connection of its own with temporary tables of the same names, which shadow the real ones. Before a batch the
//! rows that it names are copied there, without locks. The connection is read-only, so only temporary tables can be written.

use sqlx::{Connection, PgConnection, PgPool};

/// A connection on which `customer` and `customer_match` are copies.
pub struct DryRun {
    connection: PgConnection,
    batches: u32,
}

/// The views give the shadowed tables other names. The column `search` and its index are left out, as they cost more than all the
/// rest.
const SET_UP: &str = "
    create temporary view real_customer as
        select organisation_id, cu_ref_no, email, first_name, last_name, company_name, phone, created_at, deleted_at
        from customer;
    create temporary view real_customer_match as
        select organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice,
               created_at, matched_at, updated_at, deactivated_at, version
        from customer_match;
    create temporary table customer (like customer including all);
    alter table pg_temp.customer drop column search;
    create temporary table customer_match (like customer_match including all);
    set statement_timeout = '10min';
    set default_transaction_read_only = on;
";

impl DryRun {
    pub async fn open(pool: &PgPool) -> sqlx::Result<Self> {
        let mut connection = super::dedicated(pool).await?;
        sqlx::raw_sql(SET_UP).execute(&mut connection).await?;
        Ok(Self { connection, batches: 0 })
    }

    /// The statements of a batch run here.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Copies customers that have not been copied yet. The views exist only in this session, so the statements cannot be
    /// checked at compile time.
    pub async fn copy_customers(
        &mut self,
        organisation_id: i64,
        cu_ref_nos: &[&str],
        emails: &[&str],
    ) -> sqlx::Result<()> {
        sqlx::query(
            "insert into customer (
                 organisation_id, cu_ref_no, email, first_name, last_name, company_name, phone, created_at, deleted_at
             )
             select found.*
             from unnest($2::text[]) as named (cu_ref_no)
             cross join lateral (
                 select * from real_customer
                 where organisation_id = $1 and real_customer.cu_ref_no = named.cu_ref_no
                 limit 1
             ) as found
             union
             select found.*
             from unnest($3::text[]) as named (email)
             cross join lateral (
                 select * from real_customer
                 where organisation_id = $1 and real_customer.email = named.email and deleted_at is null
                 limit 1
             ) as found
             on conflict do nothing",
        )
        .bind(organisation_id)
        .bind(cu_ref_nos)
        .bind(emails)
        .execute(&mut self.connection)
        .await?;
        self.batches += 1;
        // Autovacuum does not analyse temporary tables. Without statistics each statement would scan them.
        if self.batches.is_power_of_two() {
            sqlx::raw_sql("analyze customer; analyze customer_match").execute(&mut self.connection).await?;
        }
        Ok(())
    }

    /// Copies the relations of these pairs, whose customers have been copied. A pair is a manager's reference and the customer's
    /// reference or, where that is `None`, e-mail address.
    pub async fn copy_relations(
        &mut self,
        organisation_id: i64,
        managers: &[&str],
        cu_ref_nos: &[Option<&str>],
        emails: &[Option<&str>],
    ) -> sqlx::Result<()> {
        sqlx::query(
            "insert into customer_match (
                 organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice,
                 created_at, matched_at, updated_at, deactivated_at, version
             )
             select found.*
             from (
                 select named.manager, coalesce(named.cu_ref_no, (
                     select cu_ref_no from customer
                     where organisation_id = $1 and customer.email = named.email and deleted_at is null
                 )) as customer
                 from unnest($2::text[], $3::text[], $4::text[]) as named (manager, cu_ref_no, email)
             ) as pair
             cross join lateral (
                 select * from real_customer_match
                 where organisation_id = $1
                   and low_cu_ref_no = least(manager, customer) collate \"C\"
                   and high_cu_ref_no = greatest(manager, customer) collate \"C\"
                 limit 1
             ) as found
             on conflict do nothing",
        )
        .bind(organisation_id)
        .bind(managers)
        .bind(cu_ref_nos)
        .bind(emails)
        .execute(&mut self.connection)
        .await?;
        Ok(())
    }

    /// Ends the session, which drops the copies.
    pub async fn close(self) -> sqlx::Result<()> {
        self.connection.close().await
    }
}
