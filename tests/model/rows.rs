//! What is explored: the protocol under faults, weakened protocols, and the shell before its repairs.

use std::sync::Mutex;
use std::time::Instant;

use migengine_engine::run::state::RunKind;
use stateright::{Checker, HasDiscoveries, Model};

use super::explore::Protocol;
use super::protocol::{Config, Kind, Weak};
use super::state::Budget;

const NO_FAULT: Budget = Budget {
    crash: 0,
    cut: 0,
    server: 0,
    fail: 0,
    away: 0,
    stop: 0,
    rollback: 0,
    loss: 0,
    restore: 0,
    failover: 0,
    unlock: 0,
};

const BASE: Config = Config {
    name: "base",
    weak: None,
    fixed: false,
    steps: &[Kind::Tx, Kind::Index],
    run: RunKind::Apply,
    runners: 1,
    runs: 1,
    unwind_on_failure: false,
    lanes: false,
    budget: NO_FAULT,
};

/// One exploration at a time: each uses all the processors there are.
static ALONE: Mutex<()> = Mutex::new(());

/// Explores, prints a row and every counterexample, and returns the number of states and the properties that do not hold.
pub fn explore(config: Config, finish: HasDiscoveries) -> (usize, Vec<&'static str>) {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let began = Instant::now();
    let checker = Protocol::new(config).checker().threads(2).finish_when(finish).spawn_bfs().join();
    let discoveries = checker.discoveries();
    let broken: Vec<&str> = discoveries.keys().copied().filter(|name| *name != "Final").collect();
    for name in &broken {
        println!("  counterexample to {name} in `{}`:", config.name);
        for (state, action) in discoveries[name].clone().into_vec() {
            action.iter().for_each(|action| println!("    {}", Protocol::describe(&state, action)));
        }
    }
    let (states, seconds) = (checker.unique_state_count(), began.elapsed().as_secs_f32());
    let result = if broken.is_empty() { "holds".to_owned() } else { broken.join(", ") };
    println!("| {:<40} | {states:>8} | {seconds:>5.1} s | {result}", config.name);
    assert!(!broken.is_empty() || discoveries.contains_key("Final"), "{}: no run ever ends", config.name);
    (states, broken)
}

fn wide() -> bool {
    std::env::var_os("MIGENGINE_FULL").is_some()
}

/// The protocol with the repairs of the known flaws.
const SOUND: Config = Config { fixed: true, ..BASE };

/// Whether the row is wanted: those whose name holds `MIGENGINE_MODEL`, or all.
fn wanted(row: &Config) -> bool {
    std::env::var("MIGENGINE_MODEL").map_or(true, |part| row.name.contains(&part))
}

/// The protocol. Everything must hold in each of them.
pub fn sound() -> Vec<Config> {
    let more = u8::from(wide());
    let all = vec![
        Config { name: "crashes", budget: Budget { crash: 2, ..NO_FAULT }, ..SOUND },
        Config {
            name: "crash, cut, server crash",
            budget: Budget { crash: 1 + more, cut: 1, server: 1, ..NO_FAULT },
            ..SOUND
        },
        Config {
            name: "crash, cut, unreachable while reversing",
            run: RunKind::Rollback,
            budget: Budget { crash: 1 + more, cut: 1, away: 1, ..NO_FAULT },
            ..SOUND
        },
        Config {
            name: "a person turns a dead run around",
            steps: &[Kind::TxThenIndex],
            budget: Budget { crash: 2, server: more, rollback: 1, ..NO_FAULT },
            ..SOUND
        },
        Config {
            name: "a refused step turns the run around",
            unwind_on_failure: true,
            steps: &[Kind::TxThenIndex],
            budget: Budget { crash: 1, cut: 1, fail: 1 + more, ..NO_FAULT },
            ..SOUND
        },
        Config {
            name: "a statement in pieces",
            steps: &[Kind::Chunked],
            budget: Budget { crash: 1 + more, cut: 1, server: more, stop: more, ..NO_FAULT },
            ..SOUND
        },
        Config {
            name: "a statement in pieces is turned around",
            steps: &[Kind::Chunked, Kind::Tx],
            budget: Budget { crash: 2, rollback: 1, cut: more, ..NO_FAULT },
            ..SOUND
        },
        Config {
            name: "a piece is refused, which turns the run around",
            unwind_on_failure: true,
            steps: &[Kind::Tx, Kind::Chunked],
            budget: Budget { crash: 1, fail: 1, cut: more, ..NO_FAULT },
            ..SOUND
        },
        Config {
            name: "two runners, a statement in pieces",
            runners: 2,
            steps: &[Kind::Chunked],
            budget: Budget { crash: 1 + more, loss: more, ..NO_FAULT },
            ..SOUND
        },
        Config {
            name: "steps that share a wait for the disk",
            steps: &[Kind::New, Kind::New],
            budget: Budget { crash: 1, cut: 1, server: 1, fail: 1, stop: more, ..NO_FAULT },
            ..SOUND
        },
        Config {
            name: "steps that share a wait for the disk, turned around",
            unwind_on_failure: true,
            steps: &[Kind::Tx, Kind::New],
            budget: Budget { crash: more, server: 1, fail: 1, stop: 1, rollback: 1, ..NO_FAULT },
            ..SOUND
        },
        Config {
            name: "two lanes",
            lanes: true,
            steps: &[Kind::Tx, Kind::Tx],
            budget: Budget { crash: 1, cut: more, server: more, ..NO_FAULT },
            ..SOUND
        },
        Config {
            name: "two lanes, a line breaks",
            lanes: true,
            steps: &[Kind::Tx, Kind::Tx],
            budget: Budget { cut: 1, fail: more, ..NO_FAULT },
            ..SOUND
        },
        Config {
            name: "two lanes, a refused step turns the run around",
            lanes: true,
            unwind_on_failure: true,
            steps: &[Kind::TxThenIndex, Kind::Tx],
            budget: Budget { crash: more, stop: 1, fail: 1, ..NO_FAULT },
            ..SOUND
        },
        Config {
            name: "two lanes, a signal",
            lanes: true,
            runners: 1 + more,
            steps: &[Kind::Tx, Kind::Tx],
            budget: Budget { crash: more, stop: 1, ..NO_FAULT },
            ..SOUND
        },
        Config { name: "a signal", budget: Budget { crash: more, stop: 1, cut: 1, ..NO_FAULT }, ..SOUND },
        Config { name: "the journal is lost", budget: Budget { crash: 1, loss: 1, cut: more, ..NO_FAULT }, ..SOUND },
        Config {
            name: "restored from a backup",
            runs: 2,
            steps: &[Kind::Tx, Kind::Tx],
            budget: Budget { crash: 1, restore: 1, ..NO_FAULT },
            ..SOUND
        },
        Config { name: "failover", runs: 2, budget: Budget { crash: 1, failover: 1, ..NO_FAULT }, ..SOUND },
        Config {
            name: "two machines, one is lost",
            runners: 2,
            steps: &[Kind::Tx],
            budget: Budget { crash: 1 + more, loss: 1, ..NO_FAULT },
            ..SOUND
        },
        Config {
            name: "two runners",
            runners: 2,
            steps: &[Kind::TxThenIndex],
            budget: Budget { crash: 1 + more, ..NO_FAULT },
            ..SOUND
        },
        Config {
            name: "two runners, a script lets the lock go",
            runners: 2,
            steps: &[Kind::Tx, Kind::TxThenIndex],
            budget: Budget { unlock: 1, crash: more, ..NO_FAULT },
            ..SOUND
        },
    ];
    all.into_iter().filter(wanted).collect()
}

/// Each of these must fail, in this property: otherwise the model could not see what the part taken away is for.
pub fn weakened() -> Vec<(&'static str, Config)> {
    let one = Budget { crash: 1, ..NO_FAULT };
    let two = Config { runners: 2, steps: &[Kind::TxThenIndex], budget: one, ..SOUND };
    let all = vec![
        ("SupersededWrote", Config { name: "no lock", weak: Some(Weak::NoLock), budget: NO_FAULT, ..two }),
        ("AppliedTwice", Config { name: "witness read before the lock", weak: Some(Weak::ReadBeforeLock), ..two }),
        ("AppliedTwice", Config { name: "journal only", weak: Some(Weak::JournalOnly), budget: one, ..SOUND }),
        (
            "CommittedNotInEffect",
            Config {
                name: "status of the transaction number",
                weak: Some(Weak::XidStatus),
                budget: Budget { crash: 1, server: 1, ..NO_FAULT },
                ..SOUND
            },
        ),
        (
            "SupersededWrote",
            Config {
                name: "no fence",
                weak: Some(Weak::NoFence),
                steps: &[Kind::Tx, Kind::Tx],
                budget: Budget { unlock: 1, ..NO_FAULT },
                ..two
            },
        ),
        (
            "NeedlessPerson",
            Config {
                name: "COMMIT before the intent is on disk",
                weak: Some(Weak::CommitBeforeIntent),
                run: RunKind::Rollback,
                budget: one,
                ..SOUND
            },
        ),
        (
            "SupersededWrote",
            Config {
                name: "lanes without a share of the lock, and without a fence",
                weak: Some(Weak::NoShare),
                lanes: true,
                steps: &[Kind::Tx, Kind::Tx],
                budget: one,
                ..SOUND
            },
        ),
        (
            "NeedlessPerson",
            Config {
                name: "applied before it is on the disk",
                weak: Some(Weak::NotedBeforeDurable),
                steps: &[Kind::New, Kind::New],
                budget: Budget { server: 1, ..NO_FAULT },
                ..SOUND
            },
        ),
        (
            "AppliedTwice",
            Config {
                name: "a piece, and its place in a transaction after it",
                weak: Some(Weak::PlaceApart),
                steps: &[Kind::Chunked],
                budget: one,
                ..SOUND
            },
        ),
        (
            "CommittedNotInEffect",
            Config {
                name: "IF NOT EXISTS instead of the predicate",
                weak: Some(Weak::IfNotExists),
                budget: Budget { server: 1, ..NO_FAULT },
                ..SOUND
            },
        ),
    ];
    all.into_iter().filter(|(_, row)| wanted(row)).collect()
}

/// The shell as it was before the model found its flaws: each of the repairs is needed.
pub fn unrepaired() -> Vec<(&'static str, Config)> {
    let turn = Config { steps: &[Kind::TxThenIndex], budget: Budget { crash: 2, rollback: 1, ..NO_FAULT }, ..BASE };
    let unlocked =
        Config { runners: 2, steps: &[Kind::Tx, Kind::TxThenIndex], budget: Budget { unlock: 1, ..NO_FAULT }, ..BASE };
    let all = vec![
        ("RolledBackInEffect", Config { name: "reverse parts skipped by forward progress", ..turn }),
        (
            "RolledBackInEffect",
            Config {
                name: "reverse parts skipped by what a lane had done",
                lanes: true,
                unwind_on_failure: true,
                steps: &[Kind::TxThenIndex, Kind::Tx],
                budget: Budget { stop: 1, fail: 1, ..NO_FAULT },
                weak: Some(Weak::StaleProgress),
                ..SOUND
            },
        ),
        ("AppliedTwice", Config { name: "witness read before the epoch is raised", ..unlocked }),
        ("SupersededWrote", Config { name: "a superseded runner publishes", ..unlocked }),
        (
            "SilentlyRunAgain",
            Config {
                name: "a failover forgets a finished run",
                runs: 2,
                steps: &[Kind::Tx],
                budget: Budget { failover: 1, ..NO_FAULT },
                ..BASE
            },
        ),
    ];
    all.into_iter().filter(|(_, row)| wanted(row)).collect()
}
