//! A copy of what a file names, for a dry run.
//!
//! A dry run executes the very statements of the real one, so that it reports the same. In a transaction that is rolled
//! back at the end it would lock every customer of the file for as long as the file lasts, and a file may be a pipe that
//! somebody types into. So it has a connection of its own with temporary tables of the same names, which Postgres looks
//! for first: what a batch names is copied there before the batch, and nothing is locked. The connection is read-only
//! besides: whatever a statement does, nothing but a temporary table can be written.

use sqlx::{Connection, PgConnection, PgPool};

/// A connection on which `customer` and `customer_match` are copies.
pub struct Rehearsal {
    connection: PgConnection,
    batches: u32,
}

/// The views keep the names of the real tables reachable. Their columns are those that imports read or write. New ids
/// begin where no real one is. Columns that are generated, and indexes on them, are there to be searched, which costs more
/// than all the rest and is not rehearsed.
const SET_UP: &str = "
    create temporary view real_customer as
        select organisation_id, id, cu_ref_no, email, first_name, last_name, company_name, phone, created_at, deleted_at
        from customer;
    create temporary view real_customer_match as
        select organisation_id, low_id, high_id, low_is_manager, high_is_manager, notice,
               created_at, matched_at, updated_at, deactivated_at, version
        from customer_match;
    create temporary table customer (like customer including all);
    create temporary table customer_match (like customer_match including all);
    do $$
    declare
        generated name;
    begin
        for generated in
            select attname from pg_attribute where attrelid = 'pg_temp.customer'::regclass and attgenerated <> ''
        loop
            execute format('alter table pg_temp.customer drop column %I', generated);
        end loop;
    end $$;
    alter table pg_temp.customer alter column id restart with 4611686018427387904;
    set statement_timeout = '10min';
    set default_transaction_read_only = on;
";

impl Rehearsal {
    /// Nothing is copied yet.
    pub async fn open(pool: &PgPool) -> sqlx::Result<Self> {
        let mut connection = super::dedicated(pool).await?;
        sqlx::raw_sql(SET_UP).execute(&mut connection).await?;
        Ok(Self { connection, batches: 0 })
    }

    /// Where the statements go.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Copies customers that are not there yet. The names exist in a session alone, so that no macro can check these
    /// statements; the tests of dry runs do.
    pub async fn copy_customers(
        &mut self,
        organisation_id: i64,
        cu_ref_nos: &[&str],
        emails: &[&str],
    ) -> sqlx::Result<()> {
        sqlx::query(
            "insert into customer (
                 organisation_id, id, cu_ref_no, email, first_name, last_name, company_name, phone, created_at, deleted_at
             )
             overriding system value
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
        // Nobody else gathers statistics on a temporary table. Without them each statement would read all of it.
        if self.batches.is_power_of_two() {
            sqlx::raw_sql("analyze customer; analyze customer_match").execute(&mut self.connection).await?;
        }
        Ok(())
    }

    /// Copies the relations of these pairs, whose customers have been copied: a manager's reference, and the other's or,
    /// where that is `None`, its address.
    pub async fn copy_relations(
        &mut self,
        organisation_id: i64,
        managers: &[&str],
        cu_ref_nos: &[Option<&str>],
        emails: &[Option<&str>],
    ) -> sqlx::Result<()> {
        sqlx::query(
            "insert into customer_match (
                 organisation_id, low_id, high_id, low_is_manager, high_is_manager, notice,
                 created_at, matched_at, updated_at, deactivated_at, version
             )
             select real_customer_match.*
             from (
                 select
                     (select id from customer where organisation_id = $1 and cu_ref_no = named.manager) as manager_id,
                     case when named.cu_ref_no is not null then (
                         select id from customer
                         where organisation_id = $1 and customer.cu_ref_no = named.cu_ref_no
                     ) else (
                         select id from customer
                         where organisation_id = $1 and customer.email = named.email and deleted_at is null
                     ) end as customer_id
                 from unnest($2::text[], $3::text[], $4::text[]) as named (manager, cu_ref_no, email)
             ) as pair
             join real_customer_match
                 on real_customer_match.organisation_id = $1
                and low_id = least(manager_id, customer_id) and high_id = greatest(manager_id, customer_id)
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

    /// Ends the session, and the copy with it.
    pub async fn close(self) -> sqlx::Result<()> {
        self.connection.close().await
    }
}
