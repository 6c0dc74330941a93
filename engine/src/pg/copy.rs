//! Scripts with `COPY … FROM stdin` and its data: the server must give its go-ahead before the data is sent, so these
//! are sent message by message. So are those of which a part stayed in the file.

use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio_postgres::{Client, CopyInSink};

use super::again::Again;
use super::failure::{Fault, Site, fault};
use super::flight::{Cargo, Gauge, Group, group, says_false, untrue, unwitnessed};
use super::inserts::pour_inserts;
use super::send::{ask, send};
use super::session::Session;
use super::witness::Scribe;
use crate::migration::Data;

/// Data sent at once, in bytes.
const CHUNK: usize = 256 * 1024;

/// Does what a flight does, waiting for each answer. COMMIT is left to the caller.
pub(crate) async fn carry(session: &Session, scribe: &Scribe, cargo: &Cargo<'_>) -> Result<Gauge, Fault> {
    let client = &session.client;
    let opening = super::flight::opening(session, scribe, cargo);
    let opened = ask(client, &opening).await?.answer().await.map_err(|(_, error)| fault(&error, None))?;
    let mut rows = 0_u64;
    if let Some((sql, site)) = super::flight::locking(session, cargo) {
        let sent = send(client, &sql).await?;
        sent.answer().await.map_err(|(_, error)| fault(&error, Some(site)))?;
    }
    for group in group(cargo.script, cargo.part) {
        match group.copy_data() {
            Some(data) => rows = rows.saturating_add(copy(session, &group, data).await?),
            None => {
                let sent = send(client, group.text()).await?;
                let answer = sent.answer().await;
                let answer = answer.map_err(|(answer, error)| fault(&error, Some(group.site(answer.completed))))?;
                rows = rows.saturating_add(answer.rows);
            }
        }
        if let Some((like, block)) = group.inserts() {
            rows = rows.saturating_add(pour_inserts(client, cargo.script, like, block).await?);
        }
    }
    if let Some(verify) = cargo.verify {
        plain(session, "SAVEPOINT migengine_verify; SET TRANSACTION READ ONLY").await?;
        for statement in &verify.statements {
            let site = Site::of(verify, statement);
            let sent = ask(client, statement.sql(&verify.text)).await?;
            let answer = sent.answer().await.map_err(|(_, error)| fault(&error, Some(site)))?;
            if says_false(&answer.first_column) {
                return Err(Fault::Refused(Box::new(untrue(site))));
            }
        }
        plain(session, "ROLLBACK TO SAVEPOINT migengine_verify; RELEASE SAVEPOINT migengine_verify").await?;
    }
    let closing = super::flight::closing_of(session, cargo);
    let closed = ask(client, &closing).await?.answer().await.map_err(|(_, error)| fault(&error, None))?;
    let written = scribe.mark(client, cargo.mark, cargo.mirror).await?;
    if written.rows != 1 {
        return Err(Fault::Refused(Box::new(unwitnessed())));
    }
    scribe.keeper.keep(client, cargo.mark).await?;
    Ok(Gauge::read(rows, &opened.first_column, &closed.first_column, written))
}

async fn plain(session: &Session, sql: &str) -> Result<(), Fault> {
    let sent = send(&session.client, sql).await?;
    sent.answer().await.map(|_| ()).map_err(|(_, error)| fault(&error, None))
}

async fn copy(session: &Session, group: &Group<'_>, data: Data<'_>) -> Result<u64, Fault> {
    pour(&session.client, group.text(), data, group.site(0)).await
}

/// Runs a COPY and sends its data. Returns how many rows it made. Where the data are not those that were planned, the
/// COPY fails, and its transaction with it.
pub(crate) async fn pour(client: &Client, sql: &str, data: Data<'_>, site: Site<'_>) -> Result<u64, Fault> {
    let wrong = |error: tokio_postgres::Error| fault(&error, Some(site));
    let sink: CopyInSink<Bytes> = client.copy_in(sql).await.map_err(wrong)?;
    tokio::pin!(sink);
    match data {
        Data::Held(data) => {
            for chunk in data.as_bytes().chunks(CHUNK) {
                sink.send(Bytes::copy_from_slice(chunk)).await.map_err(wrong)?;
            }
        }
        Data::Left(source, block) => {
            let placed = |fault: Fault| fault.placed(site);
            let mut file = Again::block(source, block).await.map_err(placed)?;
            while let Some(chunk) = file.next(CHUNK).await.map_err(placed)? {
                sink.send(Bytes::from(chunk)).await.map_err(wrong)?;
            }
        }
    }
    sink.finish().await.map_err(wrong)
}
