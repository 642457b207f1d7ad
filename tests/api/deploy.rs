//! The files of deploy/ against the server: what they ask for exists.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use clap::CommandFactory;
use customer_match::cli::Cli;
use customer_match::db::migration;
use private_postgres::PrivatePostgres;
use regex::Regex;
use rusty_promql_parser::{Expr, LabelMatchOp, VectorSelector, expr};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::binary::{Server, command, run};
use crate::support::{CUSTOMER, MANAGER, MATCH, json_request, url};
use crate::tls::{Files, connect, send};

const OPERATIONS: &str = include_str!("../../docs/operations.md");

fn read(file: &str) -> String {
    fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The documents of a YAML file.
fn yaml(file: &str) -> Vec<Value> {
    let text = read(file);
    serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

/// Every value of this member, at any depth.
fn members<'a>(value: &'a Value, name: &str) -> Vec<&'a Value> {
    let inner: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(object) => object.values().collect(),
        _ => Vec::new(),
    };
    value.get(name).into_iter().chain(inner.into_iter().flat_map(|value| members(value, name))).collect()
}

fn texts<'a>(value: &'a Value, name: &str) -> Vec<&'a str> {
    members(value, name).into_iter().map(|text| text.as_str().unwrap()).collect()
}

/// Of a Markdown document, as GitHub links to them.
fn anchors(document: &str) -> BTreeSet<String> {
    let heading = |line: &str| Some(line.trim_start_matches('#').strip_prefix(' ')?.to_lowercase());
    let headings = document.lines().filter(|line| line.starts_with('#')).filter_map(heading);
    headings
        .map(|heading| heading.replace(' ', "-").replace(|c: char| !c.is_alphanumeric() && c != '-', ""))
        .collect()
}

/// A line of the metrics: a series without its value.
struct Series {
    name: String,
    labels: Vec<(String, String)>,
}

impl Series {
    fn parse(line: &str) -> Self {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let label = Regex::new(r#"(\w+)="([^"]*)""#).unwrap();
        let labels = label.captures_iter(labels).map(|label| (label[1].to_owned(), label[2].to_owned()));
        Self { name: name.to_owned(), labels: labels.collect() }
    }

    fn is_selected(&self, selector: &VectorSelector) -> bool {
        selector.name.as_deref() == Some(&self.name)
            && selector.matchers.iter().filter(|matcher| !OF_PROMETHEUS.contains(&&*matcher.name)).all(
                |matcher| {
                    let value =
                        self.labels.iter().find(|(name, _)| *name == matcher.name).map(|(_, value)| value);
                    // A label that is not there is a mistake, whatever the operator is.
                    value.is_some_and(|value| match matcher.op {
                        LabelMatchOp::Equal => *value == matcher.value,
                        LabelMatchOp::NotEqual => *value != matcher.value,
                        LabelMatchOp::RegexMatch | LabelMatchOp::RegexNotMatch => {
                            let matches =
                                Regex::new(&format!("^(?:{})$", matcher.value)).unwrap().is_match(value);
                            matches == (matcher.op == LabelMatchOp::RegexMatch)
                        }
                    })
                },
            )
    }
}

/// Labels that Prometheus adds to each series.
const OF_PROMETHEUS: [&str; 2] = ["instance", "job"];

/// Everything that an expression reads.
fn selectors(expression: &Expr) -> Vec<&VectorSelector> {
    match expression {
        Expr::Number(_) | Expr::String(_) => Vec::new(),
        Expr::VectorSelector(selector) => vec![selector],
        Expr::MatrixSelector(matrix) => vec![&matrix.selector],
        Expr::Call(call) => call.args.iter().flat_map(selectors).collect(),
        Expr::Aggregation(aggregation) => selectors(&aggregation.expr),
        Expr::Binary(binary) => [&binary.lhs, &binary.rhs].into_iter().flat_map(selectors).collect(),
        Expr::Unary(unary) => selectors(&unary.expr),
        Expr::Paren(inner) => selectors(inner),
        Expr::Subquery(subquery) => selectors(&subquery.expr),
    }
}

/// Of a server on a private Postgres, with a certificate, with a key that ends, after a match and an error.
async fn series_of_a_running_server() -> Vec<Series> {
    let (directory, files) = (TempDir::new().unwrap(), Files::create());
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let data = directory.path().join("data");
    let data = ["--data-dir", data.to_str().unwrap()];
    run(command(&[&["organisation", "create", "Acme"], &data[..]].concat()));
    let key =
        run(command(&[&["key", "create", "--organisation", "1", "--kind", "prod"], &data[..]].concat()));
    let flags = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--no-demo",
        "--prod-limit-per-minute",
        "1",
    ];
    let tls = files.flags();
    let mut server =
        Server::start(command(&[&flags[..], &data, &tls.each_ref().map(String::as_str)].concat()));
    let metrics = format!("http://{}/metrics", server.admin_address());
    let address = server.url.strip_prefix("https://").unwrap();
    for status in [404, 429] {
        let body = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER }).to_string();
        let uri = format!("{}{MATCH}?apiKey={}", server.url, key.trim());
        let call = json_request(&uri).body(body.into()).unwrap();
        let connection = connect(&files.certificate, "http/1.1", address).await.unwrap();
        assert_eq!(send(connection, call).await.0, status);
    }
    // The keys are read in the background.
    let text = loop {
        let text = reqwest::get(&metrics).await.unwrap().text().await.unwrap();
        if text.contains("api_key_days_left{") {
            break text;
        }
    };
    server.stop();
    parse_series(&text)
}

fn parse_series(text: &str) -> Vec<Series> {
    text.lines().filter(|line| !line.starts_with('#')).map(Series::parse).collect()
}

/// Of a server with a replica, which neither a private Postgres of its own nor a cluster has.
async fn series_of_a_server_with_a_replica() -> Vec<Series> {
    let postgres = PrivatePostgres::start_throw_away().await.unwrap();
    migration::run(&postgres.connect_options()).await.unwrap();
    let database = url(&postgres.connect_options());
    let mut serve = command(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    serve.env("DATABASE_URL", &database).env("CUSTOMER_MATCH_REPLICA_DATABASE_URL", &database);
    serve.env("CUSTOMER_MATCH_ALLOW_DATA_LOSS", "true");
    let mut server = Server::start(serve);
    let metrics = format!("http://{}/metrics", server.admin_address());
    let text = reqwest::get(&metrics).await.unwrap().text().await.unwrap();
    server.stop();
    parse_series(&text)
}

#[tokio::test]
async fn every_expression_finds_a_series_of_a_running_server() {
    let mut series = series_of_a_running_server().await;
    series.extend(series_of_a_server_with_a_replica().await);
    // Prometheus' own.
    series.push(Series { name: "up".into(), labels: Vec::new() });
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/customer-match.json")).unwrap();
    let rules = &yaml("deploy/prometheus/customer-match.rules.yml")[0];
    let expressions: Vec<_> = texts(&dashboard, "expr").into_iter().chain(texts(rules, "expr")).collect();
    assert!(expressions.len() > 50, "{}", expressions.len());
    for text in expressions {
        // What Grafana fills in.
        let text = text.replace("$__rate_interval", "5m").replace("$instance", ".*");
        let (rest, expression) = expr(&text).unwrap();
        assert_eq!(rest, "", "{text}");
        let selectors = selectors(&expression);
        assert!(!selectors.is_empty(), "{text}");
        for selector in selectors {
            assert!(
                series.iter().any(|series| series.is_selected(selector)),
                "no series for {selector} in {text}"
            );
        }
    }
}

#[test]
fn every_alert_has_its_paragraph_of_the_runbook() {
    let anchors = anchors(OPERATIONS);
    let rules = yaml("deploy/prometheus/customer-match.rules.yml").remove(0);
    let alerts = rules["groups"][0]["rules"].as_array().unwrap();
    for alert in alerts {
        let (_, anchor) =
            alert["annotations"]["runbook"].as_str().unwrap().split_once("docs/operations.md#").unwrap();
        assert!(anchors.contains(anchor), "{anchor}");
        assert!(["page", "ticket"].contains(&alert["labels"]["severity"].as_str().unwrap()), "{alert}");
    }
    // And the other way round.
    let (_, runbook) = OPERATIONS.split_once("\n## Runbook\n").unwrap();
    let (runbook, _) = runbook.split_once("\n## ").unwrap();
    let paragraphs: Vec<_> = runbook.split("\n### ").skip(1).collect();
    assert_eq!(paragraphs.len(), alerts.len());
    for paragraph in paragraphs {
        for part in ["\n- Symptom: ", "\n- Look: ", "\n- Do: "] {
            assert!(paragraph.contains(part), "{paragraph}");
        }
    }
}

#[test]
fn the_runbook_names_panels_of_the_dashboard() {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/customer-match.json")).unwrap();
    let panels: BTreeSet<_> = texts(&dashboard["panels"], "title").into_iter().collect();
    let (_, runbook) = OPERATIONS.split_once("\n## Runbook\n").unwrap();
    let (runbook, _) = runbook.split_once("\n## ").unwrap();
    // Names may be wrapped.
    let runbook = runbook.split_whitespace().collect::<Vec<_>>().join(" ");
    let named: BTreeSet<_> = Regex::new(r"(?:^|[^*])\*([A-Z][^*]+)\*")
        .unwrap()
        .captures_iter(&runbook)
        .map(|name| name.extract::<1>().1[0])
        .collect();
    assert!(named.len() > 10, "{named:?}");
    assert_eq!(named.difference(&panels).collect::<Vec<_>>(), Vec::<&&str>::new());
}

/// So that a link from one page of the documentation to a paragraph of another one leads there.
#[test]
fn links_lead_to_paragraphs() {
    let link = Regex::new(r"\]\(([\w./-]*)#([\w-]+)\)").unwrap();
    for page in ["docs/operations.md", "deploy/README.md", "README.md"] {
        let text = read(page);
        for link in link.captures_iter(&text) {
            let directory = page.rsplit_once('/').map_or("", |(directory, _)| directory);
            let file = if link[1].is_empty() { page.to_owned() } else { format!("{directory}/{}", &link[1]) };
            assert!(anchors(&read(&file)).contains(&link[2]), "{page}: {}", &link[0]);
        }
    }
}

/// Variables of files, which nothing checks before the server reads them, or never does.
#[test]
fn every_variable_is_a_setting() {
    fn collect(command: &clap::Command, found: &mut BTreeSet<String>) {
        found.extend(command.get_arguments().filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned())));
        command.get_subcommands().for_each(|command| collect(command, found));
    }
    let mut settings = BTreeSet::new();
    collect(&Cli::command(), &mut settings);
    let variable = Regex::new(r"CUSTOMER_MATCH_[A-Z_]+").unwrap();
    let files = [
        "deploy/systemd/customer-match.service",
        "deploy/kubernetes/customer-match.yaml",
        "compose.yaml",
        "Dockerfile",
        "docs/operations.md",
    ];
    for file in files {
        let text = read(file);
        for variable in variable.find_iter(&text).map(|found| found.as_str()) {
            assert!(settings.contains(variable), "{file}: {variable}");
        }
    }
}

#[test]
fn kubernetes_probes_the_admin_listener_and_gives_no_rights() {
    let documents = yaml("deploy/kubernetes/customer-match.yaml");
    let pod = &documents[0]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let env = |name: &str| {
        let variables = container["env"].as_array().unwrap();
        let variable = variables.iter().find(|variable| variable["name"] == name).unwrap();
        variable["value"].as_str().unwrap()
    };
    for (name, variable) in [("http", "CUSTOMER_MATCH_LISTEN"), ("admin", "CUSTOMER_MATCH_ADMIN_LISTEN")] {
        let ports = container["ports"].as_array().unwrap();
        let port = ports.iter().find(|port| port["name"] == name).unwrap();
        assert_eq!(env(variable), format!("0.0.0.0:{}", port["containerPort"]));
    }
    for (probe, path) in
        [("livenessProbe", "/livez"), ("readinessProbe", "/readyz"), ("startupProbe", "/livez")]
    {
        assert_eq!(container[probe]["httpGet"], json!({ "path": path, "port": "admin" }));
    }
    let mount = container["volumeMounts"][0]["mountPath"].as_str().unwrap();
    assert!(env("CUSTOMER_MATCH_DATABASE_URL_FILE").starts_with(mount));
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        container["securityContext"],
        json!({ "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] } })
    );
    assert!(container["resources"]["requests"].is_object() && container["resources"]["limits"].is_object());
    // --shutdown-timeout, and the preStop before it.
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    let pre_stop = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    assert!(grace > pre_stop + 22, "{grace}");
}

/// The only directory that it may write, and the one that it would choose otherwise is below a home that it does not have.
#[test]
fn the_units_private_postgres_is_in_its_state_directory() {
    let unit = read("deploy/systemd/customer-match.service");
    for line in [
        "DynamicUser=yes",
        "ProtectSystem=strict",
        "StateDirectory=customer-match",
        "Environment=XDG_DATA_HOME=%S",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
}

/// What is in a directory that was named by mistake stays there.
#[test]
fn a_release_is_built_into_an_empty_directory() {
    let build = |arguments: &[&str]| {
        let script = format!("{}/release/build", env!("CARGO_MANIFEST_DIR"));
        Command::new(script).args(arguments).output().unwrap()
    };
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("kept");
    fs::write(&file, "").unwrap();
    let output = build(&["--image", directory.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("is not empty"), "{stderr}");
    assert!(file.exists());
    assert_eq!(build(&["--help"]).status.code(), Some(2));
}
