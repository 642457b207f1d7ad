//! What an organisation knows of a customer (contract §2).

use serde::{Deserialize, Serialize};

use super::{CuRefNo, Email, HostIp, ProfileText};

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
#[derive(Debug, Clone, Deserialize)]
pub struct Customer {
    pub cu_ref_no: String,
    /// The normal form; `None` for customers known by reference only.
    pub email: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub company_name: Option<String>,
    pub phone: Option<String>,
    pub company_registration_number: Option<String>,
    pub tax_identification_number: Option<String>,
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
