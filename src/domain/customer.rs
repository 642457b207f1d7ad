//! What an organisation knows of a customer (contract §2).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CuRefNo, Email, HostIp, NamedCustomer, ProfileText, Timestamp};

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

    /// The fields, as JSON names them, in which the customer had another value than this one, and kept it.
    pub fn ignored_by(&self, registered: &Registered) -> Vec<&'static str> {
        let (sent, kept) = (&self.profile, &registered.customer);
        let texts = [
            ("firstName", &sent.first_name, &kept.first_name),
            ("lastName", &sent.last_name, &kept.last_name),
            ("companyName", &sent.company_name, &kept.company_name),
            ("phone", &sent.phone, &kept.phone),
            (
                "companyRegistrationNumber",
                &sent.company_registration_number,
                &kept.company_registration_number,
            ),
            ("taxIdentificationNumber", &sent.tax_identification_number, &kept.tax_identification_number),
        ];
        let is_other = |sent: &ProfileText, kept: &Option<String>| kept.as_deref() != Some(sent.as_str());
        let texts = texts.into_iter().filter_map(|(name, sent, kept)| {
            sent.as_ref().is_some_and(|sent| is_other(sent, kept)).then_some(name)
        });
        let ip = sent.real_ip.is_some_and(|ip| registered.real_ip != Some(ip.get()));
        texts.chain(ip.then_some("customerRealIp")).collect()
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
    real_ip: Option<IpAddr>,
}

/// What is to change in a customer's profile: `None` keeps a value, `Some(None)` clears it.
#[derive(Debug, Default, Clone, Serialize)]
pub struct ProfileChanges {
    /// A customer that has an e-mail address keeps one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<Option<ProfileText>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_name: Option<Option<ProfileText>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company_name: Option<Option<ProfileText>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<Option<ProfileText>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company_registration_number: Option<Option<ProfileText>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tax_identification_number: Option<Option<ProfileText>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real_ip: Option<Option<HostIp>>,
}

/// A change of the profile of a customer.
#[derive(Debug, Clone, Serialize)]
pub struct ProfileUpdate {
    #[serde(flatten)]
    pub customer: NamedCustomer,
    pub changes: ProfileChanges,
}

/// What an update came to.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Updated {
    /// As the update left it.
    Updated(Customer),
    /// Another customer has the new e-mail address: this one. Nothing was written.
    EmailTaken(CuRefNo),
    NotFound,
}
