//! The rules that let the tables of tenants be distributed over the nodes of a cluster, each with breaches that it finds.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;
use rstest::rstest;
use serde_json::Value;
use sqlx::PgConnection;

use crate::support::sql::{self, Item, Table};
use crate::support::{TestDatabase, skip};

/// Has `organisation_id`, and is local to the coordinator: what is looked up in it is the organisation.
const LOCAL: &str = "api_key";

/// Functions that are not called on a distributed database.
const OF_ONE_DATABASE: [&str; 2] = ["customer_match_write", "write_batch"];

/// Statements about several organisations: the poll of a database that is not distributed, and an operator's erasure, which asks
/// every worker.
const OF_SEVERAL_ORGANISATIONS: [&str; 2] =
    ["from unnest($1::int8[]) as named (id)", "update write_receipt set relations = null, others = null"];

/// The last migration of 0.1.0. The rules about files are younger.
const RELEASED: &str = "20261126000008";

fn files(directory: &str, extension: &str) -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    let named = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (named(path), fs::read_to_string(path).unwrap())).collect()
}

/// The tables of tenants: those that have the organisation in their rows.
async fn tenant_tables(db: &mut PgConnection) -> BTreeSet<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select table_name::text from information_schema.columns
         where table_schema = 'public' and column_name = 'organisation_id' and table_name <> $1",
    )
    .bind(LOCAL)
    .fetch_all(db)
    .await
    .unwrap();
    assert!(tables.len() >= 3, "{tables:?}");
    tables.into_iter().collect()
}

/// The tables of tenants that a query names without `organisation_id = ` and one of these scalars.
fn without_organisation<'a>(
    query: &'a [Item],
    tenants: &BTreeSet<String>,
    is_scalar: impl Fn(&str) -> bool,
) -> Vec<Table<'a>> {
    let mut conditions = sql::conditions(query, "organisation_id");
    conditions.retain(|condition| is_scalar(condition.value));
    if has_alternatives(query) {
        conditions.clear();
    }
    let mut tables = sql::tables(query);
    tables.retain(|table| tenants.contains(table.name));
    tables.retain(|table| match table.inserted_columns {
        Some(columns) => !inserts_scalar(query, columns, &is_scalar),
        None => {
            let qualified =
                |wanted: Option<&str>| conditions.iter().position(|condition| condition.qualifier == wanted);
            // Without a qualifier it is about one table.
            let condition = qualified(Some(table.alias)).or_else(|| qualified(None));
            condition.map(|index| conditions.swap_remove(index)).is_none()
        }
    });
    tables
}

/// Whether its `where` is more than conditions that must all hold.
fn has_alternatives(query: &[Item]) -> bool {
    query.iter().skip_while(|item| !item.is("where")).any(|item| item.is("or"))
}

/// Whether each inserted row has a scalar as its `organisation_id`.
fn inserts_scalar(query: &[Item], columns: &[Item], is_scalar: impl Fn(&str) -> bool) -> bool {
    let position = sql::list(columns).iter().position(|column| column[0].is("organisation_id"));
    let Some(position) = position else { return false };
    let is_scalar = |values: &[Item]| matches!(sql::list(values).get(position), Some([Item::Token(value)]) if is_scalar(value));
    let after = |token: &str| query.iter().position(|item| item.is(token)).map(|index| &query[index + 1..]);
    if let Some(rows) = after("values") {
        let rows = rows.iter().take_while(|item| item.is(",") || item.group().is_some());
        return rows.filter_map(Item::group).all(is_scalar);
    }
    after("select").is_some_and(is_scalar)
}

/// The faults of a statement of the server.
fn faults_of_statement(statement: &[Item], tenants: &BTreeSet<String>) -> Vec<String> {
    let is_parameter =
        |value: &str| value.strip_prefix('$').is_some_and(|number| number.parse::<u8>().is_ok());
    let faults = sql::queries(statement)
        .into_iter()
        .flat_map(|query| without_organisation(query, tenants, is_parameter));
    faults.map(|table| format!("{} has no `organisation_id = $n`", table.name)).collect()
}

/// The faults of a function, and of a statement that creates something else none.
fn faults_of_function(statement: &[Item], tenants: &BTreeSet<String>) -> Vec<String> {
    let function = statement.iter().position(|item| item.is("function"));
    let Some(name) = function.and_then(|index| statement.get(index + 1)?.word()) else { return Vec::new() };
    if !statement[0].is("create") || OF_ONE_DATABASE.contains(&name) {
        return Vec::new();
    }
    let numbers = int8_variables(statement);
    let faults = sql::queries(statement)
        .into_iter()
        .flat_map(|query| without_organisation(query, tenants, |value| numbers.contains(value)));
    faults.map(|table| format!("{name}: {} has no `organisation_id = variable`", table.name)).collect()
}

/// The parameters and variables that are one `int8`.
fn int8_variables(items: &[Item]) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        found.extend(item.group().map(int8_variables).unwrap_or_default());
        let rest = &items[index + 1..];
        let r#type = if rest.first().is_some_and(|next| next.is("constant")) { &rest[1..] } else { rest };
        if r#type.first().is_some_and(|first| first.is("int8"))
            && !r#type.get(1).is_some_and(|next| next.is("["))
        {
            found.extend(item.word());
        }
    }
    found
}

/// The faults of a migration after the first version: of what it does to distributed tables, which sqlx sends as one string.
fn faults_of_migration(text: &str, tenants: &BTreeSet<String>) -> Vec<String> {
    let items = sql::read(text).unwrap();
    let statements = sql::statements(&items);
    let is_new = |table: &str| statements.iter().any(|statement| makes_of_tenants(statement, table));
    let mut faults = Vec::new();
    for statement in &statements {
        let position = |token: &str| statement.iter().position(|item| item.is(token));
        let table = |after: &str| {
            let mut rest = statement[position(after)? + 1..].iter();
            rest.find_map(|item| item.word().filter(|word| !["if", "exists", "only"].contains(word)))
        };
        let is_distributed =
            |table: Option<&str>| table.is_some_and(|table| tenants.contains(table) && !is_new(table));
        let creates =
            |what: &str| statement[0].is("create") && statement[1..].iter().take(3).any(|item| item.is(what));
        if creates("trigger") {
            faults.push("triggers cannot be on a distributed table".to_owned());
        }
        let must_be_alone = if creates("index") {
            is_distributed(table("on"))
        } else if statement[0].is("alter") && statement[1].is("table") && is_distributed(table("table")) {
            let actions = sql::list(statement);
            let adds_constraint = |action: &&[Item]| {
                action.windows(2).any(|pair| pair[0].is("add") && pair[1].is("constraint"))
            };
            if actions.len() > 1 && actions.iter().any(adds_constraint) {
                faults.push("`add constraint` must be the only action of its statement".to_owned());
            }
            actions.iter().any(|action| {
                adds_constraint(action)
                    || action.iter().any(|item| item.is_one_of(&["drop", "rename"]))
                    || action.windows(2).any(|pair| pair[0].is("alter") && !pair[1].is("table"))
            })
        } else {
            false
        };
        if must_be_alone && statements.len() > 1 {
            faults.push("it must be the only statement of its file".to_owned());
        }
    }
    faults
}

/// Whether it creates the table, or adds the organisation to it: until the end of the migration it is not distributed.
fn makes_of_tenants(statement: &[Item], table: &str) -> bool {
    let names = |word: &str| statement.iter().any(|item| item.is(word));
    names("table") && names(table) && (statement[0].is("create") || names("organisation_id"))
}

/// The text of each string in a file of Rust.
fn strings(code: &str) -> impl Iterator<Item = &str> {
    static STRING: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r##"(?s)r#"(.*?)"#|"((?:[^"\\]|\\.)*)"|//[^\n]*"##).unwrap());
    STRING.captures_iter(code).filter_map(|found| found.get(1).or(found.get(2))).map(|text| text.as_str())
}

#[tokio::test]
async fn each_statement_of_the_server_has_its_organisation() {
    let database = TestDatabase::create().await;
    let tenants = tenant_tables(&mut database.connect().await).await;
    let checked = files(".sqlx", "json").into_iter().map(|(name, text)| {
        let query = serde_json::from_str::<Value>(&text).unwrap();
        let query = query["query"].as_str().unwrap();
        (name, query.to_owned(), sql::read(query).unwrap())
    });
    // The tables of a dry run are copies on the connection.
    let code = files("src/db", "rs").into_iter().filter(|(name, _)| name != "dry_run.rs");
    let unchecked = code.flat_map(|(name, code)| {
        let read = |text: &str| Some((name.clone(), text.to_owned(), sql::read(text)?));
        strings(&code).filter_map(read).collect::<Vec<_>>()
    });
    let is_exception = |text: &str| OF_SEVERAL_ORGANISATIONS.iter().any(|exception| text.contains(exception));
    for (name, text, statement) in checked.chain(unchecked).filter(|(_, text, _)| !is_exception(text)) {
        let faults = faults_of_statement(&statement, &tenants);
        assert!(faults.is_empty(), "{name}: {faults:?} in {text}");
    }
}

#[tokio::test]
async fn each_function_has_its_organisation() {
    let database = TestDatabase::create().await;
    let tenants = tenant_tables(&mut database.connect().await).await;
    for (name, text) in files("migrations", "sql") {
        for statement in sql::statements(&sql::read(&text).unwrap()) {
            let faults = faults_of_function(statement, &tenants);
            assert!(faults.is_empty(), "{name}: {faults:?}");
        }
    }
}

#[tokio::test]
async fn each_migration_runs_on_distributed_tables() {
    let database = TestDatabase::create().await;
    let tenants = tenant_tables(&mut database.connect().await).await;
    for (name, text) in files("migrations", "sql").into_iter().filter(|(name, _)| name[..14] > *RELEASED) {
        let faults = faults_of_migration(&text, &tenants);
        assert!(faults.is_empty(), "{name}: {faults:?}");
    }
}

#[tokio::test]
async fn each_key_of_a_table_of_tenants_contains_the_organisation() {
    let database = TestDatabase::create().await;
    let mut db = database.connect().await;
    assert_eq!(faults_of_schema(&mut db).await, Vec::<String>::new());
    if skip("distributable::each_key_of_a_table_of_tenants_contains_the_organisation", &database) {
        return;
    }
    let breaches = "
        create table note (
            organisation_id int8 not null references organisation (id),
            id              int8 constraint note_id primary key,
            author          int8,
            number          int8 constraint note_number unique,
            legacy          int8 constraint note_legacy references note (id) deferrable,
            cu_ref_no       text collate \"C\",
            constraint note_customer foreign key (organisation_id, cu_ref_no) references customer on delete set null
        );
        create unique index note_author on note (author);
        create unique index note_both on note (number, organisation_id);
        create function f() returns trigger language plpgsql as $$ begin return new; end $$;
        create trigger note_trigger before insert on note for each row execute function f()";
    sqlx::raw_sql(breaches).execute(&mut db).await.unwrap();
    let found = ["note_author", "note_customer", "note_id", "note_legacy", "note_number", "note_trigger"];
    assert_eq!(faults_of_schema(&mut db).await, found);
}

/// Constraints, unique indexes and triggers that a distributed table cannot have. The trigger that the tests add is not in question
/// (`support/postgres.rs`).
async fn faults_of_schema(db: &mut PgConnection) -> Vec<String> {
    let tenants: Vec<_> = tenant_tables(db).await.into_iter().collect();
    sqlx::query_scalar(
        "with tenant (id) as (select to_regclass(name) from unnest($1::text[]) as name),
              organisation (id, number) as (
                  select id, attnum from tenant join pg_attribute on attrelid = id and attname = 'organisation_id'
              )
         select conname::text from pg_constraint join organisation on id = conrelid
         where contype in ('x', 't') or condeferrable or confdeltype in ('n', 'd') or contype in ('p', 'u', 'f') and number <> all (conkey)
         union
         select conname::text from pg_constraint join organisation on id = confrelid
         where conrelid in (select id from tenant) and number <> all (confkey)
         union
         select indexrelid::regclass::text from pg_index join organisation on id = indrelid
         where indisunique and number <> all (indkey)
         union
         select tgname::text from pg_trigger join tenant on id = tgrelid
         where not tgisinternal and tgname <> 'changed_in_is_set'
         order by 1",
    )
    .bind(tenants)
    .fetch_all(db)
    .await
    .unwrap()
}

fn tenants() -> BTreeSet<String> {
    ["customer", "customer_match"].map(str::to_owned).into()
}

#[rstest]
#[case::of_all("select * from customer where cu_ref_no = $1")]
#[case::of_several("select * from customer where organisation_id = any($1)")]
#[case::of_another_column("select * from customer where organisation_id = id")]
#[case::of_a_function("select * from customer where organisation_id = abs($1)")]
#[case::alternatives("select * from customer where organisation_id = $1 or cu_ref_no = $2")]
#[case::joined(
    "select * from customer_match m join customer c on c.organisation_id = m.organisation_id where m.organisation_id = $1"
)]
#[case::listed("select * from organisation o, customer c, customer_match m where c.organisation_id = $1")]
#[case::correlated(
    "select (select count(*) from customer c where c.organisation_id = o.id) from organisation o"
)]
#[case::with("with a as (select * from public.customer) select * from customer where organisation_id = $1")]
#[case::united(
    "select 1 from customer where organisation_id = $1 union all select 2 from only customer as c"
)]
#[case::updated("update customer set phone = null where cu_ref_no = $1")]
#[case::locked("select * from customer where cu_ref_no = $1 for no key update")]
#[case::deleted(
    "delete from customer_match m using customer c where m.organisation_id = $1 and low_cu_ref_no = cu_ref_no"
)]
#[case::inserted("insert into customer (organisation_id, cu_ref_no) values ($1, $2), (o, $3)")]
#[case::copied("insert into customer (cu_ref_no, organisation_id) select $1, id from organisation")]
#[case::not_named("insert into customer select * from unnest($1, $2)")]
fn a_statement_without_its_organisation_is_found(#[case] text: &str) {
    assert_eq!(faults_of_statement(&sql::read(text).unwrap(), &tenants()).len(), 1, "{text}");
}

#[rstest]
#[case("update customer set phone = null where organisation_id = any(organisations)")]
#[case("perform from customer where organisation_id = v_text")]
#[case("for v_row in select * from customer loop perform f(v_row); end loop")]
#[case("if found then delete from customer_match where low_cu_ref_no = v_text; end if")]
fn a_function_without_its_organisation_is_found(#[case] statement: &str) {
    let faults = |statement: &str| {
        let text = format!(
            "create function f(organisation int8, organisations int8[]) returns void language plpgsql as $$
             declare v_other constant int8 := 1; v_text text; begin
                 perform from customer where organisation_id = organisation; {statement};
                 perform from customer where customer.organisation_id = v_other; end $$;"
        );
        faults_of_function(sql::statements(&sql::read(&text).unwrap())[0], &tenants()).len()
    };
    assert_eq!((faults("null"), faults(statement)), (0, 1));
}

#[rstest]
#[case("create index a on customer (organisation_id, phone); select 1")]
#[case("alter table customer add column a int8; alter table customer rename column a to b")]
#[case("alter table if exists customer alter column phone set not null; select 1")]
#[case("alter table customer drop column phone; comment on table customer is ''")]
#[case("alter table customer add column a int8, add constraint a_is_positive check (a > 0)")]
#[case("create trigger a before insert on customer for each row execute function f()")]
fn a_migration_that_a_cluster_rejects_is_found(#[case] text: &str) {
    assert_eq!(faults_of_migration(text, &tenants()).len(), 1, "{text}");
}

#[rstest]
#[case("create index concurrently if not exists a on customer (organisation_id, phone)")]
#[case("alter table only customer add constraint a check (phone <> '') not valid;")]
#[case(
    "alter table customer add column a int8, add column b int8 check (b > 0); create function f() returns int8 language sql as $$ select 1; $$"
)]
#[case("alter table organisation rename to a; create index b on a (name)")]
#[case("create table customer (organisation_id int8); create index a on customer (organisation_id)")]
#[case(
    "alter table customer add column organisation_id int8, add constraint a primary key (id, organisation_id)"
)]
fn other_migrations_are_accepted(#[case] text: &str) {
    assert_eq!(faults_of_migration(text, &tenants()), Vec::<String>::new());
}
