//! The journal from outside: its stored form, its store, and what it survives.

#![allow(clippy::unwrap_used)] // in functions shared by tests as well

mod common;
mod damage;
mod disk_full;
mod golden;
mod kill;
mod roundtrip;
mod settled;
mod store;
