//! The protocol, explored in full within bounds: every order of crashes, cuts, orphans, refusals and takeovers.
//!
//! Deciding, folding, recovering and judging are the engine's own functions; the shell around them and the server are
//! modelled after it. `MIGENGINE_FULL=1` explores wider bounds.
//! A process dies only between two acts of the model. That loses nothing: to die between a flush and the message after
//! it is to die with a message that never arrived, and to die between an answer and the flush after it is to die before
//! the answer. A transaction is one act, at its COMMIT. The command line around the shell is an assumption: it plans
//! under the lock, rebuilds a run that only the mirror has, and takes the mirror over where another runner went on.

#[path = "model/mod.rs"]
mod model;

use model::rows::{explore, sound, unrepaired, weakened};
use stateright::HasDiscoveries;

#[test]
fn the_protocol_holds() {
    let broken: Vec<_> = sound()
        .into_iter()
        .map(|row| (row.name, explore(row, HasDiscoveries::AnyFailures).1))
        .filter(|(_, found)| !found.is_empty())
        .collect();
    assert!(broken.is_empty(), "{broken:?}");
}

#[test]
fn every_weakened_protocol_has_a_counterexample() {
    for (property, row) in weakened() {
        let wanted = HasDiscoveries::AnyOf([property].into());
        assert!(explore(row, wanted).1.contains(&property), "{}: {property} holds", row.name);
    }
}

#[test]
fn every_repair_of_the_shell_is_needed() {
    for (property, row) in unrepaired() {
        let wanted = HasDiscoveries::AnyOf([property].into());
        assert!(explore(row, wanted).1.contains(&property), "{}: {property} holds without the repair", row.name);
    }
}
