//! A run as spans with beginnings and ends: what this process saw of it, folded from its events. Pure.

use std::collections::BTreeMap;

use migengine_engine::id::{Digest, RunId, Timestamp};
use migengine_engine::run::event::{Event, Recorded};
use migengine_engine::run::failure::Failure;
use migengine_engine::run::state::{Rest, RunKind, RunSnapshot, RunState, StepIndex};

use crate::outcome;

/// What this process saw of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// The run. Its bytes are the name of the trace, so that the processes that took a run up share one.
    pub run: RunId,
    /// What for.
    pub kind: RunKind,
    /// `--env`.
    pub environment: Option<String>,
    /// Name of the database.
    pub database: String,
    /// `host:port`.
    pub host: String,
    /// The first event of this process.
    pub began: Timestamp,
    /// The last one, where the run is over or rests.
    pub ended: Option<Timestamp>,
    /// Where it stands.
    pub state: RunState,
    /// Why it stands still.
    pub rest: Option<Rest>,
    /// The step it rests at.
    pub rest_step: Option<String>,
    /// What went wrong last, if something did.
    pub failure: Option<Box<Failure>>,
    /// The migration that failed.
    pub failed_step: Option<String>,
    /// Tries of steps, in the order of their ends.
    pub spans: Vec<Span>,
    /// The name of the span of this process.
    pub root: SpanName,
}

/// One try of a step, in either direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The migration.
    pub step: String,
    /// Whether it was reversed.
    pub reverse: bool,
    /// From 1; 0 where an earlier process had begun it.
    pub attempt: u32,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What came of it.
    pub end: End,
    /// Its name.
    pub name: SpanName,
}

/// What came of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// It took effect.
    Applied,
    /// It is reversed.
    Reversed,
    /// It failed.
    Failed,
    /// The answer was lost.
    InDoubt,
    /// It certainly had no effect, and was tried again or given up.
    Cleared,
}

impl End {
    /// The name used in attributes and labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Reversed => "reversed",
            Self::Failed => "failed",
            Self::InDoubt => "in_doubt",
            Self::Cleared => "cleared",
        }
    }
}

/// The name of a span: eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanName(pub [u8; 8]);

impl SpanName {
    /// From the event at which it begins, which no two spans of a run share.
    #[must_use]
    pub fn of(run: RunId, seq: u64) -> Self {
        let digest = Digest::of(&[run.as_bytes().as_slice(), &seq.to_be_bytes()].concat());
        let mut name = [0; 8];
        name.copy_from_slice(digest.as_bytes().get(..8).unwrap_or(&[1; 8]));
        Self(name)
    }

    /// 16 hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        hex(&self.0)
    }
}

/// Bytes in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How a run ended or why it rests, in one word: the values of `outcome`.
pub const OUTCOMES: [&str; 8] =
    ["running", "committed", "rolled_back", "interrupted", "failed", "in_doubt", "diverged", "stuck"];

impl Trace {
    /// One of [`OUTCOMES`].
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match (self.state, &self.rest) {
            (RunState::Committed, _) => "committed",
            (RunState::RolledBack, _) => "rolled_back",
            (_, Some(rest)) => rest.reason.name(),
            (_, None) => "running",
        }
    }

    /// Seconds from its beginning to its end, or to `now` while it lasts.
    #[must_use]
    pub fn seconds(&self, now: Timestamp) -> f64 {
        seconds(self.began, self.ended.unwrap_or(now))
    }

    /// Tries that had to be made again.
    #[must_use]
    pub fn retries(&self) -> usize {
        self.spans.iter().filter(|span| span.end == End::Cleared).count()
    }
}

/// Seconds from one time to another; never negative.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "durations in microseconds are far below 2^53")]
pub fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    (to.0 - from.0).max(0) as f64 / 1e6
}

/// Folds events into a trace.
#[derive(Debug)]
pub struct Tracer {
    trace: Trace,
    open: BTreeMap<StepIndex, Open>,
}

#[derive(Debug)]
struct Open {
    seq: u64,
    at: Timestamp,
    attempt: u32,
}

impl Tracer {
    /// Begins with the first event that this process sees of a run.
    #[must_use]
    pub fn new(run: &RunSnapshot, first: &Recorded, environment: Option<&str>) -> Self {
        let database = &run.started.database;
        let trace = Trace {
            run: run.run,
            kind: run.started.kind,
            environment: environment.map(str::to_owned),
            database: database.name.clone(),
            host: database.host.clone(),
            began: first.at,
            ended: None,
            state: run.state,
            rest: None,
            rest_step: None,
            failure: None,
            failed_step: None,
            spans: Vec::new(),
            root: SpanName::of(run.run, first.seq),
        };
        Self { trace, open: BTreeMap::new() }
    }

    /// The run.
    #[must_use]
    pub const fn run(&self) -> RunId {
        self.trace.run
    }

    /// An event; `run` contains it.
    pub fn event(&mut self, run: &RunSnapshot, record: &Recorded) {
        match &record.event {
            Event::StepIntent { step, attempt, .. } | Event::UndoIntent { step, attempt, .. } => {
                self.open.insert(*step, Open { seq: record.seq, at: record.at, attempt: *attempt });
            }
            Event::StepApplied { step, duration_us, .. } => {
                self.end(run, record, *step, (End::Applied, false), *duration_us)
            }
            Event::StepUndone { step, duration_us, .. } => {
                self.end(run, record, *step, (End::Reversed, true), *duration_us)
            }
            Event::StepFailed { step, failure } => self.fail(run, record, *step, failure, false),
            Event::UndoFailed { step, failure } => self.fail(run, record, *step, failure, true),
            Event::StepInDoubt { step, .. } => self.end(run, record, *step, (End::InDoubt, false), 0),
            // What an earlier process had begun, and what was only announced, is no try of this one.
            Event::StepCleared { step, .. } if self.open.contains_key(step) => {
                self.end(run, record, *step, (End::Cleared, false), 0);
            }
            _ => {}
        }
    }

    fn fail(&mut self, run: &RunSnapshot, record: &Recorded, step: StepIndex, failure: &Failure, reverse: bool) {
        self.trace.failure = Some(Box::new(failure.clone()));
        self.trace.failed_step = Some(run.step_name(step).to_owned());
        self.end(run, record, step, (End::Failed, reverse), 0);
    }

    fn end(
        &mut self,
        run: &RunSnapshot,
        record: &Recorded,
        step: StepIndex,
        (end, reverse): (End, bool),
        took_us: u64,
    ) {
        let open = self.open.remove(&step);
        // Intents of steps that travel together are noted together; the time that a step took says when it began.
        let took = i64::try_from(took_us).unwrap_or_default();
        let intended = open.as_ref().map_or(record.at, |open| open.at);
        let began = if took > 0 { Timestamp(intended.0.max(record.at.0 - took)) } else { intended };
        self.trace.spans.push(Span {
            step: run.step_name(step).to_owned(),
            reverse,
            attempt: open.as_ref().map_or(0, |open| open.attempt),
            began,
            ended: record.at,
            end,
            name: SpanName::of(record.run, open.map_or(record.seq, |open| open.seq)),
        });
    }

    /// The trace as it is now.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.trace.clone()
    }

    /// The trace of a run that is over or rests.
    #[must_use]
    pub fn finish(mut self, run: &RunSnapshot, at: Timestamp) -> Trace {
        self.trace.ended = Some(at);
        self.trace.state = run.state;
        self.trace.rest.clone_from(&run.rest);
        self.trace.rest_step = run.rest.as_ref().and_then(|rest| rest.step).map(|step| run.step_name(step).to_owned());
        // A run that rests because of a failure of an earlier process has it in its steps.
        if self.trace.failure.is_none() && run.rest.is_some() {
            self.trace.failure = outcome::failure(run).cloned().map(Box::new);
        }
        self.trace
    }
}
