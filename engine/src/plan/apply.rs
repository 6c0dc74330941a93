//! The steps of an apply.

use std::collections::BTreeSet;

use super::divergence::{Policy, compare};
use super::graph::Graph;
use super::input::History;
use super::reference::{ReferenceError, Resolver, listed};
use super::steps::{PlanStep, Planned, Refused, Source, decide};
use super::{code, conflict};
use crate::diag::Diagnostic;
use crate::id::MigrationId;
use crate::run::state::RunKind;

/// How far to go. Texts are what the user typed: ids, numbers, paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ApplyTarget {
    /// Everything that is pending.
    #[default]
    All,
    /// These, and what they require and is pending.
    Ids(Vec<String>),
    /// Everything that comes before this one in the order of application, and itself.
    To(String),
}

/// What would be applied, in order.
///
/// # Errors
/// All reasons against it at once: problems of the graph, changed and missing files, targets that name nothing, and of
/// the chosen migrations those that are out of order or conflict.
pub fn plan_apply(graph: &Graph, history: &History, target: &ApplyTarget, policy: Policy) -> Result<Planned, Refused> {
    let mut diagnostics = graph.problems().to_vec();
    let (selected, problems) = select(graph, history, target);
    diagnostics.extend(problems);
    let files = selected.iter().filter_map(|index| graph.nodes().get(*index)).map(|node| node.file.as_str());
    let chosen: BTreeSet<&str> = files.collect();
    // What stands out of order but is not asked for is no reason to refuse the rest.
    let divergence = compare(graph, history, policy);
    let is_relevant = |found: &Diagnostic| found.code != code::OUT_OF_ORDER || chosen.contains(found.file.as_str());
    diagnostics.extend(divergence.diagnostics.into_iter().filter(is_relevant));
    diagnostics.extend(conflict::check(graph, history, &selected));
    let in_order = graph.order().iter().filter(|index| selected.contains(index));
    let steps = in_order.filter_map(|index| step(graph, *index)).collect();
    decide(RunKind::Apply, steps, diagnostics)
}

fn step(graph: &Graph, index: usize) -> Option<PlanStep> {
    let node = graph.nodes().get(index)?;
    Some(PlanStep {
        id: node.id.clone(),
        file: node.file.clone(),
        requires: graph.requires_at(index),
        script: node.up,
        source: Source::File,
        forward: (node.up.content, node.up.tokens),
        reversible: node.down.is_some(),
    })
}

fn select(graph: &Graph, history: &History, target: &ApplyTarget) -> (BTreeSet<usize>, Vec<Diagnostic>) {
    let pending = |index: &usize| graph.nodes().get(*index).is_some_and(|node| !history.contains(&node.id));
    let texts: &[String] = match target {
        ApplyTarget::All => return (graph.order().iter().copied().filter(pending).collect(), Vec::new()),
        ApplyTarget::Ids(texts) => texts,
        ApplyTarget::To(text) => std::slice::from_ref(text),
    };
    let (ids, problems) = resolve_all(graph, history, texts);
    let wanted: Vec<usize> = match target {
        ApplyTarget::To(_) => ids.iter().flat_map(|id| up_to(graph, id)).collect(),
        _ => ids.iter().filter_map(|id| graph.index(id)).collect(),
    };
    let mut selected = BTreeSet::new();
    let mut open: Vec<usize> = wanted;
    // What is applied is satisfied: its requirements, whatever they are by now, are not looked at.
    while let Some(index) = open.pop() {
        if pending(&index) && selected.insert(index) {
            open.extend(graph.parents(index));
        }
    }
    (selected, problems)
}

/// The order of application up to and including an id. Where its file is gone, all that is lower by (number, id).
fn up_to(graph: &Graph, id: &MigrationId) -> Vec<usize> {
    match graph.index(id) {
        Some(last) => graph.order().iter().copied().take(graph.place(last).saturating_add(1)).collect(),
        None => (0..graph.nodes().partition_point(|node| node.id < *id)).collect(),
    }
}

/// Resolves texts over the files and the history; every one that does not name a migration is a finding.
pub(super) fn resolve_all(
    graph: &Graph,
    history: &History,
    texts: &[String],
) -> (BTreeSet<MigrationId>, Vec<Diagnostic>) {
    let known = graph.nodes().iter().map(|node| &node.id).chain(history.by_id().map(|row| &row.id));
    let resolver = Resolver::new(known);
    let mut ids = BTreeSet::new();
    let mut problems = Vec::new();
    for text in texts {
        match resolver.resolve(text) {
            Ok(found) => {
                ids.insert(found.id.clone());
            }
            Err(ReferenceError::Unknown { text }) => problems.push(
                Diagnostic::error(code::UNKNOWN_TARGET, "", format!("there is no migration `{text}`"))
                    .help(resolver.help(&text)),
            ),
            Err(ReferenceError::Ambiguous { text, candidates }) => {
                let message = format!("`{text}` is ambiguous: {} share that number", listed(&candidates));
                problems.push(
                    Diagnostic::error(code::AMBIGUOUS_TARGET, "", message)
                        .help("write the whole name of the one that is meant"),
                );
            }
        }
    }
    (ids, problems)
}
