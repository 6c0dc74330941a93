//! What the live display says: a model of the run that is fed with its events, and the lines that show it. Pure; the
//! clock and the terminal are others'.

use std::time::{Duration, Instant};

use console::truncate_str;
use migengine_engine::progress::Progress;
use migengine_engine::run::event::{Event, Recorded};
use migengine_engine::run::state::{Direction, RunKind, RunSnapshot, RunState, StepIndex, StepState};

/// How many steps are shown at most; several are under way with `--jobs`.
const SHOWN: usize = 4;
/// How many of those in the way of a step are shown.
const BLOCKERS: usize = 3;
/// Width of a bar, in characters.
const BAR: usize = 24;
/// A note on how far something has come is shown for this long; then it is old.
const FRESH: Duration = Duration::from_secs(3);

/// The model.
#[derive(Debug, Clone)]
pub(super) struct Board {
    kind: RunKind,
    state: RunState,
    direction: Direction,
    done: usize,
    total: usize,
    began: Instant,
    /// How many steps can be under way. Others that are announced wait for their turn.
    jobs: usize,
    active: Vec<Active>,
    /// What the run waits for before its first step.
    waits: Option<Noted>,
}

#[derive(Debug, Clone)]
struct Active {
    step: StepIndex,
    name: String,
    since: Instant,
    noted: Option<Noted>,
}

#[derive(Debug, Clone)]
struct Noted {
    at: Instant,
    progress: Progress,
}

impl Board {
    /// Of a run that begins or goes on.
    #[must_use]
    pub(super) fn new(run: &RunSnapshot, jobs: usize, now: Instant) -> Self {
        let mut board = Self {
            kind: run.started.kind,
            state: run.state,
            direction: run.direction,
            done: 0,
            total: run.steps.len(),
            began: now,
            jobs,
            active: Vec::new(),
            waits: None,
        };
        board.count(run);
        board
    }

    /// An event; `run` contains it.
    pub(super) fn event(&mut self, run: &RunSnapshot, record: &Recorded, now: Instant) {
        (self.state, self.direction) = (run.state, run.direction);
        match &record.event {
            // A step that is tried again goes on.
            Event::StepIntent { step, .. } | Event::UndoIntent { step, .. }
                if self.active.iter().all(|active| active.step != *step) =>
            {
                let name = run.step_name(*step).to_owned();
                self.active.push(Active { step: *step, name, since: now, noted: None });
            }
            Event::StepApplied { step, .. }
            | Event::StepUndone { step, .. }
            | Event::StepFailed { step, .. }
            | Event::UndoFailed { step, .. }
            | Event::StepInDoubt { step, .. } => {
                self.active.retain(|active| active.step != *step);
                self.count(run);
                // One by one, the next one begins when the one before it is done, whenever it was announced.
                if let (1, Some(next)) = (self.jobs, self.active.first_mut()) {
                    next.since = now;
                }
            }
            Event::Locked { .. } => self.waits = None,
            Event::UnwindStarted { .. } => {
                self.active.clear();
                self.count(run);
            }
            _ => {}
        }
    }

    /// How far something has come.
    pub(super) fn progress(&mut self, step: Option<&str>, progress: &Progress, now: Instant) {
        let noted = Some(Noted { at: now, progress: progress.clone() });
        match step {
            None => self.waits = noted,
            Some(name) => {
                if let Some(active) = self.active.iter_mut().find(|active| active.name == name) {
                    active.noted = noted;
                }
            }
        }
    }

    fn count(&mut self, run: &RunSnapshot) {
        let end = match self.direction {
            Direction::Forward => StepState::Applied,
            Direction::Unwinding => StepState::Undone,
        };
        self.done = run.steps.iter().filter(|step| step.state == end).count();
    }

    /// The lines, none wider than `width`.
    #[must_use]
    pub(super) fn lines(&self, now: Instant, width: usize) -> Vec<String> {
        let at = if self.active.is_empty() { self.done } else { (self.done + 1).min(self.total) };
        let elapsed = clock(now.saturating_duration_since(self.began));
        let turned =
            if self.kind == RunKind::Apply && self.direction == Direction::Unwinding { ", turned back" } else { "" };
        let mut lines =
            vec![format!("{} {}{turned}, step {at} of {}, {elapsed}", self.kind.name(), self.state.name(), self.total)];
        if let Some(waits) = &self.waits {
            lines.push(format!("  {}", waits.progress.words()));
        }
        let shown = self.jobs.min(SHOWN);
        lines.extend(self.active.iter().take(shown).flat_map(|active| active.lines(now)));
        lines.iter().map(|line| truncate_str(line, width, "…").into_owned()).collect()
    }
}

impl Active {
    fn lines(&self, now: Instant) -> Vec<String> {
        let head = format!("  {}  {}", self.name, clock(now.saturating_duration_since(self.since)));
        let Some(noted) = self.noted.as_ref().filter(|noted| now.saturating_duration_since(noted.at) < FRESH) else {
            return vec![head];
        };
        let (done, blockers) = match &noted.progress {
            Progress::Rows(meter) => (meter.done(), [].as_slice()),
            Progress::Building(building) => (building.done, [].as_slice()),
            Progress::Waiting(waiting) => (None, waiting.blockers.as_slice()),
            Progress::Holding(_) | Progress::Working { .. } | Progress::Queueing { .. } => (None, [].as_slice()),
        };
        let bar = done.map(|done| format!("  {}", bar(done))).unwrap_or_default();
        let mut lines = vec![format!("{head}{bar}  {}", noted.progress.brief())];
        lines.extend(blockers.iter().take(BLOCKERS).map(|blocker| format!("      {blocker}")));
        if let more @ 1.. = blockers.len().saturating_sub(BLOCKERS) {
            lines.push(format!("      and {more} more"));
        }
        lines
    }
}

/// `[######------------------]`.
fn bar(done: f64) -> String {
    let full = (0..BAR).filter(|cell| f64::from(u32::try_from(*cell).unwrap_or(0)) + 0.5 < done * 24.0).count();
    format!("[{}{}]", "#".repeat(full), "-".repeat(BAR - full))
}

/// `0:07`, `12:34`, `1:02:03`.
fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    match seconds {
        0..3_600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        _ => format!("{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migengine_engine::chunk::Meter;
    use migengine_engine::id::{Digest, MigrationId, RunId, Timestamp};
    use migengine_engine::progress::Waiting;
    use migengine_engine::run::event::{DatabaseIdentity, PlannedStep, RunStarted};

    fn planned(id: &str) -> PlannedStep {
        PlannedStep {
            id: MigrationId::new(id).unwrap(),
            requires: Vec::new(),
            content: Digest::ZERO,
            tokens: Digest::ZERO,
            transactional: true,
            reversible: true,
        }
    }

    fn begun() -> RunSnapshot {
        let run = RunId::from_parts(1_700_000_000_000, [1; 10]);
        let started = RunStarted {
            kind: RunKind::Apply,
            steps: vec![planned("001_a"), planned("002_b")],
            plan_hash: Digest::ZERO,
            database: DatabaseIdentity::default(),
            engine: String::new(),
            actor: String::new(),
            unwind_on_failure: false,
        };
        let event = Event::RunStarted(Box::new(started));
        RunSnapshot::begin(run, &Recorded { run, seq: 1, at: Timestamp(0), event }).unwrap()
    }

    #[test]
    fn the_lines_follow_the_run_and_fit_the_terminal() {
        let (mut run, now) = (begun(), Instant::now());
        let mut board = Board::new(&run, 1, now);
        let mut fold = |board: &mut Board, event: Event| {
            let record = Recorded { run: run.run, seq: run.events + 1, at: Timestamp(0), event };
            run.apply(&record).unwrap();
            board.event(&run, &record, now);
        };
        let intent = |step| Event::StepIntent { step, attempt: 1, content: Digest::ZERO, tokens: Digest::ZERO };
        board.progress(None, &Progress::Queueing { holder: Some("pid 7".to_owned()) }, now);
        assert_eq!(board.lines(now, 80), ["apply Preflight, step 0 of 2, 0:00", "  waits for another runner: pid 7"]);
        let epoch = migengine_engine::id::Epoch(1);
        fold(&mut board, Event::Locked { epoch, pid: 1, backend_start: Timestamp(0) });
        fold(&mut board, Event::Reconciled);
        fold(&mut board, intent(0));
        fold(&mut board, Event::StepApplied { step: 0, duration_us: 1, adopted: None });
        fold(&mut board, intent(1));
        let meter = Meter { rows: 500, keys: 500, estimate: 1_000, mine: (500, Duration::from_secs(1)), pass: 1 };
        board.progress(Some("002_b"), &Progress::Rows(meter), now);
        let later = now + Duration::from_secs(2);
        let bar = "[############------------]";
        let rows = format!("  002_b  0:02  {bar}  500 rows, 50 %, 500 keys/s, about 1.0 s left");
        assert_eq!(board.lines(later, 120), ["apply Applying, step 2 of 2, 0:02", &rows]);
        let waiting = Waiting { attempts: 1, blockers: vec!["pid 9 holds t".to_owned()], ..Waiting::default() };
        board.progress(Some("002_b"), &Progress::Waiting(waiting), later);
        let lines = board.lines(later, 120);
        assert_eq!(
            lines[1..],
            ["  002_b  0:02  waits for its locks, 0 ms of 0 ms, 1 try so far", "      pid 9 holds t"]
        );
        assert_eq!(board.lines(later, 12), ["apply Apply…", "  002_b  0:…", "      pid 9…"]);
        let old = later + Duration::from_secs(60);
        assert_eq!(board.lines(old, 120)[1], "  002_b  1:02", "old news is no news");
    }
}
