//! Reads what the tables hold in the end.

use std::collections::HashMap;

use customer_match_proof::checker::Tables;
use customer_match_proof::customers::Id;
use customer_match_proof::world::World;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

pub async fn read(world: &World, options: &PgConnectOptions) -> anyhow::Result<Tables> {
    let mut database = PgConnection::connect_with(options).await?;
    let created: Vec<(String, f64)> = sqlx::query_as(
        "select email, extract(epoch from created_at)::float8 from customer where email is not null",
    )
    .fetch_all(&mut database)
    .await?;
    // Of an identity's customer, whichever of its columns the foreign key refers to.
    let (column, key): (String, String) = sqlx::query_as(
        "select (select attname::text from pg_attribute where attrelid = conrelid and attnum = conkey[2]),
                (select attname::text from pg_attribute where attrelid = confrelid and attnum = confkey[2])
         from pg_constraint
         where contype = 'f' and conrelid = 'customer_identity'::regclass and confrelid = 'customer'::regclass",
    )
    .fetch_one(&mut database)
    .await?;
    let identities: Vec<(String, i64)> = sqlx::query_as(&format!(
        "select c.email, count(*) from customer_identity i
         join customer c on c.organisation_id = i.organisation_id and c.{key} = i.{column} group by c.email"
    ))
    .fetch_all(&mut database)
    .await?;
    let id = |email: &str| world.customers.with_email(email);
    Ok(Tables {
        created: created.iter().filter_map(|(email, at)| Some((id(email)?, world.at(*at)))).collect(),
        identities: identities
            .iter()
            .filter_map(|(email, count)| Some((id(email)?, usize::try_from(*count).ok()?)))
            .collect::<HashMap<Id, usize>>(),
    })
}
