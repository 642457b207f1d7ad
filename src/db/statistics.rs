//! What each organisation has, counted for operators. The statements read all of its rows.

use std::cmp::Reverse;

use sqlx::{PgConnection, PgPool};

use super::organisation;
use super::transaction::transact;

#[derive(Debug)]
pub struct Statistics {
    /// Oldest first.
    pub organisations: Vec<OrganisationStatistics>,
    /// Of all organisations; largest first.
    pub largest_lists: Vec<LargeList>,
    pub database_bytes: i64,
}

/// What an organisation has.
#[derive(Debug)]
pub struct OrganisationStatistics {
    pub id: i64,
    pub name: String,
    pub counts: Counts,
}

#[derive(Debug)]
pub struct Counts {
    /// Living ones.
    pub customers: i64,
    /// Active ones.
    pub relations: i64,
    pub ended_relations: i64,
    /// Relations that became active in the last minute.
    pub matches_in_last_minute: i64,
    /// Those that open something.
    pub keys: i64,
}

/// A customer with many active relations.
#[derive(Debug)]
pub struct LargeList {
    pub organisation_id: i64,
    pub cu_ref_no: String,
    pub relations: i64,
}

/// With so many of the largest lists.
pub async fn read(pool: &PgPool, largest: u16) -> sqlx::Result<Statistics> {
    transact(pool, false, async |db| {
        let mut found = Statistics {
            organisations: Vec::new(),
            largest_lists: Vec::new(),
            database_bytes: sqlx::query_scalar!(r#"select pg_database_size(current_database()) as "bytes!""#)
                .fetch_one(&mut *db)
                .await?,
        };
        for organisation in organisation::list(&mut *db).await? {
            let (id, name) = (organisation.id, organisation.name);
            found.largest_lists.extend(largest_lists(db, id, largest).await?);
            found.organisations.push(OrganisationStatistics { id, name, counts: counts(db, id).await? });
        }
        found.largest_lists.sort_by_key(|list| Reverse(list.relations));
        found.largest_lists.truncate(largest.into());
        Ok(found)
    })
    .await
}

async fn counts(db: &mut PgConnection, organisation_id: i64) -> sqlx::Result<Counts> {
    sqlx::query_as!(
        Counts,
        r#"
        select
            (select count(*) from customer where organisation_id = $1 and living) as "customers!",
            count(*) filter (where deactivated_at is null) as "relations!",
            count(*) filter (where deactivated_at is not null) as "ended_relations!",
            count(*) filter (where matched_at > now() - interval '1 minute') as "matches_in_last_minute!",
            (select count(*) from api_key where organisation_id = $1 and deleted_at is null and active
                and (expires_at is null or expires_at > now())) as "keys!"
        from customer_match where organisation_id = $1
        "#,
        organisation_id,
    )
    .fetch_one(db)
    .await
}

async fn largest_lists(
    db: &mut PgConnection,
    organisation_id: i64,
    limit: u16,
) -> sqlx::Result<Vec<LargeList>> {
    sqlx::query_as!(
        LargeList,
        r#"
        select $1::int8 as "organisation_id!", cu_ref_no as "cu_ref_no!", count(*) as "relations!"
        from customer_match, lateral (values (low_cu_ref_no), (high_cu_ref_no)) as side (cu_ref_no)
        where organisation_id = $1 and deactivated_at is null
        group by cu_ref_no
        order by count(*) desc, cu_ref_no
        limit $2
        "#,
        organisation_id,
        i64::from(limit),
    )
    .fetch_all(db)
    .await
}
