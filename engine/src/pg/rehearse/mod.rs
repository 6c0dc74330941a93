//! Runs rehearsals: forward, back and forward again on a scratch database, with a fingerprint after each.
//!
//! The main line of a scratch database goes forward only. The way back is tried in a transaction that is rolled back,
//! which costs next to nothing; scripts that cannot run in one are tried on a copy of the database. So a reverse
//! script that fails or does not restore the schema never disturbs what comes after it.

mod data;
mod meter;
mod pair;
mod script;
mod seed;
mod sizes;
mod stand;
mod watch;

use std::collections::BTreeSet;
use std::time::Instant;

use crate::hazard;
use crate::id::MigrationId;
use crate::migration::Script;
use crate::pg::connect::ConnectError;
use crate::pg::failure::{Fault, fault};
use crate::pg::fingerprint::{self, FingerprintError};
use crate::pg::session::Session;
use crate::rehearse::{Apply, Footprint, Reapply, Rehearsal, Rollback, drops_plpgsql, portable, strongest_locks};
use crate::run::failure::Failure;
use crate::schema::Schema;
use meter::Meter;
use script::{Broken, Mend, Runner};
pub use sizes::table_sizes;
pub use stand::{Stand, StandOptions};
use watch::Watch;

/// Why nothing could be rehearsed. Scratch databases are removed in any case.
#[derive(Debug, thiserror::Error)]
pub enum RehearseError {
    /// No connection.
    #[error("{}", .0.message)]
    Connect(#[from] ConnectError),
    /// Somebody's database.
    #[error("the database {database} is not empty: it holds {first}{}", also(*.more))]
    NotEmpty {
        /// Its name.
        database: String,
        /// One of the objects.
        first: String,
        /// How many others there are.
        more: usize,
    },
    /// Another rehearsal.
    #[error("another rehearsal uses this server, and did not end within {seconds} s")]
    Busy {
        /// How long was waited.
        seconds: u64,
    },
    /// The server refused something of ours.
    #[error("the server would not {what}: {message}")]
    Server {
        /// A verb and its object.
        what: &'static str,
        /// Its words.
        message: String,
    },
    /// A schema could not be read.
    #[error("{}", fingerprint_words(.0))]
    Fingerprint(#[from] FingerprintError),
}

impl RehearseError {
    fn server(what: &'static str) -> impl Fn(tokio_postgres::Error) -> Self {
        move |error| {
            let message = match fault(&error, None) {
                Fault::Refused(failure) => failure.message,
                Fault::Lost(message) => message,
            };
            Self::Server { what, message }
        }
    }
}

fn also(more: usize) -> String {
    match more {
        0 => String::new(),
        1 => " and one more object".to_owned(),
        more => format!(" and {more} more objects"),
    }
}

fn fingerprint_words(error: &FingerprintError) -> String {
    match error {
        FingerprintError::Server(inner) => match fault(inner, None) {
            Fault::Refused(failure) => format!("the schema could not be read: {}", failure.message),
            Fault::Lost(message) => format!("the schema could not be read: {message}"),
        },
        other => other.to_string(),
    }
}

/// One migration of the chain.
pub struct Item<'a> {
    /// The migration.
    pub id: MigrationId,
    /// What it requires directly.
    pub requires: Vec<MigrationId>,
    /// Forward.
    pub up: &'a Script,
    /// Back.
    pub down: Option<&'a Script>,
    /// Checks.
    pub verify: Option<&'a Script>,
    /// See [`crate::rehearse::excuse`].
    pub excuse: Option<String>,
    /// Said to be irreversible on purpose.
    pub irreversible: bool,
    /// Whether the way back is tried; otherwise it is only applied, because others stand on it.
    pub wanted: bool,
}

/// What a rehearsal tells while it runs.
pub trait Audience: Send {
    /// The outcome of one wanted migration.
    fn rehearsed(&mut self, rehearsal: &Rehearsal, schema: Option<&Schema>);
}

/// Rehearses a chain in the order given, from an empty database on. The outcomes are those of the wanted migrations.
///
/// # Errors
/// See [`RehearseError`]. Scripts that fail are outcomes.
pub async fn rehearse(
    stand: &mut Stand,
    items: &[Item<'_>],
    audience: &mut dyn Audience,
) -> Result<Vec<Rehearsal>, RehearseError> {
    let mut line = Line::open(stand).await?;
    let scripts = items.iter().flat_map(|item| [Some(item.up), item.down]).flatten();
    line.tells = !drops_plpgsql(scripts) && meter::install(&line.session).await;
    let mut outcomes = Vec::new();
    for item in items {
        let began = Instant::now();
        let (outcome, schema) = line.take(item).await?;
        if let Some(mut outcome) = outcome {
            outcome.duration_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            outcome.excuse.clone_from(&item.excuse);
            audience.rehearsed(&outcome, schema.as_ref());
            outcomes.push(outcome);
        }
    }
    let database = line.database.clone();
    drop(line);
    stand.discard(&database).await;
    Ok(outcomes)
}

/// Applies a chain and reads the schema after it, without the names of the owner.
///
/// # Errors
/// See [`RehearseError`]; the inner error is that of a script.
pub async fn schema_after(stand: &mut Stand, items: &[Item<'_>]) -> Result<Result<Schema, Failure>, RehearseError> {
    let mut line = Line::open(stand).await?;
    for item in items {
        if let Err(broken) = line.forward(item, None).await {
            return Ok(Err(broken.into_failure()));
        }
    }
    let schema = line.read().await?;
    Ok(Ok(portable(&schema, &line.owner)))
}

/// The main line: a scratch database that goes forward only.
struct Line<'s> {
    stand: &'s mut Stand,
    database: String,
    session: Session,
    owner: String,
    /// The schema as it is, where it was read.
    now: Option<Schema>,
    /// Migrations that did not apply, or require one that did not.
    fallen: BTreeSet<MigrationId>,
    /// A script that is no transaction failed half-way: nothing can be said of anything after it.
    torn: Option<MigrationId>,
    /// What `lint` knows when it comes to the next migration.
    knowledge: hazard::Context,
    /// Whether the scratch database tells what is dropped and rewritten.
    tells: bool,
}

impl<'s> Line<'s> {
    async fn open(stand: &'s mut Stand) -> Result<Self, RehearseError> {
        let database = stand.create().await?;
        let session = stand.session(&database).await?;
        let owner = stand.owner().await?;
        let knowledge = hazard::Context::new(Some(stand.major));
        let (fallen, torn) = (BTreeSet::new(), None);
        Ok(Self { stand, database, session, owner, now: None, fallen, torn, knowledge, tells: false })
    }

    /// Something to measure a script with, in a session of the main line's database or of a copy.
    async fn meter(&self, session: &Session, script: &Script, database: &str) -> Option<Meter> {
        let expected = hazard::look(script, &mut self.knowledge.clone()).statements;
        Meter::before(session, expected, self.tells, Watch::new(self.stand.opener(database))).await
    }

    fn runner(&self) -> Runner<'_> {
        Runner { session: &self.session, limit: self.stand.limit() }
    }

    async fn read(&self) -> Result<Schema, RehearseError> {
        Ok(fingerprint::read_again(&self.session.client, &[self.stand.engine_schema()], false).await?)
    }

    /// One migration of the chain.
    async fn take(&mut self, item: &Item<'_>) -> Result<(Option<Rehearsal>, Option<Schema>), RehearseError> {
        if let Some(failure) = self.out_of_reach(item) {
            self.fallen.insert(item.id.clone());
            return Ok((item.wanted.then(|| self.failed(item, failure)), None));
        }
        let before = match self.now.take() {
            Some(now) => Some(now),
            None if item.wanted => Some(self.read().await?),
            None => None,
        };
        let tried = match self.stand.seed_rows().filter(|_| item.wanted) {
            Some(rows) => self.with_rows(item, rows).await?,
            None => None,
        };
        let mut meter = match item.wanted {
            true => self.meter(&self.session, item.up, &self.database).await,
            false => None,
        };
        let applied = self.forward(item, meter.as_mut()).await;
        let mut statements = match meter {
            Some(meter) => meter.finish().await,
            None => Vec::new(),
        };
        if let Err(broken) = applied {
            if !item.up.transactional() {
                self.torn = Some(item.id.clone());
            }
            if matches!(broken, Broken::Lost(_)) {
                self.session = self.stand.session(&self.database).await?;
            }
            self.now = before;
            self.fallen.insert(item.id.clone());
            let mut failure = broken.into_failure();
            recode(&mut failure, "ME605");
            return Ok((item.wanted.then(|| self.failed(item, failure)), None));
        }
        hazard::look(item.up, &mut self.knowledge);
        self.knowledge.applied();
        let Some(before) = before.filter(|_| item.wanted) else { return Ok((None, None)) };
        let after = self.read().await?;
        let shown = portable(&after, &self.owner);
        let footprint = Footprint::new(&before, &after, &statements);
        let mut trial = None;
        if let Some((tried, costs)) = tried {
            // With rows the numbers mean more.
            statements = if costs.is_empty() { statements } else { costs };
            trial = Some(tried);
        }
        let mut outcome = Rehearsal {
            id: item.id.clone(),
            apply: Apply::Ok,
            rollback: if item.irreversible { Rollback::Irreversible } else { Rollback::Missing },
            reapply: Reapply::Skipped,
            diff: Vec::new(),
            error: None,
            locks: strongest_locks(&statements),
            statements,
            rollback_statements: Vec::new(),
            footprint,
            trial,
            duration_us: 0,
            schema: Some(shown.digest()),
            excuse: None,
        };
        if let Some(down) = item.down {
            self.there_and_back(item, down, &before, &after, &mut outcome).await?;
        }
        self.now = Some(after);
        Ok((Some(outcome), Some(shown)))
    }

    fn failed(&self, item: &Item<'_>, failure: Failure) -> Rehearsal {
        let mut outcome = Rehearsal::failed(item.id.clone(), failure);
        if item.down.is_none() && item.irreversible {
            outcome.rollback = Rollback::Irreversible;
        } else if item.down.is_some() {
            // Nothing is known of the script: it is not proven, and it is there.
            outcome.rollback = Rollback::Failed;
        }
        outcome
    }

    /// Why a migration cannot even be tried.
    fn out_of_reach(&self, item: &Item<'_>) -> Option<Failure> {
        let place = |what: String| Failure { file: Some(item.up.file.clone()), ..Failure::own("ME606", what) };
        if let Some(torn) = &self.torn {
            return Some(place(format!("not tried: {torn} failed half-way before it")));
        }
        let fallen = item.requires.iter().find(|id| self.fallen.contains(id))?;
        Some(place(format!("not tried: it requires {fallen}, which does not apply")))
    }

    async fn forward(&mut self, item: &Item<'_>, meter: Option<&mut Meter>) -> Result<(), Broken> {
        let runner = Runner { session: &self.session, limit: self.stand.limit() };
        let mut roles = Roles { stand: self.stand };
        runner.whole(item.up, item.verify, &mut roles, meter).await
    }
}

/// Gives an error of the server's a code of the rehearsal's; what is special about it keeps its own.
fn recode(failure: &mut Failure, code: &str) {
    let insufficient = failure.sqlstate.as_deref() == Some("42501");
    // Some say it in the message, some in the hint; the server speaks English here, see `stand::settings`.
    let said = [Some(failure.message.as_str()), failure.hint.as_deref(), failure.detail.as_deref()];
    if insufficient && said.into_iter().flatten().any(|words| words.to_lowercase().contains("superuser")) {
        failure.code = "ME628".to_owned();
    } else if !matches!(failure.code.as_str(), "ME603" | "ME604" | "ME403") {
        failure.code = code.to_owned();
    }
}

/// Makes the roles that a script misses.
struct Roles<'s> {
    stand: &'s mut Stand,
}

/// More than this and something else is wrong.
const MOST_STUBS: usize = 100;

impl Mend for Roles<'_> {
    fn mend<'a>(&'a mut self, failure: &'a Failure) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(async move {
            let about_roles = matches!(failure.sqlstate.as_deref(), Some("42704" | "22023"));
            let name = missing_role(&failure.message).filter(|_| about_roles);
            match name {
                Some(name) if self.stand.stubs.len() < MOST_STUBS => self.stand.stub(name).await,
                _ => false,
            }
        })
    }
}

/// The name in `role "x" does not exist`.
fn missing_role(message: &str) -> Option<&str> {
    message.strip_prefix("role \"")?.strip_suffix("\" does not exist")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_role_is_made() {
        assert_eq!(missing_role("role \"app\" does not exist"), Some("app"));
        assert_eq!(missing_role("type \"app\" does not exist"), None);
        assert_eq!(missing_role("role \"app\" already exists"), None);
    }
}
