//! The crash laboratory. `cargo test --test torture` tries a small share of everything; `make torture` all of it, with
//! ROUNDS and SEED for what is random, and ONLY for the sections whose name begins so.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;
#[path = "torture/mod.rs"]
mod torture;

use torture::lab::Table;
use torture::matrix;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
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
    if !armed() {
        return;
    }
    let table = Table::default();
    matrix::matrix(&table, number("STRIDE").map_or(61, |stride| stride as usize));
    table.conclude();
}
