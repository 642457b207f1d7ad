//! The relation of two customers, and what may be done to it (contract §1, §2).

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{CuRefNo, Email, Notice, ProfileText, Timestamp};

/// A relation that is to exist.
#[derive(Debug, Clone)]
pub struct Match {
    /// "Owner of relation".
    pub manager: CuRefNo,
    pub customer: NamedCustomer,
    /// `None` keeps the notice that is there.
    pub notice: Option<Notice>,
    /// Whether the answer is to show the relation as this match left it.
    pub representation: bool,
}

/// How the customer of a match or an update is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedCustomer {
    /// Must exist.
    CuRefNo(CuRefNo),
    /// A guest customer is created when no customer has the e-mail address.
    Email(Email),
}

impl NamedCustomer {
    /// The reference, if that is the name.
    pub fn cu_ref_no(&self) -> Option<&str> {
        match self {
            Self::CuRefNo(cu_ref_no) => Some(cu_ref_no.as_str()),
            Self::Email(_) => None,
        }
    }

    /// The e-mail address, if that is the name.
    pub fn email(&self) -> Option<&str> {
        match self {
            Self::CuRefNo(_) => None,
            Self::Email(email) => Some(email.as_str()),
        }
    }
}

impl Match {
    /// Both names in one order, whichever of them is the manager's.
    pub fn named_pair(&self) -> [&str; 2] {
        let customer = match &self.customer {
            NamedCustomer::CuRefNo(cu_ref_no) => cu_ref_no.as_str(),
            NamedCustomer::Email(email) => email.as_str(),
        };
        in_order([self.manager.as_str(), customer])
    }
}

/// What a match came to.
#[derive(Debug, Clone)]
pub struct Matched {
    pub change: Change,
    /// Whether a guest customer was created for the e-mail address.
    pub customer_created: bool,
    /// As this match left it, if it was asked for.
    pub relation: Option<Relation>,
}

/// What happened to the relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MatchOutcome)]
pub enum Change {
    /// It did not exist.
    Created,
    /// It got another notice, or its other side as a second manager.
    Updated,
    /// It was there already, exactly so.
    Unchanged,
    /// It had been deactivated and is active again.
    Reactivated,
}

/// The relation as a call left it, or as it met it. A member is absent if the call did not send it and the key lacks the scope
/// `customer.read`.
// The database names the fields as SQL does, clients see them as JSON does.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(rename_all(serialize = "camelCase"))]
#[schema(rename_all = "camelCase")]
pub struct Relation {
    #[schema(value_type = CuRefNo)]
    pub manager_cu_ref_no: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<CuRefNo>, nullable = false)]
    pub customer_cu_ref_no: Option<String>,
    /// Null if the customer has none. Only in the answer to a match.
    #[serde(default, deserialize_with = "shown", skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Option<Email>)]
    pub customer_email: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub role: Option<Role>,
    /// Null if there is none.
    #[serde(deserialize_with = "shown", skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Option<Notice>)]
    pub notice: Option<Option<String>>,
    pub active: bool,
    pub created_at: Timestamp,
    /// When it last became active.
    pub matched_at: Timestamp,
    pub updated_at: Timestamp,
    /// Null while it is active.
    #[schema(required)]
    pub ended_at: Option<Timestamp>,
    /// Grows with each change. The `ETag` is this number between quotation marks.
    #[schema(minimum = 1)]
    pub version: i64,
}

/// A member that is null is shown, unlike one that is absent.
fn shown<'de, D: Deserializer<'de>>(member: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(member).map(Some)
}

impl Relation {
    /// Keeps of what this match left behind what it sent itself. Of reference and e-mail address that is only the one that decides:
    /// the other may be another customer's.
    pub fn hide_unsent(&mut self, sent: &Match) {
        match sent.customer {
            NamedCustomer::CuRefNo(_) => self.customer_email = None,
            NamedCustomer::Email(_) => self.customer_cu_ref_no = None,
        }
        if sent.notice.is_none() {
            self.notice = None;
        }
        self.role = None;
    }

    /// Hides what another call has written.
    pub fn hide_content(&mut self) {
        self.notice = None;
        self.role = None;
    }
}

/// A customer that another one is matched with, as that one sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MatchedCustomer {
    #[schema(value_type = CuRefNo)]
    pub cu_ref_no: String,
    #[schema(required, value_type = Option<Email>)]
    pub email: Option<String>,
    #[schema(required, value_type = Option<ProfileText>)]
    pub first_name: Option<String>,
    #[schema(required, value_type = Option<ProfileText>)]
    pub last_name: Option<String>,
    #[schema(required, value_type = Option<ProfileText>)]
    pub company_name: Option<String>,
    #[schema(required, value_type = Option<Notice>)]
    pub notice: Option<String>,
    pub role: Role,
    pub matched_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A relation by itself, active or ended. No member is of a customer's profile, so `version` tells any change of it.
// The database names the fields as SQL does, clients see them as JSON does.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(rename_all(serialize = "camelCase"))]
#[schema(rename_all = "camelCase")]
pub struct RelationState {
    #[schema(value_type = CuRefNo)]
    pub manager_cu_ref_no: String,
    #[schema(value_type = CuRefNo)]
    pub customer_cu_ref_no: String,
    /// What `customerCuRefNo` is to `managerCuRefNo`.
    pub role: Role,
    /// Null if there is none.
    #[schema(required, value_type = Option<Notice>)]
    pub notice: Option<String>,
    pub active: bool,
    pub created_at: Timestamp,
    /// When it last became active.
    pub matched_at: Timestamp,
    pub updated_at: Timestamp,
    /// Null while it is active.
    #[schema(required)]
    pub ended_at: Option<Timestamp>,
    /// Grows with each change. The `ETag` is this number between quotation marks.
    #[schema(minimum = 1)]
    pub version: i64,
}

/// What the one customer is to the other: to the customer whose list it is in, or to the one that is named as the manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Manager,
    Customer,
    Both,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manager => "manager",
            Self::Customer => "customer",
            Self::Both => "both",
        }
    }
}

/// A relation that is to end. The order of the two does not matter.
#[derive(Debug, Clone)]
pub struct Unmatch {
    pub manager: CuRefNo,
    pub customer: CuRefNo,
    /// Whether the answer is to show the relation as this unmatch left it.
    pub representation: bool,
}

impl Unmatch {
    /// As [`Match::named_pair`].
    pub fn named_pair(&self) -> [&str; 2] {
        in_order([self.manager.as_str(), self.customer.as_str()])
    }
}

/// What an unmatch came to.
#[derive(Debug, Clone)]
pub struct Unmatched {
    /// As this unmatch left it, if it was asked for.
    pub relation: Option<Relation>,
}

impl Unmatched {
    /// The relation with what the key may see of it.
    pub fn shown(mut self, may_read: bool) -> Option<Relation> {
        if let Some(relation) = self.relation.as_mut().filter(|_| !may_read) {
            relation.hide_content();
        }
        self.relation
    }
}

fn in_order(mut pair: [&str; 2]) -> [&str; 2] {
    pair.sort_unstable();
    pair
}
