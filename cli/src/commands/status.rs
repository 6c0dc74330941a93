//! `migengine status`: what is in effect, what is not, and what does not fit. Changes nothing.

use std::collections::BTreeSet;

use clap::Args;
use migengine_engine::diag::{Diagnostic, Severity};
use migengine_engine::id::MigrationId;
use migengine_engine::migration::FileName;
use migengine_engine::pg::read::{DatabaseState, HistoryRow, HistoryState};
use migengine_engine::plan::{Divergence, Graph, Policy, compare};
use migengine_engine::protect::Protection;
use serde_json::{Value, json};

use crate::args::Format;
use crate::chronicle::{self, Open};
use crate::commands::apply::joined;
use crate::commands::rehearse::chain::Chain;
use crate::context::Context;
use crate::drift::{self, Comparison};
use crate::error::{CommandError, Exit};
use crate::project::{self, Project};
use crate::sources::{self, Kept};
use crate::{outcome, render};

/// Options of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Exit with 3 when something is pending, changed, missing or unfinished.
    #[arg(long)]
    pub exit_code: bool,
}

/// Everything that is told.
struct Status {
    database: String,
    version: String,
    protection: Protection,
    applied: Vec<HistoryRow>,
    pending: Vec<MigrationId>,
    found: Divergence,
    missing: Vec<MigrationId>,
    open: Option<Open>,
    problems: Vec<Diagnostic>,
    drift: Option<Comparison>,
}

/// Runs the command. Files with errors are told, and do not hide the state of the database.
///
/// # Errors
/// See the contract's exit codes.
pub async fn run(context: &Context, args: &StatusArgs) -> Result<Exit, CommandError> {
    let dir = context.dir.clone();
    let loading = tokio::task::spawn_blocking(move || project::load(&dir));
    let (session, state) = chronicle::connect(context).await?;
    let project = joined(loading.await)?;
    let open = match &state.ledger {
        Some(ledger) => chronicle::unfinished(context, &session, ledger).await?,
        None => None,
    };
    let protection = context.protection(state.ledger.as_ref());
    let rehearsed = Chain::of(&project, &context.dir).ok().and_then(Chain::with_lock);
    let drift = match state.ledger.as_ref().zip(rehearsed.as_ref()) {
        Some((ledger, rehearsed)) => drift::beside(context, rehearsed, &session, ledger).await,
        None => None,
    };
    let status = Status { drift, ..Status::new(&project, state, open, protection) };
    if context.look.format == Format::Json {
        render::data(&status.json().to_string());
    } else {
        render::data(status.text().trim_end());
    }
    if !status.problems.is_empty() {
        render::line(render::diagnostics_text(&status.problems, context.look.color).trim_end());
    }
    Ok(if args.exit_code && !status.is_clean() { Exit::Differs } else { Exit::Done })
}

impl Status {
    fn new(project: &Project, state: DatabaseState, open: Option<Open>, protection: Protection) -> Self {
        let DatabaseState { server, ledger } = state;
        let history = sources::history(ledger.as_ref(), &Kept::default());
        let graph = Graph::build(project.nodes(), &history);
        let found = compare(&graph, &history, Policy::default());
        let pending = graph.in_order().filter(|node| !history.contains(&node.id)).map(|node| node.id.clone());
        // A file that cannot be read is not a file that is gone.
        let unread: BTreeSet<MigrationId> = project.diagnostics.iter().filter_map(broken).collect();
        let missing = found.missing.iter().filter(|id| !unread.contains(id)).cloned().collect();
        let pending = pending.chain(unread.iter().filter(|id| !history.contains(id)).cloned());
        let mut applied: Vec<HistoryRow> =
            ledger.into_iter().flat_map(|ledger| ledger.history.into_values()).filter(in_effect).collect();
        applied.sort_by_key(|row| row.position);
        let mut problems = project.diagnostics.clone();
        problems.extend(graph.problems().iter().cloned());
        Self {
            database: server.database,
            protection,
            version: server.version_text.split(' ').next().unwrap_or_default().to_owned(),
            applied,
            pending: pending.collect(),
            missing,
            found,
            open,
            problems,
            drift: None,
        }
    }

    fn is_clean(&self) -> bool {
        self.pending.is_empty()
            && self.found.changed.is_empty()
            && self.missing.is_empty()
            && self.open.is_none()
            && !self.drift.as_ref().is_some_and(Comparison::drifted)
    }

    fn json(&self) -> Value {
        let ids = |ids: &[MigrationId]| ids.iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>();
        let applied = self.applied.iter().map(|row| {
            json!({
                "id": row.id.as_str(),
                "run_id": row.run.map(|run| run.to_string()),
                "applied_at": render::time(row.applied_at),
                "duration_ms": row.duration_us.map(|us| us / 1000),
            })
        });
        json!({
            "database": self.database,
            "server_version": self.version,
            "protected": self.protection.is_on(),
            "applied": applied.collect::<Vec<_>>(),
            "pending": ids(&self.pending),
            "changed": ids(&self.found.changed),
            "missing": ids(&self.missing),
            "comments_changed": ids(&self.found.comments_changed),
            "out_of_order": ids(&self.found.out_of_order),
            "unfinished_run": self.open.as_ref().map(open_json),
            "drift": self.drift.as_ref().map(|drift| drift.json(drift.known_changes().as_deref())),
            "problems": self.problems.iter().map(outcome::finding_json).collect::<Vec<_>>(),
        })
    }

    fn text(&self) -> String {
        let mut text = format!("database {} (PostgreSQL {})\n", self.database, self.version);
        if self.protection.is_on() {
            text.push_str(&format!("protected by {}\n", self.protection.why()));
        }
        let rows: Vec<Vec<String>> = self.applied.iter().map(applied_row).collect();
        text.push_str(&format!("\napplied: {}\n{}", self.applied.len(), render::table(2, &rows)));
        for (heading, ids) in [
            ("pending", &self.pending),
            ("changed after they were applied", &self.found.changed),
            ("applied, and the file is gone", &self.missing),
            ("out of order", &self.found.out_of_order),
            ("comments changed after they were applied", &self.found.comments_changed),
        ] {
            if !ids.is_empty() || heading == "pending" {
                let rows: Vec<Vec<String>> = ids.iter().map(|id| vec![id.to_string()]).collect();
                text.push_str(&format!("\n{heading}: {}\n{}", ids.len(), render::table(2, &rows)));
            }
        }
        if let Some(drift) = &self.drift {
            text.push_str(&drift_text(drift));
        }
        if let Some(open) = &self.open {
            text.push_str(&open_text(open));
        }
        text
    }
}

fn drift_text(drift: &Comparison) -> String {
    let id = &drift.after.0;
    if !drift.drifted() {
        return format!("\nschema: as it was rehearsed after {id}\n");
    }
    let mut text = format!("\nschema: not what it was after {id} when that was rehearsed\n");
    match drift.known_changes() {
        Some(changes) => changes.iter().for_each(|change| text.push_str(&format!("  {change}\n"))),
        None => text.push_str("  migengine drift shows the difference\n"),
    }
    text
}

/// A script by parts that was only begun is not in effect; one whose reversal was only begun still is.
fn in_effect(row: &HistoryRow) -> bool {
    matches!(row.state, HistoryState::Applied | HistoryState::Undoing)
}

/// The migration that a file with an error belongs to.
fn broken(found: &Diagnostic) -> Option<MigrationId> {
    match FileName::of(&found.file) {
        FileName::Script { id, .. } if found.severity == Severity::Error => Some(id),
        _ => None,
    }
}

fn applied_row(row: &HistoryRow) -> Vec<String> {
    let took = row.duration_us.and_then(|us| u64::try_from(us).ok()).map(render::duration);
    vec![
        row.id.to_string(),
        render::time(row.applied_at),
        took.unwrap_or_default(),
        row.run.map(|run| format!("run {run}")).unwrap_or_default(),
    ]
}

/// Why an unfinished run stands still: its own words, or that its runner is gone. Nothing while it moves.
fn rest(open: &Open) -> Option<Value> {
    match outcome::rest_json(&open.run) {
        None if open.holder.is_none() => Some(json!({
            "reason": "interrupted",
            "step": null,
            "message": "its runner ended without a word",
            "next": next(open),
        })),
        rest => rest,
    }
}

fn next(open: &Open) -> String {
    match (&open.holder, outcome::next_command(&open.run)) {
        (_, Some(next)) => next,
        (Some(_), None) => "migengine journal show --follow".to_owned(),
        (None, None) => outcome::resume_command(&open.run).to_owned(),
    }
}

fn open_json(open: &Open) -> Value {
    json!({
        "run_id": open.run.run.to_string(),
        "kind": open.run.started.kind.name(),
        "state": open.run.state.name(),
        "rest": rest(open),
        "steps": outcome::steps_json(&open.run),
        "holder": open.holder,
        "next": next(open),
    })
}

fn open_text(open: &Open) -> String {
    let run = &open.run;
    let why = match (&run.rest, &open.holder) {
        (Some(rest), _) => {
            let step = rest.step.map(|step| format!(" at {}", run.step_name(step))).unwrap_or_default();
            format!("{}{step}: {}", rest.reason.name(), rest.message)
        }
        (None, Some(holder)) => format!("running now: {holder}"),
        (None, None) => "interrupted: its runner ended without a word".to_owned(),
    };
    let mut lines = outcome::next_lines(run);
    if lines.is_empty() {
        lines.push(next(open));
    }
    format!(
        "\nunfinished run {} ({}) stands at {}\n  {why}\n  {}\n  next: {}\n",
        run.run,
        run.started.kind.name(),
        run.state,
        outcome::database_state(run),
        lines.join("\n        ")
    )
}
