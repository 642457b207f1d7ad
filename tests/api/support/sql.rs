//! Reads SQL and PL/pgSQL as far as the rules of a distributed database need it: which tables a query names, and which
//! conditions it has.

use std::sync::LazyLock;

use regex::Regex;

/// A token, or what is in parentheses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    Token(String),
    Group(Vec<Item>),
}

/// Comments are left out. The body of a function is a part of the text: its quotation marks are tokens, as are those of names.
static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?s)--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|"[^"]*"|\$\d+|\$\w*\$|\w+|::|[<>=!~]+|\S"#).unwrap()
});

impl Item {
    pub fn is(&self, token: &str) -> bool {
        matches!(self, Self::Token(text) if text == token)
    }

    pub fn is_one_of(&self, tokens: &[&str]) -> bool {
        matches!(self, Self::Token(text) if tokens.contains(&text.as_str()))
    }

    fn is_dollar_quote(&self) -> bool {
        matches!(self, Self::Token(text) if text.starts_with('$') && text.ends_with('$'))
    }

    pub fn word(&self) -> Option<&str> {
        match self {
            Self::Token(text) if text.starts_with(|c: char| c.is_alphabetic() || c == '_') => Some(text),
            _ => None,
        }
    }

    pub fn group(&self) -> Option<&[Self]> {
        match self {
            Self::Group(items) => Some(items),
            Self::Token(_) => None,
        }
    }
}

/// `None`: parentheses are not in pairs, so the text is no SQL, or a part of it.
pub fn read(text: &str) -> Option<Vec<Item>> {
    let mut open = vec![Vec::new()];
    for token in TOKEN.find_iter(text) {
        match token.as_str() {
            "(" => open.push(Vec::new()),
            ")" => {
                let group = open.pop()?;
                open.last_mut()?.push(Item::Group(group));
            }
            token if token.starts_with("--") || token.starts_with("/*") => {}
            token => open.last_mut()?.push(Item::Token(token.to_lowercase())),
        }
    }
    open.pop().filter(|_| open.is_empty())
}

/// The parts between commas.
pub fn list(items: &[Item]) -> Vec<&[Item]> {
    items.split(|item| item.is(",")).collect()
}

/// The statements of a file. The body of a function is in the statement that creates it.
pub fn statements(items: &[Item]) -> Vec<&[Item]> {
    let mut in_body = false;
    let parts = items.split(|item| {
        in_body ^= item.is_dollar_quote();
        !in_body && item.is(";")
    });
    parts.filter(|part| !part.is_empty()).collect()
}

/// Each query, at whatever depth: what has a `from` and a `where` of its own. Common table expressions are queries in
/// parentheses; the parts of a `union` are queries.
pub fn queries(items: &[Item]) -> Vec<&[Item]> {
    let ends = |item: &Item| {
        item.is_one_of(&[";", "loop", "union", "intersect", "except"]) || item.is_dollar_quote()
    };
    items.split(ends).chain(items.iter().filter_map(Item::group).flat_map(queries)).collect()
}

/// A table that a query names, and what its columns are qualified with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table<'a> {
    pub name: &'a str,
    pub alias: &'a str,
    /// The parenthesis after `insert into`.
    pub inserted_columns: Option<&'a [Item]>,
}

/// Words that follow a table and are no alias of it.
const NO_ALIAS: [&str; 27] = [
    "as",
    "cross",
    "do",
    "for",
    "full",
    "group",
    "having",
    "inner",
    "join",
    "left",
    "limit",
    "loop",
    "natural",
    "offset",
    "on",
    "order",
    "overriding",
    "returning",
    "right",
    "select",
    "set",
    "tablesample",
    "then",
    "using",
    "values",
    "where",
    "window",
];

/// Words after which a `,` is not between two tables.
const AFTER_FROM: [&str; 11] = [
    "group",
    "having",
    "limit",
    "offset",
    "order",
    "returning",
    "select",
    "set",
    "values",
    "where",
    "window",
];

/// The tables that a query names by itself, and not in a query in parentheses.
pub fn tables(query: &[Item]) -> Vec<Table<'_>> {
    let (mut found, mut in_from) = (Vec::new(), false);
    for (index, item) in query.iter().enumerate() {
        let before = |token: &str| index > 0 && query[index - 1].is(token);
        in_from = (in_from || item.is("from")) && !item.is_one_of(&AFTER_FROM);
        let names_a_table = match item {
            _ if item.is("from") => !before("distinct"),
            _ if item.is("update") => !["for", "key", "do"].into_iter().any(before),
            _ if item.is("into") => before("insert"),
            _ => item.is_one_of(&["join", "using"]) || (in_from && item.is(",")),
        };
        if names_a_table {
            found.extend(table(&query[index + 1..], item.is("into")));
        }
    }
    found
}

fn table(mut after: &[Item], is_inserted: bool) -> Option<Table<'_>> {
    while let [first, rest @ ..] = after
        && first.is_one_of(&["only", "lateral"])
    {
        after = rest;
    }
    if let [_, dot, rest @ ..] = after
        && dot.is(".")
    {
        after = rest;
    }
    let (name, rest) = (after.first()?.word()?, &after[1..]);
    let inserted_columns = rest.first().and_then(Item::group).filter(|_| is_inserted);
    let alias = match rest {
        [r#as, alias, ..] if r#as.is("as") => alias.word()?,
        [alias, ..] if alias.word().is_some_and(|word| !NO_ALIAS.contains(&word)) => alias.word()?,
        _ => name,
    };
    Some(Table { name, alias, inserted_columns })
}

/// `qualifier.column = value`, not in parentheses: a condition that the query cannot do without.
#[derive(Debug, PartialEq, Eq)]
pub struct Condition<'a> {
    pub qualifier: Option<&'a str>,
    pub value: &'a str,
}

pub fn conditions<'a>(query: &'a [Item], column: &str) -> Vec<Condition<'a>> {
    let mut found = Vec::new();
    for (index, item) in query.iter().enumerate() {
        if !item.is_one_of(&["where", "and", "on"]) {
            continue;
        }
        let (qualifier, rest) = match &query[index + 1..] {
            [qualifier, dot, rest @ ..] if dot.is(".") => (qualifier.word(), rest),
            rest => (None, rest),
        };
        if let [name, equals, Item::Token(value), next @ ..] = rest
            && name.is(column)
            && equals.is("=")
            && !next.first().is_some_and(|next| next.is(".") || next.group().is_some())
        {
            found.push(Condition { qualifier, value });
        }
    }
    found
}
