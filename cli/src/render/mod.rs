//! What people read. stdout carries data, stderr everything else.

mod error;
pub mod journal;
pub mod plan;
pub mod progress;
pub mod screen;
mod table;

use std::io::{IsTerminal as _, Write as _};

use migengine_engine::run::event::{Event, Recorded};
use migengine_engine::run::figures::{self, Figures};
use migengine_engine::run::state::{RunKind, RunSnapshot, RunState};

pub use error::{diagnostics_text, error_text};
pub use table::table;

/// One line on stderr.
pub fn line(text: &str) {
    screen::write(format!("{text}\n").as_bytes());
}

/// Data on stdout. A pipe that nobody reads may hold this up, and nothing else.
pub fn data(text: &str) {
    let put = || {
        let mut out = std::io::stdout().lock();
        drop(out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()));
    };
    if std::io::stdout().is_terminal() { screen::above(put) } else { put() }
}

/// A time, RFC 3339 in UTC, to the millisecond.
#[must_use]
pub fn time(at: migengine_engine::id::Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.0).map_or_else(|_| at.0.to_string(), |at| format!("{at:.3}"))
}

/// A duration for people: `3 ms`, `1.2 s`, `4 min 5 s`.
#[must_use]
pub fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..60_000_000 => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
        _ => format!("{} min {} s", us / 60_000_000, us % 60_000_000 / 1_000_000),
    }
}

/// So many of something: `1 step`, `2 steps`.
#[must_use]
pub fn count(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// The line for an event, where it deserves one.
#[must_use]
pub fn event(run: &RunSnapshot, record: &Recorded) -> Option<String> {
    let name = |step: u32| run.step_name(step).to_owned();
    Some(match &record.event {
        Event::Locked { epoch, .. } => format!("  run {} holds the lock (epoch {epoch})", run.run),
        Event::StepApplied { step, duration_us, adopted: None } => {
            format!("  applied   {}  ({})", name(*step), duration(*duration_us))
        }
        Event::StepApplied { step, adopted: Some(row), .. } => {
            format!("  found     {}  in effect already (recovery row {row})", name(*step))
        }
        Event::StepUndone { step, duration_us, adopted: None } => {
            format!("  reversed  {}  ({})", name(*step), duration(*duration_us))
        }
        Event::StepUndone { step, adopted: Some(row), .. } => {
            format!("  found     {}  reversed already (recovery row {row})", name(*step))
        }
        Event::Noted { step: Some(step), topic, message } if topic == figures::TOPIC => {
            format!("  figures   {}: {}", name(*step), Figures::parse(message)?.words())
        }
        Event::StepFailed { step, .. } => format!("  failed    {}", name(*step)),
        Event::UndoFailed { step, .. } => format!("  failed    reversing {}", name(*step)),
        Event::StepInDoubt { step, .. } => format!("  in doubt  {}: the answer was lost", name(*step)),
        // Of steps behind a failure it is plain that they were not run; what an earlier process left is news.
        Event::StepCleared { step, label } if run.state == RunState::Locked => {
            format!("  checked   {}: {}", name(*step), cleared(*label))
        }
        Event::UnwindStarted { reason } => format!("  turning back: {reason}"),
        Event::RunCommitted => format!("  committed ({})", count(run.steps.len() as u64, "step")),
        Event::RunRolledBack if run.epoch.is_some() => match run.started.kind {
            RunKind::Apply => "  rolled back: nothing of this run is in effect".to_owned(),
            RunKind::Rollback => format!("  rolled back ({})", count(run.steps.len() as u64, "step")),
        },
        _ => return None,
    })
}

/// What a row of the recovery table that lets a step begin says of it.
fn cleared(label: char) -> String {
    let what = match label {
        'F' | 'N' => "the catalogs tell how far it came",
        'L' => "still in effect",
        _ => "without effect",
    };
    format!("{what} (recovery row {label})")
}
