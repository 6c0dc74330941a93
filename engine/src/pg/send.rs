//! Sending without waiting: messages leave in order, answers are awaited in order.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use futures_util::StreamExt as _;
use tokio_postgres::{Client, Error, SimpleQueryMessage, SimpleQueryStream};

/// What came back for one simple-query message (which may hold several statements).
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Statements that were completed.
    pub(crate) completed: usize,
    /// Rows that were returned or changed, added up.
    pub(crate) rows: u64,
    /// First column of the rows returned, as text.
    pub(crate) first_column: Vec<Option<String>>,
}

/// A simple-query message that was sent.
pub(crate) struct Sent {
    stream: Pin<Box<SimpleQueryStream>>,
    keep_rows: bool,
}

/// Most rows of which the first column is kept; a verify query that returns more is cut off there.
const ROWS_KEPT: usize = 1_000;

/// Sends one message now. Nothing is awaited but room in the send queue.
pub(crate) async fn send(client: &Client, sql: &str) -> Result<Sent, Error> {
    Ok(Sent { stream: Box::pin(client.simple_query_raw(sql).await?), keep_rows: false })
}

/// As [`send`], keeping what the rows' first column says.
pub(crate) async fn ask(client: &Client, sql: &str) -> Result<Sent, Error> {
    Ok(Sent { keep_rows: true, ..send(client, sql).await? })
}

impl Sent {
    /// Awaits the answer. On an error, what had been completed before it comes along.
    pub(crate) async fn answer(mut self) -> Result<Answer, (Answer, Error)> {
        let mut answer = Answer::default();
        while let Some(message) = self.stream.next().await {
            match message {
                Ok(SimpleQueryMessage::CommandComplete(rows)) => {
                    answer.completed += 1;
                    answer.rows += rows;
                }
                Ok(SimpleQueryMessage::Row(row)) if self.keep_rows && answer.first_column.len() < ROWS_KEPT => {
                    answer.first_column.push(row.try_get(0).ok().flatten().map(str::to_owned));
                }
                Ok(_) => {}
                Err(error) => return Err((answer, error)),
            }
        }
        Ok(answer)
    }
}

/// Something that was asked for: a query of the extended protocol that was sent, or records on their way to the disk.
pub(crate) enum Started<'a, T, E = Error> {
    /// Answered.
    Answered(Result<T, E>),
    /// On its way.
    Pending(Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>),
}

/// Polls the request once, which is what puts its message on the way.
pub(crate) async fn start<'a, T, E>(request: impl Future<Output = Result<T, E>> + Send + 'a) -> Started<'a, T, E> {
    let mut started = Started::Pending(Box::pin(request));
    started.is_answered().await;
    started
}

impl<T, E> Started<'_, T, E> {
    /// Whether the answer is there, without waiting for it.
    pub(crate) async fn is_answered(&mut self) -> bool {
        let Self::Pending(future) = self else { return true };
        match std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
            Poll::Ready(output) => {
                *self = Self::Answered(output);
                true
            }
            Poll::Pending => false,
        }
    }

    /// Awaits the answer.
    pub(crate) async fn answer(self) -> Result<T, E> {
        match self {
            Self::Answered(output) => output,
            Self::Pending(future) => future.await,
        }
    }
}
