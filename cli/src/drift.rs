//! The database held against what was rehearsed: by `drift`, by `status`, before a run and after it.

use std::collections::BTreeSet;

use migengine_engine::id::{Digest, MigrationId};
use migengine_engine::pg::read::{HistoryState, Ledger};
use migengine_engine::pg::session::Session;
use migengine_engine::rehearse::{LockFile, portable};
use migengine_engine::schema::{Change, Schema, diff};
use serde_json::{Value, json};

use crate::commands::rehearse::cache::kept_schema;
use crate::commands::rehearse::chain::Chain;
use crate::commands::schema::{changes_json, read};
use crate::config::DriftPolicy;
use crate::context::Context;
use crate::error::{CommandError, Exit};

/// What the database is, beside what it was after the same migrations in the rehearsal.
pub struct Comparison {
    /// The last migration that is applied, and its place in the chain.
    pub after: (MigrationId, usize),
    /// The rehearsed fingerprint.
    pub expected: Digest,
    /// The schema of the database, without the name of its owner.
    pub actual: Schema,
    /// Its fingerprint.
    pub found: Digest,
    /// Major versions of the rehearsal's server and of this one.
    pub servers: (u32, u32),
}

impl Comparison {
    /// Whether it is another schema.
    #[must_use]
    pub fn drifted(&self) -> bool {
        self.found != self.expected
    }

    /// The differences, where this machine still has the rehearsed schema.
    #[must_use]
    pub fn known_changes(&self) -> Option<Vec<Change>> {
        if !self.drifted() {
            return Some(Vec::new());
        }
        kept_schema(&self.expected.to_string()).map(|expected| diff(&expected, &self.actual))
    }

    /// `{"drift","after","expected","actual","diff":null|[{"object","change"}]}`.
    #[must_use]
    pub fn json(&self, changes: Option<&[Change]>) -> Value {
        json!({
            "drift": self.drifted(),
            "after": self.after.0.as_str(),
            "expected": self.expected.to_string(),
            "actual": self.found.to_string(),
            "diff": changes.map(changes_json),
        })
    }

    /// What is told of drift, with the differences as far as they are known.
    #[must_use]
    pub fn error(&self) -> CommandError {
        let id = &self.after.0;
        let mut what = format!("the database is not what it was after {id} when that was rehearsed");
        for change in self.known_changes().iter().flatten() {
            what.push_str(&format!("\n  {change}"));
        }
        let error = CommandError::refused("ME612", what);
        let error = match self.servers {
            (rehearsed, this) if rehearsed != this => error.next(format!(
                "it was rehearsed on PostgreSQL {rehearsed} and this is {this}, which may word an expression in another \
                 way: migengine rehearse --against an empty database of version {this}"
            )),
            _ => error,
        };
        error.next("migengine drift shows the differences").next("put the change into a migration, or undo it by hand")
    }
}

/// Holds a database against the lock file. Nothing where nothing is applied.
///
/// # Errors
/// What is applied was never rehearsed like that, or the database cannot be read.
pub async fn compare(
    context: &Context,
    (chain, lock): (&Chain, &LockFile),
    session: &Session,
    ledger: Option<&Ledger>,
) -> Result<Option<Comparison>, CommandError> {
    let Some(at) = last_applied(chain, ledger)? else { return Ok(None) };
    let link = chain.members.get(at).map(|member| &member.link);
    let entry = link.and_then(|link| lock.get(&link.id).filter(|entry| entry.chain == link.chain));
    let (Some(link), Some(entry)) = (link, entry) else {
        let what = "the last applied migration was not rehearsed as the folder has it now";
        return Err(CommandError::refused("ME613", what).next("migengine rehearse"));
    };
    let (owner, major) = owner(context, session).await?;
    let actual = portable(&read(context, session).await?, &owner);
    let found = actual.digest();
    Ok(Some(Comparison {
        after: (link.id.clone(), at),
        expected: entry.schema,
        actual,
        found,
        servers: (entry.server, major),
    }))
}

/// The same beside another command, which must not fail because of it: nothing where nothing was rehearsed.
pub async fn beside(
    context: &Context,
    (chain, lock): &(Chain, LockFile),
    session: &Session,
    ledger: &Ledger,
) -> Option<Comparison> {
    match compare(context, (chain, lock), session, Some(ledger)).await {
        Ok(comparison) => comparison,
        Err(error) => {
            if context.look.verbose > 0 {
                context.tell(&format!("the schema is not compared with a rehearsal: {}", error.what));
            }
            None
        }
    }
}

/// Refuses to build upon drift, where the policy says so.
///
/// # Errors
/// There is drift.
pub async fn refuse_before(context: &Context, session: &Session, ledger: Option<&Ledger>) -> Result<(), CommandError> {
    if context.drift_policy() == DriftPolicy::Warn {
        return Ok(());
    }
    let Some((ledger, rehearsed)) = ledger.zip(Chain::rehearsed(&context.dir)) else { return Ok(()) };
    match beside(context, &rehearsed, session, ledger).await {
        Some(comparison) if comparison.drifted() => {
            Err(CommandError { code: "ME622".to_owned(), ..comparison.error() })
        }
        _ => Ok(()),
    }
}

/// Looks at the database after a run that came to its end. Tells of drift, or returns the error that the policy makes of
/// it, and in either case what JSON says of it.
pub async fn after_run(context: &Context) -> (Option<Value>, Option<CommandError>) {
    let Some(rehearsed) = Chain::rehearsed(&context.dir) else { return (None, None) };
    let Some(comparison) = fresh_look(context, &rehearsed).await else { return (None, None) };
    let told = comparison.json(comparison.known_changes().as_deref());
    if !comparison.drifted() {
        return (Some(told), None);
    }
    let error = comparison.error().exit(Exit::Differs).state("The run is finished, and what it did is in effect.");
    match context.drift_policy() {
        DriftPolicy::Warn => {
            context.tell(&format!("warning: [{}] {}", error.code, error.what));
            (Some(told), None)
        }
        DriftPolicy::Refuse => (Some(told), Some(CommandError { code: "ME623".to_owned(), ..error })),
    }
}

async fn fresh_look(context: &Context, rehearsed: &(Chain, LockFile)) -> Option<Comparison> {
    let target = context.target().ok()?;
    let limits = context.limits(&crate::args::RunOptions::default()).ok()?;
    let session = Session::open(&target, &context.schema, "migengine:drift", &limits.settings()).await.ok()?;
    let state = migengine_engine::pg::read::read(&session.client, &context.schema).await.ok()?;
    beside(context, rehearsed, &session, &state.ledger?).await
}

/// The place in the chain up to which everything, and nothing else, is applied.
fn last_applied(chain: &Chain, ledger: Option<&Ledger>) -> Result<Option<usize>, CommandError> {
    let rows = ledger.into_iter().flat_map(|ledger| ledger.history.values());
    let applied: BTreeSet<&MigrationId> =
        rows.filter(|row| row.state == HistoryState::Applied).map(|row| &row.id).collect();
    if applied.is_empty() {
        return Ok(None);
    }
    let prefix: BTreeSet<&MigrationId> =
        chain.members.iter().take(applied.len()).map(|member| &member.link.id).collect();
    if prefix == applied {
        return Ok(Some(applied.len() - 1));
    }
    let odd = chain.members.iter().map(|member| &member.link.id).find(|id| !applied.contains(id));
    let what = match odd {
        Some(id) => {
            format!("what is applied was never rehearsed in this combination: {id} is not, others after it are")
        }
        None => "what is applied was never rehearsed in this combination".to_owned(),
    };
    Err(CommandError::refused("ME619", what).next("migengine status shows what is pending and missing"))
}

/// Who applies migrations here: the owner of the engine's schema, as SQL writes it. And the server's major version.
async fn owner(context: &Context, session: &Session) -> Result<(String, u32), CommandError> {
    let sql = "SELECT quote_ident(pg_get_userbyid(nspowner)), current_setting('server_version_num')::int / 10000 \
               FROM pg_namespace WHERE nspname = $1";
    let row = session.client.query_opt(sql, &[&context.schema.raw()]).await;
    let row = row.map_err(|error| CommandError::refused("ME617", format!("the owner could not be read: {error}")))?;
    let found = row.and_then(|row| Some((row.try_get(0).ok()?, row.try_get::<_, i32>(1).ok()?)));
    let (owner, major) = found.unwrap_or_default();
    Ok((owner, u32::try_from(major).unwrap_or_default()))
}
