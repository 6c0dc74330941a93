//! One session of the engine's: a connection, what it is called, and what it is set to.

use std::sync::Arc;
use std::time::Duration;

use super::connect::{Canceller, ConnectError, Connected, Notice, SessionOptions, connect};
use super::layout::{SchemaName, quote_literal};
use super::target::{Host, Target};

/// Settings every session of the engine has. Refused ones become warnings: managed services pin some of them.
///
/// - `client_connection_check_interval`: without it, what a dead runner has queued is still applied after its death.
/// - `idle_in_transaction_session_timeout`: a runner that hangs must not hold its locks for ever.
/// - `lock_timeout`: never wait for a lock without end; the application would queue up behind.
/// - `jit`: the server takes the engine's questions to its catalogs for expensive ones and compiles them, which costs
///   each command half a second of the server's time. A script that has a use for it says `SET jit = on`.
/// - `idle_session_timeout`: the session that holds the runner lock may be idle for as long as a step takes.
/// - `default_transaction_isolation`: steps side by side (`--jobs`) write to the same rows of the engine's tables, and a
///   role or database with a stricter default would make them fail with 40001. A transaction that names its own level
///   keeps it.
#[must_use]
pub fn default_settings(lock_timeout: Duration) -> Vec<(String, String)> {
    [
        ("client_connection_check_interval", "1s".to_owned()),
        ("idle_in_transaction_session_timeout", "60s".to_owned()),
        ("lock_timeout", format!("{}ms", lock_timeout.as_millis())),
        ("statement_timeout", "0".to_owned()),
        ("idle_session_timeout", "0".to_owned()),
        ("jit", "off".to_owned()),
        ("default_transaction_isolation", "read committed".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// The server's half of the keepalives, with the limits of ours: a runner whose machine is gone without a word keeps its
/// session, and the runner lock, no longer than that, also where the server itself would wait for hours. Sessions over a
/// Unix socket end with their process.
fn keepalives(target: &Target) -> Vec<(String, String)> {
    let ours = &target.keepalive;
    if !ours.enabled || !target.servers.iter().any(|server| matches!(server.host, Host::Tcp(_))) {
        return Vec::new();
    }
    [
        ("tcp_keepalives_idle", ours.idle.as_secs().to_string()),
        ("tcp_keepalives_interval", ours.interval.as_secs().to_string()),
        ("tcp_keepalives_count", ours.retries.to_string()),
        ("tcp_user_timeout", ours.user_timeout.as_millis().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// A COMMIT that was acknowledged must survive a crash of the server: it carries the witness. Settings that promise more
/// (`remote_write`, `remote_apply`) are left alone.
const DURABLE: &str = "SELECT pg_catalog.set_config('synchronous_commit', 'on', false) \
    WHERE pg_catalog.current_setting('synchronous_commit') IN ('off', 'local'); ";

/// A session.
pub struct Session {
    /// The driver's handle.
    pub client: tokio_postgres::Client,
    /// Cancels what the session is doing.
    pub cancel: Arc<Canceller>,
    /// The engine's schema.
    pub schema: SchemaName,
    /// Notices that nobody has read yet.
    pub notices: tokio::sync::mpsc::UnboundedReceiver<Notice>,
    /// Sentences about what the server refused or what was odd when connecting.
    pub warnings: Vec<String>,
    settings: String,
    name: String,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn open(
        target: &Target,
        schema: &SchemaName,
        application_name: &str,
        settings: &[(String, String)],
    ) -> Result<Self, ConnectError> {
        let settings = [settings, &keepalives(target)].concat();
        let options = SessionOptions { application_name: application_name.to_owned(), settings: settings.clone() };
        let Connected { client, cancel, notices, warnings, .. } = connect(target, &options).await?;
        // What was refused at the start would only fail again inside a transaction, and abort it.
        let accepted =
            settings.iter().filter(|(name, _)| !warnings.iter().any(|warning| warning.contains(name.as_str())));
        let settings: String =
            accepted.map(|(name, value)| format!("SET {name} = {}; ", quote_literal(value))).collect();
        let (schema, name) = (schema.clone(), application_name.to_owned());
        Ok(Self { client, cancel: Arc::new(cancel), schema, notices, warnings, settings, name })
    }

    /// The statements that restore the session's settings after `RESET ALL`.
    #[must_use]
    pub fn settings_sql(&self) -> String {
        format!("{}{DURABLE}SET application_name = {}", self.settings, quote_literal(&self.name))
    }

    /// Gives the session another name. `pg_stat_activity` shows it from the next [`Self::reset`] on.
    pub fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    /// Undoes whatever a script has set.
    ///
    /// # Errors
    /// The server or the line failed.
    pub async fn reset(&self) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(&format!("{}{}", super::flight::RESET, self.settings_sql())).await
    }

    /// Whether the connection is known to have ended.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.client.is_closed()
    }
}
