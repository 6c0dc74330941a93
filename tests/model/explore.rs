//! The model as the checker sees it: what may happen next, and what must hold.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use migengine_engine::run::state::{Direction, RestReason, RunKind};
use stateright::{Model, Property};

use super::protocol::{Config, Kind, PIECES};
use super::server::refused;
use super::state::{Bad, Db, Exit, Ix, LANES, Msg, Pc, Row, RowState, Runner, STEPS, State, seats_of};

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A runner goes on; outcomes reach its disk at once, or wait in memory.
    Advance {
        seat: usize,
        linger: bool,
    },
    /// A person starts a runner: `apply`, or `apply --resume` when its journal has an unfinished run.
    Start {
        runner: usize,
    },
    /// The server does the next thing a session asked for.
    Serve {
        backend: usize,
    },
    /// The server notices that the client of a session is gone, and ends it.
    Reap {
        backend: usize,
    },
    /// `kill -9` of the runner.
    Crash {
        runner: usize,
    },
    /// The connection breaks; what was sent may have arrived.
    Cut {
        seat: usize,
    },
    ServerCrash,
    /// What was committed reaches the disk by itself.
    Flushed,
    /// The server refuses what a session asked for.
    Refuse {
        backend: usize,
    },
    Away {
        runner: usize,
    },
    Stop {
        runner: usize,
    },
    /// `rollback --run`.
    Rollback {
        runner: usize,
    },
    LoseJournal {
        runner: usize,
    },
    Backup,
    Restore,
    Failover,
    /// The server does it, and the script lets the runner lock go.
    ServeUnlocking {
        backend: usize,
    },
}

/// One exploration.
pub struct Protocol {
    pub config: Config,
    calm: Mutex<HashSet<u64>>,
}

impl Protocol {
    /// An action in words, given the state it meets.
    pub fn describe(state: &State, action: &Action) -> String {
        let (Action::Serve { backend } | Action::Refuse { backend } | Action::ServeUnlocking { backend }) = action
        else {
            return format!("{action:?}");
        };
        let session = state.backends[*backend];
        let msg = format!("{:?}", session.and_then(|session| session.msg));
        let msg = msg.split(", mirror").next().unwrap_or_default().replace("Some(", "");
        format!("{action:?} of runner {:?}: {msg}", session.map(|session| session.runner))
    }

    pub fn new(config: Config) -> Self {
        Self { config, calm: Mutex::new(HashSet::new()) }
    }

    fn initial(&self) -> State {
        let mut db = Db {
            epoch: 0,
            rows: [None; STEPS],
            tx: [0; STEPS],
            ix: [Ix::Absent; STEPS],
            generation: [false; STEPS],
            place: [None; STEPS],
            moved: [[0; PIECES]; STEPS],
            run: None,
        };
        if self.config.run == RunKind::Rollback {
            for (id, kind) in self.config.steps.iter().enumerate() {
                db.rows[id] = Some(Row { state: RowState::Applied, done: 0, before: None });
                db.tx[id] = i8::from(kind.transacts());
                db.ix[id] = if kind.builds() { Ix::Valid(false) } else { Ix::Absent };
                db.moved[id] = [i8::from(*kind == Kind::Chunked); PIECES];
            }
        }
        let runner =
            |runs| Runner { disk: None, floor: 0, known: 0, synced: false, runs, exit: Exit::Never, process: None };
        State {
            db,
            on_disk: None,
            backup: None,
            replica: (self.config.budget.failover > 0).then_some(db),
            backends: [None; 4],
            runners: [runner(self.config.runs), runner(u8::from(self.config.runners > 1))],
            lanes: [None; LANES],
            held: false,
            budget: self.config.budget,
            excused: false,
            reused: false,
            bad: None,
        }
    }

    /// What happens without a fault.
    fn calm_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (backend, session) in state.backends.iter().enumerate() {
            let Some(session) = session else { continue };
            if session.msg.is_some() && session.reply.is_none() {
                actions.push(Action::Serve { backend });
            }
            if !session.client {
                actions.push(Action::Reap { backend });
            }
        }
        for runner in 0..usize::from(self.config.runners) {
            for seat in seats_of(runner).filter(|seat| state.can_advance(*seat)) {
                actions.push(Action::Advance { seat, linger: false });
                let at = state.live(seat).and_then(|at| state.backends[at]);
                if at.is_some_and(|backend| matches!(backend.msg, Some(Msg::Do { .. }))) {
                    actions.push(Action::Advance { seat, linger: true });
                }
            }
            if self.startable(state, runner) {
                actions.push(Action::Start { runner });
            }
        }
    }

    /// Whether starting a runner again can change anything.
    fn startable(&self, state: &State, runner: usize) -> bool {
        let it = &state.runners[runner];
        let person = matches!(it.exit, Exit::Rest(RestReason::Diverged | RestReason::Stuck) | Exit::Refused);
        it.process.is_none() && !person && it.exit != Exit::Nothing && (it.exit != Exit::Final || it.runs > 0)
    }

    fn faults(&self, state: &State, actions: &mut Vec<Action>) {
        let budget = &state.budget;
        for runner in 0..usize::from(self.config.runners) {
            let it = &state.runners[runner];
            let fold = it.process.and_then(|process| process.fold);
            if it.process.is_some() {
                push(actions, budget.crash, Action::Crash { runner });
                let waits = |seat: &usize| {
                    state.live(*seat).and_then(|at| state.backends[at]).is_some_and(|backend| backend.msg.is_some())
                };
                seats_of(runner).filter(waits).for_each(|seat| push(actions, budget.cut, Action::Cut { seat }));
                let running = it.process.is_some_and(|process| !process.stop) && fold.is_some();
                push(actions, if running { budget.stop } else { 0 }, Action::Stop { runner });
                let alone = state.live(runner).is_none()
                    && !it.process.is_some_and(|process| matches!(process.pc, Pc::Attend { .. }))
                    && fold.is_some_and(|fold| fold.rest.is_none());
                push(actions, if alone { budget.away } else { 0 }, Action::Away { runner });
            } else {
                let open = it.disk.filter(|fold| !fold.state.is_final());
                let turns = open.is_some_and(|fold| fold.direction == Direction::Forward);
                let person = !self.startable(state, runner);
                push(actions, if turns && !person { budget.rollback } else { 0 }, Action::Rollback { runner });
                push(actions, if it.disk.is_some() { budget.loss } else { 0 }, Action::LoseJournal { runner });
            }
        }
        for (backend, session) in state.backends.iter().enumerate() {
            let Some(session) = session.filter(|session| session.reply.is_none()) else { continue };
            let Some(msg) = session.msg else { continue };
            if fails(&msg) {
                push(actions, budget.fail, Action::Refuse { backend });
            }
            if session.lock && matches!(msg, Msg::Do { .. } | Msg::PartTx { .. }) {
                push(actions, budget.unlock, Action::ServeUnlocking { backend });
            }
        }
        push(actions, budget.server, Action::ServerCrash);
        push(actions, if state.on_disk.is_some() { budget.server } else { 0 }, Action::Flushed);
        push(actions, if state.backup.is_none() { budget.restore } else { 0 }, Action::Backup);
        push(actions, if state.backup.is_some() { budget.restore } else { 0 }, Action::Restore);
        push(actions, budget.failover, Action::Failover);
    }

    fn perform(&self, state: &mut State, action: Action) {
        let config = &self.config;
        match action {
            Action::Advance { seat, linger } => state.advance(config, seat, linger),
            Action::Start { runner } => state.start(config, runner, false),
            Action::Serve { backend } => state.exec(config, backend),
            Action::Reap { backend } => state.backends[backend] = None,
            Action::Crash { runner } => {
                state.budget.crash -= 1;
                for seat in seats_of(runner) {
                    if let Some(at) = state.live(seat) {
                        let idle = state.backends[at].is_some_and(|backend| backend.msg.is_none());
                        state.backends[at] = state.backends[at].filter(|_| !idle);
                        state.backends[at].iter_mut().for_each(|backend| backend.client = false);
                    }
                    state.set_driver(seat, None);
                }
                state.runners[runner].exit = Exit::Killed;
            }
            Action::Cut { seat } => {
                state.budget.cut -= 1;
                state.cut(config, seat);
            }
            Action::ServerCrash => {
                state.budget.server -= 1;
                self.without_server(state, None);
            }
            Action::Flushed => state.on_disk = None,
            Action::Refuse { backend } => {
                state.budget.fail -= 1;
                self.refuse(state, backend);
            }
            Action::Away { runner } => {
                state.budget.away -= 1;
                state.away(config, runner);
            }
            Action::Stop { runner } => {
                state.budget.stop -= 1;
                state.runners[runner].process.iter_mut().for_each(|process| process.stop = true);
            }
            Action::Rollback { runner } => {
                state.budget.rollback -= 1;
                state.start(config, runner, true);
            }
            Action::LoseJournal { runner } => {
                state.budget.loss -= 1;
                let it = &mut state.runners[runner];
                (it.disk, it.floor, it.known, it.synced, it.exit) = (None, 0, 0, false, Exit::Never);
            }
            Action::Backup => state.backup = Some(state.db),
            Action::Restore => {
                state.budget.restore -= 1;
                let backup = state.backup.take();
                self.without_server(state, backup);
            }
            Action::Failover => {
                state.budget.failover -= 1;
                self.without_server(state, state.replica);
            }
            Action::ServeUnlocking { backend } => {
                state.budget.unlock -= 1;
                state.backends[backend].iter_mut().for_each(|session| session.lock = false);
                state.exec(config, backend);
            }
        }
    }

    /// All sessions end, and possibly another state of the database comes up.
    fn without_server(&self, state: &mut State, db: Option<Db>) {
        // The lanes' loss first: the desk hears of it from them.
        let msgs = [2, 3, 0, 1].map(|seat| (seat, state.live(seat).and_then(|at| state.backends[at]).map(|b| b.msg)));
        match db {
            Some(db) => state.went_back(db),
            None => state.server_crash(),
        }
        for (seat, msg) in msgs {
            if let Some(msg) = msg {
                state.lost(&self.config, seat, msg);
            }
        }
    }

    fn refuse(&self, state: &mut State, backend: usize) {
        let Some(session) = &mut state.backends[backend] else { return };
        let step = match session.msg {
            Some(Msg::Do { step, undo, .. } | Msg::PartTx { step, undo, .. } | Msg::Piece { step, undo, .. }) => {
                state.excused |= undo;
                step
            }
            Some(Msg::Build { step }) => step,
            Some(Msg::Drop { step }) => {
                state.excused = true;
                step
            }
            _ => return,
        };
        session.phase = 0;
        session.reply = Some(refused(&state.db, usize::from(step)));
    }

    /// Without further faults, the runs come to an end or to a rest. Every state of the walk is remembered, so that
    /// each is left only once.
    fn settles(&self, state: &State) -> bool {
        let mut state = *state;
        let mut path = vec![];
        for _ in 0..400 {
            let print = print_of(&state);
            if state.bad.is_some() || self.calm.lock().unwrap().contains(&print) {
                return self.calm.lock().map(|mut calm| calm.extend(path)).is_ok();
            }
            path.push(print);
            let mut actions = Vec::new();
            self.calm_actions(&state, &mut actions);
            let first = |pick: fn(&Action) -> bool| actions.iter().copied().find(pick);
            let next = first(|action| matches!(action, Action::Serve { .. }))
                .or_else(|| first(|action| matches!(action, Action::Reap { .. })))
                .or_else(|| first(|action| matches!(action, Action::Advance { .. })))
                .or_else(|| first(|action| matches!(action, Action::Start { .. })));
            let Some(next) = next else {
                return self.calm.lock().map(|mut calm| calm.extend(path)).is_ok();
            };
            self.perform(&mut state, next);
        }
        false
    }
}

/// Whether the statement of a script is in it, which the server may refuse.
fn fails(msg: &Msg) -> bool {
    matches!(msg, Msg::Do { .. } | Msg::PartTx { .. } | Msg::Piece { .. } | Msg::Build { .. } | Msg::Drop { .. })
}

fn print_of(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

fn push(actions: &mut Vec<Action>, budget: u8, action: Action) {
    if budget > 0 {
        actions.push(action);
    }
}

macro_rules! never {
    ($bad:ident) => {
        Property::always(stringify!($bad), |_: &Protocol, state: &State| state.bad != Some(Bad::$bad))
    };
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.initial()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.bad.is_none() {
            self.calm_actions(state, actions);
            self.faults(state, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        self.perform(&mut next, action);
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            never!(AppliedTwice),
            never!(SilentlyRunAgain),
            never!(SupersededWrote),
            never!(CommittedNotInEffect),
            never!(RolledBackInEffect),
            never!(NeedlessPerson),
            never!(IllegalEvent),
            Property::always("Settles", |model: &Protocol, state: &State| model.settles(state)),
            Property::sometimes("Final", |_, state: &State| {
                state.runners.iter().any(|runner| runner.exit == Exit::Final)
            }),
        ]
    }
}
