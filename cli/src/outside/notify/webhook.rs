//! JSON to a URL. The signature proves who sent it and when: HMAC-SHA256 over the time, a full stop, and the body, with
//! the shared key, in hexadecimal.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac as _};
use migengine_engine::pg::secret::Secret;
use serde_json::json;
use sha2::Sha256;

use super::super::http::{Refused, post};
use super::super::post::Happening;

/// The header with the seconds since 1970 at which a message was signed. Receivers refuse old ones.
pub(super) const TIMESTAMP: &str = "Migengine-Timestamp";
/// The header with `v1=` and the signature.
pub(super) const SIGNATURE: &str = "Migengine-Signature";

/// A webhook.
pub(super) struct Webhook {
    /// Where to.
    pub(super) url: Secret,
    /// The key of the signature.
    pub(super) key: Option<Secret>,
}

impl Webhook {
    /// One try.
    pub(super) fn send(&self, happening: &Happening, text: &str, timeout: Duration) -> Result<(), Refused> {
        let mut object = (*happening.object).clone();
        if let Some(map) = object.as_object_mut() {
            map.insert("text".to_owned(), text.into());
        }
        let body = object.to_string();
        let mut headers = vec![
            ("Content-Type".to_owned(), Secret::new("application/json")),
            ("Migengine-Event".to_owned(), Secret::new(happening.moment.name())),
        ];
        if let Some(key) = &self.key {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            headers.push((TIMESTAMP.to_owned(), Secret::new(now.to_string())));
            headers.push((SIGNATURE.to_owned(), Secret::new(format!("v1={}", signature(key, now, &body)))));
        }
        post(&self.url, &headers, body.as_bytes(), timeout)
    }
}

/// Text to a Slack webhook: one try.
pub(super) fn slack(url: &Secret, text: &str, timeout: Duration) -> Result<(), Refused> {
    let headers = [("Content-Type".to_owned(), Secret::new("application/json"))];
    post(url, &headers, json!({ "text": text }).to_string().as_bytes(), timeout)
}

/// The signature of a body at a time, in hexadecimal.
fn signature(key: &Secret, seconds: u64, body: &str) -> String {
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()) else { return String::new() };
    mac.update(format!("{seconds}.{body}").as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_openssl_computes() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key
        let expected = "a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03";
        assert_eq!(signature(&Secret::new("key"), 1_700_000_000, "{\"a\":1}"), expected);
    }
}
