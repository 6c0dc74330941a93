//! A transactional step on its way: BEGIN, fence, script, verification and witness leave together; COMMIT is a message
//! of its own, sent when all of them were answered, and travels with the whole of the next step.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::failure::{Fault, Site, fault};
use super::layout::quote_literal;
use super::send::{Sent, Started, ask, send, start};
use super::session::Session;
use super::witness::{EventTriggers, Mark, Mirror, Scribe, Written};
use crate::guard::{Case, Reach};
use crate::hazard::{LockOn, ObjectLock};
use crate::id::Epoch;
use crate::migration::{Block, Data, Part, PartKind, Script, Source};
use crate::run::failure::Failure;
use crate::sql::Statement;

/// What goes into one transaction.
pub(crate) struct Cargo<'a> {
    /// The script.
    pub(crate) script: &'a Script,
    /// The part of it.
    pub(crate) part: &'a Part,
    /// Checks to run before the witness is written.
    pub(crate) verify: Option<&'a Script>,
    /// What `pg_stat_activity` shows meanwhile.
    pub(crate) name: String,
    /// Settings that earlier parts of the same script made, as SQL.
    pub(crate) settings: String,
    /// How long it may wait for locks.
    pub(crate) patience: Patience,
    /// Locks to take before anything of the script, in one order for everybody.
    pub(crate) first: &'a [ObjectLock],
    /// Tables whose size is taken at its end, as SQL names them.
    pub(crate) sized: Vec<String>,
    /// How it begins.
    pub(crate) opens: Opens<'a>,
    /// What it leaves of the session.
    pub(crate) leaves: Leaves,
    /// Fencing number.
    pub(crate) epoch: Epoch,
    /// When its history row is written.
    pub(crate) row: Row,
    /// What the history row becomes.
    pub(crate) mark: &'a Mark,
    /// Journal records to mirror.
    pub(crate) mirror: &'a Mirror,
}

/// How a step's messages begin.
pub(crate) enum Opens<'a> {
    /// With a transaction of its own, fenced by what travels right before it.
    Behind(&'a After),
    /// Inside the transaction that an earlier step began, under the limits that it left.
    Inside(Limits),
}

/// The statements that limit how long a script may wait and run. None where the session's own settings count.
pub(crate) type Limits = Vec<String>;

/// When the history row of a step is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    /// Right behind its script.
    Own,
    /// By whoever sent it, with those of other steps: see `pg::rows`.
    Later,
}

/// What a script leaves of the session it ran in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// Perhaps other settings, which are set back before anything of ours runs in it.
    Settings,
    /// The session as it was, and nothing worth measuring.
    Nothing,
}

impl Leaves {
    /// What a script of this reach leaves.
    pub(crate) fn of(scribe: &Scribe, reach: Reach) -> Self {
        match (scribe.triggers, reach) {
            (EventTriggers::None, Reach::NewOnly) => Self::Nothing,
            _ => Self::Settings,
        }
    }
}

/// How long a transaction may wait for locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// For each of them.
    pub(crate) lock_timeout: Duration,
    /// After which the server looks for deadlocks, where that is changed.
    pub(crate) deadlock_timeout: Option<Duration>,
}

impl Patience {
    /// As usual.
    pub(crate) fn of(case: &Case) -> Self {
        Self { lock_timeout: case.lock_timeout, deadlock_timeout: None }
    }
}

/// What must hold in the database for a step to begin: its predecessor in the pipeline did what it should. Its COMMIT
/// was not answered yet when this step is sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct After {
    /// Must be in effect.
    pub(crate) needs: Vec<String>,
    /// Must not be in effect.
    pub(crate) gone: Vec<String>,
}

/// What was measured on the way, with the messages that travel anyway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Gauge {
    /// Rows that the script's statements returned or changed.
    pub(crate) rows: u64,
    /// Bytes of WAL that the server wrote meanwhile.
    pub(crate) wal_bytes: Option<u64>,
    /// Bytes of the tables at the end.
    pub(crate) size_after: Option<u64>,
    /// Microseconds from the beginning of the transaction to its history row, by the server's clock.
    pub(crate) took_us: Option<u64>,
}

impl Gauge {
    /// From the first column of what the fence and the closing answered.
    pub(crate) fn read(rows: u64, opened: &[Option<String>], closed: &[Option<String>], written: Written) -> Self {
        let end = closed.last().and_then(Option::as_deref).unwrap_or_default();
        let (position, size) = end.split_once(' ').unwrap_or((end, ""));
        let began = opened.last().and_then(Option::as_deref).and_then(wal_position);
        let wal_bytes = began.zip(wal_position(position)).map(|(began, ended)| ended.saturating_sub(began));
        Self { rows, wal_bytes, size_after: size.parse().ok(), took_us: written.took_us }
    }
}

/// `16/B374D848`, the server's way to write a place in the WAL.
pub(crate) fn wal_position(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let part = |text: &str| u32::from_str_radix(text, 16).ok().map(u64::from);
    Some(part(high)? << 32 | part(low)?)
}

/// Where the WAL is, asked for by itself.
pub(crate) async fn wal_now(client: &Client) -> Result<Option<u64>, tokio_postgres::Error> {
    let rows = client.query_typed("SELECT pg_catalog.pg_current_wal_insert_lsn()::text", &[]).await?;
    Ok(rows.first().and_then(|row| row.get::<_, Option<&str>>(0)).and_then(wal_position))
}

/// A transaction whose messages were sent, and whose COMMIT was not.
pub(crate) struct Flight<'a> {
    opening: Option<Sent>,
    locking: Option<(Sent, Site<'a>)>,
    groups: Vec<(Sent, Group<'a>, Front)>,
    checks: Vec<(Sent, Site<'a>)>,
    closing: Option<Sent>,
    witness: Option<Started<'a, Written>>,
}

/// What stands in front of a group in its message: statements of ours, of which the last one returns one row.
struct Front {
    sql: String,
    statements: usize,
}

impl Front {
    fn new(settings: &[String], question: &str) -> Self {
        let sql: String = settings.iter().map(|setting| format!("{setting}; ")).collect();
        Self { statements: settings.len() + 1, sql: sql + question }
    }
}

/// Consecutive statements that travel in one message.
#[derive(Clone, Copy)]
pub(crate) struct Group<'a> {
    script: &'a Script,
    statements: &'a [Statement],
}

/// Longest message made of several statements, in bytes. A statement that is longer alone travels alone.
const GROUP_BYTES: usize = 64 * 1024;

/// What a session is set back to after a script, before anything of ours runs in the same session.
pub(crate) const RESET: &str = "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; ";

/// Sends a whole step without waiting for any of it.
pub(crate) async fn launch<'a>(
    session: &'a Session,
    scribe: &'a Scribe,
    cargo: &Cargo<'a>,
) -> Result<Flight<'a>, tokio_postgres::Error> {
    let client = &session.client;
    let parts = group(cargo.script, cargo.part);
    let question = match cargo.row {
        Row::Own => &scribe.inside,
        Row::Later => &scribe.noting,
    };
    // Alone, and not in one message with the script: `pg_stat_activity` shows the beginning of a message, which is to be the
    // script. Whatever is behind it asks whether this was done (`INSIDE`). Inside a larger transaction a message less counts
    // more, and what stands in front is short.
    let settings = settings_inside(cargo).filter(|_| cargo.first.is_empty() && !parts.is_empty());
    let opening = match settings {
        Some(_) => None,
        None => Some(ask(client, &opening(session, scribe, cargo)).await?),
    };
    let mut front = Front::new(&settings.unwrap_or_default(), question);
    let locking = match locking(session, cargo) {
        Some((sql, site)) => Some((send(client, &sql).await?, site)),
        None => None,
    };
    let mut groups = Vec::new();
    for group in parts {
        let sent = send(client, &format!("{}{}", front.sql, group.text())).await?;
        groups.push((sent, group, std::mem::replace(&mut front, Front::new(&[], &scribe.inside))));
    }
    let mut checks = Vec::new();
    let mut closing_sql = String::new();
    if let Some(verify) = cargo.verify {
        let sql = "SAVEPOINT migengine_verify; SET TRANSACTION READ ONLY";
        checks.push((send(client, sql).await?, Site::whole(verify)));
        for statement in &verify.statements {
            let sql = format!("{}{}", scribe.inside, statement.sql(&verify.text));
            checks.push((ask(client, &sql).await?, Site::of(verify, statement).behind(&scribe.inside)));
        }
        closing_sql.push_str("ROLLBACK TO SAVEPOINT migengine_verify; RELEASE SAVEPOINT migengine_verify; ");
    }
    let closing = if closes(cargo) {
        closing_sql.push_str(&closing_of(session, cargo));
        Some(ask(client, &closing_sql).await?)
    } else {
        None
    };
    let witness = match cargo.row {
        Row::Own => Some(start(scribe.mark(client, cargo.mark, cargo.mirror)).await),
        Row::Later => None,
    };
    Ok(Flight { opening, locking, groups, checks, closing, witness })
}

/// Sets the session back, and asks what a [`Gauge`] needs.
pub(crate) fn closing_of(session: &Session, cargo: &Cargo<'_>) -> String {
    let size = if cargo.sized.is_empty() {
        String::new()
    } else {
        let names = cargo.sized.iter().map(|name| quote_literal(name)).collect::<Vec<_>>().join(", ");
        format!(" || coalesce(' ' || {}.size_of(ARRAY[{names}]), '')", session.schema.quoted())
    };
    format!("{RESET}{}; SELECT pg_catalog.pg_current_wal_insert_lsn()::text{size}", session.settings_sql())
}

/// BEGIN with the author's options, the step's limits, and the fence. A script that begins with SET TRANSACTION must
/// say so before the first query, and the fence is one: the statement is sent ahead of it, and again in its place,
/// where PostgreSQL accepts the repetition.
pub(crate) fn opening(session: &Session, scribe: &Scribe, cargo: &Cargo<'_>) -> String {
    let options = match &cargo.part.kind {
        PartKind::Transaction { begin: Some(options) } => options.as_str(),
        _ => "",
    };
    let limits = limits(cargo).join("; ");
    let settings = &cargo.settings;
    let named = named(cargo);
    match &cargo.opens {
        Opens::Behind(after) => {
            let fence = format!("EXECUTE {}({})", scribe.fence, fenced(cargo.epoch, after));
            format!("BEGIN {options}; {named}; {limits}; {fence}; {settings}")
        }
        // What an earlier step set is set back.
        Opens::Inside(_) => format!("{}; {named}; {limits}; {settings}", session.settings_sql()),
    }
}

fn named(cargo: &Cargo<'_>) -> String {
    format!("SET LOCAL application_name = {}", quote_literal(&cargo.name))
}

/// How long a step may wait and run.
pub(crate) fn limits(cargo: &Cargo<'_>) -> Limits {
    let limits = [
        ("lock_timeout", Some(cargo.patience.lock_timeout)),
        ("deadlock_timeout", cargo.patience.deadlock_timeout),
        ("statement_timeout", cargo.script.header.statement_timeout),
    ];
    let set = |(name, limit): (&str, Option<Duration>)| {
        limit.map(|limit| format!("SET LOCAL {name} = '{}ms'", limit.as_millis()))
    };
    limits.into_iter().filter_map(set).collect()
}

/// The limits that hold behind a step in the same transaction.
pub(crate) fn left(cargo: &Cargo<'_>) -> Limits {
    if closes(cargo) { Limits::new() } else { limits(cargo) }
}

/// Whether the session is set back behind the script.
fn closes(cargo: &Cargo<'_>) -> bool {
    cargo.leaves == Leaves::Settings || cargo.verify.is_some()
}

/// What has to be set for a step inside a larger transaction, where nothing has to be set back before.
fn settings_inside(cargo: &Cargo<'_>) -> Option<Limits> {
    let Opens::Inside(standing) = &cargo.opens else { return None };
    let limits = limits(cargo);
    let missing = match standing {
        standing if *standing == limits => Limits::new(),
        standing if standing.is_empty() => limits,
        _ => return None,
    };
    Some(std::iter::once(named(cargo)).chain(missing).collect())
}

/// The statement that takes the locks of several tables first, and the place that is told where they are not to be had.
pub(crate) fn locking<'a>(session: &Session, cargo: &Cargo<'a>) -> Option<(String, Site<'a>)> {
    if cargo.first.is_empty() {
        return None;
    }
    let array = |texts: Vec<String>| texts.iter().map(|text| quote_literal(text)).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT {}.lock_first(ARRAY[{}], ARRAY[{}], ARRAY[{}])",
        session.schema.quoted(),
        array(cargo.first.iter().map(|lock| lock.object.to_string()).collect()),
        array(cargo.first.iter().map(|lock| lock.mode.as_sql().to_owned()).collect()),
        cargo.first.iter().map(|lock| (lock.on == LockOn::Tree).to_string()).collect::<Vec<_>>().join(", "),
    );
    let statement = cargo.script.statements_of(cargo.part).first();
    Some((sql, Site { script: cargo.script, statement, sent_from: None, ahead: 0 }))
}

/// The statement that refuses to go on when this runner was superseded, or the step before did not do what it should. Its
/// first column is where the WAL is.
pub(crate) fn fence(session: &Session, epoch: Epoch, after: &After) -> String {
    format!(
        "SELECT pg_catalog.pg_current_wal_insert_lsn(), {}.fence({})",
        session.schema.quoted(),
        fenced(epoch, after)
    )
}

/// What the fence is asked for.
fn fenced(epoch: Epoch, after: &After) -> String {
    let array = |ids: &[String]| ids.iter().map(|id| quote_literal(id)).collect::<Vec<_>>().join(", ");
    format!("{epoch}, ARRAY[{}]::text[], ARRAY[{}]::text[]", array(&after.needs), array(&after.gone))
}

/// Cuts a part into messages: as many statements as fit, but a change of how strings are read stands alone, because
/// the server reads a whole message at once.
pub(crate) fn group<'a>(script: &'a Script, part: &Part) -> Vec<Group<'a>> {
    let statements = script.statements.get(part.statements.clone()).unwrap_or_default();
    let mut groups = Vec::new();
    let mut first = 0;
    for index in 0..statements.len() {
        let group = Group { script, statements: &statements[first..=index] }; // invariant: first <= index < len
        let next_fits = statements.get(index + 1).is_some_and(|next| {
            next.copy_data.is_none()
                && script.inserts_behind(&statements[index]).is_none() // invariant: index < len
                && next.text.end as usize - group.start() <= GROUP_BYTES
                && next.standard_strings == statements[index].standard_strings // invariant: index < len
        });
        let alone = statements[index].copy_data.is_some(); // invariant: index < len
        if alone || !next_fits {
            groups.push(group);
            first = index + 1;
        }
    }
    groups
}

impl<'a> Group<'a> {
    fn start(&self) -> usize {
        self.statements.first().map_or(0, |statement| statement.text.start as usize)
    }

    /// The bytes of the file from the first statement to the last.
    pub(crate) fn text(&self) -> &'a str {
        let end = self.statements.last().map_or(0, |statement| statement.text.end as usize);
        self.script.text.get(self.start()..end).unwrap_or_default()
    }

    /// The COPY data behind its only statement, if it has some.
    pub(crate) fn copy_data(&self) -> Option<Data<'a>> {
        self.script.copy_data(self.statements.first()?)
    }

    /// What follows its last statement and is like it, if that stayed in the file.
    pub(crate) fn inserts(&self) -> Option<(&'a Statement, (&'a Source, &'a Block))> {
        let last = self.statements.last()?;
        Some((last, self.script.inserts_behind(last)?))
    }

    /// Where an error came from, by how many statements of the group were completed before it.
    pub(crate) fn site(&self, completed: usize) -> Site<'a> {
        let statement = self.statements.get(completed).or(self.statements.last());
        Site { script: self.script, statement, sent_from: Some(self.start()), ahead: 0 }
    }
}

impl Flight<'_> {
    /// Awaits everything but the COMMIT. The first error counts; those after it only say that the transaction is
    /// aborted.
    pub(crate) async fn arrive(self) -> Result<Gauge, Fault> {
        let mut first: Option<Fault> = None;
        let mut note = |fault: Fault| {
            first.get_or_insert(fault);
        };
        let opened = first_column(self.opening, &mut note).await;
        let mut rows = 0_u64;
        if let Some((sent, site)) = self.locking
            && let Err((_, error)) = sent.answer().await
        {
            note(fault(&error, Some(site)));
        }
        for (sent, group, front) in self.groups {
            match sent.answer().await {
                Ok(answer) => rows = rows.saturating_add(answer.rows.saturating_sub(1)),
                Err((answer, error)) => {
                    let site = group.site(answer.completed.saturating_sub(front.statements)).behind(&front.sql);
                    note(fault(&error, Some(site)));
                }
            }
        }
        for (sent, site) in self.checks {
            match sent.answer().await {
                Ok(answer) if says_false(&answer.first_column) => note(Fault::Refused(Box::new(untrue(site)))),
                Ok(_) => {}
                Err((_, error)) => note(fault(&error, Some(site))),
            }
        }
        let closed = first_column(self.closing, &mut note).await;
        let written = match self.witness {
            None => Written { rows: 1, took_us: None },
            Some(witness) => match witness.answer().await {
                Ok(written) => written,
                Err(error) => {
                    note(fault(&error, None));
                    Written { rows: 0, took_us: None }
                }
            },
        };
        if written.rows != 1 {
            note(Fault::Refused(Box::new(unwitnessed())));
        }
        first.map_or_else(|| Ok(Gauge::read(rows, &opened, &closed, written)), Err)
    }
}

/// What a message of ours answered, where one was sent.
async fn first_column(sent: Option<Sent>, note: &mut impl FnMut(Fault)) -> Vec<Option<String>> {
    let Some(sent) = sent else { return Vec::new() };
    match sent.answer().await {
        Ok(answer) => answer.first_column,
        Err((_, error)) => {
            note(fault(&error, None));
            Vec::new()
        }
    }
}

/// Whether a check's rows hold a `false` in their first column.
pub(crate) fn says_false(column: &[Option<String>]) -> bool {
    column.iter().flatten().any(|cell| cell == "f" || cell.eq_ignore_ascii_case("false"))
}

/// The failure of a check that answered `false`.
pub(crate) fn untrue(site: Site<'_>) -> Failure {
    site.place(Failure::own("ME403", "the verification is not true"))
}

/// The failure of a step whose history row was not in the state that the step starts from.
pub(crate) fn unwitnessed() -> Failure {
    Failure::own("ME407", "the history row of this migration is not as it was when the lock was taken")
}

/// A COMMIT that was sent.
pub(crate) struct Commit(Sent);

/// When a COMMIT is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// When it is on the server's disk, and on those of the standbys that it waits for.
    Now,
    /// At once. It is durable when a later one is that was answered so, because the WAL is written in order; until then a
    /// crash of the server may take it back.
    WithALater,
}

/// Sends COMMIT, and nothing else.
pub(crate) async fn commit(client: &Client, durability: Durability) -> Result<Commit, tokio_postgres::Error> {
    let sql = match durability {
        Durability::Now => "COMMIT",
        Durability::WithALater => "SET LOCAL synchronous_commit = off; COMMIT",
    };
    Ok(Commit(send(client, sql).await?))
}

impl Commit {
    /// Awaits the verdict. An error of the server's means that nothing of the transaction took effect (a deferred
    /// constraint, for instance); a lost answer means that nobody knows.
    pub(crate) async fn verdict(self) -> Result<(), Fault> {
        match self.0.answer().await {
            Ok(_) => Ok(()),
            Err((_, error)) => Err(fault(&error, None)),
        }
    }
}

/// Cancel requests that may still be on their way when a step was answered: one that a signal asked for in each group of a
/// train that was waited for, and the guard's last one.
pub(crate) const LATE_CANCELS: usize = 4;

/// Ends an aborted transaction, so that the session can go on. A late cancel request may meet this, too.
pub(crate) async fn rollback(session: &Session) -> Result<(), Fault> {
    let sql = format!("ROLLBACK; {RESET}{}", session.settings_sql());
    let mut late = 0;
    loop {
        match send(&session.client, &sql).await?.answer().await {
            Ok(_) => return Ok(()),
            Err((_, error)) if late < LATE_CANCELS && is_cancelled(&error) => late += 1,
            Err((_, error)) => return Err(fault(&error, None)),
        }
    }
}

/// Whether the server was asked to cancel this.
pub(crate) fn is_cancelled(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::QUERY_CANCELED)
}
