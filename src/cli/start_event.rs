//! The event that a server logs at its start: which build runs, where it listens, and on which database.

use std::net::SocketAddr;

use sqlx::postgres::PgConnectOptions;

use super::database::Database;

pub(super) fn log(
    url: &str,
    admin: Option<SocketAddr>,
    database: &Database,
    replica: Option<&PgConnectOptions>,
    demo: bool,
) {
    let database = match &database.private {
        Some(private) => format!("private Postgres in {}", private.data_dir().display()),
        None => without_password(&database.options),
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        commit = env!("SOURCE_COMMIT"),
        listen = url,
        admin_listen = admin.map(display),
        database,
        replica = replica.map(without_password),
        demo,
        "server started"
    );
}

/// The database URL that these options may come from, without the password and further parameters.
fn without_password(options: &PgConnectOptions) -> String {
    let user = options.get_username();
    let database = options.get_database().unwrap_or(user);
    match options.get_socket() {
        Some(directory) => format!("postgres://{user}@/{database}?host={}", directory.display()),
        None => format!("postgres://{user}@{}:{}/{database}", options.get_host(), options.get_port()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(
        "postgres://user:hunter2@db.example/database?sslmode=require",
        "postgres://user@db.example:5432/database"
    )]
    #[case("postgres://user:hunter2@db.example:6543/", "postgres://user@db.example:6543/user")]
    #[case("postgres://user:hunter2@%2Fsockets/database", "postgres://user@/database?host=/sockets")]
    fn names_the_database_without_its_password(#[case] url: &str, #[case] expected: &str) {
        assert_eq!(without_password(&url.parse().unwrap()), expected);
    }
}
