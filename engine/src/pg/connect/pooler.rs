//! Is this session a server session of its own? A pooler in transaction mode gives every transaction whichever server
//! session is free: locks, settings and `pg_backend_pid()` stay behind in one, and the next statement runs in another.
//!
//! A pooler between us and the server shows in the key for cancel requests: it hands out its own, and the process in it
//! is not the backend's. Only then the second question is asked, for a pooler in session mode is welcome.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{Ready, ready};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::time::timeout;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, Error, SimpleQueryMessage};

/// How long a pooler may take to find a server session.
const PATIENCE: Duration = Duration::from_secs(5);
/// The code in front of a request for TLS, by the protocol.
const TLS_REQUEST: u32 = 80_877_103;

/// The process that the cancel key names. The driver keeps it to itself, but writes it into any cancel request: here
/// into one that goes nowhere. `None` where it does not come out.
pub(super) async fn key_process(client: &Client) -> Option<i32> {
    let (ours, mut theirs) = tokio::io::duplex(64);
    let token = client.cancel_token();
    let read = async {
        loop {
            let (_length, code) = (theirs.read_u32().await.ok()?, theirs.read_u32().await.ok()?);
            if code != TLS_REQUEST {
                return theirs.read_i32().await.ok();
            }
            theirs.write_all(b"S").await.ok()?;
        }
    };
    tokio::join!(token.cancel_query_raw(ours, Plain), read).1
}

/// Whether `first` shares server sessions with others. `second` is another client of the same target; without one, what
/// `first` sees alone decides.
pub(super) async fn shares(first: &Client, second: Option<&Client>) -> Result<bool, Error> {
    let mark = format!("{first:p}-{}", std::process::id());
    let began =
        format!("SELECT pg_catalog.set_config('migengine.session', '{mark}', false), pg_catalog.pg_backend_pid()");
    let pid = cell(&first.simple_query(&began).await?, 1);
    let others = match second {
        // A server session that is ours alone cannot be given to anybody else meanwhile.
        Some(second) => match timeout(PATIENCE, second.simple_query("BEGIN; SELECT pg_catalog.pg_backend_pid()")).await
        {
            Ok(Ok(answer)) => cell(&answer, 0),
            // A pooler that knows no transactions at all.
            Ok(Err(error)) if error.as_db_error().is_some() => return Ok(true),
            Ok(Err(_)) | Err(_) => None,
        },
        None => None,
    };
    let asked = "SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('migengine.session', true)";
    let Ok(answer) = timeout(PATIENCE, first.simple_query(asked)).await else { return Ok(true) };
    let answer = answer?;
    let shared = others == pid || cell(&answer, 0) != pid || cell(&answer, 1) != Some(mark);
    if let Some(second) = second {
        second.batch_execute("ROLLBACK").await.ok();
    }
    first.batch_execute("SELECT pg_catalog.set_config('migengine.session', '', false)").await.ok();
    Ok(shared)
}

fn cell(answer: &[SimpleQueryMessage], column: usize) -> Option<String> {
    answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.try_get(column).ok().flatten().map(str::to_owned),
        _ => None,
    })
}

/// "TLS" that passes every byte on as it is.
struct Plain;

struct Passed(DuplexStream);

impl TlsConnect<DuplexStream> for Plain {
    type Stream = Passed;
    type Error = io::Error;
    type Future = Ready<Result<Passed, io::Error>>;

    fn connect(self, stream: DuplexStream) -> Self::Future {
        ready(Ok(Passed(stream)))
    }
}

impl TlsStream for Passed {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Passed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Passed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
