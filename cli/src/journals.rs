//! Which journal belongs to which database.
//!
//! A folder that is named (`--journal`, MIGENGINE_JOURNAL, migengine.toml) is the journal of one database and refuses
//! any other. Without a name every database has its own folder below `.migengine/journal`, so that a development and a
//! test database never get in each other's way.

use std::path::PathBuf;

use migengine_engine::id::{Epoch, RunId};
use migengine_engine::pg::read::Ledger;
use migengine_engine::run::journal::{Journal as _, JournalError};
use migengine_engine::run::state::RunSnapshot;
use migengine_engine::run::transition::fold;
use migengine_journal::{Note, Settled, SledJournal};

use crate::error::{CommandError, Exit};

/// Where the journal is.
#[derive(Debug, Clone)]
pub enum JournalPlace {
    /// This folder.
    Named(PathBuf),
    /// A folder for each database below this one.
    PerDatabase(PathBuf),
}

impl JournalPlace {
    /// From the option.
    #[must_use]
    pub fn new(named: Option<PathBuf>) -> Self {
        named.map_or_else(|| Self::PerDatabase(PathBuf::from(".migengine/journal")), Self::Named)
    }

    /// The folder that was named, or the one that holds those of all databases.
    #[must_use]
    pub fn root(&self) -> &std::path::Path {
        match self {
            Self::Named(path) | Self::PerDatabase(path) => path,
        }
    }

    /// The folder for a database.
    #[must_use]
    pub fn path(&self, uuid: &str) -> PathBuf {
        match self {
            Self::Named(path) => path.clone(),
            Self::PerDatabase(root) => root.join(uuid),
        }
    }

    /// All folders that hold a journal, for commands that need no database.
    #[must_use]
    pub fn all(&self) -> Vec<PathBuf> {
        match self {
            Self::Named(path) => vec![path.clone()],
            Self::PerDatabase(root) => {
                let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
                // What was moved aside is kept for people only.
                let aside = |path: &PathBuf| path.to_string_lossy().contains(".quarantine-");
                let mut paths: Vec<PathBuf> =
                    entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !aside(path)).collect();
                paths.sort();
                paths
            }
        }
    }
}

/// The journal of one database, with all its runs folded.
pub struct OpenJournal {
    /// The handle.
    pub journal: SledJournal,
    /// Its runs, oldest first.
    pub runs: Vec<RunSnapshot>,
    /// What opening it took, for people.
    pub note: Option<String>,
}

impl OpenJournal {
    /// Opens the journal of a database for writing, makes it where there is none, and binds it to the database.
    ///
    /// # Errors
    /// In use, damaged, unwritable, or another database's.
    pub async fn open(place: &JournalPlace, uuid: &str) -> Result<Self, CommandError> {
        let path = place.path(uuid);
        let opened = SledJournal::open_with(&path, crate::crash::journal_hook())?;
        let note = opened.note.as_ref().map(|note| match note {
            Note::IndexRebuilt => "the journal's index was damaged and has been rebuilt; no record was lost".to_owned(),
            Note::Quarantined { moved_to, reason } => format!(
                "the journal could not be read ({reason}); it was moved to {} and a new one begun. What it knew is \
                 taken from the database",
                moved_to.display()
            ),
        });
        let journal = opened.journal;
        match journal.binding().await? {
            None => journal.bind(uuid).await?,
            Some(bound) if bound == uuid => {}
            Some(bound) => {
                let what = format!(
                    "the journal {} belongs to another database: it was made for {bound}, and this one is {uuid}",
                    path.display()
                );
                return Err(CommandError::refused("ME206", what)
                    .exit(Exit::Person)
                    .next("connect to the database it was made for, or name another folder: --journal DIR")
                    .next("if it is the same one, made anew or restored from before its first run: migengine journal rebuild --accept-database"));
            }
        }
        let runs = fold_all(&journal).await?;
        Ok(Self { journal, runs, note })
    }

    /// The highest epoch this journal ever held.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.runs.iter().filter_map(|run| run.epoch).max()
    }

    /// Closes the journal. Where every run in it is over, the next command that finds nothing to do need not open it.
    pub fn close(self, last: Option<&RunSnapshot>, uuid: &str) {
        let over = |run: &RunSnapshot| match last {
            Some(last) if last.run == run.run => last.state.is_final(),
            _ => run.state.is_final(),
        };
        if last.is_none_or(|last| last.state.is_final()) && self.runs.iter().all(over) {
            let epoch = self.epoch().max(last.and_then(|last| last.epoch));
            self.journal.settle(Settled { uuid: uuid.to_owned(), epoch });
        }
    }

    /// A run by id.
    #[must_use]
    pub fn run(&self, run: RunId) -> Option<&RunSnapshot> {
        self.runs.iter().find(|known| known.run == run)
    }
}

/// Whether the journal of a database was closed with every run in it over, and has seen no later epoch than the database.
#[must_use]
pub fn is_settled(place: &JournalPlace, ledger: &Ledger) -> bool {
    let note = migengine_journal::settled(&place.path(&ledger.uuid));
    note.is_some_and(|note| note.uuid == ledger.uuid && note.epoch.is_none_or(|epoch| epoch <= ledger.epoch))
        && ledger.unfinished.is_empty()
}

/// Folds every run of a journal.
///
/// # Errors
/// A run that does not fold is damage.
pub async fn fold_all(journal: &SledJournal) -> Result<Vec<RunSnapshot>, CommandError> {
    let mut runs = Vec::new();
    for run in journal.runs().await? {
        let records = journal.records(run).await?;
        match fold(run, records.iter().map(|(record, _)| record)) {
            Ok(folded) => runs.extend(folded),
            Err(error) => {
                let path = journal.path().display().to_string();
                return Err(JournalError::Damaged { path, reason: format!("run {run}: {error}") }.into());
            }
        }
    }
    Ok(runs)
}
