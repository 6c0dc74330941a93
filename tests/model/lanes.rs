//! Steps side by side: the desk, which is the runner's own driver, and the lanes. What is handed out is decided by the
//! engine's own function.

use migengine_engine::hazard::LockMode;
use migengine_engine::run::decide::{Next, next};
use migengine_engine::run::event::Event;
use migengine_engine::run::footprint::Footprint;
use migengine_engine::run::schedule::assign;
use migengine_engine::run::state::StepState;

use super::protocol::Weak;
use super::runner::{Act, Ended};
use super::state::{Backend, FIRST_LANE, LANES, Msg, Pc, Process, Reply, STEPS, State};

type Step = Result<(), Ended>;

impl State {
    /// What each lane is at work on.
    fn at_work(&self) -> Vec<Vec<u32>> {
        let steps = |lane: &Option<Process>| {
            let busy = lane.filter(|lane| lane.pc != Pc::Idle);
            busy.into_iter().flat_map(|lane| lane.queue).flatten().map(u32::from).collect()
        };
        self.lanes.iter().map(steps).collect()
    }

    /// What each idle lane may begin. Every step has a table of its own.
    fn assignable(&self, desk: &Process) -> Vec<Vec<u32>> {
        let Some(fold) = desk.fold.filter(|_| !self.held && !desk.stop) else { return vec![Vec::new(); LANES] };
        let print = |step: u8| Footprint::Tables(vec![(format!("t{step}"), LockMode::AccessExclusive)]);
        let prints: Vec<Footprint> = (0..fold.len).map(print).collect();
        assign(&fold.snapshot(), &prints, &self.at_work())
    }

    fn all_idle(&self) -> bool {
        self.lanes.iter().flatten().all(|lane| lane.pc == Pc::Idle)
    }

    pub fn desk_has_work(&self, desk: &Process, due: bool) -> bool {
        (due && desk.session) || self.all_idle() || self.assignable(desk).iter().any(|steps| !steps.is_empty())
    }
}

impl Act<'_> {
    pub fn is_lane(&self) -> bool {
        self.seat >= FIRST_LANE
    }

    pub fn desk(&self) -> Option<Process> {
        self.state.runners[0].process
    }

    /// A signal is for all of a runner's drivers.
    pub fn stopping(&self) -> bool {
        if self.is_lane() { self.desk().is_some_and(|desk| desk.stop) } else { self.process.stop }
    }

    pub fn held(&self) -> bool {
        self.is_lane() && self.state.held
    }

    /// Nothing is under way any more.
    pub fn idle(&mut self) {
        self.process.landed = [None; STEPS];
        self.process.pc = Pc::Loop;
        if self.is_lane() {
            (self.process.pc, self.process.queue) = (Pc::Idle, [None; STEPS]);
        }
    }

    /// What a lane notes is folded at the desk.
    pub fn report(&mut self, event: &Event) {
        let forgets = self.config.fixed && self.config.weak != Some(Weak::StaleProgress);
        if matches!(event, Event::StepFailed { .. } | Event::StepInDoubt { .. }) {
            self.state.held = true;
        }
        let Some(desk) = &mut self.state.runners[0].process else { return };
        if let (true, Some(step)) = (forgets, event.step()) {
            desk.progress[step as usize] = None;
        }
        if matches!(event, Event::StepIntent { .. }) {
            desk.pc = Pc::Attend { due: true };
        }
        let folded = desk.fold.as_mut().map(|fold| fold.fold([event.clone()]));
        if matches!(folded, Some(Err(_))) {
            self.state.blame(super::state::Bad::IllegalEvent);
        }
    }

    /// Every effect of a run comes behind records of it in the database.
    pub fn side_by_side(&mut self) -> Step {
        self.state.held = false;
        self.process.pc = Pc::Mirroring;
        self.send(Msg::Mirror { mirror: self.state.runners[self.me].disk.unwrap_or(self.fold()) })
    }

    pub fn mirrored(&mut self, reply: Reply) -> Step {
        match (self.process.pc, reply) {
            (Pc::Mirroring, Reply::Ok) => self.open_lanes(),
            (_, Reply::Ok) => Ok(()),
            _ => {
                self.state.hang_up(self.seat);
                self.unmirrored();
                Ok(())
            }
        }
    }

    /// The session is given up, and the lock with it: what is under way ends, and nothing new begins.
    pub fn unmirrored(&mut self) {
        self.process.session = false;
        self.state.held = true;
        if self.process.pc == Pc::Mirroring {
            self.process.pc = Pc::Loop;
        }
    }

    fn open_lanes(&mut self) -> Step {
        let free: Vec<usize> =
            (0..self.state.backends.len()).filter(|at| self.state.backends[*at].is_none()).take(LANES).collect();
        if free.len() < LANES {
            let Next::Apply(steps) = next(&self.fold().snapshot()) else { return Ok(()) };
            return self.write_intents(&steps);
        }
        let epoch = self.state.live(self.seat).and_then(|at| self.state.backends[at]).map_or(0, |main| main.epoch);
        for (lane, at) in free.into_iter().enumerate() {
            let seat = FIRST_LANE + lane;
            self.state.backends[at] = Some(Backend { epoch, share: true, ..Backend::new(seat) });
            let driver = Process { pc: Pc::Idle, session: true, seen: None, queue: [None; STEPS], ..self.process };
            self.state.set_driver(seat, Some(driver));
        }
        self.process.pc = Pc::Attend { due: false };
        Ok(())
    }

    /// The desk: records first, then steps to be handed out, then the end.
    pub fn attend(&mut self, due: bool) -> Step {
        self.process.pc = Pc::Attend { due: false };
        if due && self.process.session {
            return self.send(Msg::Mirror { mirror: self.state.runners[self.me].disk.unwrap_or(self.fold()) });
        }
        let given = self.state.assignable(&self.process);
        if given.iter().all(Vec::is_empty) && self.state.all_idle() {
            return self.gather();
        }
        for (lane, steps) in self.state.lanes.iter_mut().zip(given) {
            let Some(lane) = lane.as_mut().filter(|_| !steps.is_empty()) else { continue };
            for (slot, step) in lane.queue.iter_mut().zip(steps) {
                *slot = u8::try_from(step).ok();
            }
            lane.pc = Pc::Given;
        }
        Ok(())
    }

    /// A lane writes the intents of what it was given.
    pub fn take_up(&mut self) -> Step {
        let steps: Vec<u32> = self.process.queue.iter().flatten().map(|step| u32::from(*step)).collect();
        self.write_intents(&steps)
    }

    /// A lane that was asked to begin nothing more takes back what it had not begun.
    pub fn withdraw(&mut self) -> Step {
        if !self.held() || self.stopping() {
            return Ok(());
        }
        for step in self.process.queue.into_iter().flatten() {
            let fold = self.fold().step(step);
            if fold.state == StepState::Intent && fold.done == 0 {
                self.note(Event::StepCleared { step: step.into(), label: 'E' })?;
            }
        }
        Ok(())
    }

    fn gather(&mut self) -> Step {
        let lost = self.state.lanes.iter().flatten().any(|lane| !lane.session);
        for lane in 0..LANES {
            self.state.hang_up(FIRST_LANE + lane);
            self.state.lanes[lane] = None;
        }
        if lost {
            // What became of it is found out under a lock that proves the lane's session to be gone.
            self.drop_session();
        }
        self.process.pc = Pc::Loop;
        self.flush();
        Ok(())
    }
}
