//! The documented call, for an origin such as `http://127.0.0.1:8080`.

use super::{CUSTOMER, CUSTOMER_EMAIL, MANAGER, NOTICE};

pub fn curl(origin: &str, key: &str) -> String {
    format!(
        r#"curl -X POST "{origin}/api/v1/customer/customer-match-customer?apiKey={key}" \
  -H "Content-Type: application/json" \
  -d '{{"managerCuRefNo":"{MANAGER}","customerCuRefNo":"{CUSTOMER}","customerEmail":"{CUSTOMER_EMAIL}",
       "notice":"{NOTICE}"}}'"#,
    )
}
