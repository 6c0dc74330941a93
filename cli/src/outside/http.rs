//! HTTP towards the outside: one request, a time limit, the status as the answer. TLS is rustls with ring; the machine's
//! authorities vouch for servers (`SSL_CERT_FILE` names others).

use std::sync::Arc;
use std::time::Duration;

use migengine_engine::pg::secret::Secret;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// Why a request did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// In words, without the address.
    pub why: String,
    /// Whether it may be different the next time.
    pub again: bool,
}

/// Sends `body` to `url`. Success is a status of 2xx; the answer's body is not looked at.
///
/// # Errors
/// Everything else.
pub fn post(url: &Secret, headers: &[(String, Secret)], body: &[u8], timeout: Duration) -> Result<(), Refused> {
    let agent = agent(url.expose().starts_with("https:"), timeout);
    let mut request = agent.post(url.expose());
    for (name, value) in headers {
        request = request.header(name, value.expose());
    }
    match request.send(body) {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => {
            let status = answer.status();
            Err(Refused { why: format!("the answer was {status}"), again: status.is_server_error() || status == 429 })
        }
        Err(error) => Err(refused(&error, timeout)),
    }
}

/// The words of the library may hold the address, and with it its secrets, so they are chosen here.
fn refused(error: &ureq::Error, timeout: Duration) -> Refused {
    let (why, again) = match error {
        ureq::Error::Timeout(_) => (format!("there was no answer within {} s", timeout.as_secs_f32()), true),
        ureq::Error::HostNotFound => ("the host is not known".to_owned(), true),
        ureq::Error::ConnectionFailed => ("no connection".to_owned(), true),
        ureq::Error::Io(error) => (format!("the connection failed: {}", error.kind()), true),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => {
            ("TLS failed: the certificate is not trusted".to_owned(), false)
        }
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => ("the address is no URL".to_owned(), false),
        _ => ("what came back is no HTTP".to_owned(), true),
    };
    Refused { why, again }
}

fn agent(tls: bool, timeout: Duration) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent(concat!("migengine/", env!("CARGO_PKG_VERSION")));
    if tls {
        let found = rustls_native_certs::load_native_certs();
        let roots: Vec<Certificate<'static>> =
            found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
        config = config.tls_config(
            TlsConfig::builder()
                .provider(TlsProvider::Rustls)
                .root_certs(RootCerts::Specific(Arc::new(roots)))
                .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .build(),
        );
    }
    config.build().into()
}
