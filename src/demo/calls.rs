//! The documented call in several languages, for an origin such as `http://127.0.0.1:8080`.

use super::{CUSTOMER, CUSTOMER_EMAIL, MANAGER, NOTICE};

pub fn curl(origin: &str, key: &str) -> String {
    format!(
        r#"curl -X POST "{origin}/api/v1/customer/customer-match-customer?apiKey={key}" \
  -H "Content-Type: application/json" \
  -d '{{"managerCuRefNo":"{MANAGER}","customerCuRefNo":"{CUSTOMER}","customerEmail":"{CUSTOMER_EMAIL}",
       "notice":"{NOTICE}"}}'"#,
    )
}

/// A module of JavaScript, which runs in a browser and in Node.
pub fn fetch(origin: &str, key: &str) -> String {
    format!(
        r#"const response = await fetch("{origin}/api/v1/customer/customer-match-customer", {{
  method: "POST",
  headers: {{ "Authorization": "Bearer {key}", "Content-Type": "application/json" }},
  body: JSON.stringify({{
    managerCuRefNo: "{MANAGER}",
    customerCuRefNo: "{CUSTOMER}",
    customerEmail: "{CUSTOMER_EMAIL}",
    notice: "{NOTICE}",
  }}),
}})
console.log(await response.text())"#,
    )
}

/// With the standard library alone.
pub fn python(origin: &str, key: &str) -> String {
    format!(
        r#"import json
import urllib.request

call = urllib.request.Request(
    "{origin}/api/v1/customer/customer-match-customer",
    headers={{"Authorization": "Bearer {key}", "Content-Type": "application/json"}},
    data=json.dumps({{
        "managerCuRefNo": "{MANAGER}",
        "customerCuRefNo": "{CUSTOMER}",
        "customerEmail": "{CUSTOMER_EMAIL}",
        "notice": "{NOTICE}",
    }}).encode(),
)
print(urllib.request.urlopen(call).read().decode())"#,
    )
}
