//! The journal from outside: its stored form, its store, and what it survives.

mod common;
mod damage;
mod disk_full;
mod golden;
mod kill;
mod roundtrip;
mod store;
