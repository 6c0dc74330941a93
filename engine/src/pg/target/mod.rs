//! Where to connect, and as whom: from a URL or connection string, libpq's `PG*` variables, `.pgpass` and libpq's
//! defaults, in this order and parameter by parameter.
//! See <https://www.postgresql.org/docs/current/libpq-connect.html> and `libpq-envars.html`.

mod error;
mod files;
mod parameters;
mod parse;
mod pgpass;
mod resolve;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use error::TargetError;
pub use files::{FileText, Files, SystemFiles};

use super::secret::Secret;

/// libpq's `sslmode`. Over a Unix socket it never applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// Plain first, TLS when the server refuses that. Proves nothing about the server.
    Allow,
    /// TLS first, plain when the server does not offer it or refuses it. Proves nothing about the server.
    Prefer,
    /// TLS or nothing. The certificate is looked at only when a root certificate file is there (libpq's rule);
    /// then as under `verify-ca`.
    Require,
    /// The certificate must come from a trusted authority; the name in it does not matter.
    VerifyCa,
    /// The certificate must come from a trusted authority and name the host connected to.
    VerifyFull,
}

impl SslMode {
    /// libpq's spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// Who vouches for the server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootCert {
    /// The authorities this machine trusts (`sslrootcert=system`, and the default of the verifying modes).
    System,
    /// The authorities in this PEM file.
    File(PathBuf),
}

/// How to speak TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// When to use it and what to prove.
    pub mode: SslMode,
    /// `sslrootcert`, or `~/.postgresql/root.crt` when that file exists.
    pub root: Option<RootCert>,
    /// PEM files of the client certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// libpq's `channel_binding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Do not use it.
    Disable,
    /// Use it when the server offers it.
    Prefer,
    /// No session without it.
    Require,
}

/// libpq's `target_session_attrs`, as far as it makes sense here. `primary` is read as `read-write`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionAttrs {
    /// Any server.
    Any,
    /// A server that accepts writes.
    ReadWrite,
    /// A server whose sessions are read-only; enough for plans and status.
    ReadOnly,
}

/// A machine's name or a socket directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or an address, over TCP.
    Tcp(String),
    /// The directory of a Unix socket.
    Unix(PathBuf),
}

/// One server to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name; under `verify-full` the certificate must carry it.
    pub host: Host,
    /// `hostaddr`: the address to use instead of looking the name up.
    pub address: Option<IpAddr>,
    /// TCP port, or the number at the end of the socket's name.
    pub port: u16,
    /// The password for this server.
    pub password: Option<Secret>,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            Host::Tcp(name) => write!(f, "{name}:{}", self.port),
            Host::Unix(dir) => write!(f, "{}:{}", dir.display(), self.port),
        }
    }
}

/// TCP keepalives. libpq leaves their timing to the system, which on Linux notices a dead server after two hours;
/// a migration that hangs for two hours helps nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keepalive {
    /// Whether to send any.
    pub enabled: bool,
    /// Silence before the first one.
    pub idle: Duration,
    /// Time between two.
    pub interval: Duration,
    /// Unanswered ones before the connection counts as lost.
    pub retries: u32,
    /// How long sent data may stay unacknowledged.
    pub user_timeout: Duration,
}

impl Default for Keepalive {
    /// A silent death is noticed after 30 + 3 x 10 seconds; unacknowledged data after 60.
    fn default() -> Self {
        Self {
            enabled: true,
            idle: Duration::from_secs(30),
            interval: Duration::from_secs(10),
            retries: 3,
            user_timeout: Duration::from_secs(60),
        }
    }
}

/// Where to connect, and as whom. `Debug` and `Display` show no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Servers, tried in this order; never empty.
    pub servers: Vec<Server>,
    /// The role.
    pub user: String,
    /// The database.
    pub dbname: String,
    /// Command line options for the server process, `-c name=value …`.
    pub options: Option<String>,
    /// TLS.
    pub tls: TlsOptions,
    /// Channel binding of SCRAM to TLS.
    pub channel_binding: ChannelBinding,
    /// What the session must be able to do.
    pub session_attrs: SessionAttrs,
    /// For each server, until the session is ready; `None` waits for ever.
    pub connect_timeout: Option<Duration>,
    /// TCP keepalives.
    pub keepalive: Keepalive,
    /// What a person should know about how this came about, full sentences.
    pub warnings: Vec<String>,
}

/// libpq has no limit by default; a person at a terminal wants one.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Target {
    /// A server on a Unix socket in `dir`, without a password.
    #[must_use]
    pub fn unix(dir: impl Into<PathBuf>, port: u16, user: impl Into<String>, dbname: impl Into<String>) -> Self {
        let server = Server { host: Host::Unix(dir.into()), address: None, port, password: None };
        Self {
            servers: vec![server],
            user: user.into(),
            dbname: dbname.into(),
            options: None,
            tls: TlsOptions { mode: SslMode::Disable, root: None, client: None },
            channel_binding: ChannelBinding::Prefer,
            session_attrs: SessionAttrs::Any,
            connect_timeout: Some(DEFAULT_CONNECT_TIMEOUT),
            keepalive: Keepalive::default(),
            warnings: Vec::new(),
        }
    }

    /// Finds the target. `url` is what the command line or `DATABASE_URL` says: a `postgres://` URL or a
    /// `key=value` string. What it leaves open comes from the `PG*` variables read through `env`, then from
    /// `.pgpass`, then from libpq's defaults. One difference: where `url` names a host, `PGHOSTADDR` does not
    /// redirect it.
    ///
    /// # Errors
    /// [`TargetError`], when a parameter is unknown, broken or not supported. No error shows a password.
    pub fn resolve(
        url: Option<&str>,
        env: &dyn Fn(&str) -> Option<String>,
        files: &dyn Files,
    ) -> Result<Self, TargetError> {
        resolve::resolve(url, env, files)
    }

    /// Target, TLS and credentials in words, for `-v`: ``database `app` as `me` on db1:5432, sslmode=prefer``.
    #[must_use]
    pub fn describe(&self) -> String {
        let password =
            if self.servers.iter().any(|server| server.password.is_some()) { ", with a password" } else { "" };
        let unix_only = self.servers.iter().all(|server| matches!(server.host, Host::Unix(_)));
        let tls = if unix_only { String::new() } else { format!(", sslmode={}", self.tls.mode.as_str()) };
        format!("database `{}` as `{}` on {}{tls}{password}", self.dbname, self.user, self.server_list())
    }

    fn server_list(&self) -> String {
        self.servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

/// `user@host:port/db`, for people.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.user, self.server_list(), self.dbname)
    }
}
