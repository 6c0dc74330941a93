//! The journal from outside: its stored form, its store, and what it survives.

#![allow(clippy::unwrap_used)] // helpers of tests, too, may fail at once

mod common;
mod damage;
mod disk_full;
mod golden;
mod kill;
mod roundtrip;
mod store;
