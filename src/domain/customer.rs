//! What an organisation knows of a customer (contract §2).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CuRefNo, Email, HostIp, ProfileText, Timestamp};

/// What a client may say of a customer besides its reference and e-mail address.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Profile {
    pub first_name: Option<ProfileText>,
    pub last_name: Option<ProfileText>,
    pub company_name: Option<ProfileText>,
    /// In any notation.
    pub phone: Option<ProfileText>,
    /// The company's number in the register of its country.
    pub company_registration_number: Option<ProfileText>,
    /// The company's number for taxes.
    pub tax_identification_number: Option<ProfileText>,
    /// The customer's own IP address, as the client's web server saw it.
    pub real_ip: Option<HostIp>,
}

/// A customer as its organisation sees it.
// The database names the fields as SQL does, clients see them as JSON does.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(rename_all(serialize = "camelCase"))]
#[schema(rename_all = "camelCase")]
pub struct Customer {
    #[schema(value_type = CuRefNo)]
    pub cu_ref_no: String,
    /// Null if the customer is known by its reference only.
    #[schema(required, value_type = Option<Email>)]
    pub email: Option<String>,
    #[schema(required, value_type = Option<ProfileText>)]
    pub first_name: Option<String>,
    #[schema(required, value_type = Option<ProfileText>)]
    pub last_name: Option<String>,
    #[schema(required, value_type = Option<ProfileText>)]
    pub company_name: Option<String>,
    #[schema(required, value_type = Option<ProfileText>)]
    pub phone: Option<String>,
    #[schema(required, value_type = Option<ProfileText>)]
    pub company_registration_number: Option<String>,
    #[schema(required, value_type = Option<ProfileText>)]
    pub tax_identification_number: Option<String>,
    pub created_at: Timestamp,
    /// When the profile last changed.
    pub updated_at: Timestamp,
}

/// A customer to register, unless the organisation has one with this e-mail address.
#[derive(Debug, Clone, Serialize)]
pub struct Registration {
    /// The reference of the new customer. Chosen once for a call, so that all its attempts mean the same customer.
    cu_ref_no: CuRefNo,
    email: Email,
    #[serde(flatten)]
    profile: Profile,
}

impl Registration {
    /// Gives the new customer a random reference.
    pub fn new(email: Email, profile: Profile) -> Self {
        Self { cu_ref_no: CuRefNo::generate(), email, profile }
    }
}

/// What a registration came to.
#[derive(Debug, Clone, Deserialize)]
pub struct Registered {
    /// False when the organisation had a customer with the e-mail address.
    pub created: bool,
    /// The customer as this call left it.
    #[serde(flatten)]
    pub customer: Customer,
}
