//! Why there is no session: from the driver's, the server's and rustls' words to sentences and next steps.

use std::error::Error as StdError;
use std::io;

use rustls::CertificateError;

use crate::pg::sqlstate::{self, ServerError};
use crate::pg::target::{Host, Server, SslMode, Target};
use crate::pg::tls::TlsSetupError;

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectErrorKind {
    /// Nobody answers there.
    Unreachable,
    /// 28P01.
    WrongPassword,
    /// The server asks for a password and there is none.
    PasswordMissing,
    /// 28000: the role does not exist, or pg_hba.conf refuses.
    Refused,
    /// 3D000.
    NoDatabase,
    /// 53300.
    TooManyConnections,
    /// 57P03.
    StartingUp,
    /// TLS is required and the server has none.
    TlsUnavailable,
    /// The certificate does not name the host.
    CertificateName,
    /// The certificate comes from an unknown authority.
    CertificateIssuer,
    /// The certificate is expired or not valid yet.
    CertificateDate,
    /// Any other trouble with TLS.
    Tls,
    /// A certificate or key file on this machine.
    TlsSetup,
    /// No answer in time.
    Timeout,
    /// Something answers, but not as PostgreSQL does.
    NotPostgres,
    /// `target_session_attrs` is not met.
    WrongSession,
    /// `channel_binding=require` is not met, or an authentication method that is not supported.
    Authentication,
    /// 42501: no CONNECT right.
    NoRight,
    /// A pooler that shares server sessions between its clients.
    Pooled,
    /// Any other error of the server.
    Server,
}

impl ConnectErrorKind {
    /// Stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "ME301",
            Self::WrongPassword => "ME302",
            Self::PasswordMissing => "ME303",
            Self::Refused => "ME304",
            Self::NoDatabase => "ME305",
            Self::TooManyConnections => "ME306",
            Self::StartingUp => "ME307",
            Self::TlsUnavailable => "ME308",
            Self::CertificateName => "ME309",
            Self::CertificateIssuer => "ME310",
            Self::CertificateDate => "ME311",
            Self::Tls => "ME312",
            Self::TlsSetup => "ME313",
            Self::Timeout => "ME314",
            Self::NotPostgres => "ME315",
            Self::WrongSession => "ME316",
            Self::Authentication => "ME317",
            Self::NoRight => "ME318",
            Self::Pooled => "ME353",
            Self::Server => "ME319",
        }
    }

    /// Whether another server of the list is worth a try. As in libpq, one that answers and refuses ends the search.
    pub(super) fn try_next_server(self) -> bool {
        matches!(self, Self::Unreachable | Self::Timeout | Self::StartingUp | Self::WrongSession | Self::NotPostgres)
    }

    /// Whether the other of TLS and plain is worth a try under `allow` and `prefer`.
    pub(super) fn try_other_encryption(self) -> bool {
        matches!(
            self,
            Self::Refused
                | Self::Tls
                | Self::CertificateName
                | Self::CertificateIssuer
                | Self::CertificateDate
                | Self::TlsUnavailable
        )
    }
}

/// No session. Nothing was changed anywhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    /// What kind of trouble it is; carries the code.
    pub kind: ConnectErrorKind,
    /// What happened, without a final full stop. No password.
    pub message: String,
    /// The server's SQLSTATE, if it was the server that refused.
    pub sqlstate: Option<String>,
    /// What to do now, without a final full stop.
    pub next: String,
}

impl ConnectError {
    /// Stable code, `ME3xx`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    fn new(kind: ConnectErrorKind, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self { kind, message: message.into(), sqlstate: None, next: next.into() }
    }

    pub(super) fn setup(error: TlsSetupError) -> Self {
        Self::new(ConnectErrorKind::TlsSetup, error.message, error.next)
    }

    pub(super) fn pooled(server: &Server) -> Self {
        Self::new(
            ConnectErrorKind::Pooled,
            format!(
                "{server} is a connection pooler that gives every transaction whichever server session is free; the \
                 runner lock and the settings of a run need one session from beginning to end"
            ),
            "name the server itself for migrations: --direct-url URL (MIGENGINE_DIRECT_URL, direct_url in \
             migengine.toml), or a pool in session mode",
        )
    }

    pub(super) fn no_server() -> Self {
        Self::new(ConnectErrorKind::Unreachable, "no server was named", "name one with --database-url")
    }

    pub(super) fn timeout(target: &Target, server: &Server) -> Self {
        let seconds = target.connect_timeout.map_or(0, |timeout| timeout.as_secs());
        Self::new(
            ConnectErrorKind::Timeout,
            format!("{server} gave no session within {seconds} s"),
            "check host, port and firewall, or raise connect_timeout (seconds; 0 waits for ever)",
        )
    }

    /// Several servers, none usable: one sentence with all of them, and the last one's kind.
    pub(super) fn joined(mut errors: Vec<Self>) -> Self {
        let Some(mut last) = errors.pop() else { return Self::no_server() };
        errors.retain(|error| error.message != last.message);
        if !errors.is_empty() {
            let earlier: Vec<String> = errors.into_iter().map(|error| error.message).collect();
            last.message = format!("{}; {}", earlier.join("; "), last.message);
        }
        last
    }

    /// Reads the driver's error. The driver keeps its kinds private, so the fixed texts of its `Display` tell them.
    pub(super) fn from_driver(error: &tokio_postgres::Error, target: &Target, server: &Server) -> Self {
        if let Some(db) = error.as_db_error() {
            return from_server(&ServerError::from(db), target, server);
        }
        if let Some(tls) = find_rustls(error) {
            return from_rustls(tls, server);
        }
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        match error.to_string().as_str() {
            "error connecting to server" => from_io(error.source(), &cause, target, server),
            "error performing TLS handshake" if cause.contains("does not support TLS") => Self::new(
                ConnectErrorKind::TlsUnavailable,
                format!("{server} does not offer TLS, and sslmode={} demands it", target.tls.mode.as_str()),
                "switch `ssl` on at the server; or, where the network is trusted, use sslmode=prefer",
            ),
            "error performing TLS handshake" => Self::new(
                ConnectErrorKind::Tls,
                format!("the TLS handshake with {server} broke off: {cause}"),
                "look at the server's log",
            ),
            "invalid configuration" if cause.contains("password") => Self::new(
                ConnectErrorKind::PasswordMissing,
                format!("{server} asks for a password of `{}`, and none was given", target.user),
                "set PGPASSWORD, or add a line to ~/.pgpass",
            ),
            "authentication error" => Self::new(
                ConnectErrorKind::Authentication,
                format!("{server} and this program found no way to authenticate `{}`: {cause}", target.user),
                "check channel_binding and the method in the server's pg_hba.conf; passwords, certificates and peer work",
            ),
            kind => Self::new(
                ConnectErrorKind::NotPostgres,
                format!("{server} does not answer as a PostgreSQL server does ({kind}{}{cause})", colon(&cause)),
                "check host and port: another service may listen there; else look at the server's log",
            ),
        }
    }
}

fn colon(cause: &str) -> &'static str {
    if cause.is_empty() { "" } else { ": " }
}

fn from_server(error: &ServerError, target: &Target, server: &Server) -> ConnectError {
    use ConnectErrorKind as Kind;
    let (user, dbname) = (&target.user, &target.dbname);
    let entry = sqlstate::lookup(&error.code);
    let (kind, next) = match error.code.as_str() {
        "28P01" => (Kind::WrongPassword, "set PGPASSWORD, or correct the line in ~/.pgpass".to_owned()),
        "28000" => (Kind::Refused, refused_next(target, server)),
        "3D000" => (Kind::NoDatabase, format!("create it with `createdb {}`, or correct the name", shell(dbname))),
        "42501" => {
            (Kind::NoRight, format!("as its owner: GRANT CONNECT ON DATABASE {} TO {}", quote(dbname), quote(user)))
        }
        "53300" => (Kind::TooManyConnections, entry.next.to_owned()),
        "57P03" => (Kind::StartingUp, entry.next.to_owned()),
        _ => (Kind::Server, entry.next.to_owned()),
    };
    let mut message = format!("{server} refused the session: {}", error.message);
    if let Some(detail) = &error.detail {
        message = format!("{message} ({detail})");
    }
    ConnectError { kind, message, sqlstate: Some(error.code.clone()), next }
}

fn refused_next(target: &Target, server: &Server) -> String {
    let tcp = matches!(server.host, Host::Tcp(_));
    if tcp && target.tls.mode == SslMode::Disable {
        return "the server may demand TLS: try sslmode=require; else check the user name and pg_hba.conf".to_owned();
    }
    if tcp && target.tls.client.is_none() {
        return "check the user name and the server's pg_hba.conf; if it asks for a client certificate, set sslcert and \
                sslkey"
            .to_owned();
    }
    entry_next("28000")
}

fn entry_next(code: &str) -> String {
    sqlstate::lookup(code).next.to_owned()
}

/// A name as an SQL identifier.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A name as one word of a POSIX shell.
fn shell(name: &str) -> String {
    if !name.is_empty()
        && !name.starts_with('-')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
    {
        name.to_owned()
    } else {
        format!("-- '{}'", name.replace('\'', r"'\''"))
    }
}

fn from_io(cause: Option<&(dyn StdError + 'static)>, text: &str, target: &Target, server: &Server) -> ConnectError {
    let kind = cause.and_then(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    if text == "database does not allow writes" || text == "database is not read only" {
        let mode = if text.contains("writes") { "read-only" } else { "writable" };
        return ConnectError::new(
            ConnectErrorKind::WrongSession,
            format!("{server} is {mode}, which target_session_attrs rules out"),
            "name the right server, or several for this program to choose from",
        );
    }
    if kind == Some(io::ErrorKind::TimedOut) {
        return ConnectError::timeout(target, server);
    }
    match &server.host {
        Host::Unix(dir) => {
            let socket = dir.join(format!(".s.PGSQL.{}", server.port));
            let (what, next) = match kind {
                Some(io::ErrorKind::NotFound) => {
                    ("does not exist", "start the server, or name its host with --database-url")
                }
                Some(io::ErrorKind::PermissionDenied) => {
                    ("may not be opened by this user", "check the rights of the folder")
                }
                _ => ("is there, but nobody listens on it", "start the server"),
            };
            let message = format!("the server's socket {} {what}", socket.display());
            ConnectError::new(ConnectErrorKind::Unreachable, message, next)
        }
        Host::Tcp(name) => {
            let message = match kind {
                Some(io::ErrorKind::ConnectionRefused) => format!("nobody listens on {server}"),
                _ if text.contains("lookup") || text.contains("resolve") => {
                    format!("the host name `{name}` is not known ({text})")
                }
                _ => format!("{server} cannot be reached: {text}"),
            };
            ConnectError::new(
                ConnectErrorKind::Unreachable,
                message,
                format!(
                    "check that the server runs and accepts TCP connections: pg_isready -h {} -p {}",
                    shell(name),
                    server.port
                ),
            )
        }
    }
}

/// rustls' error, which hides inside an `io::Error`: its `source()` skips it.
fn find_rustls(error: &tokio_postgres::Error) -> Option<&rustls::Error> {
    let mut cause = error.source();
    while let Some(current) = cause {
        if let Some(found) = current.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        if let Some(inner) = current.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && let Some(found) = inner.downcast_ref::<rustls::Error>()
        {
            return Some(found);
        }
        cause = current.source();
    }
    None
}

fn from_rustls(error: &rustls::Error, server: &Server) -> ConnectError {
    use CertificateError as C;
    use ConnectErrorKind as Kind;
    let (kind, message, next) = match error {
        rustls::Error::InvalidCertificate(C::NotValidForName) => (
            Kind::CertificateName,
            format!("the certificate of {server} was made out to another host"),
            "connect under the name in the certificate, or check only its authority with sslmode=verify-ca",
        ),
        rustls::Error::InvalidCertificate(C::NotValidForNameContext { presented, .. }) => {
            let names =
                if presented.is_empty() { "no host by subjectAltName".to_owned() } else { presented.join(", ") };
            (
                Kind::CertificateName,
                format!("the certificate of {server} does not name this host; it names {names}"),
                "connect under a name in the certificate, or check only its authority with sslmode=verify-ca",
            )
        }
        rustls::Error::InvalidCertificate(C::UnknownIssuer | C::BadSignature) => (
            Kind::CertificateIssuer,
            format!("the certificate of {server} was signed by an authority that is not trusted here"),
            "set sslrootcert to the certificate of that authority",
        ),
        rustls::Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => (
            Kind::CertificateDate,
            format!("the certificate of {server} has expired"),
            "renew it at the server; check this machine's clock",
        ),
        rustls::Error::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => (
            Kind::CertificateDate,
            format!("the certificate of {server} is not valid yet"),
            "check the clocks of both machines",
        ),
        rustls::Error::InvalidMessage(_) => (
            Kind::NotPostgres,
            format!("{server} does not answer as a PostgreSQL server does (after the TLS request: {error})"),
            "check host and port: another service may listen there",
        ),
        other => (
            Kind::Tls,
            format!("TLS with {server} is not possible: {other}"),
            "look at the server's log; TLS 1.2 or newer is needed",
        ),
    };
    ConnectError::new(kind, message, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_quote_names_as_their_reader_needs_it() {
        let missing = |dbname: &str| {
            let target = Target::unix("/tmp", 5432, "u", dbname);
            let error = ServerError { code: "3D000".into(), ..ServerError::default() };
            from_server(&error, &target, &target.servers[0]).next
        };
        assert!(missing("app").contains("`createdb app`"));
        assert!(missing("my app's").contains(r"`createdb -- 'my app'\''s'`"));
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn each_refusal_of_the_server_has_a_kind_and_its_sqlstate() {
        let check = |code: &str, kind: ConnectErrorKind| {
            let target = Target::unix("/tmp", 5432, "u", "d");
            let error = ServerError { code: code.into(), ..ServerError::default() };
            let found = from_server(&error, &target, &target.servers[0]);
            assert_eq!((found.kind, found.sqlstate.as_deref()), (kind, Some(code)));
            assert!(!found.next.is_empty());
        };
        check("28P01", ConnectErrorKind::WrongPassword);
        check("28000", ConnectErrorKind::Refused);
        check("3D000", ConnectErrorKind::NoDatabase);
        check("42501", ConnectErrorKind::NoRight);
        check("53300", ConnectErrorKind::TooManyConnections);
        check("57P03", ConnectErrorKind::StartingUp);
        check("0A000", ConnectErrorKind::Server);
    }

    #[test]
    fn several_failures_become_one_sentence() {
        let error = |text: &str| ConnectError::new(ConnectErrorKind::Unreachable, text, "n");
        assert_eq!(ConnectError::joined(vec![error("a"), error("b")]).message, "a; b");
        assert_eq!(ConnectError::joined(vec![error("a"), error("a")]).message, "a");
        assert_eq!(ConnectError::joined(Vec::new()).kind, ConnectErrorKind::Unreachable);
    }
}
