//! Opens a session: tries the target's servers in order, speaks TLS as its `sslmode` says, and drives the connection
//! in a task of the current runtime (which may be a single-threaded one).

mod error;
mod pooler;
mod session;

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_postgres::config::{ChannelBinding as PgChannelBinding, SslMode as PgSslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

pub use error::{ConnectError, ConnectErrorKind};

use super::sqlstate::{Lost, ServerError};
use super::target::{ChannelBinding, DEFAULT_CONNECT_TIMEOUT, Host, Server, SessionAttrs, SslMode, Target};
use super::tls;

/// What a session is to be like.
#[derive(Debug, Clone, Default)]
pub struct SessionOptions {
    /// `application_name`, as `pg_stat_activity` shows it. The server cuts it to 63 bytes.
    pub application_name: String,
    /// Settings made once the session stands. One the server refuses becomes a warning.
    pub settings: Vec<(String, String)>,
}

/// A NOTICE, WARNING or other message outside the answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// `NOTICE`, `WARNING`, `INFO`, …; not translated.
    pub severity: String,
    /// SQLSTATE, `00000` for plain notices.
    pub sqlstate: String,
    /// The message.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// The server's advice.
    pub hint: Option<String>,
}

/// A session. It ends when `client` is dropped.
pub struct Connected {
    /// The driver's handle.
    pub client: tokio_postgres::Client,
    /// Cancels what the session is doing.
    pub cancel: Canceller,
    /// Notices in the order they came.
    pub notices: mpsc::UnboundedReceiver<Notice>,
    /// `None` while the connection stands, then how it ended. Clone it to watch from elsewhere.
    pub closed: watch::Receiver<Option<Lost>>,
    /// The server of the target that answered.
    pub server: Server,
    /// As the server names it, `15.18 (Debian 15.18-0+deb12u1)`; empty when it does not.
    pub server_version: String,
    /// Settings that were refused, and what the target had to say; full sentences.
    pub warnings: Vec<String>,
}

impl Connected {
    /// Waits until the connection has ended and says how.
    pub async fn wait_closed(&mut self) -> Lost {
        match self.closed.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or_else(Lost::closed),
            // The task that drives the connection was dropped with its runtime.
            Err(_) => Lost::closed(),
        }
    }
}

/// Asks the server to cancel the running statement of one session, over a connection of its own with the same TLS.
#[derive(Clone)]
pub struct Canceller {
    token: tokio_postgres::CancelToken,
    tls: MakeRustlsConnect,
    timeout: Duration,
}

/// The request could not be delivered; the statement may still be running.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the cancel request did not reach the server: {message}")]
pub struct CancelError {
    /// What stood in the way.
    pub message: String,
}

impl Canceller {
    /// Sends the request. That it arrived does not mean that there was something to cancel: the statement's own
    /// result tells (SQLSTATE 57014).
    ///
    /// # Errors
    /// [`CancelError`], when the server could not be reached in time.
    pub async fn cancel(&self) -> Result<(), CancelError> {
        match tokio::time::timeout(self.timeout, self.token.cancel_query(self.tls.clone())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let message = match std::error::Error::source(&error) {
                    Some(cause) => format!("{error}: {cause}"),
                    None => error.to_string(),
                };
                Err(CancelError { message })
            }
            Err(_) => Err(CancelError { message: format!("no answer within {} s", self.timeout.as_secs()) }),
        }
    }
}

/// Opens a session on the first server of the target that gives one.
///
/// # Errors
/// [`ConnectError`] with a code, a sentence and a next step. Nothing was changed.
pub async fn connect(target: &Target, session: &SessionOptions) -> Result<Connected, ConnectError> {
    let connectors = Connectors::new(target)?;
    let mut errors = Vec::new();
    for server in &target.servers {
        match connect_server(target, server, session, &connectors).await {
            Ok(connected) => return Ok(connected),
            Err(error) => {
                let go_on = error.kind.try_next_server();
                errors.push(error);
                if !go_on {
                    break;
                }
            }
        }
    }
    Err(ConnectError::joined(errors))
}

/// Connectors are made once: reading root certificates is not cheap.
struct Connectors {
    tls: MakeRustlsConnect,
    plain: MakeRustlsConnect,
}

impl Connectors {
    fn new(target: &Target) -> Result<Self, ConnectError> {
        let plain = tls::unused_connector().map_err(ConnectError::setup)?;
        let encrypted = target.tls.mode != SslMode::Disable
            && target.servers.iter().any(|server| matches!(server.host, Host::Tcp(_)));
        let tls = if encrypted { tls::connector(&target.tls).map_err(ConnectError::setup)? } else { plain.clone() };
        Ok(Self { tls, plain })
    }
}

/// The encryptions to try on a server, in order.
fn attempts(mode: SslMode, host: &Host) -> &'static [PgSslMode] {
    match (host, mode) {
        // As in libpq: nothing to encrypt on a Unix socket, whatever sslmode says.
        (Host::Unix(_), _) | (_, SslMode::Disable) => &[PgSslMode::Disable],
        (_, SslMode::Allow) => &[PgSslMode::Disable, PgSslMode::Require],
        (_, SslMode::Prefer) => &[PgSslMode::Prefer, PgSslMode::Disable],
        (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => &[PgSslMode::Require],
    }
}

async fn connect_server(
    target: &Target,
    server: &Server,
    session: &SessionOptions,
    connectors: &Connectors,
) -> Result<Connected, ConnectError> {
    let mut first: Option<ConnectError> = None;
    for mode in attempts(target.tls.mode, &server.host) {
        let tls = if *mode == PgSslMode::Disable { &connectors.plain } else { &connectors.tls };
        match session::open(target, server, *mode, session, tls).await {
            Ok(connected) => return Ok(connected),
            Err(error) if error.kind.try_other_encryption() => first = first.or(Some(error)),
            // The first refusal was about encryption; this one is what stands in the way now.
            Err(error) => return Err(error),
        }
    }
    Err(first.unwrap_or_else(ConnectError::no_server))
}

/// The driver's configuration for one server.
fn config(target: &Target, server: &Server, mode: PgSslMode, session: &SessionOptions) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    match &server.host {
        Host::Tcp(name) => config.host(name),
        Host::Unix(dir) => config.host_path(dir),
    };
    if let Some(address) = server.address {
        config.hostaddr(address);
    }
    if let Some(password) = &server.password {
        config.password(password.expose());
    }
    if let Some(options) = &target.options {
        config.options(options);
    }
    if let Some(timeout) = target.connect_timeout {
        config.connect_timeout(timeout);
    }
    config
        .port(server.port)
        .user(&target.user)
        .dbname(&target.dbname)
        .application_name(&session.application_name)
        .ssl_mode(mode)
        .channel_binding(match target.channel_binding {
            ChannelBinding::Disable => PgChannelBinding::Disable,
            ChannelBinding::Prefer => PgChannelBinding::Prefer,
            ChannelBinding::Require => PgChannelBinding::Require,
        })
        .target_session_attrs(match target.session_attrs {
            SessionAttrs::Any => TargetSessionAttrs::Any,
            SessionAttrs::ReadWrite => TargetSessionAttrs::ReadWrite,
            SessionAttrs::ReadOnly => TargetSessionAttrs::ReadOnly,
        })
        .keepalives(target.keepalive.enabled)
        .keepalives_idle(target.keepalive.idle)
        .keepalives_interval(target.keepalive.interval)
        .keepalives_retries(target.keepalive.retries)
        .tcp_user_timeout(target.keepalive.user_timeout);
    config
}

/// How long a cancel request may take when the target itself has no limit.
fn cancel_timeout(target: &Target) -> Duration {
    target.connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT)
}

impl From<ServerError> for Notice {
    fn from(said: ServerError) -> Self {
        Self {
            severity: said.severity,
            sqlstate: said.code,
            message: said.message,
            detail: said.detail,
            hint: said.hint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_never_speak_tls_and_strict_modes_never_fall_back() {
        let tcp = Host::Tcp("h".to_owned());
        assert_eq!(attempts(SslMode::VerifyFull, &Host::Unix("/tmp".into())), [PgSslMode::Disable]);
        assert_eq!(attempts(SslMode::Disable, &tcp), [PgSslMode::Disable]);
        assert_eq!(attempts(SslMode::Allow, &tcp), [PgSslMode::Disable, PgSslMode::Require]);
        assert_eq!(attempts(SslMode::Prefer, &tcp), [PgSslMode::Prefer, PgSslMode::Disable]);
        for strict in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
            assert_eq!(attempts(strict, &tcp), [PgSslMode::Require]);
        }
    }
}
