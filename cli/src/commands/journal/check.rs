//! `journal check`: every record of every run, and where the database can be reached also what it says of them.

use std::collections::BTreeMap;

use migengine_engine::id::RunId;
use migengine_engine::pg::read::{Ledger, RunRow, all_runs};
use migengine_engine::pg::session::Session;
use migengine_engine::run::event::Recorded;
use migengine_engine::run::journal::Journal as _;
use migengine_engine::run::transition::fold;
use migengine_journal::SledJournal;
use migengine_journal::chain::{Anchor, compare_anchor};
use serde_json::{Value, json};

use crate::args::Format;
use crate::chronicle;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::render;

/// What was found of one journal.
struct Checked {
    path: String,
    database: Option<String>,
    runs: Vec<Run>,
    /// What is wrong with the journal as a whole.
    problems: Vec<Problem>,
}

struct Run {
    run: RunId,
    records: u64,
    anchor: Option<&'static str>,
    problem: Option<Problem>,
}

/// A contradiction, and what leads out of it.
struct Problem {
    words: String,
    remedy: Remedy,
}

/// Later ones do what earlier ones do, and more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Remedy {
    Rebuild,
    AcceptDatabase,
}

impl Remedy {
    fn words(self) -> &'static str {
        match self {
            Self::Rebuild => "if the database is right: migengine journal rebuild",
            Self::AcceptDatabase => {
                "if the database is right as it is now: migengine journal rebuild --accept-database, then: migengine status"
            }
        }
    }
}

impl Problem {
    fn damaged(words: String) -> Self {
        Self { words, remedy: Remedy::Rebuild }
    }
}

/// What the database knows.
struct Known {
    session: Session,
    ledger: Ledger,
    rows: BTreeMap<RunId, RunRow>,
}

/// Runs the command.
///
/// # Errors
/// There is nothing to check, or another process has it open.
pub(super) async fn run(context: &Context) -> Result<Exit, CommandError> {
    let known = match chronicle::connect(context).await {
        Ok((session, state)) => known(session, state.ledger).await?,
        Err(error) => {
            context.tell(&format!("the database is not compared: {}", error.what));
            None
        }
    };
    let folders = chronicle::folders(&context.journal, known.as_ref().map(|known| known.ledger.uuid.as_str()));
    let mut checked = Vec::new();
    for folder in &folders {
        match SledJournal::open_read_only(folder) {
            Ok(Some(opened)) => checked.push(check(&opened.journal, known.as_ref()).await?),
            Ok(None) => {}
            Err(migengine_engine::run::journal::JournalError::Damaged { path, reason }) => {
                checked.push(Checked {
                    path,
                    database: None,
                    runs: Vec::new(),
                    problems: vec![Problem::damaged(reason)],
                });
            }
            Err(error) => return Err(error.into()),
        }
    }
    let mirror = match &known {
        Some(known) => mirror_problems(known).await?,
        None => Vec::new(),
    };
    tell(context, &checked, &mirror, known.is_some());
    let sound = mirror.is_empty() && checked.iter().all(Checked::is_sound);
    if !sound {
        let error = CommandError::refused("ME209", "the journal is not sound").exit(Exit::Person);
        let found = checked.iter().flat_map(Checked::found).map(|problem| problem.remedy).max();
        let error = match found {
            Some(_) if !mirror.is_empty() => {
                error.next("keep both as they are: journal rebuild needs a database whose own copy is whole")
            }
            Some(remedy) => error.next(remedy.words()),
            None => error.next("keep this journal: it is the only whole one. Runs go on from it as before"),
        };
        render::line(render::error_text(&error, context.look.color).trim_end());
    }
    Ok(if sound { Exit::Done } else { Exit::Person })
}

async fn known(session: Session, ledger: Option<Ledger>) -> Result<Option<Known>, CommandError> {
    let Some(ledger) = ledger else { return Ok(None) };
    let rows = all_runs(&session.client, &session.schema).await?;
    let rows = rows.into_iter().map(|row| (row.run, row)).collect();
    Ok(Some(Known { session, ledger, rows }))
}

fn foldable(events: &[Recorded]) -> Result<(), String> {
    let Some(first) = events.first() else { return Ok(()) };
    fold(first.run, events).map(drop).map_err(|error| error.to_string())
}

async fn check(journal: &SledJournal, known: Option<&Known>) -> Result<Checked, CommandError> {
    let path = journal.path().display().to_string();
    let database = journal.binding().await?;
    let mut problems = Vec::new();
    // Anchors of another database mean nothing.
    let known = known.filter(|known| database.as_ref().is_none_or(|uuid| *uuid == known.ledger.uuid));
    let mut runs = Vec::new();
    let mut highest = None;
    for report in journal.check(foldable).await?.runs {
        let mut run = Run {
            run: report.run,
            records: report.records,
            anchor: None,
            problem: report.verdict.err().map(Problem::damaged),
        };
        if run.problem.is_none() {
            let records = journal.records(run.run).await?;
            let folded = fold(run.run, records.iter().map(|(record, _)| record)).ok().flatten();
            highest = highest.max(folded.and_then(|folded| folded.epoch));
            let hashes: Vec<_> = records.iter().map(|(_, sealed)| sealed.hash).collect();
            if let Some((row, head)) =
                known.and_then(|known| known.rows.get(&run.run)).and_then(|row| row.head.map(|head| (row, head)))
            {
                let anchor = compare_anchor(&hashes, row.records, head);
                run.anchor = Some(name(anchor));
                if anchor == Anchor::Fork {
                    run.problem =
                        Some(Problem::damaged("journal and database tell different stories of it".to_owned()));
                }
            }
        }
        runs.push(run);
    }
    if let (Some(known), Some(highest)) = (known, highest)
        && highest > known.ledger.epoch
    {
        let words = format!(
            "the database went back in time: the journal has seen epoch {highest}, the database is at epoch {}",
            known.ledger.epoch
        );
        problems.push(Problem { words, remedy: Remedy::AcceptDatabase });
    }
    Ok(Checked { path, database, runs, problems })
}

fn name(anchor: Anchor) -> &'static str {
    match anchor {
        Anchor::Equal => "equal",
        Anchor::JournalAhead => "journal ahead",
        Anchor::JournalBehind => "journal behind",
        Anchor::Fork => "fork",
    }
}

/// The mirror's own chains.
async fn mirror_problems(known: &Known) -> Result<Vec<String>, CommandError> {
    let mut problems = Vec::new();
    for run in known.rows.keys() {
        match chronicle::mirrored(&known.session, *run).await {
            Ok(_) => {}
            Err(error) if error.code == "ME203" => problems.push(error.what),
            Err(error) => return Err(error),
        }
    }
    Ok(problems)
}

impl Checked {
    fn found(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().chain(self.runs.iter().filter_map(|run| run.problem.as_ref()))
    }

    fn is_sound(&self) -> bool {
        self.found().next().is_none()
    }
}

fn tell(context: &Context, checked: &[Checked], mirror: &[String], compared: bool) {
    let sound = mirror.is_empty() && checked.iter().all(Checked::is_sound);
    if context.look.format == Format::Json {
        let journals: Vec<Value> = checked.iter().map(object).collect();
        let object = json!({ "sound": sound, "journals": journals, "mirror_problems": mirror, "compared": compared });
        return render::data(&object.to_string());
    }
    if checked.is_empty() {
        context.tell("there is no journal here");
    }
    let mut text = String::new();
    for journal in checked {
        let verdict = if journal.is_sound() { "sound" } else { "NOT SOUND" };
        let count = render::count(journal.runs.len() as u64, "run");
        text.push_str(&format!("{}: {verdict}, {count}\n", journal.path));
        for problem in &journal.problems {
            text.push_str(&format!("  {}\n", problem.words));
        }
        let rows = journal.runs.iter().map(|run| {
            vec![
                run.run.to_string(),
                render::count(run.records, "record"),
                run.anchor.map(|anchor| format!("database: {anchor}")).unwrap_or_default(),
                run.problem.as_ref().map_or_else(|| "sound".to_owned(), |problem| problem.words.clone()),
            ]
        });
        text.push_str(&render::table(2, &rows.collect::<Vec<_>>()));
    }
    for problem in mirror {
        text.push_str(&format!("the database's mirror: {problem}\n"));
    }
    if !text.is_empty() {
        render::data(text.trim_end());
    }
}

fn object(checked: &Checked) -> Value {
    let runs = checked.runs.iter().map(|run| {
        json!({
            "run_id": run.run.to_string(),
            "records": run.records,
            "sound": run.problem.is_none(),
            "anchor": run.anchor,
            "problem": run.problem.as_ref().map(|problem| &problem.words),
        })
    });
    json!({
        "path": checked.path,
        "database": checked.database,
        "sound": checked.is_sound(),
        "problems": checked.problems.iter().map(|problem| &problem.words).collect::<Vec<_>>(),
        "runs": runs.collect::<Vec<_>>(),
    })
}
