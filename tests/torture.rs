//! The crash laboratory. `cargo test --test torture` tries a small share of everything; `make torture` all of it, with
//! ROUNDS and SEED for what is random, STRIDE to try every n-th case only, and ONLY for the rows whose number it is,
//! KIND to try one kind of step in the kill matrix.
#![allow(clippy::unwrap_used)]

#[path = "model/mod.rs"]
mod model;
#[path = "support/mod.rs"]
mod support;
#[path = "torture/mod.rs"]
mod torture;

use std::sync::{Mutex, MutexGuard, PoisonError};

use torture::cuts::{Strides, cuts};
use torture::table::Table;
use torture::{damage, history, matrix, power, races, random, theory, twice, wire};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn stride(name: &str, default: usize) -> usize {
    number(name).map_or(default, |stride| usize::try_from(stride).unwrap().max(1))
}

/// Random, unless it was given: a failure names it.
fn seed() -> u64 {
    let nanos = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    number("SEED").unwrap_or_else(|| u64::try_from(nanos % 1_000_000_000_000).unwrap_or_default())
}

/// The shares run one after the other: each keeps the machine busy by itself, and waits for limited times only.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Crash points are there in builds with debug assertions only.
fn armed() -> bool {
    if !cfg!(debug_assertions) {
        println!("skipped: a release build has no crash points");
    }
    cfg!(debug_assertions)
}

#[test]
fn a_share_of_the_kill_matrix() {
    let _turn = turn();
    if armed() {
        let table = Table::default();
        matrix::matrix(&table, stride("STRIDE", 157), &|_| true);
        table.conclude();
    }
}

#[test]
fn random_kills_of_random_graphs() {
    let _turn = turn();
    let table = Table::default();
    random::random(&table, number("ROUNDS").unwrap_or(300), seed());
    table.conclude();
}

#[test]
fn a_share_of_the_cuts() {
    let _turn = turn();
    let table = Table::default();
    wire::wire(&table, stride("WIRE_STRIDE", 9001));
    let strides = Strides {
        messages: stride("WIRE_STRIDE", 83),
        one_kind: stride("BYTE_STRIDE", 2003),
        bytes: stride("EVERY_BYTE_STRIDE", 9001),
    };
    cuts(&table, &strides);
    table.conclude();
}

#[test]
fn races_and_repetitions() {
    let _turn = turn();
    let table = Table::default();
    races::races(&table, number("ROUNDS").unwrap_or(6), seed());
    twice::all(&table);
    table.conclude();
}

#[test]
fn a_share_of_the_power_cuts() {
    let _turn = turn();
    let table = Table::default();
    power::cuts(&table, 4, seed());
    table.conclude();
}

#[test]
fn a_database_that_went_back_is_refused() {
    let _turn = turn();
    let table = Table::default();
    history::restores(&table, 4);
    history::failovers(&table, 1);
    history::old_journals(&table);
    table.conclude();
}

#[test]
fn damaged_journals_are_refused_or_healed() {
    let _turn = turn();
    let table = Table::default();
    damage::damage(&table, stride("DAMAGE_STRIDE", 997), 12, seed());
    table.conclude();
}

/// Everything: one table at the end. Rows that take long come last, so that what is wrong shows early.
#[test]
#[ignore = "up to an hour: make torture"]
fn torture() {
    let table = Table::default();
    let only = std::env::var("ONLY").unwrap_or_default();
    let wanted = |row: &str| only.is_empty() || only.split(',').any(|one| one == row);
    let rounds = number("ROUNDS").unwrap_or(10_000);
    let seed = seed();
    println!("SEED={seed} ROUNDS={rounds}");
    let at_most = |most: u64| rounds.min(most);
    let some = |most: u64| usize::try_from(at_most(most)).unwrap();
    if wanted("5") {
        damage::damage(&table, stride("DAMAGE_STRIDE", 8), at_most(500), seed);
    }
    if wanted("6") {
        theory::model(&table);
    }
    if wanted("9") {
        twice::all(&table);
    }
    if wanted("7") {
        history::restores(&table, some(50));
        history::failovers(&table, some(50));
        history::old_journals(&table);
    }
    if wanted("4") {
        power::cuts(&table, at_most(100), seed);
    }
    if wanted("8") {
        races::races(&table, at_most(1000), seed);
    }
    // Rows 1 and 10 share their cases.
    if (wanted("1") || wanted("10")) && armed() {
        matrix::matrix(&table, stride("STRIDE", 1), &wanted);
    }
    if wanted("3") {
        let strides = Strides {
            messages: stride("WIRE_STRIDE", 1),
            one_kind: stride("BYTE_STRIDE", 1),
            bytes: stride("EVERY_BYTE_STRIDE", 199),
        };
        cuts(&table, &strides);
        // The same through the whole program.
        wire::wire(&table, stride("PROGRAM_STRIDE", 1999));
    }
    if wanted("2") {
        random::random(&table, rounds, seed);
    }
    table.conclude();
}
