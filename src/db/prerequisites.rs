//! What the database must have before the first migration. Checked together and before anything is written, so that one message
//! says all that is missing and what to type.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use super::migration;

/// Of Postgres' `server_version_num`.
const OLDEST_VERSION: i32 = 150_000;

/// Names and types as Postgres writes them, identifiers quoted where that is needed.
#[derive(sqlx::FromRow)]
struct Found {
    version: i32,
    version_text: String,
    encoding: String,
    database: String,
    role: String,
    search_path: String,
    /// Where tables are created: the first schema of `search_path` that exists.
    schema: Option<String>,
    may_create_tables: bool,
    /// Where an earlier `migrate` has created the tables; if in several schemas, then this one is `schema` if possible.
    schema_of_tables: Option<String>,
    read_only: bool,
}

const FOUND: &str = "
    select
        current_setting('server_version_num')::int4 as version,
        current_setting('server_version') as version_text,
        current_setting('server_encoding') as encoding,
        quote_ident(current_database()) as database,
        quote_ident(current_user) as role,
        current_setting('search_path') as search_path,
        quote_ident(current_schema()) as schema,
        coalesce(has_schema_privilege(current_schema(), 'create'), false) as may_create_tables,
        (select quote_ident(nspname) from pg_class join pg_namespace on pg_namespace.oid = relnamespace
         where relname = 'customer_match' and relkind = 'r'
           and exists (select from pg_class m where m.relname = '_sqlx_migrations' and m.relnamespace = pg_namespace.oid)
         order by nspname is not distinct from current_schema() desc limit 1
        ) as schema_of_tables,
        pg_is_in_recovery() or current_setting('default_transaction_read_only')::bool as read_only";

#[derive(sqlx::FromRow)]
struct Extension {
    name: String,
    is_installed: bool,
    /// Whether its functions and operators are found by `search_path`.
    is_visible: bool,
    schema: Option<String>,
    is_available: bool,
    may_be_created: bool,
}

const EXTENSIONS: &str = "
    select
        wanted.name,
        extname is not null as is_installed,
        coalesce(nspname = any (current_schemas(true)), false) as is_visible,
        quote_ident(nspname) as schema,
        exists (select from pg_available_extensions as available where available.name = wanted.name) as is_available,
        (select rolsuper from pg_roles where rolname = current_user)
        or has_database_privilege(current_database(), 'create') and exists (
            select from pg_available_extension_versions as version where version.name = wanted.name and trusted
        ) as may_be_created
    from unnest(array['pg_trgm', 'btree_gin']) as wanted (name)
    left join pg_extension on extname = wanted.name
    left join pg_namespace on pg_namespace.oid = extnamespace";

/// What the database lacks, each with what to do about it; empty: nothing. What only migrations need is not demanded while none is
/// pending.
pub(crate) async fn missing(options: &PgConnectOptions) -> sqlx::Result<Vec<String>> {
    let mut connection = PgConnection::connect_with(options).await?;
    let found: Found = sqlx::query_as(FOUND).persistent(false).fetch_one(&mut connection).await?;
    let extensions: Vec<Extension> =
        sqlx::query_as(EXTENSIONS).persistent(false).fetch_all(&mut connection).await?;
    let pending = migration::pending_on(&mut connection).await? > 0;
    let _ = connection.close().await;
    let mut missing = found.missing(pending);
    missing.extend(extensions.iter().filter_map(|extension| extension.missing(&found, pending)));
    Ok(missing)
}

impl Found {
    fn missing(&self, pending: bool) -> Vec<String> {
        let Self { database, role, search_path, .. } = self;
        let mut missing = Vec::new();
        if self.version < OLDEST_VERSION {
            missing
                .push(format!("it is Postgres {}, and 15 or later is needed: upgrade it", self.version_text));
        }
        if self.encoding != "UTF8" {
            missing.push(format!(
                "its encoding is {}, and UTF8 is needed, which is chosen when a database is created: \
                 `create database NAME encoding 'UTF8' locale 'C' template template0`",
                self.encoding
            ));
        }
        let tables_elsewhere = self.schema_of_tables.as_ref().filter(|_| pending);
        match (&self.schema, tables_elsewhere) {
            (schema, Some(tables)) if schema.as_ref() != Some(tables) => missing.push(format!(
                "its tables are in the schema {tables}, and search_path ({search_path}) leads elsewhere: \
                 `alter role {role} in database {database} set search_path = {tables}`"
            )),
            (None, _) => missing.push(format!(
                "search_path ({search_path}) names no schema that exists and may be used: \
                 `alter role {role} in database {database} set search_path = public`"
            )),
            (Some(schema), _) if pending && !self.may_create_tables => missing.push(format!(
                "the role {role} may not create tables in the schema {schema}: \
                 `grant usage, create on schema {schema} to {role}`"
            )),
            _ => {}
        }
        if pending && self.read_only {
            missing.push("it is read-only: migrate the primary".into());
        }
        missing
    }
}

impl Extension {
    fn missing(&self, found: &Found, pending: bool) -> Option<String> {
        let Self { name, .. } = self;
        let Found { database, role, search_path, .. } = found;
        if self.is_installed && !self.is_visible {
            let schema = self.schema.as_deref().unwrap_or_default();
            return Some(format!(
                "the extension {name} is in the schema {schema}, which search_path ({search_path}) does not name: \
                 `alter role {role} in database {database} set search_path = {search_path}, {schema}`"
            ));
        }
        if self.is_installed || !pending {
            return None;
        }
        if !self.is_available {
            return Some(format!(
                "the machine of Postgres does not have the extension {name}: install postgresql-contrib there (Debian: in \
                 postgresql-{})",
                found.version / 10_000
            ));
        }
        let remedy = || {
            format!(
                "the role {role} may not create the extension {name}: `create extension {name}` as a superuser"
            )
        };
        (!self.may_be_created).then(remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(version: i32) -> Found {
        Found {
            version,
            version_text: "14.2".into(),
            encoding: "UTF8".into(),
            database: "app".into(),
            role: "app".into(),
            search_path: "public".into(),
            schema: Some("public".into()),
            may_create_tables: true,
            schema_of_tables: None,
            read_only: false,
        }
    }

    #[test]
    fn an_old_version() {
        assert_eq!(found(OLDEST_VERSION).missing(true), [""; 0]);
        let expected = ["it is Postgres 14.2, and 15 or later is needed: upgrade it"];
        assert_eq!(found(140_002).missing(false), expected);
    }

    #[test]
    fn an_extension_that_the_machine_does_not_have() {
        let extension = Extension {
            name: "pg_trgm".into(),
            is_installed: false,
            is_visible: false,
            schema: None,
            is_available: false,
            may_be_created: true,
        };
        let missing = extension.missing(&found(170_004), true).unwrap();
        assert!(
            missing.ends_with("install postgresql-contrib there (Debian: in postgresql-17)"),
            "{missing}"
        );
        assert_eq!(extension.missing(&found(170_004), false), None);
    }
}
