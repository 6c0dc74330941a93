//! Every event survives its stored form.

use migengine_engine::id::{Digest, Epoch, MigrationId, RunId, Timestamp};
use migengine_engine::run::event::{DatabaseIdentity, Event, EventKind, PlannedStep, RunStarted};
use migengine_engine::run::failure::Failure;
use migengine_engine::run::state::{Manner, Rest, RestReason, RunKind};
use migengine_journal::wire::{self, Link};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn run_kind() -> impl Strategy<Value = RunKind> {
    prop_oneof![Just(RunKind::Apply), Just(RunKind::Rollback)]
}

fn planned() -> impl Strategy<Value = PlannedStep> {
    ("[0-9]{1,20}_[a-zé -~&&[^/\\\\]]{0,20}", vec(any::<u32>(), 0..4), digest(), digest(), any::<(bool, bool)>())
        .prop_map(|(id, requires, content, tokens, (transactional, reversible))| PlannedStep {
            id: MigrationId::new(id).unwrap(),
            requires,
            content,
            tokens,
            transactional,
            reversible,
        })
}

fn database() -> impl Strategy<Value = DatabaseIdentity> {
    any::<(String, u64, String, String)>().prop_map(|(uuid, system, name, host)| DatabaseIdentity {
        uuid,
        system,
        name,
        host,
    })
}

fn started() -> impl Strategy<Value = Event> {
    (run_kind(), vec(planned(), 0..6), digest(), database(), any::<(String, String, bool)>()).prop_map(
        |(kind, steps, plan_hash, database, (engine, actor, unwind_on_failure))| {
            Event::RunStarted(Box::new(RunStarted {
                kind,
                steps,
                plan_hash,
                database,
                engine,
                actor,
                unwind_on_failure,
            }))
        },
    )
}

fn failure() -> impl Strategy<Value = Box<Failure>> {
    type Texts = (String, String, Option<String>, Option<String>, Option<String>, Option<String>);
    (any::<Texts>(), any::<[String; 4]>(), any::<(Option<String>, Option<u32>, Option<u32>, Option<String>)>())
        .prop_map(|((code, message, sqlstate, detail, hint, context), objects, (file, line, column, statement))| {
            Box::new(Failure { code, message, sqlstate, detail, hint, context, objects, file, line, column, statement })
        })
}

fn rest() -> impl Strategy<Value = Rest> {
    use RestReason::{Diverged, Failed, InDoubt, Interrupted, Stuck};
    let reason = prop_oneof![Just(Interrupted), Just(Failed), Just(InDoubt), Just(Diverged), Just(Stuck)];
    (reason, any::<(Option<u32>, String)>()).prop_map(|(reason, (step, message))| Rest { reason, step, message })
}

/// Total over the kinds: a new kind does not compile until it is here.
fn event(kind: EventKind) -> BoxedStrategy<Event> {
    let digests = || (digest(), digest());
    match kind {
        EventKind::RunStarted => started().boxed(),
        EventKind::MannerChosen => {
            proptest::sample::select(vec![Manner::StepByStep, Manner::AtOnce]).prop_map(Event::MannerChosen).boxed()
        }
        EventKind::Locked => any::<(u64, i32, i64)>()
            .prop_map(|(epoch, pid, start)| Event::Locked { epoch: Epoch(epoch), pid, backend_start: Timestamp(start) })
            .boxed(),
        EventKind::Reconciled => Just(Event::Reconciled).boxed(),
        EventKind::StepIntent => (any::<(u32, u32)>(), digests())
            .prop_map(|((step, attempt), (content, tokens))| Event::StepIntent { step, attempt, content, tokens })
            .boxed(),
        EventKind::PartDone => {
            any::<(u32, u32)>().prop_map(|(step, parts_done)| Event::PartDone { step, parts_done }).boxed()
        }
        EventKind::StepApplied => any::<(u32, u64, Option<char>)>()
            .prop_map(|(step, duration_us, adopted)| Event::StepApplied { step, duration_us, adopted })
            .boxed(),
        EventKind::StepFailed => {
            (any::<u32>(), failure()).prop_map(|(step, failure)| Event::StepFailed { step, failure }).boxed()
        }
        EventKind::StepInDoubt => {
            any::<(u32, String)>().prop_map(|(step, message)| Event::StepInDoubt { step, message }).boxed()
        }
        EventKind::StepCleared => {
            any::<(u32, char)>().prop_map(|(step, label)| Event::StepCleared { step, label }).boxed()
        }
        EventKind::UnwindStarted => any::<String>().prop_map(|reason| Event::UnwindStarted { reason }).boxed(),
        EventKind::UndoIntent => (any::<(u32, u32)>(), digests())
            .prop_map(|((step, attempt), (content, tokens))| Event::UndoIntent { step, attempt, content, tokens })
            .boxed(),
        EventKind::StepUndone => any::<(u32, u64, Option<char>)>()
            .prop_map(|(step, duration_us, adopted)| Event::StepUndone { step, duration_us, adopted })
            .boxed(),
        EventKind::UndoFailed => {
            (any::<u32>(), failure()).prop_map(|(step, failure)| Event::UndoFailed { step, failure }).boxed()
        }
        EventKind::StepsDone => Just(Event::StepsDone).boxed(),
        EventKind::Rested => rest().prop_map(Event::Rested).boxed(),
        EventKind::Resumed => any::<String>().prop_map(|actor| Event::Resumed { actor }).boxed(),
        EventKind::Resolved => any::<(u32, bool, String, String)>()
            .prop_map(|(step, applied, reason, actor)| Event::Resolved { step, applied, reason, actor })
            .boxed(),
        EventKind::RunCommitted => Just(Event::RunCommitted).boxed(),
        EventKind::RunRolledBack => Just(Event::RunRolledBack).boxed(),
        EventKind::Noted => {
            let step = option::of(any::<u32>());
            (step, any::<(String, String)>())
                .prop_map(|(step, (topic, message))| Event::Noted { step, topic, message })
                .boxed()
        }
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    proptest::sample::select(EventKind::ALL.to_vec()).prop_flat_map(event)
}

fn survives(link: Link, at: Timestamp, event: &Event) {
    let sealed = wire::seal(link, at, event).unwrap();
    let (read_link, recorded, read) = wire::open(&sealed.bytes).unwrap();
    assert_eq!((read_link, recorded.at, &recorded.event, read), (link, at, event, sealed));
}

proptest! {
    #[test]
    fn any_event_survives(
        event in any_event(), run: [u8; 16], seq: u64, prev in digest(), at: i64, flip: proptest::sample::Index
    ) {
        let link = Link { run: RunId::from_bytes(run), seq, prev };
        survives(link, Timestamp(at), &event);
        let mut bytes = wire::seal(link, Timestamp(at), &event).unwrap().bytes;
        let bit = flip.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(wire::open(&bytes).is_err());
    }

    #[test]
    fn any_payload_is_read_or_refused_but_never_panics(kind in 0u16..25, payload in vec(any::<u8>(), 0..300)) {
        if let Ok(event) = wire::v1::decode(kind, &payload) {
            prop_assert_eq!(wire::v1::encode(&event).unwrap(), (kind, payload));
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(wire::open(&bytes).is_err());
    }
}

#[test]
fn every_kind_survives() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for kind in EventKind::ALL {
        runner
            .run(&event(kind), |event| {
                assert_eq!(event.kind(), kind);
                survives(Link { run: RunId::from_bytes([3; 16]), seq: 1, prev: Digest::ZERO }, Timestamp(0), &event);
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn a_plan_of_ten_thousand_steps_fits() {
    let event = crate::common::started(RunKind::Apply, 10_000);
    survives(Link { run: RunId::from_bytes([3; 16]), seq: 1, prev: Digest::ZERO }, Timestamp(0), &event);
}

#[test]
fn a_corrupt_length_is_an_error_and_takes_no_memory() {
    for length in [u64::MAX, 1 << 62, 1 << 40, 1 << 24] {
        let payload = [&length.to_le_bytes()[..], b"abc"].concat();
        assert!(wire::v1::decode(16, &payload).is_err(), "{length}");
    }
}
