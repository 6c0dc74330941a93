//! A run as data: what is written ([`event`]), what it folds into ([`state`], [`transition`]), what to do next
//! ([`decide`], [`schedule`]) and what to believe after a crash ([`recovery`]). No clock, no I/O, no async anywhere below.

pub mod decide;
pub mod event;
pub mod evidence;
pub mod failure;
pub mod figures;
pub mod footprint;
pub mod journal;
pub mod recovery;
pub mod schedule;
pub mod state;
pub mod transition;
