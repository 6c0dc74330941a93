//! The runner: the loop of the engine's shell, cut into acts between two points at which it may die. Deciding, folding,
//! recovering and judging are the engine's own functions.

use migengine_engine::id::{Digest, Epoch, Timestamp};
use migengine_engine::run::decide::{Next, next};
use migengine_engine::run::event::Event;
use migengine_engine::run::failure::Failure;
use migengine_engine::run::recovery::{Standing, standing};
use migengine_engine::run::state::{Rest, RestReason, RunKind, RunState, StepState};

use super::protocol::{Config, Kind, PIECES, Weak};
use super::state::{
    Backend, Bad, Db, Exit, Fold, Msg, Pc, Process, Progress, Reply, RowState, STEPS, State, runner_of,
};

/// One act of one runner, with everything it can see: its process, its journal and its session.
pub struct Act<'s> {
    pub state: &'s mut State,
    pub config: &'s Config,
    pub me: usize,
    pub seat: usize,
    pub process: Process,
}

/// The process ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended(pub Exit);

type Step = Result<(), Ended>;

impl State {
    /// Whether a driver can go on: it waits for nothing, or the answer is there.
    pub fn can_advance(&self, seat: usize) -> bool {
        let Some(driver) = self.driver(seat) else { return false };
        match self.live(seat).and_then(|at| self.backends[at]).filter(|backend| backend.msg.is_some()) {
            Some(waiting) => waiting.reply.is_some(),
            None => match driver.pc {
                Pc::Idle => false,
                Pc::Attend { due } => self.desk_has_work(&driver, due),
                _ => true,
            },
        }
    }

    /// Lets a driver go on to its next message or its next record on disk.
    pub fn advance(&mut self, config: &Config, seat: usize, linger: bool) {
        self.act(config, seat, |act| {
            let at = act.state.live(seat);
            let answered = at.and_then(|at| act.state.backends[at].as_mut()).and_then(|backend| {
                let reply = backend.reply.take()?;
                backend.msg.take().map(|msg| (msg, reply))
            });
            match answered {
                Some((msg, reply)) => act.answered(msg, reply, linger),
                None => act.loop_top(),
            }
        });
    }

    /// The line breaks; what the server has received may still be done.
    pub fn cut(&mut self, config: &Config, seat: usize) {
        let Some(at) = self.live(seat) else { return };
        let msg = self.backends[at].and_then(|backend| backend.msg);
        if let Some(backend) = &mut self.backends[at] {
            backend.client = false;
        }
        self.lost(config, seat, msg);
    }

    /// A driver finds its session gone.
    pub fn lost(&mut self, config: &Config, seat: usize, msg: Option<Msg>) {
        self.act(config, seat, |act| act.lost(msg));
    }

    /// A new process with what the journal holds, or without a run.
    pub fn start(&mut self, config: &Config, me: usize, turn: bool) {
        let disk = self.runners[me].disk.filter(|fold| !fold.state.is_final());
        self.runners[me].exit = Exit::Never;
        self.runners[me].process = Some(Process {
            fold: disk,
            stop: false,
            pc: if disk.is_some() { Pc::Loop } else { Pc::Open },
            session: false,
            seen: None,
            progress: [None; STEPS],
            queue: [None; STEPS],
            landed: [None; STEPS],
        });
        self.act(config, me, |act| {
            if disk.is_some_and(|fold| fold.rest.is_some()) {
                act.note(Event::Resumed { actor: String::new() })?;
            }
            if turn {
                act.note(Event::UnwindStarted { reason: String::new() })?;
            }
            act.flush();
            Ok(())
        });
    }

    /// The database cannot be reached for longer than the runner tries.
    pub fn away(&mut self, config: &Config, me: usize) {
        self.act(config, me, |act| act.give_up());
    }

    pub fn act(&mut self, config: &Config, seat: usize, what: impl FnOnce(&mut Act<'_>) -> Step) {
        let Some(process) = self.driver(seat) else { return };
        let me = runner_of(seat);
        let mut act = Act { state: self, config, me, seat, process };
        let ended = what(&mut act);
        let process = act.process;
        self.set_driver(seat, Some(process));
        if let Err(Ended(exit)) = ended {
            self.hang_up(seat);
            self.set_driver(seat, None);
            self.runners[me].exit = exit;
            let person = match exit {
                Exit::Rest(reason) => matches!(reason, RestReason::Diverged | RestReason::Stuck),
                exit => exit == Exit::Refused,
            };
            if person && !self.excused {
                self.blame(Bad::NeedlessPerson);
            }
        }
    }

    /// A session is closed while nothing is under way: the server sees it at once.
    pub fn hang_up(&mut self, seat: usize) {
        if let Some(at) = self.live(seat) {
            self.backends[at] = None;
        }
    }
}

impl Act<'_> {
    pub fn fold(&self) -> Fold {
        self.process.fold.unwrap()
    }

    pub fn kind(&self, index: u8) -> Kind {
        self.config.steps[usize::from(self.fold().step(index).id)]
    }

    pub fn note(&mut self, event: Event) -> Step {
        if self.is_lane() {
            self.report(&event);
        }
        let fold = self.process.fold.as_mut().unwrap();
        let held = *fold;
        if fold.fold([event]).is_err() {
            self.state.blame(Bad::IllegalEvent);
        }
        if self.config.fixed && fold.rest.is_some() {
            // An intent to reverse is as doubtful at a rest as it was before it.
            for (step, held) in fold.steps.iter_mut().zip(&held.steps) {
                if held.state == StepState::UndoIntent {
                    step.state = held.state;
                }
            }
        }
        Ok(())
    }

    pub fn flush(&mut self) {
        let journal = if self.is_lane() { self.desk() } else { Some(self.process) };
        let Some(fold) = journal.and_then(|journal| journal.fold) else { return };
        let runner = &mut self.state.runners[self.me];
        runner.disk = Some(fold);
        runner.floor = runner.floor.max(fold.epoch);
        for step in &fold.steps[..usize::from(fold.len)] {
            match step.state {
                StepState::Applied => runner.known |= 1 << step.id,
                StepState::Undone => runner.known &= !(1 << step.id),
                _ => {}
            }
        }
    }

    pub fn record(&mut self, event: Event) -> Step {
        self.note(event)?;
        self.flush();
        Ok(())
    }

    pub fn rest(&mut self, reason: RestReason, step: Option<u32>) -> Step {
        self.record(Event::Rested(Rest { reason, step, message: String::new() }))
    }

    pub fn send(&mut self, msg: Msg) -> Step {
        if self.is_lane() && self.state.live(self.seat).is_none() {
            return self.lost(Some(msg));
        }
        let at = self.state.live(self.seat).or_else(|| {
            let free = self.state.backends.iter().position(Option::is_none)?;
            self.state.backends[free] = Some(Backend::new(self.seat));
            Some(free)
        });
        // More sessions than the model has room for: the runner waits for one to go.
        let Some(at) = at else { return Err(Ended(Exit::Busy)) };
        let backend = self.state.backends[at].as_mut().unwrap();
        backend.msg = Some(msg);
        Ok(())
    }

    /// Without a session the server learns of it at once.
    pub fn drop_session(&mut self) {
        self.process.session = false;
        self.state.hang_up(self.seat);
    }

    fn loop_top(&mut self) -> Step {
        match self.process.pc {
            Pc::Open => self.acquire(),
            Pc::Closing => self.end(),
            Pc::Pipe if !self.process.session && !self.is_lane() => {
                self.idle();
                Ok(())
            }
            Pc::Pipe => self.pipe(),
            Pc::Attend { due } => self.attend(due),
            Pc::Given => self.take_up(),
            Pc::Parts(_) | Pc::Loop | Pc::Idle | Pc::Mirroring | Pc::Settling => self.decide(),
        }
    }

    fn decide(&mut self) -> Step {
        let fold = self.fold();
        if fold.state.is_final() || fold.rest.is_some() {
            return self.close();
        }
        if self.process.stop {
            return self.rest(RestReason::Interrupted, None);
        }
        if !self.process.session {
            return self.acquire();
        }
        match next(&fold.snapshot()) {
            Next::Lock | Next::InDoubt(_) => {
                self.drop_session();
                Ok(())
            }
            Next::Reconcile => self.reconcile(),
            Next::Apply(steps) if self.config.lanes && steps.len() > 1 && self.me == 0 => self.side_by_side(),
            Next::Apply(steps) | Next::Undo(steps) => self.write_intents(&steps),
            Next::Failed(step) if self.config.unwind_on_failure => {
                if self.config.fixed && self.config.weak != Some(Weak::StaleProgress) {
                    self.process.progress = [None; STEPS];
                }
                self.record(Event::UnwindStarted { reason: step.to_string() })
            }
            Next::Failed(step) => self.rest(RestReason::Failed, Some(step)),
            Next::Stuck(step) => self.rest(RestReason::Stuck, Some(step)),
            Next::StepsDone => self.record(Event::StepsDone),
            Next::Verify => self.send(Msg::Verify),
            Next::Done => self.close(),
        }
    }

    fn acquire(&mut self) -> Step {
        self.send(if self.config.weak == Some(Weak::ReadBeforeLock) { Msg::Read } else { Msg::LockRead })
    }

    fn close(&mut self) -> Step {
        self.flush();
        self.process.pc = Pc::Closing;
        if self.process.session && self.fold().state != RunState::Preflight {
            return self.send(Msg::Publish { mirror: self.fold() });
        }
        self.end()
    }

    fn end(&mut self) -> Step {
        let fold = self.fold();
        Err(Ended(fold.rest.map_or(Exit::Final, |(reason, _)| Exit::Rest(reason))))
    }

    fn give_up(&mut self) -> Step {
        let fold = self.fold();
        if fold.epoch == 0 {
            if fold.state == RunState::Preflight {
                self.record(Event::RunRolledBack)?;
            }
            return Err(Ended(Exit::Killed));
        }
        let snapshot = fold.snapshot();
        let doubtful = [StepState::InDoubt, StepState::Intent, StepState::UndoIntent];
        let step = doubtful.into_iter().find_map(|state| snapshot.steps_in(state).next());
        self.rest(if step.is_some() { RestReason::InDoubt } else { RestReason::Interrupted }, step)
    }

    pub fn write_intents(&mut self, steps: &[u32]) -> Step {
        let (content, tokens) = (Digest::ZERO, Digest::ZERO);
        let undo = self.fold().unwinding();
        self.process.queue = [None; STEPS];
        for (place, &step) in steps.iter().enumerate() {
            self.process.queue[place] = u8::try_from(step).ok();
            self.note(if undo {
                Event::UndoIntent { step, attempt: 1, content, tokens }
            } else {
                Event::StepIntent { step, attempt: 1, content, tokens }
            })?;
        }
        if self.config.weak != Some(Weak::CommitBeforeIntent) {
            self.flush();
        }
        self.process.pc = Pc::Pipe;
        Ok(())
    }

    /// What the mirror may carry: what is on disk. Lanes have no records.
    pub fn on_disk(&self) -> Option<Fold> {
        (!self.is_lane()).then(|| self.state.runners[self.me].disk.unwrap_or(self.fold()))
    }

    /// The next step of the queue.
    pub fn pipe(&mut self) -> Step {
        let Some(index) = self.process.queue[0].filter(|_| !self.stopping() && !self.held()) else {
            if self.process.landed[0].is_some() {
                return self.send(Msg::Settle);
            }
            self.withdraw()?;
            self.idle();
            self.flush();
            return Ok(());
        };
        let undo = self.fold().unwinding();
        match self.kind(index) {
            Kind::Tx | Kind::New => {
                let later = !undo && self.process.queue[1].is_some_and(|next| self.kind(next) == Kind::New);
                self.send(Msg::Do { step: self.fold().step(index).id, undo, mirror: self.on_disk(), later })
            }
            _ => self.by_parts(index),
        }
    }

    fn answered(&mut self, msg: Msg, reply: Reply, linger: bool) -> Step {
        match (msg, reply) {
            (Msg::Read, Reply::Read { db }) => {
                self.process.seen = Some(db);
                self.send(Msg::LockRead)
            }
            (Msg::LockRead, Reply::Busy) => self.busy(),
            (Msg::LockRead, Reply::Read { db }) => {
                let early = self.process.seen.filter(|_| self.config.weak == Some(Weak::ReadBeforeLock));
                self.locked(early.unwrap_or(db))
            }
            (Msg::Raise { .. }, Reply::Epoch { db }) => self.raised(&db),
            (Msg::Do { later: true, .. }, Reply::Ok) if self.config.weak != Some(Weak::NotedBeforeDurable) => {
                self.step_landed()
            }
            (Msg::Do { .. }, Reply::Ok) => {
                self.note_landed()?;
                self.step_done(linger)
            }
            (Msg::Do { .. }, _) if self.process.landed[0].is_some() => {
                self.process.pc = Pc::Settling;
                self.send(Msg::Settle)
            }
            (Msg::Do { .. }, _) => self.faulted(),
            (Msg::Settle, Reply::Ok) => {
                self.note_landed()?;
                if self.process.pc == Pc::Settling { self.faulted() } else { self.pipe() }
            }
            (Msg::Settle, _) => {
                self.drop_session();
                self.lost(Some(msg))
            }
            (Msg::Verify, Reply::Read { db }) => self.verified(&db),
            (Msg::Publish { .. }, _) => self.end(),
            (Msg::Mirror { .. }, reply) => self.mirrored(reply),
            (_, reply) => self.part_answered(reply),
        }
    }

    fn busy(&mut self) -> Step {
        if self.process.fold.is_some_and(|fold| fold.state == RunState::Preflight) {
            self.record(Event::RunRolledBack)?;
        }
        Err(Ended(Exit::Busy))
    }

    /// The lock is held and the database was read.
    fn locked(&mut self, db: Db) -> Step {
        self.process.seen = Some(db);
        if self.process.pc == Pc::Open {
            return self.plan(&db);
        }
        let mine = self.state.runners[self.me].floor.max(self.fold().epoch);
        match standing(true, (mine > 0).then_some(Epoch(mine.into())), Epoch(db.epoch.into())) {
            Standing::Current => {}
            Standing::Behind => self.catch_up(&db)?,
            Standing::DatabaseWentBack | Standing::OtherDatabase => return Err(Ended(Exit::Refused)),
        }
        self.send(Msg::Raise { run: self.fold().run })
    }

    /// Another runner went on with this very run: its records are in the mirror, and it read the witness.
    fn catch_up(&mut self, db: &Db) -> Step {
        let newer = db.run.filter(|row| row.run == self.fold().run && !self.state.runners[self.me].synced);
        if let Some(mirror) = newer.and_then(|row| row.mirror) {
            self.process.fold = Some(mirror);
            self.state.runners[self.me].synced = true;
            self.flush();
            if mirror.state.is_final() {
                return self.end();
            }
            if mirror.rest.is_some() {
                self.record(Event::Resumed { actor: String::new() })?;
            }
        }
        Ok(())
    }

    /// A new run, or one that another journal began.
    fn plan(&mut self, db: &Db) -> Step {
        let runner = &mut self.state.runners[self.me];
        if runner.floor > db.epoch {
            return Err(Ended(Exit::Refused));
        }
        self.process.pc = Pc::Loop;
        let lacks = |id: usize| runner.known & (1 << id) != 0 && db.rows[id].is_none();
        if self.config.fixed && runner.floor > 0 && runner.floor == db.epoch && (0..STEPS).any(lacks) {
            // Nobody else held the lock since, and what this journal saw take effect is gone.
            return Err(Ended(Exit::Refused));
        }
        // A run that ended here is only not marked so in the database.
        let ended = runner.disk.filter(|fold| fold.state.is_final()).map(|fold| fold.run);
        let orphaned = db.run.filter(|row| !row.over && Some(row.run) != ended).and_then(|row| row.mirror);
        if let Some(mirror) = orphaned {
            self.process.fold = Some(mirror);
            runner.synced = true;
            self.flush();
            if mirror.rest.is_some() {
                self.record(Event::Resumed { actor: String::new() })?;
            }
            return Ok(());
        }
        let applied = |id: usize| db.rows[id].is_some_and(|row| row.state == RowState::Applied);
        let wanted = self.config.run == RunKind::Apply;
        let ids: Vec<u8> =
            (0..self.config.steps.len()).filter(|id| applied(*id) != wanted).map(|id| id as u8).collect();
        if ids.is_empty() || runner.runs == 0 {
            return Err(Ended(Exit::Nothing));
        }
        runner.runs -= 1;
        let run = u8::try_from(self.me).unwrap() * 8 + runner.runs;
        self.process.fold = Some(Fold::begin(run, self.config.run, &ids));
        self.flush();
        Ok(())
    }

    fn raised(&mut self, db: &Db) -> Step {
        if self.config.fixed && self.config.weak != Some(Weak::ReadBeforeLock) {
            self.process.seen = Some(*db);
        } else if let Some(seen) = &mut self.process.seen {
            // The catalogs are asked later, when the table wants it.
            seen.ix = db.ix;
        }
        self.process.session = true;
        let (epoch, backend_start) = (Epoch(db.epoch.into()), Timestamp(0));
        self.record(Event::Locked { epoch, pid: 1, backend_start })
    }

    /// A step is through in the run's direction. Outcomes may wait in memory.
    pub fn step_done(&mut self, linger: bool) -> Step {
        let step = self.process.queue[0].unwrap_or_default().into();
        self.note(if self.fold().unwinding() {
            Event::StepUndone { step, duration_us: 0, adopted: None }
        } else {
            Event::StepApplied { step, duration_us: 0, adopted: None }
        })?;
        if !linger {
            self.flush();
        }
        self.process.queue.rotate_left(1);
        self.process.queue[STEPS - 1] = None;
        self.process.pc = Pc::Pipe;
        self.pipe()
    }

    /// A step's COMMIT was answered before it was on the disk: nothing is said of it yet.
    fn step_landed(&mut self) -> Step {
        let place = self.process.landed.iter_mut().find(|place| place.is_none());
        if let Some(place) = place {
            *place = self.process.queue[0];
        }
        self.process.queue.rotate_left(1);
        self.process.queue[STEPS - 1] = None;
        self.process.pc = Pc::Pipe;
        self.pipe()
    }

    /// Those are on the disk.
    fn note_landed(&mut self) -> Step {
        for step in std::mem::take(&mut self.process.landed).into_iter().flatten() {
            self.note(Event::StepApplied { step: step.into(), duration_us: 0, adopted: None })?;
        }
        Ok(())
    }

    /// The server refused; it certainly did nothing of what was asked.
    pub fn faulted(&mut self) -> Step {
        let failed = u32::from(self.process.queue[0].unwrap_or_default());
        self.idle();
        let failure = Box::new(Failure::default());
        let undo = self.fold().unwinding();
        self.note(if undo {
            Event::UndoFailed { step: failed, failure }
        } else {
            Event::StepFailed { step: failed, failure }
        })?;
        let waiting = if undo { StepState::UndoIntent } else { StepState::Intent };
        let behind: Vec<u32> = self.fold().snapshot().steps_in(waiting).filter(|step| *step != failed).collect();
        for step in behind {
            self.note(Event::StepCleared { step, label: 'E' })?;
        }
        self.flush();
        Ok(())
    }

    pub fn lost(&mut self, msg: Option<Msg>) -> Step {
        self.process.session = false;
        match msg {
            None => Ok(()),
            Some(Msg::Verify) => Ok(()),
            Some(Msg::Publish { .. }) => self.end(),
            Some(Msg::Mirror { .. }) => {
                self.unmirrored();
                Ok(())
            }
            Some(Msg::Read | Msg::LockRead | Msg::Raise { .. }) => {
                if self.process.pc == Pc::Open {
                    return Err(Ended(Exit::Killed));
                }
                Ok(())
            }
            Some(_) if self.cleaning() => self.faulted(),
            Some(_) => {
                let landed = self.process.landed.iter().flatten().last().filter(|_| msg == Some(Msg::Settle));
                let step = landed.copied().or(self.process.queue[0]).unwrap_or_default().into();
                self.idle();
                self.record(Event::StepInDoubt { step, message: String::new() })
            }
        }
    }

    fn verified(&mut self, db: &Db) -> Step {
        let fold = self.fold();
        // Without a history there is nothing to hold the run against.
        let blind = matches!(self.config.weak, Some(Weak::JournalOnly | Weak::XidStatus));
        for (index, step) in fold.steps[..usize::from(fold.len)].iter().enumerate().filter(|_| !blind) {
            let row = db.rows[usize::from(step.id)];
            let applied = row.is_some_and(|row| row.state == RowState::Applied);
            if applied != (step.state == StepState::Applied) {
                return self.rest(RestReason::Diverged, u32::try_from(index).ok());
            }
        }
        self.record(if fold.unwinding() { Event::RunRolledBack } else { Event::RunCommitted })?;
        self.judge_the_end(db);
        Ok(())
    }

    /// What the run says of itself, held against the database.
    fn judge_the_end(&mut self, db: &Db) {
        let fold = self.fold();
        for step in &fold.steps[..usize::from(fold.len)] {
            let id = usize::from(step.id);
            let kind = self.config.steps[id];
            let pieces = i8::from(kind == Kind::Chunked);
            let there = (db.tx[id] == 1 || !kind.transacts())
                && (matches!(db.ix[id], super::state::Ix::Valid(_)) || !kind.builds())
                && db.moved[id] == [pieces; PIECES];
            let gone = db.tx[id] == 0
                && db.ix[id] == super::state::Ix::Absent
                && db.moved[id] == [0; PIECES]
                && db.rows[id].is_none();
            if !fold.unwinding() && !there {
                self.state.blame(Bad::CommittedNotInEffect);
            }
            if fold.unwinding() && !gone {
                self.state.blame(Bad::RolledBackInEffect);
            }
        }
    }

    pub fn remember(&mut self, index: u8, progress: Progress) {
        self.process.progress[usize::from(index)] = Some(progress);
    }
}
