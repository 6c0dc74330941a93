//! Which steps run side by side (`--jobs`): a pure function of the run, of what its steps touch, and of what is under way.

use std::collections::BTreeSet;

use super::footprint::Footprint;
use super::state::{RunSnapshot, StepIndex, StepState};

/// Most steps handed to a lane at once. They travel as a pipeline, which comes to a standstill at the end of the stretch only:
/// there its outcomes are written, and the lane waits for the desk.
pub const STRETCH: usize = 128;

/// Hands steps to the lanes that have none. `lanes` holds what each lane is at work on; the answer has one stretch for
/// each lane, empty for those that are to wait or at work. `prints` has one footprint for each step.
///
/// - A step begins when everything it requires took effect, or stands before it in its own stretch, which is fenced by
///   what the step before it did.
/// - A step whose text does not tell what it touches runs while nothing else does; others while nothing that runs would
///   make them wait.
/// - A stretch follows one branch of the graph, so that the next lane finds another one. Only where there are many more
///   steps to begin with than lanes, it takes several of them.
#[must_use]
pub fn assign(run: &RunSnapshot, prints: &[Footprint], lanes: &[Vec<StepIndex>]) -> Vec<Vec<StepIndex>> {
    let mut given: Vec<Vec<StepIndex>> = lanes.to_vec();
    let mut fresh = vec![Vec::new(); lanes.len()];
    for lane in 0..lanes.len() {
        if lanes.get(lane).is_none_or(|steps| !steps.is_empty()) {
            continue;
        }
        let stretch = Choice { run, prints, given: &given, lane }.stretch();
        if let (Some(slot), Some(known)) = (fresh.get_mut(lane), given.get_mut(lane)) {
            known.clone_from(&stretch);
            *slot = stretch;
        }
    }
    fresh
}

/// The choice of a stretch for one lane.
struct Choice<'a> {
    run: &'a RunSnapshot,
    prints: &'a [Footprint],
    /// What all lanes have.
    given: &'a [Vec<StepIndex>],
    lane: usize,
}

impl Choice<'_> {
    fn stretch(&self) -> Vec<StepIndex> {
        let taken: BTreeSet<StepIndex> = self.given.iter().flatten().copied().collect();
        let waiting: Vec<StepIndex> =
            self.run.steps_in(StepState::Pending).filter(|step| !taken.contains(step)).collect();
        let none = BTreeSet::new();
        let roots = waiting.iter().filter(|step| self.ready(**step, &none) && self.free(**step)).count();
        let mut spare = roots / (self.given.len().max(1) * 4);
        let mut members = BTreeSet::new();
        let mut stretch: Vec<StepIndex> = Vec::new();
        for step in waiting {
            if stretch.len() >= STRETCH {
                break;
            }
            if !self.ready(step, &members) || !self.free(step) {
                continue;
            }
            let follows = self.requires(step).iter().any(|required| members.contains(required));
            let joins = match stretch.first() {
                None => true,
                Some(first) if self.known(*first) != self.known(step) => false,
                Some(_) if follows => true,
                Some(_) => {
                    let room = spare > 0;
                    spare = spare.saturating_sub(1);
                    room
                }
            };
            if joins {
                stretch.push(step);
                members.insert(step);
            }
        }
        stretch
    }

    fn requires(&self, step: StepIndex) -> &[StepIndex] {
        self.run.started.steps.get(step as usize).map_or(&[], |planned| &planned.requires)
    }

    fn applied(&self, step: StepIndex) -> bool {
        self.run.steps.get(step as usize).is_some_and(|snapshot| snapshot.state == StepState::Applied)
    }

    fn ready(&self, step: StepIndex, members: &BTreeSet<StepIndex>) -> bool {
        self.requires(step).iter().all(|required| members.contains(required) || self.applied(*required))
    }

    fn known(&self, step: StepIndex) -> bool {
        matches!(self.prints.get(step as usize), Some(Footprint::Tables(_)))
    }

    /// Whether nothing that other lanes have yet to do would make it wait, nor it them.
    fn free(&self, step: StepIndex) -> bool {
        let mine = self.prints.get(step as usize).unwrap_or(&Footprint::Unknown);
        let others = self.given.iter().enumerate().filter(|(lane, _)| *lane != self.lane);
        others
            .flat_map(|(_, steps)| steps)
            .filter(|other| !self.applied(**other))
            .all(|other| self.prints.get(*other as usize).unwrap_or(&Footprint::Unknown).apart_from(mine))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hazard::LockMode;
    use crate::id::{Digest, MigrationId, RunId, Timestamp};
    use crate::run::event::{DatabaseIdentity, Event, PlannedStep, Recorded, RunStarted};
    use crate::run::state::RunKind;

    /// A run whose steps require what is listed.
    fn run(requires: &[&[StepIndex]]) -> RunSnapshot {
        let steps = (0u32..).zip(requires).map(|(index, requires)| PlannedStep {
            id: MigrationId::new(format!("{index:03}_m")).unwrap(),
            requires: requires.to_vec(),
            content: Digest::ZERO,
            tokens: Digest::ZERO,
            transactional: true,
            reversible: true,
        });
        let started = RunStarted {
            kind: RunKind::Apply,
            steps: steps.collect(),
            plan_hash: Digest::ZERO,
            database: DatabaseIdentity::default(),
            engine: String::new(),
            actor: String::new(),
            unwind_on_failure: false,
        };
        let id = RunId::from_bytes([1; 16]);
        let event = Event::RunStarted(Box::new(started));
        RunSnapshot::begin(id, &Recorded { run: id, seq: 1, at: Timestamp(0), event }).unwrap()
    }

    fn tables(names: &[&str]) -> Footprint {
        Footprint::Tables(names.iter().map(|name| ((*name).to_owned(), LockMode::AccessExclusive)).collect())
    }

    fn apart(count: usize) -> Vec<Footprint> {
        (0..count).map(|index| tables(&[&format!("t{index}")])).collect()
    }

    #[test]
    fn each_lane_follows_a_branch() {
        let run = run(&[&[], &[], &[0], &[1], &[2], &[3], &[4, 5]]);
        let idle = [vec![], vec![]];
        assert_eq!(assign(&run, &apart(7), &idle), [vec![0, 2, 4], vec![1, 3, 5]]);
        assert_eq!(assign(&run, &apart(7), &[vec![0, 2, 4], vec![]]), [vec![], vec![1, 3, 5]], "6 needs both");
    }

    #[test]
    fn a_step_waits_for_what_it_requires_and_for_what_it_would_block() {
        let mut chain = run(&[&[], &[0]]);
        assert_eq!(assign(&chain, &apart(2), &[vec![0], vec![]]), [vec![], Vec::<u32>::new()]);
        chain.steps[0].state = StepState::Applied;
        assert_eq!(assign(&chain, &apart(2), &[vec![], vec![]]), [vec![1], vec![]]);
        let same = [tables(&["t"]), tables(&["t"])];
        assert_eq!(assign(&run(&[&[], &[]]), &same, &[vec![], vec![]]), [vec![0], vec![]]);
        let unknown = [Footprint::Unknown, tables(&["t"])];
        assert_eq!(assign(&run(&[&[], &[]]), &unknown, &[vec![], vec![]]), [vec![0], vec![]], "unknown runs alone");
        assert_eq!(assign(&run(&[&[], &[]]), &unknown, &[vec![], vec![1]]), [Vec::<u32>::new(), vec![]]);
    }

    #[test]
    fn what_another_lane_has_done_is_in_nobodys_way() {
        let mut run = run(&[&[], &[0], &[]]);
        let prints = [tables(&["a"]), tables(&["b"]), tables(&["a"])];
        assert_eq!(assign(&run, &prints, &[vec![0, 1], vec![]]), [Vec::<u32>::new(), vec![]]);
        run.steps[0].state = StepState::Applied;
        assert_eq!(assign(&run, &prints, &[vec![0, 1], vec![]]), [vec![], vec![2]]);
    }

    #[test]
    fn a_failed_step_holds_back_its_dependants_only() {
        let mut run = run(&[&[], &[], &[0], &[1]]);
        run.steps[0].state = StepState::Failed;
        run.steps[1].state = StepState::Applied;
        assert_eq!(assign(&run, &apart(4), &[vec![], vec![]]), [vec![3], vec![]]);
    }

    #[test]
    fn many_roots_are_shared_out_in_stretches() {
        let none: Vec<&[StepIndex]> = vec![&[]; 100];
        let given = assign(&run(&none), &apart(100), &[vec![], vec![]]);
        assert!(given.iter().all(|stretch| stretch.len() > 5 && stretch.len() <= STRETCH), "{given:?}");
        let few = assign(&run(&[&[], &[], &[], &[]]), &apart(4), &[vec![], vec![]]);
        assert_eq!(few, [vec![0], vec![1]]);
    }

    #[test]
    fn whatever_the_graph_every_step_is_given_out_once_and_nothing_side_by_side_conflicts() {
        let mut seed = 7u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for round in 0..200 {
            let count = 1 + random(30) as u32;
            let requires: Vec<Vec<StepIndex>> =
                (0..count).map(|step| (0..step).filter(|_| random(6) == 0).collect()).collect();
            let mut run = run(&requires.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let prints: Vec<Footprint> = (0..count)
                .map(|_| if random(8) == 0 { Footprint::Unknown } else { tables(&[&random(5).to_string()]) })
                .collect();
            let mut lanes = vec![Vec::new(); 1 + random(4) as usize];
            let mut done = BTreeSet::new();
            while done.len() < count as usize {
                let given = assign(&run, &prints, &lanes);
                for (lane, fresh) in lanes.iter_mut().zip(given) {
                    lane.extend(fresh);
                }
                for (a, first) in lanes.iter().enumerate() {
                    for second in &lanes[a + 1..] {
                        let clash = first
                            .iter()
                            .any(|x| second.iter().any(|y| !prints[*x as usize].apart_from(&prints[*y as usize])));
                        assert!(!clash, "round {round}: {lanes:?}");
                    }
                }
                let busy: Vec<usize> = (0..lanes.len()).filter(|lane| !lanes[*lane].is_empty()).collect();
                assert!(!busy.is_empty(), "round {round}: nothing to do, and {} of {count} done", done.len());
                let ends = busy[random(busy.len() as u64) as usize];
                for step in std::mem::take(&mut lanes[ends]) {
                    let met = requires[step as usize].iter().all(|required| done.contains(required));
                    assert!(met && done.insert(step), "round {round}: {step}");
                    run.steps[step as usize].state = StepState::Applied;
                }
            }
        }
    }
}
