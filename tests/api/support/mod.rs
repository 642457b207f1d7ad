//! A service of its own for every test, and short words for calling it.

pub mod binary;
mod contract;
pub mod http2;
pub mod import;
pub mod listening;
mod lock_waits;
mod only_plain;
mod pgbouncer;
mod postgres;
mod proxy;
pub mod sql;
mod standby;
pub mod terminal;

pub use contract::DOCUMENT;
pub use lock_waits::{LockWait, LockWaits};
pub use only_plain::skip;
pub use pgbouncer::PgBouncer;
pub use postgres::{TestDatabase, url};
pub use proxy::{HELD, Mode, Proxy};
pub use standby::{Standby, kill};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::Response;
use customer_match::app::App;
use customer_match::config::Config;
use customer_match::db::{self, Layout, api_key, customer, customer_delete, organisation};
use customer_match::domain::{ApiKey, CuRefNo, Email, KeyKind, Profile, ProfileText};
use customer_match::metrics::ConnectionMetrics;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

pub const MATCH: &str = "/api/v1/customer/customer-match-customer";
pub const UNMATCH: &str = "/api/v1/customer/customer-unmatch-customer";
pub const RELATION: &str = "/api/v1/customer/relation";
pub const BATCH: &str = "/api/v1/customer/customer-match-customer-batch";
pub const LIST: &str = "/api/v1/customer/matched-customer-list";
pub const DETAIL: &str = "/api/v1/customer/detail";
pub const CREATE: &str = "/api/v1/customer/create";
pub const UPDATE: &str = "/api/v1/customer/update-profile";
pub const CUSTOMER_LIST: &str = "/api/v1/customer/list";
pub const MAGIC_AUTH: &str = "/api/v1/customer/magic-auth";
pub const CHANGES: &str = "/api/v1/customer/match-changes";
pub const LOGOUT: &str = "/api/v1/customer/logout";
/// The customers of the documented example.
pub const MANAGER: &str = "1cGIHvFoQDGLAbcA";
pub const CUSTOMER: &str = "5CmsaVNgAQqRqoen";

/// A router on a database with one organisation, a key and the two customers of the documented example.
pub struct Service {
    pub router: Router,
    /// Probes and metrics.
    pub admin: Router,
    pub connections: ConnectionMetrics,
    /// The test's own.
    pub pool: PgPool,
    pub organisation: i64,
    pub key: String,
    pub draining: CancellationToken,
    pub database: TestDatabase,
}

impl Service {
    pub async fn start() -> Self {
        Self::start_with(&[], false).await
    }

    pub async fn start_in_demo_mode() -> Self {
        Self::start_with(&[], true).await
    }

    /// With these flags of `customer-match serve`.
    pub async fn start_configured(flags: &[&str]) -> Self {
        Self::start_with(flags, false).await
    }

    /// On a database that is reached through a proxy.
    pub async fn start_behind_a_proxy(flags: &[&str]) -> (Self, Proxy) {
        let database = TestDatabase::create().await;
        let proxy = Proxy::before(database.options());
        let options = proxy.options(database.options());
        (Self::start_on(database, options, flags, false).await, proxy)
    }

    /// On a server that is not shared with other tests, which is reached through a proxy. The service's own database stays
    /// unused.
    pub async fn start_elsewhere(target: PgConnectOptions) -> (Self, Proxy) {
        let proxy = Proxy::before(target.clone());
        let options = proxy.options(target);
        let unused = TestDatabase::create().await;
        (Self::around_as(Layout::Single, unused, options, &[], false).furnished().await, proxy)
    }

    /// On a database of a server that is not shared with other tests, which has this organisation and this key already.
    pub async fn moved_to(options: PgConnectOptions, organisation: i64, key: &str) -> Self {
        let unused = TestDatabase::create().await;
        Self { organisation, key: key.into(), ..Self::around_as(Layout::Single, unused, options, &[], false) }
    }

    /// On a server that is not shared with other tests, and on its standby, which answers reads.
    pub async fn start_with_standby(
        primary: PgConnectOptions,
        standby: PgConnectOptions,
        flags: &[&str],
    ) -> Self {
        let unused = TestDatabase::create().await;
        Self::build(Layout::Single, unused, primary, Some(standby), flags, false).furnished().await
    }

    /// Another server on the same two.
    pub async fn beside(&self, standby: PgConnectOptions, flags: &[&str]) -> Self {
        let (unused, primary) = (TestDatabase::create().await, db::connect_options(&self.pool));
        let (organisation, key) = (self.organisation, self.key.clone());
        Self {
            organisation,
            key,
            ..Self::build(Layout::Single, unused, primary, Some(standby), flags, false)
        }
    }

    async fn start_with(flags: &[&str], demo: bool) -> Self {
        let database = TestDatabase::create().await;
        let options = database.options();
        Self::start_on(database, options, flags, demo).await
    }

    /// Another server on the same database, with new connections.
    pub fn restarted(self) -> Self {
        let Self { database, organisation, key, .. } = self;
        Self { organisation, key, ..Self::on(database) }
    }

    /// A server on the same database that takes it for a distributed one: the functions that are delegated there work here too.
    pub fn taken_for_distributed(self) -> Self {
        let Self { database, organisation, key, .. } = self;
        let options = database.options();
        Self { organisation, key, ..Self::around_as(Layout::Distributed, database, options, &[], false) }
    }

    /// The same in demo mode, in which a server has just been started.
    pub fn restarted_in_demo_mode(self) -> Self {
        let Self { database, organisation, key, .. } = self;
        let options = database.options();
        Self { organisation, key, ..Self::around(database, options, &[], true) }
    }

    /// On a database that has an organisation and more already.
    pub fn on(database: TestDatabase) -> Self {
        let options = database.options();
        Self::around(database, options, &[], false)
    }

    async fn start_on(database: TestDatabase, options: PgConnectOptions, flags: &[&str], demo: bool) -> Self {
        Self::around(database, options, flags, demo).furnished().await
    }

    /// With the organisation and the customers of the documented example.
    async fn furnished(mut self) -> Self {
        (self.organisation, self.key) = self.add_organisation("Acme").await;
        self.add_customer(MANAGER, None).await;
        self.add_customer(CUSTOMER, Some("jan@barasek.com")).await;
        self
    }

    fn around(database: TestDatabase, options: PgConnectOptions, flags: &[&str], demo: bool) -> Self {
        Self::around_as(database.layout(), database, options, flags, demo)
    }

    fn around_as(
        layout: Layout,
        database: TestDatabase,
        options: PgConnectOptions,
        flags: &[&str],
        demo: bool,
    ) -> Self {
        Self::build(layout, database, options, None, flags, demo)
    }

    fn build(
        layout: Layout,
        database: TestDatabase,
        options: PgConnectOptions,
        standby: Option<PgConnectOptions>,
        flags: &[&str],
        demo: bool,
    ) -> Self {
        let config = Config::from_flags(flags).unwrap();
        let draining = CancellationToken::new();
        let mut app = App::start(options.clone(), layout, &config, demo, draining.clone());
        if let Some(standby) = standby {
            app = app.with_replica(options.clone(), standby, &config);
        }
        Self {
            admin: app.admin_router(),
            connections: app.connections(),
            router: app.router(),
            pool: db::pool(options, 16),
            organisation: 0,
            key: String::new(),
            draining,
            database,
        }
    }

    /// Another organisation and a key for it.
    pub async fn add_organisation(&self, name: &str) -> (i64, String) {
        let organisation = organisation::create(&self.pool, name).await.unwrap().unwrap();
        (organisation.id, self.add_key(organisation.id, &[]).await)
    }

    pub async fn add_key(&self, organisation: i64, scopes: &[&str]) -> String {
        let key = ApiKey::generate(KeyKind::Prod);
        let scopes: Vec<_> = scopes.iter().map(ToString::to_string).collect();
        let new = api_key::NewKey { scopes: &scopes, ..Default::default() };
        api_key::create(&self.pool, organisation, &key, &new).await.unwrap().unwrap();
        key.expose().into()
    }

    /// Matches the manager with 11,000 customers: half of them on either side of the pair, in no order, some at the same
    /// moment. One of 97 is at Qx, three are called Rareman, all have an e-mail address at example.com.
    pub async fn add_a_long_list(&self) {
        let sql = format!(
            "insert into customer (organisation_id, cu_ref_no, email, last_name, company_name)
             select {0}, (case i % 2 when 0 then '0' else 'z' end) || 'many' || lpad(i::text, 11, '0'),
                    'c' || i || '@example.com', case when i in (7, 5000, 10999) then 'Rareman' end,
                    case when i % 97 = 0 then 'At Qx' end
             from generate_series(1, 11000) i;
             insert into customer_match
                 (organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager,
                  created_at, matched_at, updated_at)
             select {0}, least('{MANAGER}', cu_ref_no), greatest('{MANAGER}', cu_ref_no), true, true,
                    '2025-01-10', '2025-01-10'::timestamptz + interval '1 s' * (right(cu_ref_no, 8)::int * 7919 % 5003), '2025-02-01'
             from customer where organisation_id = {0} and cu_ref_no ~ '^.many'",
            self.organisation
        );
        // Not on a connection of the pool, whose statements may take seconds only.
        let mut db = PgConnection::connect_with(&self.database.options()).await.unwrap();
        sqlx::raw_sql(&sql).execute(&mut db).await.unwrap();
    }

    /// Matches the manager with 250 customers, each with a notice of 10,000 characters.
    pub async fn add_a_list_of_long_notices(&self) {
        self.execute(&format!(
            "insert into customer (organisation_id, cu_ref_no, email)
             select {0}, 'long' || lpad(i::text, 12, '0'), 'l' || i || '@example.com' from generate_series(1, 250) i;
             insert into customer_match
                 (organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice,
                  created_at, matched_at, updated_at)
             select {0}, '{MANAGER}', cu_ref_no, true, false, repeat('n', 10000), now(), now(), now()
             from customer where organisation_id = {0} and cu_ref_no ~ '^long'",
            self.organisation
        ))
        .await;
    }

    /// The references of those whom the manager is matched with, as its list has them, as far as the condition holds.
    pub async fn list_of_manager(&self, condition: &str) -> Vec<String> {
        let sql = format!(
            "select cu_ref_no from customer_match join customer
                 on customer.organisation_id = {0}
                 and cu_ref_no = case low_cu_ref_no when '{MANAGER}' then high_cu_ref_no else low_cu_ref_no end
             where customer_match.organisation_id = {0} and '{MANAGER}' in (low_cu_ref_no, high_cu_ref_no) and customer_match.deactivated_at is null and {condition}
             order by matched_at desc, cu_ref_no desc",
            self.organisation
        );
        sqlx::query_scalar(&sql).fetch_all(&self.pool).await.unwrap()
    }

    pub async fn add_customer(&self, cu_ref_no: &str, email: Option<&str>) {
        self.add_customer_of(self.organisation, cu_ref_no, email).await;
    }

    pub async fn add_customer_of(&self, organisation: i64, cu_ref_no: &str, email: Option<&str>) {
        let cu_ref_no = CuRefNo::parse(cu_ref_no).unwrap();
        let email = email.map(|email| Email::parse(email).unwrap());
        customer::create(&self.pool, organisation, &cu_ref_no, email.as_ref(), &Profile::default())
            .await
            .unwrap();
    }

    /// As the subcommand does it: active relations keep a customer from being marked as deleted.
    pub async fn delete_customer(&self, cu_ref_no: &str) {
        let (cu_ref_no, reason) = (CuRefNo::parse(cu_ref_no).unwrap(), ProfileText::parse("test").unwrap());
        customer_delete::delete(&self.pool, self.organisation, &cu_ref_no, &reason).await.unwrap();
    }

    /// Closes every connection to the database and lets none be opened.
    pub async fn lose_database(&self) {
        let options = self.database.options();
        let name = options.get_database().unwrap().to_owned();
        let sql = format!(
            "alter database {name} with allow_connections false;
             select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '{name}'"
        );
        let mut other = PgConnection::connect_with(&options.database("postgres")).await.unwrap();
        for statement in sql.split(';') {
            sqlx::raw_sql(statement).execute(&mut other).await.unwrap();
        }
    }

    /// Runs SQL that no endpoint offers.
    pub async fn execute(&self, sql: &str) {
        sqlx::raw_sql(sql).execute(&self.pool).await.unwrap();
    }

    /// A match with the service's key.
    pub async fn post_match(&self, body: Value) -> Answer {
        self.post_to(MATCH, body).await
    }

    /// A POST with the service's key.
    pub async fn post_to(&self, path: &str, body: Value) -> Answer {
        self.post(&format!("{path}?apiKey={}", self.key), body).await
    }

    /// A GET with the service's key and these parameters.
    pub async fn get_from(&self, path: &str, parameters: &[(&str, &str)]) -> Answer {
        self.get(&uri(path, &self.key, parameters)).await
    }

    /// Logs a customer in and returns its identity id.
    pub async fn log_in(&self, email: &str) -> String {
        let answer = self.post_to(MAGIC_AUTH, json!({ "email": email })).await;
        assert_eq!(answer.status, 200, "{:#}", answer.body);
        answer.body["identityId"].as_str().unwrap().into()
    }

    pub async fn post(&self, uri: &str, body: Value) -> Answer {
        self.call(json_request(uri).body(Body::from(body.to_string())).unwrap()).await
    }

    pub async fn get(&self, uri: &str) -> Answer {
        self.call(Request::get(uri).body(Body::empty()).unwrap()).await
    }

    /// Whatever is answered, JSON or not.
    pub async fn response(&self, mut request: Request<Body>) -> Response {
        request.headers_mut().entry(header::HOST).or_insert(HeaderValue::from_static("localhost"));
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn call(&self, request: Request<Body>) -> Answer {
        let head = request.method() == Method::HEAD;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.response(request).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let is_lines = headers.get(header::CONTENT_TYPE).is_some_and(|value| value == NDJSON);
        let may_be_empty = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
        if !head && !is_lines && !may_be_empty {
            assert_eq!(headers[header::CONTENT_TYPE], "application/json", "every other answer is JSON");
        }
        assert!(headers.contains_key("x-request-id"), "every answer has an id");
        let body = match &bytes[..] {
            b"" => Value::Null,
            bytes if is_lines => parse_lines(std::str::from_utf8(bytes).unwrap()).into(),
            bytes => serde_json::from_slice(bytes).unwrap(),
        };
        let answer = Answer { status: status.as_u16(), headers, body };
        contract::assert_documented(&method, &path, &answer);
        answer
    }

    /// The samples of these metrics, in their order.
    pub async fn samples(&self, names: &[&str]) -> Vec<String> {
        let text = self.metrics().await;
        let wanted =
            |line: &&str| names.iter().any(|name| line.starts_with(&format!("customer_match_{name}")));
        let mut samples: Vec<_> = text.lines().filter(wanted).map(str::to_owned).collect();
        samples.sort();
        samples
    }

    /// What Prometheus reads.
    pub async fn metrics(&self) -> String {
        let request = Request::get("/metrics").body(Body::empty()).unwrap();
        let response = self.admin.clone().oneshot(request).await.unwrap();
        assert_eq!(
            response.headers()["content-type"],
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        let text = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(text.ends_with("# EOF\n"), "{text}");
        text
    }

    /// How many rows of the organisation a table has.
    pub async fn count(&self, table: &str) -> i64 {
        let sql = format!("select count(*) from {table} where organisation_id = $1");
        sqlx::query_scalar(&sql).bind(self.organisation).fetch_one(&self.pool).await.unwrap()
    }

    /// Every relation in words: `manager>customer` or `a<>b` for two managers, references in their order, and the notice.
    pub async fn relations(&self) -> Vec<String> {
        let sql = "
            select low_cu_ref_no
                || case when m.low_is_manager and m.high_is_manager then '<>' when m.low_is_manager then '>' else '<' end
                || high_cu_ref_no || coalesce(' ' || nullif(m.notice, ''), '')
                || case when m.deactivated_at is null then '' else ' (inactive)' end
            from customer_match m
            where m.organisation_id = $1
            order by low_cu_ref_no, high_cu_ref_no";
        sqlx::query_scalar(sql).bind(self.organisation).fetch_all(&self.pool).await.unwrap()
    }
}

/// The media type of lines.
pub const NDJSON: &str = "application/x-ndjson";

/// Each line of an answer.
pub fn parse_lines(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with('\n'), "cut in the middle of a line: {text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    #[track_caller]
    pub fn assert_success(&self) {
        assert_eq!((self.status, &self.body), (200, &json!({ "success": true })));
    }

    #[track_caller]
    pub fn assert_error(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status, self.body["error"]["code"].as_str()),
            (status, Some(code)),
            "{:#}",
            self.body
        );
    }

    /// A refusal of this field, with a description that names it.
    #[track_caller]
    pub fn assert_invalid(&self, field: &str) {
        self.assert_error(422, "INTERNAL_VALIDATION_FAILED");
        assert_eq!(self.body["error"]["field"], field, "{:#}", self.body);
        assert_ne!(self.body["error"]["description"], "");
    }

    /// Status and body in one value, for snapshots.
    pub fn snapshot(&self) -> Value {
        json!({ "status": self.status, "body": self.body })
    }
}

/// A relation in the words of [`Service::relations`], for a customer with a random reference.
pub fn one_way(manager: &str, customer: &str) -> String {
    if manager < customer { format!("{manager}>{customer}") } else { format!("{customer}<{manager}") }
}

/// A path with a key and parameters.
pub fn uri(path: &str, key: &str, parameters: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(format!("{path}?"));
    query.append_pair("apiKey", key).extend_pairs(parameters).finish()
}

/// The start of a POST with a JSON body.
pub fn json_request(uri: &str) -> axum::http::request::Builder {
    Request::post(uri).header(header::HOST, "localhost").header(header::CONTENT_TYPE, "application/json")
}
