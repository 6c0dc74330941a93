//! The server: messages one by one, each all or nothing, except concurrent builds and drops, which have two phases.

use super::protocol::{Config, Weak};
use super::state::{Backend, Bad, Db, Fold, Ix, Mark, Msg, Reply, Row, RowState, RunRow, State};

/// Whether a message changes what a superseded runner must not change.
fn writes(msg: &Msg) -> bool {
    !matches!(msg, Msg::Read | Msg::LockRead | Msg::Raise { .. } | Msg::Look { .. } | Msg::Place { .. } | Msg::Verify)
}

impl State {
    /// Executes one phase of what a backend has received.
    pub fn exec(&mut self, config: &Config, at: usize) {
        let Some(mut backend) = self.backends[at] else { return };
        let Some(msg) = backend.msg.filter(|_| backend.reply.is_none()) else { return };
        let before = self.db;
        backend.reply = self.perform(config, at, &mut backend, msg);
        self.backends[at] = Some(backend);
        if self.db != before {
            // The WAL is written in order: what waits for the disk takes with it what did not.
            let later = matches!(msg, Msg::Do { later: true, .. });
            self.on_disk = later.then(|| self.on_disk.unwrap_or(before));
        }
        if writes(&msg) && self.db != before {
            if backend.epoch < self.db.epoch {
                self.blame(Bad::SupersededWrote);
            }
            self.replica = self.replica.map(|_| before);
        }
        if self.db.tx.iter().chain(self.db.moved.iter().flatten()).any(|count| !(0..=1).contains(count)) {
            self.blame(Bad::AppliedTwice);
        }
        let known = self.runners[usize::from(backend.runner)].known;
        if forward(&msg).is_some_and(|step| known & (1 << step) != 0) && self.db != before {
            self.blame(Bad::SilentlyRunAgain);
        }
    }

    fn perform(&mut self, config: &Config, at: usize, backend: &mut Backend, msg: Msg) -> Option<Reply> {
        let blind = match config.weak {
            Some(Weak::NoFence) => true,
            Some(Weak::NoShare) => backend.share,
            _ => false,
        };
        let fenced = !blind && backend.epoch != self.db.epoch;
        match msg {
            Msg::Read | Msg::Verify => Some(Reply::Read { db: self.db }),
            Msg::LockRead => {
                let others = self.backends.iter().enumerate().filter(|(index, _)| *index != at);
                let shares = config.weak != Some(Weak::NoShare);
                let taken = others.filter_map(|(_, other)| *other).any(|other| other.lock || (shares && other.share));
                if taken && config.weak != Some(Weak::NoLock) {
                    return Some(Reply::Busy);
                }
                backend.lock = true;
                Some(Reply::Read { db: self.db })
            }
            Msg::Raise { run } => {
                self.db.epoch += 1;
                backend.epoch = self.db.epoch;
                match &mut self.db.run {
                    Some(row) if row.run == run => row.over = false,
                    row => {
                        *row = Some(RunRow { run, over: false, mirror: None });
                        self.runners.iter_mut().for_each(|runner| runner.synced = false);
                        self.runners[usize::from(backend.runner)].synced = true;
                    }
                }
                self.replica = self.replica.map(|_| self.db);
                Some(Reply::Epoch { db: self.db })
            }
            Msg::Look { step } => {
                Some(Reply::Looked { held: backend.lock || backend.share, ix: self.db.ix[usize::from(step)] })
            }
            Msg::Place { step } => {
                Some(Reply::Reached { place: self.db.place[usize::from(step)].map_or(0, |(_, place)| place) })
            }
            Msg::Build { step } => self.build(config, backend, usize::from(step)),
            Msg::Drop { step } => self.drop(backend, usize::from(step)),
            Msg::Publish { mirror } => {
                if !(config.fixed && fenced) {
                    self.mirror(backend.runner, &mirror);
                    if let Some(row) = self.db.run.as_mut().filter(|row| row.run == mirror.run) {
                        row.over = mirror.state.is_final();
                    }
                }
                Some(Reply::Ok)
            }
            _ if fenced => Some(refused(&self.db, 0)),
            Msg::Settle => {
                self.on_disk = None;
                Some(Reply::Ok)
            }
            Msg::Mirror { mirror } => {
                self.mirror(backend.runner, &mirror);
                Some(Reply::Ok)
            }
            Msg::Do { step, undo, mirror, .. } => {
                let step = usize::from(step);
                let mark = if undo { Mark::Gone } else { Mark::Applied };
                if self.mark(config, step, mark) == 0 && config.weak != Some(Weak::JournalOnly) {
                    return Some(refused(&self.db, step));
                }
                self.db.tx[step] += if undo { -1 } else { 1 };
                self.carried(backend.runner, mirror);
                Some(Reply::Ok)
            }
            Msg::PartTx { step, undo, done, mirror } => {
                let step = usize::from(step);
                self.mark(config, step, Mark::Parts { undo, done, before: None });
                self.db.tx[step] += if undo { -1 } else { 1 };
                self.carried(backend.runner, mirror);
                Some(Reply::Ok)
            }
            Msg::Opening { step, undo, done, mirror } => {
                self.mark(config, usize::from(step), Mark::Parts { undo, done, before: None });
                self.db.place[usize::from(step)] = Some((undo, 0));
                self.carried(backend.runner, mirror);
                Some(Reply::Ok)
            }
            Msg::Piece { step, undo, from } => Some(self.piece(config, usize::from(step), undo, from)),
            Msg::Move { step, undo, to } => {
                self.db.place[usize::from(step)] = Some((undo, to));
                Some(Reply::Ok)
            }
            Msg::Mark { step, mark, mirror } => {
                self.mark(config, usize::from(step), mark);
                self.carried(backend.runner, mirror);
                Some(Reply::Ok)
            }
        }
    }

    /// The history's own conditions, as in the statements of the engine. Returns the number of rows.
    fn mark(&mut self, config: &Config, step: usize, mark: Mark) -> u8 {
        let row = &mut self.db.rows[step];
        let state = row.map(|row| row.state);
        match mark {
            Mark::Applied if matches!(state, None | Some(RowState::Begun)) => {
                *row = Some(Row { state: RowState::Applied, done: 0, before: None });
                1
            }
            Mark::Applied => 0,
            Mark::Gone => u8::from(row.take().is_some()),
            Mark::Parts { undo, done, before } => {
                let wanted = if undo && row.is_some() { RowState::Undoing } else { RowState::Begun };
                let allowed = state.is_none_or(|state| {
                    (state == RowState::Begun) == (wanted == RowState::Begun) || (config.fixed && undo)
                });
                if allowed {
                    *row = Some(Row { state: wanted, done, before });
                }
                u8::from(allowed)
            }
        }
    }

    /// Compare and set: a piece moves its place only from where it began. A reverse script finds the rows that were reached
    /// by themselves.
    fn piece(&mut self, config: &Config, step: usize, undo: bool, from: u8) -> Reply {
        let apart = config.weak == Some(Weak::PlaceApart);
        if !apart && self.db.place[step] != Some((undo, from)) {
            return refused(&self.db, step);
        }
        let moved = &mut self.db.moved[step][usize::from(from)];
        *moved = if undo { 0 } else { *moved + 1 };
        if !apart {
            self.db.place[step] = Some((undo, from + 1));
        }
        Reply::Ok
    }

    /// The records that a transaction carries; a lane's carries none.
    fn carried(&mut self, runner: u8, records: Option<Fold>) {
        if let Some(fold) = records {
            self.mirror(runner, &fold);
        }
    }

    fn mirror(&mut self, runner: u8, fold: &Fold) {
        let Some(row) = self.db.run.as_mut().filter(|row| row.run == fold.run) else { return };
        row.mirror = Some(*fold);
        for (index, other) in self.runners.iter_mut().enumerate() {
            if index != usize::from(runner) {
                other.synced = false;
            }
        }
    }

    fn build(&mut self, config: &Config, backend: &mut Backend, step: usize) -> Option<Reply> {
        let generation = self.db.generation[step];
        match (self.db.ix[step], backend.phase) {
            (Ix::Absent, 0) => {
                self.db.generation[step] = !generation;
                self.db.ix[step] = Ix::Invalid(!generation);
                backend.phase = 1;
                None
            }
            (Ix::Invalid(g), 1) => {
                backend.phase = 0;
                self.db.ix[step] = Ix::Valid(g);
                Some(Reply::Ok)
            }
            (Ix::Invalid(_) | Ix::Valid(_), 0) if config.weak == Some(Weak::IfNotExists) => Some(Reply::Ok),
            _ => Some(refused(&self.db, step)),
        }
    }

    /// `DROP INDEX CONCURRENTLY IF EXISTS`.
    fn drop(&mut self, backend: &mut Backend, step: usize) -> Option<Reply> {
        match self.db.ix[step] {
            Ix::Valid(g) => {
                self.db.ix[step] = Ix::Invalid(g);
                backend.phase = 1;
                None
            }
            _ => {
                backend.phase = 0;
                self.db.ix[step] = Ix::Absent;
                Some(Reply::Ok)
            }
        }
    }

    /// The server dies: what was not committed, or is not on the disk, is gone, all sessions with it.
    pub fn server_crash(&mut self) {
        self.db = self.on_disk.take().unwrap_or(self.db);
        self.backends = [None; 4];
        self.reused = true;
    }

    /// Another state of the database stands where the newest one stood.
    pub fn went_back(&mut self, db: Db) {
        self.backends = [None; 4];
        self.on_disk = None;
        self.db = db;
        self.excused = true;
    }
}

/// The forward step a message would bring into effect.
fn forward(msg: &Msg) -> Option<u8> {
    match msg {
        Msg::Do { step, undo: false, .. }
        | Msg::PartTx { step, undo: false, .. }
        | Msg::Piece { step, undo: false, .. }
        | Msg::Build { step } => Some(*step),
        _ => None,
    }
}

pub fn refused(db: &Db, step: usize) -> Reply {
    Reply::Refused { ix: db.ix[step] }
}
