//! The locks that a script holds when it is about to commit, on what was there before it.

use std::collections::BTreeMap;

use tokio_postgres::SimpleQueryMessage;

use crate::pg::session::Session;
use crate::rehearse::HeldLock;

/// From the weakest to the strongest: the names of `pg_locks`, and those of the documentation.
const MODES: [(&str, &str); 8] = [
    ("AccessShareLock", "ACCESS SHARE"),
    ("RowShareLock", "ROW SHARE"),
    ("RowExclusiveLock", "ROW EXCLUSIVE"),
    ("ShareUpdateExclusiveLock", "SHARE UPDATE EXCLUSIVE"),
    ("ShareLock", "SHARE"),
    ("ShareRowExclusiveLock", "SHARE ROW EXCLUSIVE"),
    ("ExclusiveLock", "EXCLUSIVE"),
    ("AccessExclusiveLock", "ACCESS EXCLUSIVE"),
];

/// Relations by OID, because a script may rename or drop them, and the strongest lock seen on each.
#[derive(Debug, Default)]
pub(super) struct Locks {
    names: BTreeMap<String, String>,
    strongest: BTreeMap<String, usize>,
}

impl Locks {
    /// What is there before the script.
    pub(super) async fn before(session: &Session) -> Self {
        let sql = "SELECT c.oid, CASE n.nspname WHEN 'public' THEN '' ELSE quote_ident(n.nspname) || '.' END \
                   || quote_ident(c.relname) FROM pg_catalog.pg_class c \
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid >= 16384 AND c.relkind <> 't'";
        Self { names: pairs(session, sql).await.into_iter().collect(), strongest: BTreeMap::new() }
    }

    /// What the session's transaction holds. A question that fails leaves the rest as it is: the script may have given
    /// up its rights.
    pub(super) async fn look(&mut self, session: &Session) {
        let sql = "SAVEPOINT migengine_locks; SELECT relation, mode FROM pg_catalog.pg_locks \
                   WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation' AND granted";
        for (relation, mode) in pairs(session, sql).await {
            let Some(strength) = MODES.iter().position(|(name, _)| *name == mode) else { continue };
            let seen = self.strongest.entry(relation).or_default();
            *seen = strength.max(*seen);
        }
        let _ignored = session.client.batch_execute("ROLLBACK TO SAVEPOINT migengine_locks").await;
    }

    /// By name. Reading alone, which disturbs nobody, is left out.
    pub(super) fn held(&self) -> Vec<HeldLock> {
        let held = self.strongest.iter().filter(|(_, strength)| **strength > 0).filter_map(|(relation, strength)| {
            let mode = MODES.get(*strength).map(|(_, mode)| (*mode).to_owned())?;
            Some(HeldLock { object: self.names.get(relation)?.clone(), mode })
        });
        let mut held: Vec<HeldLock> = held.collect();
        held.sort_by(|a, b| a.object.cmp(&b.object));
        held
    }
}

async fn pairs(session: &Session, sql: &str) -> Vec<(String, String)> {
    let messages = session.client.simple_query(sql).await.unwrap_or_default();
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((row.get(0)?.to_owned(), row.get(1)?.to_owned())),
        _ => None,
    });
    rows.collect()
}
