//! Unfinished runs: found in the journal and in the database, brought together, and taken up again.

use migengine_engine::drive::DriveError;
use migengine_engine::id::RunId;
use migengine_engine::pg::layout::SchemaName;
use migengine_engine::pg::read::{HistoryState, Ledger, ReadError, read};
use migengine_engine::pg::session::Session;
use migengine_engine::pg::settle::settle;
use migengine_engine::pg::witness::{Mirror, RunLine};
use migengine_engine::pg::{lock, mirror};
use migengine_engine::run::event::{Event, Recorded};
use migengine_engine::run::journal::{Journal as _, Sealed};
use migengine_engine::run::recovery::{Standing, standing};
use migengine_engine::run::state::{RunKind, RunSnapshot, RunState, StepState};
use migengine_engine::run::transition::fold;
use migengine_journal::SledJournal;
use migengine_journal::chain::{Anchor, compare_anchor, read_chain};

use crate::context::now;
use crate::error::{CommandError, Exit};
use crate::journals::{JournalPlace, OpenJournal, fold_all};

/// A run that can be taken up again.
pub struct Unfinished {
    /// Folded from everything that is known of it.
    pub run: RunSnapshot,
    /// Records that the database does not have.
    pub unmirrored: Vec<(Recorded, Sealed)>,
}

/// Brings journal and database together and returns the run that is not over, if there is one.
///
/// - A run that never got as far as the lock touched nothing: it is closed.
/// - A run the database knows more of (another machine went on, or this machine's journal is lost) is completed from
///   the database's mirror.
/// - A run that is over by the journal, while the database was not told any more, is over.
///
/// # Errors
/// The database went back behind the journal, two runs are unfinished, or something cannot be read.
pub async fn unfinished(
    session: &Session,
    ledger: &Ledger,
    journal: &mut OpenJournal,
) -> Result<Option<Unfinished>, CommandError> {
    let mut ledger = ledger.clone();
    loop {
        // The ledger was read before the journal was opened. A runner that ended in between looks like time gone back.
        let error = match look(session, &ledger, journal).await {
            Err(error) if error.code == "ME333" => error,
            found => return found,
        };
        match read(&session.client, &session.schema).await?.ledger {
            Some(fresh) if fresh != ledger => ledger = fresh,
            _ => return Err(error),
        }
    }
}

/// The refusal of a new run while another one is not over: because its runner is at work, or because it ended without
/// bringing the run to its end. What was read a moment ago may be neither any more; then the plan has to be made anew.
///
/// # Errors
/// The database cannot be read.
pub async fn in_the_way(
    session: &Session,
    ledger: &Ledger,
    journal: &OpenJournal,
    run: &RunSnapshot,
) -> Result<CommandError, CommandError> {
    if let Some(holder) = lock::holder(session).await {
        let orphan = holder.is_one_of(&journal.journal.held().await?);
        return Ok(if orphan { blocked_by(run, ledger) } else { DriveError::busy(Some(holder)).into() });
    }
    // Nobody holds the lock now. If nobody did since the ledger was read, that is how it stands.
    match read(&session.client, &session.schema).await?.ledger {
        Some(fresh) if fresh == *ledger => Ok(blocked_by(run, ledger)),
        _ => Ok(DriveError::Overtaken.into()),
    }
}

async fn look(
    session: &Session,
    ledger: &Ledger,
    journal: &mut OpenJournal,
) -> Result<Option<Unfinished>, CommandError> {
    if standing(true, journal.epoch(), ledger.epoch) == Standing::DatabaseWentBack {
        return Err(went_back(journal, ledger));
    }
    let mut adopted = false;
    for row in &ledger.unfinished {
        let mut stored = mirror::records(&session.client, &session.schema, row.run).await?;
        // Its runner may be at work: what it has written since the ledger was read does not go with that history.
        stored.truncate(usize::try_from(row.records).unwrap_or(usize::MAX));
        check_anchor(journal, row.run, row.records, row.head).await?;
        let known = journal.run(row.run).map_or(0, |run| run.events);
        if stored.len() as u64 > known {
            journal.journal.adopt(row.run, stored).await?;
            adopted = true;
        }
    }
    // Another machine may have brought to an end what this journal believes unfinished, or believes not even begun: a damaged
    // journal may have lost everything behind the first word of a run.
    let elsewhere =
        |run: &&RunSnapshot| !run.state.is_final() && !ledger.unfinished.iter().any(|row| row.run == run.run);
    for run in journal.runs.iter().filter(elsewhere) {
        let stored = mirror::records(&session.client, &session.schema, run.run).await?;
        if stored.len() as u64 > run.events {
            journal.journal.adopt(run.run, stored).await?;
            adopted = true;
        }
    }
    if adopted {
        journal.runs = fold_all(&journal.journal).await?;
    }
    for row in &ledger.unfinished {
        // One that never held the lock by the journal did nothing that the history could contradict: its line was broken
        // while it took the lock, and another run has done the work since.
        if let Some(run) = journal.run(row.run).filter(|run| run.state.is_final() && run.epoch.is_some()) {
            check_finished(ledger, run)?;
        }
    }
    close_unbegun(journal).await?;
    settle_lines(session, ledger, journal).await?;
    let mut open: Vec<&RunSnapshot> = journal.runs.iter().filter(|run| !run.state.is_final()).collect();
    if open.len() > 1 {
        let names: Vec<String> = open.iter().map(|run| format!("{} ({})", run.run, run.state)).collect();
        return Err(CommandError::refused("ME411", format!("two runs are unfinished: {}", names.join(", ")))
            .exit(Exit::Person)
            .next("look at both: migengine journal list")
            .next("then reverse the one that should not be: migengine rollback --run RUN"));
    }
    let Some(run) = open.pop().cloned() else { return Ok(None) };
    let records = journal.journal.records(run.run).await?;
    let mirrored = ledger.unfinished.iter().find(|row| row.run == run.run).map_or(0, |row| row.records);
    let unmirrored = records.into_iter().filter(|(record, _)| record.seq > mirrored).collect();
    Ok(Some(Unfinished { run, unmirrored }))
}

/// A run that is over by the journal and not by the database. Either its runner died before it could tell the database,
/// whose history then agrees with the journal. Or the database lost commits without losing the epoch: then nothing may
/// be run.
fn check_finished(ledger: &Ledger, run: &RunSnapshot) -> Result<(), CommandError> {
    let in_effect = |id| ledger.history.get(id).is_some_and(|row| row.state == HistoryState::Applied);
    let steps = run.started.steps.iter().zip(&run.steps);
    let mut contradicted = steps.filter(|(planned, step)| in_effect(&planned.id) != (step.state == StepState::Applied));
    if let Some((planned, _)) = contradicted.next() {
        let what = format!(
            "the database went back in time: by the journal run {} ended as {}, but {} is {} by the history, at the same \
             epoch {}. A failover lost its last commits, or it was restored from a backup",
            run.run,
            run.state,
            planned.id,
            if in_effect(&planned.id) { "in effect" } else { "not in effect" },
            ledger.epoch
        );
        return Err(CommandError::refused("ME333", what)
            .exit(Exit::Person)
            .next("compare: migengine status and migengine journal show last")
            .next("if the database is right as it is: migengine journal rebuild --accept-database"));
    }
    Ok(())
}

/// A restored backup, or a failover that lost commits: nothing may be run on the journal's word, nor on the database's.
fn went_back(journal: &OpenJournal, ledger: &Ledger) -> CommandError {
    let last = journal.runs.iter().max_by_key(|run| run.epoch);
    let last = last.map_or_else(String::new, |run| format!(", run {} with {} events", run.run, run.events));
    let what = format!(
        "the database went back in time: the journal has seen epoch {}{last}; the database is at epoch {}. It was \
         restored from a backup, or a failover lost its last commits",
        journal.epoch().unwrap_or_default(),
        ledger.epoch
    );
    CommandError::refused("ME333", what)
        .exit(Exit::Person)
        .next("compare: migengine status and migengine journal list")
        .next("if the database is right as it is, begin a new journal from it: migengine journal rebuild --accept-database")
}

/// The database holds the length and the head of each run's journal as of its last transaction.
async fn check_anchor(
    journal: &OpenJournal,
    run: RunId,
    records: u64,
    head: Option<migengine_engine::id::Digest>,
) -> Result<(), CommandError> {
    let (Some(head), Some(_)) = (head, journal.run(run)) else { return Ok(()) };
    let mine: Vec<_> = journal.journal.records(run).await?.iter().map(|(_, sealed)| sealed.hash).collect();
    match compare_anchor(&mine, records, head) {
        Anchor::Equal | Anchor::JournalAhead | Anchor::JournalBehind => Ok(()),
        Anchor::Fork => {
            let what = format!(
                "journal and database tell different stories of run {run}: record {records} is {} in the database, {} here",
                head.short(),
                mine.get(usize::try_from(records).unwrap_or(usize::MAX).saturating_sub(1))
                    .map_or_else(|| "missing".to_owned(), |hash| hash.short())
            );
            Err(CommandError::refused("ME207", what)
                .exit(Exit::Person)
                .next("migengine journal check")
                .next("if the database is right: migengine journal rebuild"))
        }
    }
}

/// A run without an epoch never held the lock, so nothing of it can be in the database.
async fn close_unbegun(journal: &mut OpenJournal) -> Result<(), CommandError> {
    let unbegun: Vec<RunId> = journal
        .runs
        .iter()
        .filter(|run| run.state == RunState::Preflight && run.epoch.is_none())
        .map(|run| run.run)
        .collect();
    for run in &unbegun {
        journal.journal.append(*run, vec![(now(), Event::RunRolledBack)]).await?;
    }
    if !unbegun.is_empty() {
        journal.runs = fold_all(&journal.journal).await?;
    }
    Ok(())
}

/// Tells the database of runs that are over: those whose last word did not arrive, and those of which it has no record
/// at all. Every effect of a run comes with its records, so a run without any had none.
async fn settle_lines(session: &Session, ledger: &Ledger, journal: &OpenJournal) -> Result<(), CommandError> {
    for row in &ledger.unfinished {
        let mut mirror = Mirror::default();
        let (state, finished_at) = match journal.run(row.run) {
            Some(run) if run.state.is_final() => {
                let records = journal.journal.records(row.run).await?;
                for (record, sealed) in records.iter().filter(|(record, _)| record.seq > row.records) {
                    mirror.push(record, record.event.step().map(|step| run.step_name(step)), sealed);
                }
                (run.state, run.finished_at)
            }
            None if row.records == 0 => (RunState::RolledBack, Some(now())),
            _ => continue,
        };
        let line = RunLine { state, rest: None, rest_step: None, finished_at };
        settle(session, row.run, row.records, &line, &mirror).await.map_err(ReadError::from)?;
    }
    Ok(())
}

/// The refusal that tells how an unfinished run goes on, and what else it may be where the history contradicts it.
#[must_use]
pub fn blocked_by(run: &RunSnapshot, ledger: &Ledger) -> CommandError {
    let why = run.rest.as_ref().map_or_else(
        || "its runner ended without a word".to_owned(),
        |rest| format!("{}: {}", rest.reason.name(), rest.message),
    );
    let in_effect = |id| ledger.history.get(id).is_some_and(|row| row.state == HistoryState::Applied);
    let done = run.started.steps.iter().filter(|step| in_effect(&step.id)).count();
    let what =
        format!("run {} ({}) is not finished: it stands at {}, {why}", run.run, run.started.kind.name(), run.state);
    let state = match run.steps.len() {
        1 => {
            format!("Its only step is {}in effect. This command changed nothing.", if done == 1 { "" } else { "not " })
        }
        all => format!("{done} of its {all} steps are in effect. This command changed nothing."),
    };
    let error = CommandError::refused("ME410", what).exit(Exit::Stopped).state(state);
    let resume = crate::outcome::resume_command(run);
    let mut lost = run.started.steps.iter().zip(&run.steps).filter(|(planned, step)| {
        (step.state == StepState::Applied && !in_effect(&planned.id))
            || (step.state == StepState::Undone && in_effect(&planned.id))
    });
    if let Some((planned, _)) = lost.next() {
        let is = if in_effect(&planned.id) { "in effect again" } else { "not in effect any more" };
        return error
            .next(format!("find out why {} is {is}: migengine audit show --migration {0}", planned.id))
            .next(format!(
                "if the database was restored and is right as it is: migengine journal rebuild --accept-database, then: {resume}"
            ));
    }
    match run.started.kind {
        RunKind::Apply if resume.starts_with("migengine apply") => error
            .next(format!("go on: {resume}"))
            .next(format!("or take it back: migengine rollback --run {}", run.run)),
        RunKind::Apply | RunKind::Rollback => error.next(format!("go on: {resume}")),
    }
}

/// The records of a run straight from the database, decoded.
///
/// # Errors
/// They cannot be read, or are damaged.
pub async fn from_mirror(
    session: &Session,
    schema: &SchemaName,
    run: RunId,
) -> Result<Option<RunSnapshot>, CommandError> {
    let stored = mirror::records(&session.client, schema, run).await?;
    let records = read_chain(run, stored).map_err(|broken| broken.at(run, "in the database"))?;
    fold(run, records.iter().map(|(record, _)| record)).map_err(|error| {
        CommandError::refused("ME203", format!("the run {run} in the database is damaged: {error}")).exit(Exit::Person)
    })
}

/// What the local journal knows of an unfinished run when the database cannot be reached: no verdict is possible.
pub async fn unreachable(place: &JournalPlace, error: CommandError) -> CommandError {
    for path in place.all() {
        let Ok(Some(opened)) = SledJournal::open_read_only(&path) else { continue };
        let Ok(runs) = fold_all(&opened.journal).await else { continue };
        let begun = |run: &&RunSnapshot| !run.state.is_final() && run.epoch.is_some();
        let Some(run) = runs.iter().rev().find(begun) else { continue };
        let what = format!("{}; run {} stands at {}", error.what, run.run, run.state);
        return CommandError { what, ..error }
            .exit(Exit::Person)
            .state(crate::outcome::database_state(run))
            .next("migengine apply --resume, when the database can be reached");
    }
    error
}
