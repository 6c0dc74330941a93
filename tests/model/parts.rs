//! Reconciling with the history, and scripts by parts.

use migengine_engine::chunk::{After, Pass, after_pass};
use migengine_engine::run::event::Event;
use migengine_engine::run::evidence::{Finding, IndexFact, Observed, judge};
use migengine_engine::run::recovery::{
    Decision, EpochOrder, Evidence, PartsVerdict, StepMode, Witness, recover, settle_parts,
};
use migengine_engine::run::state::{RestReason, StepState};
use migengine_engine::sql::{Effect, QualifiedName};

use super::protocol::{PIECES, PartKind, Weak};
use super::runner::{Act, Ended};
use super::state::{Ix, Mark, Msg, Parts, Pc, Progress, Reply, Row, RowState, Stage};

type Step = Result<(), Ended>;

fn name(name: &str) -> QualifiedName {
    QualifiedName { schema: None, name: name.to_owned() }
}

fn observed(undo: bool, ix: Ix) -> Observed {
    let (oid, usable) = match ix {
        Ix::Absent => (0, false),
        Ix::Invalid(generation) => (10 + u32::from(generation), false),
        Ix::Valid(generation) => (10 + u32::from(generation), true),
    };
    if undo {
        return Observed { named: vec![oid], ..Observed::default() };
    }
    let fact = IndexFact { oid, schema: "public".to_owned(), name: "i".to_owned(), usable };
    Observed { indexes: Some(fact).filter(|fact| fact.oid != 0).into_iter().collect(), ..Observed::default() }
}

/// The engine's predicate of the statement that builds the index, or drops it.
fn ask(undo: bool, before: Ix, now: Ix) -> Finding {
    let effect = if undo {
        Effect::IndexDropped { names: vec![name("i")], if_exists: true }
    } else {
        Effect::IndexBuilt { name: Some(name("i")), table: name("t"), if_not_exists: false, unique: false }
    };
    judge(&effect, &observed(undo, before), &observed(undo, now))
}

impl Act<'_> {
    pub fn reconcile(&mut self) -> Step {
        for index in 0..self.fold().len {
            let step = self.fold().step(index);
            let row = self.row(index);
            let witness = self.witness(step.state, row);
            let mode = if self.kind(index).whole() { StepMode::Transactional } else { StepMode::ByParts };
            let found = recover(step.state, witness, mode, EpochOrder::DatabaseCurrent);
            self.carry_out(index, found.decision, found.label, witness)?;
            if self.fold().rest.is_some() {
                return Ok(());
            }
        }
        self.record(Event::Reconciled)
    }

    fn row(&self, index: u8) -> Option<Row> {
        let id = self.fold().step(index).id;
        self.process.seen.and_then(|db| db.rows[usize::from(id)])
    }

    fn witness(&self, state: StepState, row: Option<Row>) -> Witness {
        let doubtful = matches!(state, StepState::Intent | StepState::InDoubt | StepState::UndoIntent);
        match self.config.weak {
            Some(Weak::JournalOnly) => {
                let there = matches!(state, StepState::Applied | StepState::UndoIntent);
                return if there { Witness::Same } else { Witness::None };
            }
            Some(Weak::XidStatus) if doubtful && self.state.reused => {
                return if state == StepState::UndoIntent { Witness::None } else { Witness::Same };
            }
            _ => {}
        }
        let turned = self.fold().unwinding() && state == StepState::Applied;
        match row.map(|row| row.state) {
            None => Witness::None,
            // Repaired: a half-applied step whose reverse script is due, begun or cleared to begin again.
            Some(RowState::Begun) if self.config.fixed && (state == StepState::UndoIntent || turned) => {
                Witness::Undoing
            }
            Some(RowState::Begun) => Witness::Begun,
            Some(RowState::Applied) => Witness::Same,
            Some(RowState::Undoing) => Witness::Undoing,
        }
    }

    fn carry_out(&mut self, index: u8, decision: Decision, label: char, witness: Witness) -> Step {
        let step = u32::from(index);
        let state = self.fold().step(index).state;
        match decision {
            Decision::Keep => Ok(()),
            Decision::Run if state == StepState::Pending => Ok(()),
            Decision::Run | Decision::UndoAgain => self.note(Event::StepCleared { step, label }),
            Decision::Adopt => self.note(Event::StepApplied { step, duration_us: 0, adopted: Some(label) }),
            Decision::RecordUndone => self.note(Event::StepUndone { step, duration_us: 0, adopted: Some(label) }),
            Decision::AskCatalogs => self.ask_catalogs(index, label, witness),
            Decision::Diverged | Decision::Impossible => self.rest(RestReason::Diverged, Some(step)),
            Decision::Stuck => self.rest(RestReason::Stuck, Some(step)),
        }
    }

    fn ask_catalogs(&mut self, index: u8, label: char, witness: Witness) -> Step {
        let undoing = witness == Witness::Undoing || self.fold().step(index).state == StepState::UndoIntent;
        let parts = self.kind(index).parts(undoing);
        let total = parts.len() as u32 + 1;
        let Some(mut row) = self.row(index) else {
            let gone = if undoing { total } else { 0 };
            return self.settle(index, label, undoing, settle_parts(gone, total, None));
        };
        if row.state == RowState::Begun && undoing {
            // Repaired: nothing of the reverse script is recorded yet.
            row = Row { done: 0, before: None, ..row };
        }
        let alone = parts.get(usize::from(row.done)) == Some(&PartKind::Index);
        let now = self.process.seen.map_or(Ix::Absent, |db| db.ix[usize::from(self.fold().step(index).id)]);
        let evidence = match row.before {
            Some(_) if alone && self.config.weak == Some(Weak::IfNotExists) => Some(Evidence::NotDone),
            Some(before) if alone => Some(ask(undoing, before, now).evidence),
            _ => None,
        };
        let turned = self.fold().unwinding() && !undoing;
        if !(self.config.fixed && turned) {
            self.remember(index, Progress { done: row.done, before: row.before });
        }
        let verdict = settle_parts(row.done.into(), total, evidence);
        if self.config.fixed && turned && verdict == PartsVerdict::Untouched {
            // Repaired: an announced step is reversed too, which sweeps what its statement left.
            return self.clear_to(index, label, undoing, 1);
        }
        self.settle(index, label, undoing, verdict)
    }

    fn settle(&mut self, index: u8, label: char, undoing: bool, verdict: PartsVerdict) -> Step {
        let step = u32::from(index);
        match verdict {
            PartsVerdict::Finished if undoing => {
                self.note(Event::StepUndone { step, duration_us: 0, adopted: Some(label) })
            }
            PartsVerdict::Finished => self.note(Event::StepApplied { step, duration_us: 0, adopted: Some(label) }),
            PartsVerdict::Untouched => self.clear_to(index, label, undoing, 0),
            PartsVerdict::ContinueAt(done) => self.clear_to(index, label, undoing, done),
            PartsVerdict::Ask(_) => self.rest(RestReason::Stuck, Some(step)),
        }
    }

    fn clear_to(&mut self, index: u8, label: char, undoing: bool, done: u32) -> Step {
        let step = u32::from(index);
        if undoing && self.fold().step(index).state == StepState::Pending {
            self.note(Event::StepApplied { step, duration_us: 0, adopted: Some(label) })?;
        }
        self.note(Event::StepCleared { step, label })?;
        if done > 0 { self.note(Event::PartDone { step, parts_done: done }) } else { Ok(()) }
    }

    pub fn by_parts(&mut self, index: u8) -> Step {
        let progress = self.process.progress[usize::from(index)].take().unwrap_or_default();
        self.part(index, progress.done, progress.before)
    }

    fn undo(&self) -> bool {
        self.fold().unwinding()
    }

    fn id(&self, index: u8) -> u8 {
        self.fold().step(index).id
    }

    /// Begins a part, or writes the row that says all are done.
    fn part(&mut self, index: u8, part: u8, before: Option<Ix>) -> Step {
        let (undo, step, mirror) = (self.undo(), self.id(index), self.on_disk());
        let mut context = Parts { index, part, stage: Stage::Finish, before, sweep: false, done: false, piece: 0 };
        let Some(kind) = self.kind(index).parts(undo).get(usize::from(part)) else {
            self.process.pc = Pc::Parts(context);
            return self.send(Msg::Mark { step, mark: if undo { Mark::Gone } else { Mark::Applied }, mirror });
        };
        if self.stopping() {
            self.idle();
            self.flush();
            return Ok(());
        }
        let (stage, msg) = match kind {
            PartKind::Tx => (Stage::Tx, Msg::PartTx { step, undo, done: part + 1, mirror }),
            PartKind::Index => (Stage::Look, Msg::Look { step }),
            PartKind::Opening => (Stage::Tx, Msg::Opening { step, undo, done: part + 1, mirror }),
            PartKind::Pieces => (Stage::Reach, Msg::Place { step }),
        };
        context.stage = stage;
        self.process.pc = Pc::Parts(context);
        self.send(msg)
    }

    pub fn cleaning(&self) -> bool {
        matches!(self.process.pc, Pc::Parts(Parts { stage: Stage::CleanSweep | Stage::CleanGone, .. }))
    }

    /// An answer in the middle of a script by parts.
    pub fn part_answered(&mut self, reply: Reply) -> Step {
        let Pc::Parts(at) = self.process.pc else { return Ok(()) };
        match (at.stage, reply) {
            (Stage::Send, Reply::Refused { ix }) => self.clean_up(at, ix),
            (Stage::CleanSweep, Reply::Ok) => self.clean_gone(at),
            (Stage::CleanSweep | Stage::CleanGone, _) | (_, Reply::Refused { .. }) => self.faulted(),
            (Stage::Tx | Stage::Record, _) => {
                self.note(Event::PartDone { step: at.index.into(), parts_done: u32::from(at.part) + 1 })?;
                self.part(at.index, at.part + 1, None)
            }
            (Stage::Reach, Reply::Reached { place }) => self.reached(at, place),
            (Stage::Piece, _) if self.config.weak == Some(Weak::PlaceApart) => {
                let to = at.piece + 1;
                self.process.pc = Pc::Parts(Parts { stage: Stage::Moved, ..at });
                self.send(Msg::Move { step: self.id(at.index), undo: self.undo(), to })
            }
            // The place is read from the database before each piece, and kept nowhere else.
            (Stage::Piece | Stage::Moved, _) => self.part(at.index, at.part, None),
            (Stage::Look, Reply::Looked { held, ix }) => self.announce(at, held, ix),
            (Stage::Announce, _) if at.sweep => self.stage(at, Stage::Sweep),
            (Stage::Announce | Stage::Sweep, _) if !at.done => self.stage(at, Stage::Send),
            (Stage::Announce | Stage::Sweep | Stage::Send, _) => self.stage(at, Stage::Record),
            (Stage::Finish, _) => self.step_done(false),
            (Stage::Look | Stage::Reach, _) => Ok(()),
        }
    }

    /// The next piece, or the record that there is none.
    fn reached(&mut self, at: Parts, place: u8) -> Step {
        let through = Pass { number: 1, rows: PIECES as u64 };
        if usize::from(place) < PIECES {
            self.process.pc = Pc::Parts(Parts { stage: Stage::Piece, piece: place, ..at });
            return self.send(Msg::Piece { step: self.id(at.index), undo: self.undo(), from: place });
        }
        match after_pass(through, false) {
            After::Sweep => self.part(at.index, at.part, None),
            After::Finish => self.stage(at, Stage::Record),
        }
    }

    fn announce(&mut self, mut at: Parts, held: bool, now: Ix) -> Step {
        if !held && self.config.weak.is_none() {
            return self.faulted();
        }
        let undo = self.undo();
        let found = ask(undo, at.before.unwrap_or(now), now);
        at.done = at.before.is_some() && found.evidence == Evidence::Done;
        at.sweep = !found.remedies.is_empty();
        if self.config.weak == Some(Weak::IfNotExists) {
            (at.done, at.sweep) = (false, false);
        }
        at.before = Some(at.before.unwrap_or(now));
        self.stage(at, Stage::Announce)
    }

    fn stage(&mut self, mut at: Parts, stage: Stage) -> Step {
        at.stage = stage;
        self.process.pc = Pc::Parts(at);
        let (undo, step, mirror) = (self.undo(), self.id(at.index), self.on_disk());
        let parts = |done, before| Msg::Mark { step, mark: Mark::Parts { undo, done, before }, mirror };
        self.send(match stage {
            Stage::Announce => parts(at.part, at.before),
            Stage::Sweep | Stage::CleanSweep => Msg::Drop { step },
            Stage::Send if undo => Msg::Drop { step },
            Stage::Send => Msg::Build { step },
            Stage::CleanGone => Msg::Mark { step, mark: Mark::Gone, mirror },
            _ => parts(at.part + 1, None),
        })
    }

    /// After a refusal: sweep what the statement left.
    fn clean_up(&mut self, at: Parts, now: Ix) -> Step {
        if self.stopping() {
            // Our own cancel: the rest that follows withdraws the intent.
            self.idle();
            self.flush();
            return Ok(());
        }
        let found = ask(self.undo(), at.before.unwrap_or(now), now);
        if found.remedies.is_empty() { self.clean_gone(at) } else { self.stage(at, Stage::CleanSweep) }
    }

    fn clean_gone(&mut self, at: Parts) -> Step {
        if at.part == 0 && !self.undo() { self.stage(at, Stage::CleanGone) } else { self.faulted() }
    }
}
