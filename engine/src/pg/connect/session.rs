//! One attempt on one server, and the task that drives what comes of it.

use std::future::poll_fn;

use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio_postgres::config::SslMode as PgSslMode;
use tokio_postgres::{AsyncMessage, Client, Connection};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Canceller, ConnectError, Connected, Notice, SessionOptions, cancel_timeout, config};
use crate::pg::sqlstate::{Lost, ServerError};
use crate::pg::target::{Server, Target};

/// Connects, logs in and makes the settings, all within the target's timeout.
pub(super) async fn open(
    target: &Target,
    server: &Server,
    mode: PgSslMode,
    session: &SessionOptions,
    tls: &MakeRustlsConnect,
) -> Result<Connected, ConnectError> {
    let attempt = log_in(target, server, mode, session, tls);
    match target.connect_timeout {
        None => attempt.await,
        Some(limit) => match tokio::time::timeout(limit, attempt).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::timeout(target, server)),
        },
    }
}

async fn log_in(
    target: &Target,
    server: &Server,
    mode: PgSslMode,
    session: &SessionOptions,
    tls: &MakeRustlsConnect,
) -> Result<Connected, ConnectError> {
    let refused = |error: tokio_postgres::Error| ConnectError::from_driver(&error, target, server);
    let (client, connection) = config(target, server, mode, session).connect(tls.clone()).await.map_err(refused)?;
    let server_version = connection.parameter("server_version").unwrap_or_default().to_owned();
    let (notice_sender, notices) = mpsc::unbounded_channel();
    let (closed_sender, closed) = watch::channel(None);
    tokio::spawn(drive(connection, notice_sender, closed_sender));
    let mut warnings = target.warnings.clone();
    warnings.extend(make_settings(&client, &session.settings).await.map_err(refused)?);
    let cancel = Canceller { token: client.cancel_token(), tls: tls.clone(), timeout: cancel_timeout(target) };
    Ok(Connected { client, cancel, notices, closed, server: server.clone(), server_version, warnings })
}

/// Moves bytes until the connection ends. Nobody needs to listen to what it passes on.
async fn drive<S, T>(
    mut connection: Connection<S, T>,
    notices: mpsc::UnboundedSender<Notice>,
    closed: watch::Sender<Option<Lost>>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let end = loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notice(said))) => drop(notices.send(ServerError::from(&said).into())),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                break ServerError::from_pg(&error).map_or_else(
                    |lost| lost,
                    // Outside a statement, any error is the server's last word.
                    |said| Lost { server: Some(Box::new(said)), ..Lost::closed() },
                );
            }
            None => break Lost::closed(),
        }
    };
    closed.send_replace(Some(end));
}

/// Sends all settings at once, so that they cost one round trip, and returns a sentence for each that was refused.
async fn make_settings(client: &Client, settings: &[(String, String)]) -> Result<Vec<String>, tokio_postgres::Error> {
    let statements: Vec<String> = settings
        .iter()
        .map(|(name, value)| format!("SELECT pg_catalog.set_config({}, {}, false)", literal(name), literal(value)))
        .collect();
    let results = join_all(statements.iter().map(|statement| client.simple_query(statement))).await;
    let mut warnings = Vec::new();
    for ((name, value), result) in settings.iter().zip(results) {
        if let Err(error) = result {
            match ServerError::from_pg(&error) {
                Ok(said) => warnings.push(format!("The server refused the setting {name} = {value}: {said}.")),
                Err(_) => return Err(error),
            }
        }
    }
    Ok(warnings)
}

/// A string literal that means the same whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_keep_quotes_and_backslashes() {
        assert_eq!(literal(r"a'b\c"), r"E'a''b\\c'");
    }
}
