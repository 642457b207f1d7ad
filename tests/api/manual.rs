//! Help, man pages and completions, which are made of the command line itself.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use clap::CommandFactory;
use customer_match::cli::Cli;
use rstest::rstest;
use tempfile::TempDir;

use crate::support::binary::{command, run, run_refused};

/// The names of all subcommands, `customer-match-key-list`.
fn names(command: &clap::Command, name: &str) -> BTreeSet<String> {
    let inner =
        command.get_subcommands().flat_map(|inner| names(inner, &format!("{name}-{}", inner.get_name())));
    inner.chain([name.to_owned()]).collect()
}

#[test]
fn each_subcommand_has_a_man_page_with_an_example() {
    let directory = TempDir::new().unwrap();
    run(command(&["man", directory.path().to_str().unwrap()]));
    for name in names(&Cli::command(), "customer-match") {
        let page = std::fs::read_to_string(directory.path().join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".TH"), "{page}");
        let is_leaf = !page.contains(".SH SUBCOMMANDS");
        assert_eq!(page.contains("Example:"), is_leaf, "{name}: {page}");
    }
    let refused = run_refused(command(&["man", "/nonexistent/directory"]));
    assert_eq!(
        refused,
        "error: cannot write to /nonexistent/directory: No such file or directory (os error 2)\n"
    );
}

#[rstest]
#[case("bash", &["bash", "-n"])]
#[case("zsh", &["zsh", "-n"])]
#[case("fish", &["fish", "--no-execute"])]
fn completions_are_scripts_of_the_shell(#[case] shell: &str, #[case] check: &[&str]) {
    let script = run(command(&["completions", shell]));
    assert!(script.contains("set-limit") && script.contains("organisation"), "{script}");
    let checking = Command::new(check[0]).args(&check[1..]).stdin(Stdio::piped()).spawn();
    // Only where there is such a shell; there is always bash.
    let Ok(mut checking) = checking else { return assert_ne!(shell, "bash") };
    checking.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(checking.wait().unwrap().success());
}

#[test]
fn the_help_of_serve_has_groups() {
    let help = run(command(&["serve", "--help"]));
    let groups: Vec<_> = help
        .lines()
        .filter(|line| !line.starts_with(' ') && line.ends_with(':'))
        .map(|line| line.trim_end_matches(':'))
        .collect();
    assert_eq!(
        groups,
        ["Options", "Network", "Start", "Database", "Limits", "Log and measurements", "Timeouts", "Example"]
    );
    // What belongs together stands together, whichever file it is in.
    let (_, network) = help.split_once("\nNetwork:\n").unwrap();
    let (network, _) = network.split_once("\nStart:\n").unwrap();
    for flag in ["--listen", "--tls-key", "--admin-listen", "--trusted-proxy", "--cors-origin"] {
        assert!(network.contains(flag), "{flag}");
    }
}
