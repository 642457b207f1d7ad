//! Scopes: what a restricted API key may do (contract §3).

use std::fmt;

use serde::{Serialize, Serializer};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Match and unmatch.
    Match,
    /// Lists and details of any customer.
    Read,
    /// Register and change customers.
    Write,
    /// Log customers in and out, and read as one that is logged in.
    Session,
}

impl Scope {
    pub const ALL: [Self; 4] = [Self::Match, Self::Read, Self::Write, Self::Session];

    /// The name in the database and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Match => "customer.match",
            Self::Read => "customer.read",
            Self::Write => "customer.write",
            Self::Session => "customer.session",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The scopes of a key, which add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scopes {
    /// Of a key without scopes.
    All,
    Only(Vec<Scope>),
}

impl Scopes {
    pub fn allow(&self, scope: Scope) -> bool {
        match self {
            Self::All => true,
            Self::Only(scopes) => scopes.contains(&scope),
        }
    }
}

/// Names as they are stored. A name that this version does not know restricts the key and opens nothing.
impl From<Vec<String>> for Scopes {
    fn from(names: Vec<String>) -> Self {
        if names.is_empty() {
            return Self::All;
        }
        let named = |scope: &Scope| names.iter().any(|name| name == scope.as_str());
        Self::Only(Scope::ALL.into_iter().filter(named).collect())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::no_scope(&[], &Scope::ALL)]
    #[case::one(&["customer.read"], &[Scope::Read])]
    #[case::several_add_up(&["customer.session", "customer.match"], &[Scope::Match, Scope::Session])]
    #[case::unknown(&["invoice.read"], &[])]
    #[case::another_case(&["Customer.Read", "customer", "customer.*"], &[])]
    fn allow(#[case] names: &[&str], #[case] expected: &[Scope]) {
        let scopes = Scopes::from(names.iter().map(ToString::to_string).collect::<Vec<_>>());
        let allowed: Vec<_> = Scope::ALL.into_iter().filter(|scope| scopes.allow(*scope)).collect();
        assert_eq!(allowed, expected);
    }
}
