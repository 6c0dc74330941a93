//! Another order in which the migrations may be applied, as far as their headers say.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::MigrationId;

/// The order that takes the last of all that are ready, as places in the order given. Requirements that are not in the
/// list count as satisfied. Nothing where it is the order given: then the list is a single chain.
#[must_use]
pub fn other_order(list: &[(MigrationId, Vec<MigrationId>)]) -> Option<Vec<usize>> {
    let places: BTreeMap<&MigrationId, usize> = list.iter().map(|(id, _)| id).zip(0..).collect();
    let mut missing: Vec<BTreeSet<usize>> = Vec::new();
    let mut followers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, (_, requires)) in list.iter().enumerate() {
        let requires: BTreeSet<usize> = requires.iter().filter_map(|id| places.get(id).copied()).collect();
        for requirement in &requires {
            followers.entry(*requirement).or_default().push(at);
        }
        missing.push(requires);
    }
    let mut ready: BTreeSet<usize> =
        (0..list.len()).filter(|at| missing.get(*at).is_some_and(BTreeSet::is_empty)).collect();
    let mut order = Vec::with_capacity(list.len());
    while let Some(at) = ready.pop_last() {
        order.push(at);
        for next in followers.get(&at).into_iter().flatten() {
            if let Some(left) = missing.get_mut(*next) {
                left.remove(&at);
                if left.is_empty() {
                    ready.insert(*next);
                }
            }
        }
    }
    let complete = order.len() == list.len();
    (complete && order.iter().enumerate().any(|(at, place)| at != *place)).then_some(order)
}
