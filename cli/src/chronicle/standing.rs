//! The run that is not over, found without changing anything.

use migengine_engine::id::Digest;
use migengine_engine::pg::lock;
use migengine_engine::pg::read::{Ledger, RunRow};
use migengine_engine::pg::session::Session;
use migengine_engine::run::event::{DatabaseIdentity, RunStarted};
use migengine_engine::run::state::{Direction, Manner, RunKind, RunSnapshot, RunState};
use migengine_journal::SledJournal;

use super::mirrored;
use crate::context::Context;
use crate::error::{CommandError, Exit};

/// A run that is not over, and whether someone is driving it at this moment.
pub struct Open {
    /// The run, from whoever knows more of it.
    pub run: RunSnapshot,
    /// Who holds the runner lock.
    pub holder: Option<String>,
}

/// The unfinished run, without changing anything: what the database says, completed by what the journal knows. A run
/// that never took the lock touched nothing, and the next command closes it, so it does not count.
///
/// # Errors
/// Something cannot be read, or two runs are unfinished.
pub async fn unfinished(context: &Context, session: &Session, ledger: &Ledger) -> Result<Option<Open>, CommandError> {
    let mut open: Vec<RunSnapshot> = Vec::new();
    let local = local_runs(context, &ledger.uuid).await;
    for row in &ledger.unfinished {
        let mirrored = mirrored(session, row.run).await?.map(|told| told.run);
        let known = local.iter().find(|run| run.run == row.run).cloned();
        let known = [mirrored, known].into_iter().flatten().max_by_key(|run| run.events);
        open.push(known.unwrap_or_else(|| begun(row)));
    }
    for run in local.into_iter().filter(|run| run.epoch.is_some() && !run.state.is_final()) {
        let known = open.iter().any(|open| open.run == run.run);
        if !known && !over_elsewhere(session, &run).await? {
            open.push(run);
        }
    }
    open.retain(|run| !run.state.is_final());
    if open.len() > 1 {
        let names: Vec<String> = open.iter().map(|run| format!("{} ({})", run.run, run.state)).collect();
        return Err(CommandError::refused("ME411", format!("two runs are unfinished: {}", names.join(", ")))
            .exit(Exit::Person)
            .next("look at both: migengine journal list")
            .next("then reverse the one that should not be: migengine rollback --run RUN"));
    }
    let Some(run) = open.pop() else { return Ok(None) };
    Ok(Some(Open { run, holder: lock::holder(session).await.map(|holder| holder.to_string()) }))
}

/// A run of which the database has no record yet: another process has just begun it.
fn begun(row: &RunRow) -> RunSnapshot {
    let kind = if row.kind == RunKind::Rollback.name() { RunKind::Rollback } else { RunKind::Apply };
    RunSnapshot {
        run: row.run,
        started: RunStarted {
            kind,
            steps: Vec::new(),
            plan_hash: Digest::ZERO,
            database: DatabaseIdentity::default(),
            engine: String::new(),
            actor: String::new(),
            unwind_on_failure: false,
        },
        started_at: row.started_at,
        state: RunState::from_name(&row.state).unwrap_or(RunState::Locked),
        direction: if kind == RunKind::Apply { Direction::Forward } else { Direction::Unwinding },
        manner: Manner::default(),
        rest: None,
        steps: Vec::new(),
        epoch: Some(row.epoch),
        finished_at: None,
        events: 0,
    }
}

async fn over_elsewhere(session: &Session, run: &RunSnapshot) -> Result<bool, CommandError> {
    let told = mirrored(session, run.run).await?;
    Ok(told.is_some_and(|told| told.run.state.is_final()))
}

/// What the local journal holds, where it can be read at this moment: the database answers without it too.
async fn local_runs(context: &Context, uuid: &str) -> Vec<RunSnapshot> {
    let Ok(Some(opened)) = SledJournal::open_read_only(context.journal.path(uuid)) else { return Vec::new() };
    match opened.journal.binding().await {
        Ok(Some(bound)) if bound == uuid => {}
        _ => return Vec::new(),
    }
    crate::journals::fold_all(&opened.journal).await.unwrap_or_default()
}
