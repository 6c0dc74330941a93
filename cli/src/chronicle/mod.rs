//! Runs and their records, for commands that only look: from the local journal, and where another process holds it or
//! there is none, from the database's mirror.

mod standing;

use std::path::PathBuf;

use migengine_engine::id::RunId;
use migengine_engine::pg::mirror;
use migengine_engine::pg::read::{DatabaseState, all_runs};
use migengine_engine::pg::session::Session;
use migengine_engine::run::event::Recorded;
use migengine_engine::run::journal::{Journal as _, JournalError};
use migengine_engine::run::state::RunSnapshot;
use migengine_engine::run::transition::fold;
use migengine_journal::SledJournal;
use migengine_journal::chain::read_chain;

use crate::args::RunOptions;
use crate::context::Context;
use crate::error::CommandError;
use crate::journals::JournalPlace;

pub use standing::{Open, unfinished};

/// A run with everything that was written about it.
pub struct Told {
    /// The run, folded.
    pub run: RunSnapshot,
    /// Its records, in order.
    pub records: Vec<Recorded>,
}

/// Where runs are read from.
pub enum Reader {
    /// Local journals: one, or those of all databases when it is not known which is meant.
    Journals(Vec<SledJournal>),
    /// The mirror in the database.
    Database(Box<Session>),
}

/// Connects and reads, without any limit of a run's.
///
/// # Errors
/// No connection, or tables that are not ours.
pub async fn connect(context: &Context) -> Result<(Session, DatabaseState), CommandError> {
    let limits = context.limits(&RunOptions::default())?;
    let target = context.target()?;
    context.open(&target, &limits).await
}

/// Opens what there is to read. `prefer_database` is for those who watch a run that another process drives: they must
/// not hold the journal's lock, not even for a moment.
///
/// # Errors
/// Neither a journal nor a database can be read.
pub async fn open(context: &Context, prefer_database: bool) -> Result<Reader, CommandError> {
    let ask_first = prefer_database || matches!(context.journal, JournalPlace::PerDatabase(_));
    let mut database = if ask_first { Some(connect(context).await) } else { None };
    if prefer_database && let Some(Ok((_, DatabaseState { ledger: Some(_), .. }))) = &database {
        return from_database(database);
    }
    let uuid = match &database {
        Some(Ok((_, DatabaseState { ledger: Some(ledger), .. }))) => Some(ledger.uuid.clone()),
        _ => None,
    };
    let folders = folders(&context.journal, uuid.as_deref());
    let why = match open_all(&folders) {
        Ok(journals) if !journals.is_empty() => return Ok(Reader::Journals(journals)),
        Ok(_) => CommandError::refused("ME419", format!("there is no journal in {}", shown(context, &folders)))
            .next("run something first: migengine apply"),
        Err(error) => error.into(),
    };
    if database.is_none() {
        database = Some(connect(context).await);
    }
    if let Some(Ok(_)) = &database {
        context.tell(&format!("{}; this is the database's mirror of it", why.what));
        return from_database(database);
    }
    Err(why)
}

fn from_database(database: Option<Result<(Session, DatabaseState), CommandError>>) -> Result<Reader, CommandError> {
    match database {
        Some(Ok((session, _))) => Ok(Reader::Database(Box::new(session))),
        Some(Err(error)) => Err(error),
        None => Err(CommandError::refused("ME419", "there is no journal, and no database was asked")),
    }
}

/// The folders that may hold the journal of a database; all of them when it is not known which.
#[must_use]
pub fn folders(place: &JournalPlace, uuid: Option<&str>) -> Vec<PathBuf> {
    match uuid {
        Some(uuid) => vec![place.path(uuid)],
        None => place.all(),
    }
}

fn shown(context: &Context, folders: &[PathBuf]) -> String {
    match (folders, &context.journal) {
        ([one], _) => one.display().to_string(),
        (_, JournalPlace::Named(path) | JournalPlace::PerDatabase(path)) => path.display().to_string(),
    }
}

fn open_all(folders: &[PathBuf]) -> Result<Vec<SledJournal>, JournalError> {
    let mut journals = Vec::new();
    for folder in folders {
        journals.extend(SledJournal::open_read_only(folder)?.map(|opened| opened.journal));
    }
    Ok(journals)
}

impl Reader {
    /// All runs, oldest first.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn runs(&self) -> Result<Vec<RunId>, CommandError> {
        let mut runs = Vec::new();
        match self {
            Self::Journals(journals) => {
                for journal in journals {
                    runs.extend(journal.runs().await?);
                }
            }
            Self::Database(session) => {
                runs.extend(all_runs(&session.client, &session.schema).await?.iter().map(|row| row.run));
            }
        }
        runs.sort();
        Ok(runs)
    }

    /// One run; nothing where it is not known, or nothing of it was written yet.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub async fn told(&self, run: RunId) -> Result<Option<Told>, CommandError> {
        match self {
            Self::Journals(journals) => {
                for journal in journals {
                    let records: Vec<Recorded> =
                        journal.records(run).await?.into_iter().map(|(record, _)| record).collect();
                    if !records.is_empty() {
                        return told(run, records, &journal.path().display().to_string());
                    }
                }
                Ok(None)
            }
            Self::Database(session) => mirrored(session, run).await,
        }
    }

    /// The run that a text names: `last`, a whole name, or at least four characters of its beginning.
    ///
    /// # Errors
    /// None, or several.
    pub async fn find(&self, text: &str) -> Result<RunId, CommandError> {
        find(text, &self.runs().await?)
    }
}

/// A run from the database's mirror.
///
/// # Errors
/// It cannot be read, or is damaged.
pub async fn mirrored(session: &Session, run: RunId) -> Result<Option<Told>, CommandError> {
    let stored = mirror::records(&session.client, &session.schema, run).await?;
    let chain = read_chain(run, stored).map_err(|broken| broken.at(run, "in the database"))?;
    told(run, chain.into_iter().map(|(record, _)| record).collect(), "in the database")
}

fn told(run: RunId, records: Vec<Recorded>, place: &str) -> Result<Option<Told>, CommandError> {
    match fold(run, &records) {
        Ok(folded) => Ok(folded.map(|run| Told { run, records })),
        Err(error) => {
            Err(JournalError::Damaged { path: place.to_owned(), reason: format!("run {run}: {error}") }.into())
        }
    }
}

/// The run that a text names among those known, oldest first.
///
/// # Errors
/// None, or several.
pub fn find(text: &str, known: &[RunId]) -> Result<RunId, CommandError> {
    let unknown = |what: String| CommandError::usage("ME416", what).next("migengine journal list");
    if text.eq_ignore_ascii_case("last") {
        return known.last().copied().ok_or_else(|| unknown("there is no run yet".to_owned()));
    }
    if text.len() < 4 {
        return Err(unknown(format!("`{text}` is too short: give at least four characters of a run's name")));
    }
    let wanted = text.to_ascii_lowercase();
    let matching: Vec<RunId> = known.iter().copied().filter(|run| run.to_string().starts_with(&wanted)).collect();
    match matching.as_slice() {
        [run] => Ok(*run),
        [] => Err(unknown(format!("no run is named {text}"))),
        several => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(unknown(format!("`{text}` could be {}", names.join(" or "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_named_by_unique_beginnings() {
        let runs = [RunId::from_parts(1_700_000_000_000, [1; 10]), RunId::from_parts(1_900_000_000_000, [2; 10])];
        let (first, second) = (runs[0].to_string(), runs[1].to_string());
        assert_eq!(find("last", &runs).unwrap(), runs[1]);
        assert_eq!(find(&first, &runs).unwrap(), runs[0]);
        assert_eq!(find(&second[..6].to_uppercase(), &runs).unwrap(), runs[1]);
        for (text, expect) in
            [("01", "too short"), ("zzzz", "no run is named zzzz"), ("last", "no run yet"), (&first[..5], "no run")]
        {
            let known: &[RunId] = if text == "last" || text.len() == 5 { &[] } else { &runs };
            let error = find(text, known).unwrap_err();
            assert!(error.what.contains(expect), "{} against {expect}", error.what);
        }
        let alike = [RunId::from_parts(1_700_000_000_000, [1; 10]), RunId::from_parts(1_700_000_000_000, [2; 10])];
        assert!(find(&first[..8], &alike).unwrap_err().what.contains("could be"));
    }
}
