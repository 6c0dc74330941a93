//! The protocol, explored in full within bounds: every order of crashes, cuts, orphans, refusals and takeovers.
//!
//! Deciding, folding, recovering and judging are the engine's own functions; the shell around them and the server are
//! modelled after it. `MIGENGINE_FULL=1` explores wider bounds.
//! A process dies only between two acts of the model. That loses nothing: to die between a flush and the message after
//! it is to die with a message that never arrived, and to die between an answer and the flush after it is to die before
//! the answer. A transaction is one act, at its COMMIT. The command line around the shell is an assumption: it plans
//! under the lock, rebuilds a run that only the mirror has, and takes the mirror over where another runner went on.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, unreachable_pub)]

#[path = "model/explore.rs"]
mod explore;
#[path = "model/parts.rs"]
mod parts;
#[path = "model/protocol.rs"]
mod protocol;
#[path = "model/runner.rs"]
mod runner;
#[path = "model/server.rs"]
mod server;
#[path = "model/state.rs"]
mod state;

use std::sync::Mutex;
use std::time::Instant;

use explore::Protocol;
use migengine_engine::run::state::RunKind;
use protocol::{Config, Kind, Weak};
use state::Budget;
use stateright::{Checker, HasDiscoveries, Model};

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
    budget: NO_FAULT,
};

/// One exploration at a time: each uses all the processors there are.
static ALONE: Mutex<()> = Mutex::new(());

/// Explores, prints a row and every counterexample, and returns the properties that do not hold.
fn explore(config: Config, finish: HasDiscoveries) -> Vec<&'static str> {
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
    broken
}

fn wide() -> bool {
    std::env::var_os("MIGENGINE_FULL").is_some()
}

/// The protocol with the repairs of the flaws below.
const SOUND: Config = Config { fixed: true, ..BASE };

#[test]
fn the_protocol_holds() {
    let more = u8::from(wide());
    let rows = [
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
    let broken: Vec<_> = rows
        .into_iter()
        .map(|row| (row.name, explore(row, HasDiscoveries::AnyFailures)))
        .filter(|(_, found)| !found.is_empty())
        .collect();
    assert!(broken.is_empty(), "{broken:?}");
}

/// Each of these must fail: otherwise the model could not see what the part taken away is for.
#[test]
fn every_weakened_protocol_has_a_counterexample() {
    let one = Budget { crash: 1, ..NO_FAULT };
    let two = Config { runners: 2, steps: &[Kind::TxThenIndex], budget: one, ..SOUND };
    let weak = [
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
            "CommittedNotInEffect",
            Config {
                name: "IF NOT EXISTS instead of the predicate",
                weak: Some(Weak::IfNotExists),
                budget: Budget { server: 1, ..NO_FAULT },
                ..SOUND
            },
        ),
    ];
    for (property, row) in weak {
        let wanted = HasDiscoveries::AnyOf([property].into());
        assert!(explore(row, wanted).contains(&property), "{}: {property} holds", row.name);
    }
}

/// The shell as it was before the model found its flaws: each of the repairs is needed.
#[test]
fn every_repair_of_the_shell_is_needed() {
    let turn = Config { steps: &[Kind::TxThenIndex], budget: Budget { crash: 2, rollback: 1, ..NO_FAULT }, ..BASE };
    let unlocked =
        Config { runners: 2, steps: &[Kind::Tx, Kind::TxThenIndex], budget: Budget { unlock: 1, ..NO_FAULT }, ..BASE };
    let repaired = [
        ("RolledBackInEffect", Config { name: "reverse parts skipped by forward progress", ..turn }),
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
    for (property, row) in repaired {
        let wanted = HasDiscoveries::AnyOf([property].into());
        assert!(explore(row, wanted).contains(&property), "{}: {property} holds without the repair", row.name);
    }
}
