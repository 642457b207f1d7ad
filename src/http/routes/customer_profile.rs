//! The profile of a customer in the answer to a write.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Customer, Email, ProfileText, Timestamp};

/// As this call left it; absent if the key lacks the scope `customer.read`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CustomerProfile {
    #[schema(value_type = Option<Email>)]
    email: Option<String>,
    #[schema(value_type = Option<ProfileText>)]
    first_name: Option<String>,
    #[schema(value_type = Option<ProfileText>)]
    last_name: Option<String>,
    #[schema(value_type = Option<ProfileText>)]
    company_name: Option<String>,
    #[schema(value_type = Option<ProfileText>)]
    phone: Option<String>,
    #[schema(value_type = Option<ProfileText>)]
    company_registration_number: Option<String>,
    #[schema(value_type = Option<ProfileText>)]
    tax_identification_number: Option<String>,
    #[schema(value_type = Option<Timestamp>, nullable = false)]
    created_at: Timestamp,
    /// When the profile last changed.
    #[schema(value_type = Option<Timestamp>, nullable = false)]
    updated_at: Timestamp,
}

impl From<Customer> for CustomerProfile {
    fn from(customer: Customer) -> Self {
        Self {
            email: customer.email,
            first_name: customer.first_name,
            last_name: customer.last_name,
            company_name: customer.company_name,
            phone: customer.phone,
            company_registration_number: customer.company_registration_number,
            tax_identification_number: customer.tax_identification_number,
            created_at: customer.created_at,
            updated_at: customer.updated_at,
        }
    }
}
