//! One attempt on one server, and the task that drives what comes of it.

use std::future::poll_fn;

use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio_postgres::config::SslMode as PgSslMode;
use tokio_postgres::{AsyncMessage, Client, Connection, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::pooler;
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
    let config = config(target, server, mode, session);
    let (client, connection) = config.connect(tls.clone()).await.map_err(refused)?;
    let server_version = connection.parameter("server_version").unwrap_or_default().to_owned();
    let (notice_sender, notices) = mpsc::unbounded_channel();
    let (closed_sender, closed) = watch::channel(None);
    tokio::spawn(drive(connection, notice_sender, closed_sender));
    let mut warnings = target.warnings.clone();
    let own = pooler::key_process(&client).await;
    let mut made = make_settings(&client, &session.settings, own).await.map_err(refused)?;
    if !made.alone {
        let second = second(&config, tls).await;
        if pooler::shares(&client, second.as_ref()).await.map_err(refused)? {
            return Err(ConnectError::pooled(server));
        }
        made = make_settings(&client, &session.settings, None).await.map_err(refused)?;
    }
    warnings.extend(made.refused);
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

/// Another client of the same target, where it gives one.
async fn second(config: &tokio_postgres::Config, tls: &MakeRustlsConnect) -> Option<Client> {
    let (client, connection) = config.connect(tls.clone()).await.ok()?;
    tokio::spawn(async move { connection.await.ok() });
    Some(client)
}

/// What came of the settings.
struct Made {
    /// The server session is the one that was promised when it began.
    alone: bool,
    /// A sentence for each setting that was refused.
    refused: Vec<String>,
}

/// Sends all settings at once, so that they cost one round trip. With `own`, in that backend only: in any other they
/// would stay behind for strangers.
async fn make_settings(
    client: &Client,
    settings: &[(String, String)],
    own: Option<i32>,
) -> Result<Made, tokio_postgres::Error> {
    let only = own.map(|pid| format!(" WHERE pg_catalog.pg_backend_pid() = {pid}")).unwrap_or_default();
    let set = |(name, value): &(String, String)| {
        format!("SELECT pg_catalog.set_config({}, {}, false){only}", literal(name), literal(value))
    };
    let ask = format!("SELECT 1{only}");
    let statements: Vec<String> = settings.iter().map(set).collect();
    let (asked, results) = tokio::join!(
        biased;
        client.simple_query(&ask),
        join_all(statements.iter().map(|statement| client.simple_query(statement)))
    );
    let alone = asked?.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_)));
    let mut warnings = Vec::new();
    for ((name, value), result) in settings.iter().zip(results) {
        if let Err(error) = result {
            match ServerError::from_pg(&error) {
                Ok(said) => warnings.push(format!("The server refused the setting {name} = {value}: {said}.")),
                Err(_) => return Err(error),
            }
        }
    }
    Ok(Made { alone, refused: warnings })
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
