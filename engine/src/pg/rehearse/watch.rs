//! Looks at the locks of a statement that runs outside of transactions, while it runs.
//!
//! On a scratch database such a statement is over within a millisecond or two, so looking often is not enough. The watch
//! therefore gets in its way on purpose: it holds a snapshot and `ACCESS SHARE` on every table. A concurrent build or
//! drop waits for either, with all its locks in hand; then the watch has seen them, steps aside, and goes on looking.

use std::time::Duration;

use tokio_postgres::SimpleQueryMessage;

use super::meter::strongest;
use crate::hazard::LockMode;
use crate::pg::connect::ConnectError;
use crate::pg::layout::SchemaName;
use crate::pg::session::Session;
use crate::pg::target::Target;
use crate::rehearse::{Oid, Relation};

/// How to open a session in the scratch database.
#[derive(Debug, Clone)]
pub(super) struct Opener {
    pub(super) target: Target,
    pub(super) schema: SchemaName,
    pub(super) settings: Vec<(String, String)>,
}

impl Opener {
    pub(super) async fn open(&self) -> Result<Session, ConnectError> {
        Session::open(&self.target, &self.schema, "migengine:rehearse", &self.settings).await
    }
}

/// Between two looks.
const PAUSE: Duration = Duration::from_micros(500);

/// The second session, opened when it is needed first.
pub(super) struct Watch {
    opener: Opener,
    session: Option<Session>,
}

impl Watch {
    pub(super) fn new(opener: Opener) -> Self {
        Self { opener, session: None }
    }

    /// Runs the work of a session and returns what came of it, with the strongest lock it was seen to hold or to ask
    /// for on each relation. Without a second session nothing is seen.
    pub(super) async fn during<T>(
        &mut self,
        watched: &Session,
        tables: &[&Relation],
        work: impl Future<Output = T>,
    ) -> (T, Vec<(Oid, LockMode)>) {
        if self.session.as_ref().is_none_or(Session::is_lost) {
            self.session = self.opener.open().await.ok();
        }
        let pid = pid(watched).await;
        let (Some(session), Some(pid)) = (&self.session, pid) else { return (work.await, Vec::new()) };
        let mut in_the_way = stand_in_the_way(session, tables).await;
        let sql = format!(
            "SELECT relation, mode, granted FROM pg_catalog.pg_locks \
             WHERE pid = {pid} AND (NOT granted OR (locktype = 'relation' AND relation >= 16384))"
        );
        let mut seen = Vec::new();
        tokio::pin!(work);
        let answer = loop {
            let look = async {
                let (locks, waits) = locks(session, &sql).await;
                // Kept before the way is free: the statement may be over at once.
                seen = strongest(std::mem::take(&mut seen).into_iter().chain(locks));
                if waits && in_the_way {
                    let _ignored = session.client.batch_execute("ROLLBACK").await;
                    in_the_way = false;
                }
                tokio::time::sleep(PAUSE).await;
            };
            tokio::select! {
                biased;
                answer = &mut work => break answer,
                () = look => {}
            }
        };
        let _ignored = session.client.batch_execute("ROLLBACK").await;
        (answer, seen)
    }

    /// Ends the second session: a database that is in use cannot be copied.
    pub(super) async fn close(self) {
        if let Some(session) = self.session {
            let _ignored = session.client.batch_execute("SELECT pg_terminate_backend(pg_backend_pid())").await;
        }
    }
}

async fn pid(session: &Session) -> Option<String> {
    let messages = session.client.simple_query("SELECT pg_catalog.pg_backend_pid()").await.ok()?;
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    })
}

/// Whether it does.
async fn stand_in_the_way(session: &Session, tables: &[&Relation]) -> bool {
    let names: Vec<String> = tables.iter().map(|table| qualified(&table.name)).collect();
    let lock = match names.is_empty() {
        true => String::new(),
        false => format!("LOCK TABLE {} IN ACCESS SHARE MODE;", names.join(", ")),
    };
    let batch = format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; {lock}");
    let stands = session.client.batch_execute(&batch).await.is_ok();
    if !stands {
        let _ignored = session.client.batch_execute("ROLLBACK").await;
    }
    stands
}

/// Names are shown without the schema `public`; a search path of the role's must not make them something else.
fn qualified(name: &str) -> String {
    let mut quoted = false;
    let dot = name.chars().any(|c| {
        quoted ^= c == '"';
        c == '.' && !quoted
    });
    if dot { name.to_owned() } else { format!("public.{name}") }
}

/// What is held or asked for, and whether the session waits for anything.
async fn locks(session: &Session, sql: &str) -> (Vec<(Oid, LockMode)>, bool) {
    let messages = session.client.simple_query(sql).await.unwrap_or_default();
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let (mut found, mut waits) = (Vec::new(), false);
    for row in rows {
        waits |= row.get(2) == Some("f");
        let oid = row.get(0).and_then(|oid| oid.parse().ok());
        found.extend(oid.zip(row.get(1).and_then(LockMode::from_pg_locks)));
    }
    (found, waits)
}
