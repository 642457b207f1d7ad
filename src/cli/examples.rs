//! An example for each subcommand, which ends its help and its man page.

use clap::Command as Grammar;

/// Without the name of the program, in the order of the help. A test parses them.
pub(super) const EXAMPLES: [&str; 33] = [
    "serve --listen 0.0.0.0:8080 --tls-certificate cert.pem --tls-key key.pem --admin-listen 127.0.0.1:9464",
    "migrate --database-url postgres://customer_match@db.example/customer_match",
    "distribute --database-url postgres://customer_match@coordinator.example/customer_match --dry-run",
    "organisation create Acme",
    "organisation list --format json",
    "key create --organisation Acme --kind prod --scope customer.match --description CRM",
    "key list --organisation Acme --all",
    "key show 7",
    "key set-limit 7 --limit-per-minute 1000",
    "key extend 7 --days 90",
    "key rotate 7 --overlap 7d",
    "key disable 7",
    "key enable 7",
    "key revoke 7",
    "customer create --organisation Acme --email jan@barasek.com",
    "customer delete 5CmsaVNgAQqRqoen --organisation Acme --reason requested",
    "customer erase 5CmsaVNgAQqRqoen --organisation Acme --notices --dry-run",
    "customer export customers.csv --organisation Acme",
    "customer import customers.csv --organisation Acme --dry-run",
    "customer list --organisation Acme --query novak",
    "customer merge 5CmsaVNgAQqRqoen 1cGIHvFoQDGLAbcA --organisation Acme --dry-run",
    "customer show jan@barasek.com --organisation Acme",
    "customer update jan@barasek.com --organisation Acme --phone +420123456789",
    "match list 1cGIHvFoQDGLAbcA --organisation Acme --query novak",
    "match show 1cGIHvFoQDGLAbcA 5CmsaVNgAQqRqoen --organisation Acme",
    "match import matches.csv --organisation Acme --rejected rejected.csv",
    "match export matches.csv --organisation Acme",
    "stats --largest 5",
    "config check --database-url-file /etc/customer-match/database-url",
    "healthcheck --admin-listen 127.0.0.1:9464",
    "openapi",
    "completions bash",
    "man /usr/local/share/man/man1",
];

/// Adds its example to each subcommand.
pub(super) fn with_examples(grammar: Grammar) -> Grammar {
    add(grammar, "")
}

fn add(grammar: Grammar, path: &str) -> Grammar {
    let grammar = grammar.mut_subcommands(|subcommand| {
        let path = format!("{path}{} ", subcommand.get_name());
        add(subcommand, &path)
    });
    let example = EXAMPLES.iter().find(|example| format!("{example} ").starts_with(path));
    match example {
        Some(example) if !grammar.has_subcommands() => {
            grammar.after_help(format!("Example:\n  customer-match {example}"))
        }
        _ => grammar,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    /// The names of the subcommands that have none of their own.
    fn leaves(command: &Grammar, path: &str) -> Vec<String> {
        if !command.has_subcommands() {
            return vec![path.trim().to_owned()];
        }
        let leaves_of =
            |subcommand: &Grammar| leaves(subcommand, &format!("{path} {}", subcommand.get_name()));
        command.get_subcommands().flat_map(leaves_of).collect()
    }

    #[test]
    fn each_subcommand_has_an_example_that_is_valid() {
        let leaves = leaves(&Cli::command(), "");
        let of = |example: &str| {
            leaves.iter().find(|leaf| format!("{example} ").starts_with(&format!("{leaf} "))).cloned()
        };
        let with_example: Vec<_> = EXAMPLES.iter().filter_map(|example| of(example)).collect();
        assert_eq!(with_example, leaves);
        for example in EXAMPLES {
            let words = ["customer-match"].into_iter().chain(example.split(' '));
            let parsed = Cli::command().try_get_matches_from(words);
            assert!(
                parsed.is_ok(),
                "{example}: {}",
                parsed.err().map(|error| error.to_string()).unwrap_or_default()
            );
        }
    }
}
