//! TLS with rustls under libpq's rules for verification. Two differences from libpq remain: a certificate's name must
//! stand in its subjectAltName (a common name alone does not count, as in browsers), and revocation lists are not read.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::target::{RootCert, SslMode, TlsOptions};

/// A certificate or key file that cannot be used, or a machine without trusted authorities.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TlsSetupError {
    /// What is wrong with which file.
    pub message: String,
    /// What to do now.
    pub next: String,
}

impl TlsSetupError {
    fn new(message: String, next: &str) -> Self {
        Self { message, next: next.to_owned() }
    }
}

/// What the server must prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verify {
    Nothing,
    Chain,
    ChainAndName,
}

/// Makes the connector for these options. Files are read here, once.
///
/// # Errors
/// [`TlsSetupError`], when a file cannot be read or holds no certificate or key.
pub fn connector(options: &TlsOptions) -> Result<MakeRustlsConnect, TlsSetupError> {
    let verify = match (options.mode, &options.root) {
        (SslMode::VerifyFull, _) => Verify::ChainAndName,
        (SslMode::VerifyCa, _) | (SslMode::Require, Some(_)) => Verify::Chain,
        _ => Verify::Nothing,
    };
    let roots = match (verify, &options.root) {
        (Verify::Nothing, _) => Roots::default(),
        (_, Some(RootCert::File(path))) => roots_from_file(path)?,
        (_, Some(RootCert::System) | None) => system_roots()?,
    };
    build(verify, roots, options.client.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path())))
}

/// A connector for sessions that never speak TLS; the driver wants one all the same.
///
/// # Errors
/// [`TlsSetupError`], when rustls cannot be set up at all.
pub fn unused_connector() -> Result<MakeRustlsConnect, TlsSetupError> {
    build(Verify::Nothing, Roots::default(), None)
}

fn build(verify: Verify, roots: Roots, client: Option<(&Path, &Path)>) -> Result<MakeRustlsConnect, TlsSetupError> {
    let broken = |error: Error| TlsSetupError::new(format!("TLS cannot be set up: {error}"), "report this as a bug");
    // Named here, so that nothing depends on which provider the process installed first.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = ServerVerifier { verify, roots, algorithms: provider.signature_verification_algorithms };
    let builder = ClientConfig::builder_with_provider(Arc::<CryptoProvider>::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(broken)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match client {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = certificates(cert, "sslcert")?;
            let pem = read(key, "sslkey")?;
            let key_der = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
                TlsSetupError::new(
                    format!("the client key {} holds no unencrypted private key in PEM form", key.display()),
                    "write the key without a passphrase, or set sslkey to another file",
                )
            })?;
            builder.with_client_auth_cert(chain, key_der).map_err(|error| {
                TlsSetupError::new(
                    format!(
                        "the client certificate {} and the key {} cannot be used: {error}",
                        cert.display(),
                        key.display()
                    ),
                    "set sslcert and sslkey to files that belong together",
                )
            })?
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn read(path: &Path, parameter: &str) -> Result<Vec<u8>, TlsSetupError> {
    std::fs::read(path).map_err(|error| {
        TlsSetupError::new(
            format!("the file {} of {parameter} cannot be read: {error}", path.display()),
            &format!("set {parameter} to a readable file"),
        )
    })
}

fn certificates(path: &Path, parameter: &str) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let pem = read(path, parameter)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| {
        TlsSetupError::new(
            format!("the file {} of {parameter} holds no certificates in PEM form", path.display()),
            &format!("set {parameter} to a PEM file, beginning with -----BEGIN CERTIFICATE-----"),
        )
    })
}

/// Authorities, and the certificates as they stand in the file: one of them may be the server's own.
#[derive(Debug)]
struct Roots {
    store: RootCertStore,
    pinned: Vec<CertificateDer<'static>>,
}

impl Default for Roots {
    fn default() -> Self {
        Self { store: RootCertStore::empty(), pinned: Vec::new() }
    }
}

fn roots_from_file(path: &Path) -> Result<Roots, TlsSetupError> {
    let pinned = certificates(path, "sslrootcert")?;
    let mut store = RootCertStore::empty();
    let (usable, _) = store.add_parsable_certificates(pinned.iter().cloned());
    if usable == 0 {
        return Err(TlsSetupError::new(
            format!("no certificate in {} can be used as an authority", path.display()),
            "set sslrootcert to the certificate of the authority that signed the server's",
        ));
    }
    Ok(Roots { store, pinned })
}

fn system_roots() -> Result<Roots, TlsSetupError> {
    let mut store = RootCertStore::empty();
    let (usable, _) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if usable == 0 {
        return Err(TlsSetupError::new(
            "this system has no trusted certificate authorities".to_owned(),
            "install the package ca-certificates, or set sslrootcert to your authority's PEM file",
        ));
    }
    Ok(Roots { store, pinned: Vec::new() })
}

#[derive(Debug)]
struct ServerVerifier {
    verify: Verify,
    roots: Roots,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    fn verify_chain(
        &self,
        end_entity: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let checked = verify_server_cert_signed_by_trust_anchor(
            parsed,
            &self.roots.store,
            intermediates,
            now,
            self.algorithms.all,
        );
        match checked {
            // `openssl req -x509` makes a certificate that is its own authority, and PostgreSQL's manual shows it.
            // webpki refuses such a one as a server's, but only after it has checked its dates. Being, byte for byte,
            // one that the user trusts is proof enough.
            Err(Error::InvalidCertificate(CertificateError::Other(OtherError(cause))))
                if cause.to_string() == "CaUsedAsEndEntity" // webpki's error, not exported by rustls
                    && self.roots.pinned.iter().any(|pinned| pinned == end_entity) =>
            {
                Ok(())
            }
            other => other,
        }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.verify != Verify::Nothing {
            let parsed = ParsedCertificate::try_from(end_entity)?;
            self.verify_chain(end_entity, &parsed, intermediates, now)?;
            if self.verify == Verify::ChainAndName {
                verify_server_name(&parsed, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
