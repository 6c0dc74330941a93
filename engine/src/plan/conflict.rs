//! Declared conflicts, held against what is applied and what would be.

use std::collections::BTreeSet;

use super::code;
use super::graph::Graph;
use super::input::History;
use crate::diag::Diagnostic;
use crate::id::MigrationId;

/// Every conflict between two migrations of `selected` (indices into the graph), or between one of them and an applied
/// one. A conflict holds both ways, whichever side declares it; a pair that declares it twice is reported once.
pub(super) fn check(graph: &Graph, history: &History, selected: &BTreeSet<usize>) -> Vec<Diagnostic> {
    let mut seen: BTreeSet<(&MigrationId, &MigrationId)> = BTreeSet::new();
    let mut problems = Vec::new();
    for conflict in &graph.conflicts {
        let Some(node) = graph.nodes().get(conflict.by) else { continue };
        let (one, other) = (&node.id, &conflict.with);
        let planned = |id| graph.index(id).is_some_and(|index| selected.contains(&index));
        let (code, how) = match (planned(one), planned(other)) {
            (true, true) => (code::CONFLICT_IN_PLAN, "both would be applied".to_owned()),
            (true, false) if history.contains(other) => {
                (code::CONFLICT_WITH_APPLIED, format!("`{other}` is applied, `{one}` would be"))
            }
            (false, true) if history.contains(one) => {
                (code::CONFLICT_WITH_APPLIED, format!("`{one}` is applied, `{other}` would be"))
            }
            _ => continue,
        };
        if !seen.insert((one.min(other), one.max(other))) {
            continue;
        }
        let message = format!("`{one}` and `{other}` conflict: {how}");
        let help = match code {
            code::CONFLICT_IN_PLAN => {
                "name the one to apply, or remove the other; a migration without `Requires` \
                                       depends on the one before it, so `Requires` may be needed to keep them apart"
            }
            _ => "reverse the applied one first, or leave the other out",
        };
        let problem = Diagnostic::error(code, &node.file, message).help(help);
        problems.push(match node.conflicts.get(conflict.reference as usize) {
            Some(reference) => reference.point(problem),
            None => problem,
        });
    }
    problems
}
