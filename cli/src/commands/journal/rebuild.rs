//! `journal rebuild`: a new journal from what the database keeps of every run.

use std::path::Path;

use clap::Args;
use migengine_engine::id::{Epoch, RunId};
use migengine_engine::pg::mirror;
use migengine_engine::pg::read::{Ledger, all_runs};
use migengine_engine::pg::session::Session;
use migengine_engine::run::journal::{Journal as _, JournalError};
use migengine_engine::run::transition::fold;
use migengine_journal::SledJournal;
use migengine_journal::chain::read_chain;
use serde_json::json;

use crate::args::Format;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::{chronicle, journals, render};

/// Options of `journal rebuild`.
#[derive(Debug, Args)]
pub struct RebuildArgs {
    /// Believe the database although the journal knows a later time, or belongs to another database: what the database
    /// no longer knows is given up.
    #[arg(long)]
    pub accept_database: bool,
}

/// A run as the mirror has it.
struct Mirrored {
    run: RunId,
    records: Vec<Vec<u8>>,
}

/// Runs the command. The old journal is moved aside, never deleted, and only once the mirror was read and is whole.
///
/// # Errors
/// See the contract's exit codes.
pub(super) async fn run(context: &Context, args: &RebuildArgs) -> Result<Exit, CommandError> {
    let (session, state) = chronicle::connect(context).await?;
    let Some(ledger) = state.ledger else {
        return Err(CommandError::refused("ME208", "there is nothing to rebuild from: nothing was ever applied here"));
    };
    let path = context.journal.path(&ledger.uuid);
    refuse_newer(&path, &ledger, args.accept_database).await?;
    let runs = read_mirror(&session).await?;
    let moved_to = SledJournal::set_aside(&path)?;
    let opened = SledJournal::open(&path)?;
    opened.journal.bind(&ledger.uuid).await?;
    for run in &runs {
        opened.journal.adopt(run.run, run.records.clone()).await?;
    }
    let folded = journals::fold_all(&opened.journal).await?;
    let records: usize = runs.iter().map(|run| run.records.len()).sum();
    let there: u64 = folded.iter().map(|run| run.events).sum();
    if there != records as u64 {
        let reason = format!("{records} records were taken over, and {there} are there");
        return Err(JournalError::Damaged { path: path.display().to_string(), reason }.into());
    }
    let moved = moved_to.as_ref().map(|path| path.display().to_string());
    if context.look.format == Format::Json {
        let object = json!({
            "journal": path.display().to_string(),
            "moved_to": moved,
            "runs": runs.len(),
            "records": records,
        });
        render::data(&object.to_string());
    } else {
        if let Some(moved) = &moved {
            context.tell(&format!("the old journal is now {moved}"));
        }
        let (runs, records) = (render::count(runs.len() as u64, "run"), render::count(records as u64, "record"));
        render::data(&format!("{}: rebuilt, {runs} with {records}", path.display()));
    }
    Ok(Exit::Done)
}

/// What only this journal knows must not be lost unasked.
async fn refuse_newer(path: &Path, ledger: &Ledger, accepted: bool) -> Result<(), CommandError> {
    let journal = match SledJournal::open_read_only(path) {
        Ok(Some(opened)) => opened.journal,
        Ok(None) | Err(JournalError::Damaged { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if accepted {
        return Ok(());
    }
    let refused = |code: &str, what: String| {
        CommandError::refused(code, what)
            .exit(Exit::Person)
            .next("compare: migengine journal list and migengine status")
            .next("if the database is right as it is: migengine journal rebuild --accept-database")
    };
    // A journal that cannot be read is what this command is for.
    let (Ok(bound), Ok(runs)) = (journal.binding().await, journals::fold_all(&journal).await) else { return Ok(()) };
    if let Some(bound) = bound.filter(|bound| *bound != ledger.uuid) {
        let what = format!(
            "the journal {} belongs to another database ({bound}, this one is {})",
            path.display(),
            ledger.uuid
        );
        return Err(refused("ME206", what));
    }
    let highest: Option<Epoch> = runs.iter().filter_map(|run| run.epoch).max();
    match highest.filter(|highest| *highest > ledger.epoch) {
        Some(highest) => Err(refused(
            "ME333",
            format!(
                "the database went back in time: the journal has seen epoch {highest}, the database is at epoch {}",
                ledger.epoch
            ),
        )),
        None => Ok(()),
    }
}

/// Reads and verifies everything before anything is touched.
async fn read_mirror(session: &Session) -> Result<Vec<Mirrored>, CommandError> {
    let mut runs = Vec::new();
    for row in all_runs(&session.client, &session.schema).await? {
        let records = mirror::records(&session.client, &session.schema, row.run).await?;
        let place = "in the database";
        let chain = read_chain(row.run, &records).map_err(|broken| broken.at(row.run, place))?;
        fold(row.run, chain.iter().map(|(record, _)| record)).map_err(|error| JournalError::Damaged {
            path: place.to_owned(),
            reason: format!("run {}: {error}", row.run),
        })?;
        if !records.is_empty() {
            runs.push(Mirrored { run: row.run, records });
        }
    }
    Ok(runs)
}
