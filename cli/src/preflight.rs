//! Gathers what the checks need of server, disk, backups and rows, for runs and for `doctor` alike.

use std::time::{Duration, Instant};

use migengine_engine::migration::Script;
use migengine_engine::pg::preflight::{GatherError, ask, gather};
use migengine_engine::pg::read::{DatabaseState, ReadError};
use migengine_engine::pg::session::Session;
use migengine_engine::preflight::asks::{Asks, asks};
use migengine_engine::preflight::data::{Answer, Question, judge, question};
use migengine_engine::preflight::{
    Check, Clock, Disk, Facts, Told, Verdict, bytes, kind_of, own_schema, rights, server_checks, traffic,
};

use crate::context::{Context, now};
use crate::error::CommandError;

/// How far the rows are looked at.
#[derive(Debug, Clone, Copy)]
pub struct RowLimits {
    /// For one question.
    pub each: Duration,
    /// For all of them together.
    pub all: Duration,
    /// Tables that are larger are left alone, in bytes.
    pub size: i64,
}

impl RowLimits {
    /// Before a run: what can be known quickly.
    #[must_use]
    pub const fn of_a_run(each: Duration) -> Self {
        Self { each, all: Duration::from_secs(20), size: 1 << 30 }
    }

    /// For `doctor`: everything, as long as it takes.
    #[must_use]
    pub const fn of_doctor(each: Duration) -> Self {
        Self { each, all: Duration::from_secs(3600), size: i64::MAX }
    }
}

/// What was looked at, and what came of it.
pub struct Inspection {
    /// What the plan asks.
    pub asks: Asks,
    /// What was gathered; absent where the server would not tell.
    pub facts: Option<Facts>,
    /// The checks that follow from both.
    pub checks: Vec<Check>,
}

/// Reads the scripts that would run, gathers the facts and decides.
///
/// # Errors
/// The line broke.
pub async fn inspect(
    context: &Context,
    session: &Session,
    state: &DatabaseState,
    scripts: &[&Script],
) -> Result<Inspection, CommandError> {
    let asks = asks(scripts.iter().copied(), u32::try_from(state.server.version / 10_000).ok());
    let tables: Vec<String> = asks.tables.iter().map(ToString::to_string).collect();
    let started = Instant::now();
    let before = now();
    let facts = match gather(session, &tables).await {
        Ok(facts) => facts,
        Err(GatherError::Server(error)) if error.is_closed() => return Err(ReadError::from(error).into()),
        Err(error) => {
            let says = format!("the server does not tell: {error}");
            let checks = vec![Check::skipped("settings", says)];
            return Ok(Inspection { asks, facts: None, checks });
        }
    };
    let clock = Clock { before, after: now() };
    let protected = context.protection(state.ledger.as_ref()).is_on();
    let mut checks = server_checks(&facts, clock, disk(&facts, &asks));
    checks.push(traffic(&facts, protected));
    checks.push(own_schema(&facts, context.schema.quoted(), &state.server.database));
    checks.push(rights(&asks, &facts));
    let took = micros(started);
    checks.iter_mut().for_each(|check| check.took_us = took);
    Ok(Inspection { asks, facts: Some(facts), checks })
}

/// Asks for the rows that would break what is pending.
///
/// # Errors
/// The line broke.
pub async fn rows(
    session: &Session,
    asks: &Asks,
    facts: Option<&Facts>,
    limits: RowLimits,
) -> Result<Check, CommandError> {
    let started = Instant::now();
    let mut answers: Vec<(Question, Answer)> = Vec::new();
    let mut unread = asks.unread;
    for wanted in &asks.rows {
        let Some(question) = facts.and_then(|facts| question(wanted, facts)) else {
            unread += 1;
            continue;
        };
        let answer = if question.reads > limits.size {
            Answer::Skipped(format!("{}: migengine doctor looks at it", bytes(question.reads)))
        } else if asks.elsewhere && wanted.table.schema.is_none() {
            Answer::Skipped("the plan changes the role or the search path".to_owned())
        } else if started.elapsed() > limits.all {
            Answer::Skipped("the time is up: migengine doctor looks at it".to_owned())
        } else {
            ask(session, &question, limits.each).await.map_err(ReadError::from)?
        };
        answers.push((question, answer));
    }
    Ok(Check { took_us: micros(started), ..judge(&answers, unread) })
}

/// What stops a run, as one error; what only deserves a look is told.
///
/// # Errors
/// A check failed.
pub fn heed(context: &Context, checks: &[Check]) -> Result<(), CommandError> {
    for check in checks.iter().filter(|check| check.verdict == Verdict::Warn) {
        if kind_of(check.name).is_some_and(|kind| kind.told == Told::ByRuns) {
            let next = check.next.as_deref().map(|next| format!(" ({next})")).unwrap_or_default();
            context.tell(&format!("warning: {}: {}{next}", check.name, check.says));
        }
    }
    let failed: Vec<&Check> = checks.iter().filter(|check| check.verdict == Verdict::Fail).collect();
    let Some(first) = failed.first() else { return Ok(()) };
    let code = kind_of(first.name).map_or("ME710", |kind| kind.code);
    let what: Vec<String> = failed.iter().map(|check| format!("{}: {}", check.name, check.says)).collect();
    let error = CommandError::refused(code, what.join("; "));
    let nexts = failed.iter().filter_map(|check| check.next.clone());
    Err(nexts.fold(error, CommandError::next).next("migengine doctor shows all checks"))
}

/// Free space, where the server's disk is this machine's.
fn disk(facts: &Facts, asks: &Asks) -> Disk {
    let sizes = asks.written.iter().filter_map(|table| facts.tables.get(&table.to_string()));
    let needed = sizes.map(|table| table.total).sum();
    let data = facts.settings.get("data_directory").filter(|_| facts.same_machine);
    let space = data.and_then(|data| nix::sys::statvfs::statvfs(data.as_str()).ok());
    let free = space.and_then(|space| {
        // Both are u64 on Linux and u32 or u64 elsewhere.
        #[allow(clippy::useless_conversion)]
        let blocks = u64::from(space.blocks_available());
        i64::try_from(blocks.saturating_mul(space.fragment_size())).ok()
    });
    Disk { free, needed }
}

/// Microseconds since.
#[must_use]
pub fn micros(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)
}
