//! What the model knows: the database, its sessions, the runners' processes and journals, and the faults still to come.

use std::sync::OnceLock;

use migengine_engine::id::{Digest, Epoch, MigrationId, RunId, Timestamp};
use migengine_engine::run::event::{DatabaseIdentity, Event, PlannedStep, Recorded, RunStarted};
use migengine_engine::run::state::{
    Direction, Manner, Rest, RestReason, RunKind, RunSnapshot, RunState, StepSnapshot, StepState,
};
use migengine_engine::run::transition::IllegalEvent;

use super::protocol::PIECES;

/// Steps of the plan.
pub const STEPS: usize = 2;

/// Lanes of the first runner.
pub const LANES: usize = 2;

/// A driver: the runners' own, then the lanes of the first one.
pub const FIRST_LANE: usize = 2;

/// A concurrently built index. The flag tells one build from the one before it, as an OID does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ix {
    Absent,
    Invalid(bool),
    Valid(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowState {
    Begun,
    Applied,
    Undoing,
}

/// A history row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    pub state: RowState,
    pub done: u8,
    pub before: Option<Ix>,
}

/// The run table and the mirror of the journal, of the newest run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunRow {
    pub run: u8,
    pub over: bool,
    pub mirror: Option<Fold>,
}

/// What is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Db {
    pub epoch: u8,
    pub rows: [Option<Row>; STEPS],
    /// How often the transactional effect of a step is there: 0 or 1, or something went wrong.
    pub tx: [i8; STEPS],
    pub ix: [Ix; STEPS],
    pub generation: [bool; STEPS],
    /// How far the pieces of a step have come, in which direction.
    pub place: [Option<(bool, u8)>; STEPS],
    /// How often each piece is in effect.
    pub moved: [[i8; PIECES]; STEPS],
    pub run: Option<RunRow>,
}

/// A message to the server. Each is one transaction or one statement outside of one. What is sent before a COMMIT
/// shows nothing and its fence holds until then, so a transaction is one act here, at the moment of its COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    Read,
    LockRead,
    Raise {
        run: u8,
    },
    Do {
        step: u8,
        undo: bool,
        mirror: Option<Fold>,
        /// Its COMMIT does not wait for the disk.
        later: bool,
    },
    /// Waits for the disk.
    Settle,
    PartTx {
        step: u8,
        undo: bool,
        done: u8,
        mirror: Option<Fold>,
    },
    Look {
        step: u8,
    },
    Mark {
        step: u8,
        mark: Mark,
        mirror: Option<Fold>,
    },
    Build {
        step: u8,
    },
    Drop {
        step: u8,
    },
    /// The part that makes a place, with its record.
    Opening {
        step: u8,
        undo: bool,
        done: u8,
        mirror: Option<Fold>,
    },
    /// Where the pieces have come.
    Place {
        step: u8,
    },
    /// One piece, and its place if nothing is taken away.
    Piece {
        step: u8,
        undo: bool,
        from: u8,
    },
    /// The place alone.
    Move {
        step: u8,
        undo: bool,
        to: u8,
    },
    /// The records that lanes' transactions do not carry.
    Mirror {
        mirror: Fold,
    },
    Verify,
    Publish {
        mirror: Fold,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    Parts { undo: bool, done: u8, before: Option<Ix> },
    Applied,
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reply {
    Ok,
    Busy,
    Read { db: Db },
    Epoch { db: Db },
    Looked { held: bool, ix: Ix },
    Reached { place: u8 },
    Refused { ix: Ix },
}

/// A session on the server. It lives on for a while when its client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Backend {
    pub runner: u8,
    pub epoch: u8,
    pub lock: bool,
    /// A lane's share of the lock.
    pub share: bool,
    /// Which of the runner's drivers has it.
    pub seat: u8,
    pub client: bool,
    pub phase: u8,
    pub msg: Option<Msg>,
    pub reply: Option<Reply>,
}

impl Backend {
    /// A fresh session of a driver.
    pub fn new(seat: usize) -> Self {
        let (runner, seat) = (runner_of(seat) as u8, seat as u8);
        let (lock, share) = (false, false);
        Self { runner, epoch: 0, lock, share, seat, client: true, phase: 0, msg: None, reply: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StepFold {
    pub id: u8,
    pub state: StepState,
    pub done: u8,
    pub half_way: u8,
}

/// A journal, folded: what is left of `RunSnapshot` once times, texts and counters are taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fold {
    pub run: u8,
    pub kind: RunKind,
    pub state: RunState,
    pub direction: Direction,
    pub rest: Option<(RestReason, Option<u32>)>,
    pub epoch: u8,
    pub len: u8,
    pub steps: [StepFold; STEPS],
}

/// How the last command of a runner ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    Never,
    Killed,
    Busy,
    Nothing,
    Final,
    Rest(RestReason),
    /// Standing: exit 6.
    Refused,
}

/// What a running process waits for or does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pc {
    /// A new command without a run: it plans under the lock.
    Open,
    Loop,
    /// The first `n` of the queue are left to do.
    Pipe,
    /// The next of the queue was refused, and those before it are not known to be on the disk.
    Settling,
    Parts(Parts),
    Closing,
    /// The records are on their way to the database; lanes begin after that.
    Mirroring,
    /// The desk: lanes are at work. Whether there are records that the database lacks.
    Attend {
        due: bool,
    },
    /// A lane without a step.
    Idle,
    /// A lane with steps whose intents are to be written.
    Given,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Parts {
    pub index: u8,
    pub part: u8,
    pub stage: Stage,
    pub before: Option<Ix>,
    pub sweep: bool,
    pub done: bool,
    /// The piece under way.
    pub piece: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    Tx,
    Reach,
    Piece,
    Moved,
    Look,
    Announce,
    Sweep,
    Send,
    Record,
    Finish,
    CleanSweep,
    CleanGone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Progress {
    pub done: u8,
    pub before: Option<Ix>,
}

/// A process: all of it is lost when it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    pub fold: Option<Fold>,
    pub stop: bool,
    pub pc: Pc,
    pub session: bool,
    pub seen: Option<Db>,
    pub progress: [Option<Progress>; STEPS],
    pub queue: [Option<u8>; STEPS],
    /// Steps whose COMMIT was answered and is not known to be on the disk.
    pub landed: [Option<u8>; STEPS],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Runner {
    /// The journal on disk.
    pub disk: Option<Fold>,
    /// The highest epoch it ever held.
    pub floor: u8,
    /// Steps it says are in effect.
    pub known: u8,
    /// Whether what the mirror holds of the run is a beginning of this journal.
    pub synced: bool,
    pub runs: u8,
    pub exit: Exit,
    pub process: Option<Process>,
}

/// Faults that may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Budget {
    pub crash: u8,
    pub cut: u8,
    pub server: u8,
    /// A statement is refused.
    pub fail: u8,
    /// The database cannot be reached for longer than the runner tries.
    pub away: u8,
    /// A signal.
    pub stop: u8,
    /// A person asks for `rollback --run`.
    pub rollback: u8,
    /// A journal is lost.
    pub loss: u8,
    pub restore: u8,
    pub failover: u8,
    /// A script lets the runner lock go.
    pub unlock: u8,
}

/// What must never be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bad {
    AppliedTwice,
    SilentlyRunAgain,
    SupersededWrote,
    CommittedNotInEffect,
    RolledBackInEffect,
    NeedlessPerson,
    IllegalEvent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub db: Db,
    /// What a crash of the server would leave of it, where that is less.
    pub on_disk: Option<Db>,
    pub backup: Option<Db>,
    pub replica: Option<Db>,
    pub backends: [Option<Backend>; 4],
    pub runners: [Runner; 2],
    /// Lanes of the first runner: drivers with a session of their own each, whose journal is its process.
    pub lanes: [Option<Process>; LANES],
    /// No further step is begun by a lane.
    pub held: bool,
    pub budget: Budget,
    /// A fault after which a person may have to be asked has happened.
    pub excused: bool,
    /// The server was down, and numbers of transactions it forgot are given out again.
    pub reused: bool,
    pub bad: Option<Bad>,
}

fn started(kind: RunKind) -> &'static RunStarted {
    static BOTH: OnceLock<[RunStarted; 2]> = OnceLock::new();
    let both = BOTH.get_or_init(|| {
        [RunKind::Apply, RunKind::Rollback].map(|kind| RunStarted {
            kind,
            steps: Vec::new(),
            plan_hash: Digest::ZERO,
            database: DatabaseIdentity::default(),
            engine: String::new(),
            actor: String::new(),
            unwind_on_failure: false,
        })
    });
    &both[usize::from(kind == RunKind::Rollback)]
}

fn planned(step: &StepFold) -> PlannedStep {
    static ID: OnceLock<MigrationId> = OnceLock::new();
    PlannedStep {
        id: ID.get_or_init(|| MigrationId::new("1_step").unwrap()).clone(),
        requires: Vec::new(),
        content: Digest::ZERO,
        tokens: Digest::ZERO,
        transactional: step.id == 0,
        reversible: true,
    }
}

const RUN: RunId = RunId::from_bytes([0; 16]);

impl Fold {
    /// The run right after its first event, which the engine folds.
    pub fn begin(run: u8, kind: RunKind, ids: &[u8]) -> Self {
        let mut steps = [StepFold { id: u8::MAX, state: StepState::Pending, done: 0, half_way: 0 }; STEPS];
        for (step, id) in steps.iter_mut().zip(ids) {
            step.id = *id;
        }
        let len = ids.len() as u8;
        let event = RunStarted { steps: steps.iter().take(ids.len()).map(planned).collect(), ..started(kind).clone() };
        let first = Recorded { run: RUN, seq: 1, at: Timestamp(0), event: Event::RunStarted(Box::new(event)) };
        let snapshot = RunSnapshot::begin(RUN, &first).unwrap();
        let mut fold = Self {
            run,
            kind,
            state: RunState::Preflight,
            direction: Direction::Forward,
            rest: None,
            epoch: 0,
            len,
            steps,
        };
        fold.take(&snapshot);
        fold
    }

    /// The snapshot the engine's functions want.
    pub fn snapshot(&self) -> RunSnapshot {
        let steps = &self.steps[..usize::from(self.len)];
        let snapshot = |step: &StepFold| StepSnapshot {
            figures: None,
            state: step.state,
            attempts: 1,
            parts_done: step.done.into(),
            half_way: step.half_way.into(),
            duration_us: None,
            failure: None,
            recovered: None,
            attested: None,
            tried: None,
        };
        RunSnapshot {
            run: RUN,
            started: RunStarted { steps: steps.iter().map(planned).collect(), ..started(self.kind).clone() },
            started_at: Timestamp(0),
            state: self.state,
            direction: self.direction,
            manner: Manner::StepByStep,
            rest: self.rest.map(|(reason, step)| Rest { reason, step, message: String::new() }),
            steps: steps.iter().map(snapshot).collect(),
            epoch: (self.epoch > 0).then(|| Epoch(self.epoch.into())),
            finished_at: None,
            events: 1,
        }
    }

    fn take(&mut self, snapshot: &RunSnapshot) {
        self.state = snapshot.state;
        self.direction = snapshot.direction;
        self.rest = snapshot.rest.as_ref().map(|rest| (rest.reason, rest.step));
        self.epoch = snapshot.epoch.map_or(0, |epoch| u8::try_from(epoch.0).unwrap());
        for (fold, step) in self.steps.iter_mut().zip(&snapshot.steps) {
            fold.state = step.state;
            fold.done = u8::try_from(step.parts_done).unwrap();
            fold.half_way = u8::try_from(step.half_way).unwrap();
        }
    }

    /// Folds events in, by the engine's own transition function.
    pub fn fold(&mut self, events: impl IntoIterator<Item = Event>) -> Result<(), IllegalEvent> {
        let mut snapshot = self.snapshot();
        for event in events {
            let record = Recorded { run: RUN, seq: snapshot.events + 1, at: Timestamp(0), event };
            snapshot.apply(&record)?;
        }
        self.take(&snapshot);
        Ok(())
    }

    pub fn step(&self, index: u8) -> StepFold {
        self.steps[usize::from(index)]
    }

    pub fn unwinding(&self) -> bool {
        self.direction == Direction::Unwinding
    }
}

impl State {
    /// The session of a driver.
    pub fn live(&self, seat: usize) -> Option<usize> {
        self.backends
            .iter()
            .position(|backend| backend.is_some_and(|backend| backend.client && usize::from(backend.seat) == seat))
    }

    /// The driver's part of its process.
    pub fn driver(&self, seat: usize) -> Option<Process> {
        match seat.checked_sub(FIRST_LANE) {
            Some(lane) => self.lanes[lane],
            None => self.runners[seat].process,
        }
    }

    pub fn set_driver(&mut self, seat: usize, process: Option<Process>) {
        match seat.checked_sub(FIRST_LANE) {
            Some(lane) => self.lanes[lane] = process,
            None => self.runners[seat].process = process,
        }
    }

    pub fn blame(&mut self, bad: Bad) {
        self.bad.get_or_insert(bad);
    }
}

/// The runner that a driver belongs to.
pub fn runner_of(seat: usize) -> usize {
    if seat < FIRST_LANE { seat } else { 0 }
}

/// The drivers that a runner may have.
pub fn seats_of(runner: usize) -> impl Iterator<Item = usize> {
    (0..FIRST_LANE + LANES).filter(move |seat| runner_of(*seat) == runner)
}
