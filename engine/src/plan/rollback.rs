//! The steps of a rollback. The history decides what there is to reverse; the files only add to what it knows.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use petgraph::Direction::{Incoming, Outgoing};
use petgraph::graph::{DiGraph, NodeIndex};

use super::apply::resolve_all;
use super::code;
use super::graph::Graph;
use super::input::{Applied, History, Node};
use super::order::topological;
use super::reference::{alternatives, listed};
use super::steps::{PlanStep, Planned, Refused, Source, decide};
use crate::diag::{Diagnostic, Severity};
use crate::id::{MigrationId, RunId};
use crate::run::state::RunKind;

/// What to reverse. Texts are what the user typed: ids, numbers, paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollbackTarget {
    /// Everything applied later than this one.
    To(String),
    /// The last so many applied; all, where there are fewer.
    Last(NonZeroUsize),
    /// What is in effect of what this run applied.
    Run(RunId),
    /// These.
    Ids(Vec<String>),
}

/// What would be reversed, newest application first.
///
/// A dependant is what required the migration when it was applied, or does by its header now. A default requirement
/// that the files imply counts only if it agrees with the order of application: nothing depended on what came after.
///
/// # Errors
/// All reasons against it at once: targets that name nothing or are not applied, applied dependants that would stay
/// (unless `cascade`, which reverses them too), missing reverse scripts. Problems of the graph are warnings here, so
/// that a broken file cannot stand in the way of a retreat.
pub fn plan_rollback(
    graph: &Graph,
    history: &History,
    target: &RollbackTarget,
    cascade: bool,
) -> Result<Planned, Refused> {
    let relation = Relation::new(graph, history);
    let (mut selected, mut diagnostics) = select(&relation, graph, history, target);
    let all = relation.with_dependants(&selected);
    if cascade {
        selected = all;
    } else {
        diagnostics.extend(staying(&relation, graph, &selected, &all));
    }
    let mut steps = Vec::new();
    for place in relation.newest_first().into_iter().filter(|place| selected.contains(place)) {
        let Some(row) = relation.rows.get(place) else { continue };
        match step(&relation, graph, place, row, &mut diagnostics) {
            Some(step) => steps.push(step),
            None => diagnostics.push(no_reverse(graph, row)),
        }
    }
    diagnostics.extend(graph.problems().iter().cloned().map(|mut problem| {
        problem.severity = problem.severity.min(Severity::Warning);
        problem
    }));
    decide(RunKind::Rollback, steps, diagnostics)
}

/// The applied migrations with their dependencies. A place is a position in the order of application.
struct Relation<'a> {
    rows: Vec<&'a Applied>,
    places: BTreeMap<&'a MigrationId, usize>,
    /// From a dependant to what it requires: the dependant is reversed first.
    dag: DiGraph<(), ()>,
}

impl<'a> Relation<'a> {
    fn new(graph: &Graph, history: &'a History) -> Self {
        let rows: Vec<&Applied> = history.in_order().collect();
        let places: BTreeMap<_, _> = rows.iter().enumerate().map(|(place, row)| (&row.id, place)).collect();
        let mut dag = DiGraph::with_capacity(rows.len(), rows.len());
        for _ in &rows {
            dag.add_node(());
        }
        for (place, row) in rows.iter().enumerate() {
            let index = graph.index(&row.id);
            let declared = index.and_then(|index| graph.nodes().get(index)).is_some_and(Node::declares_requirements);
            let now = index.map(|index| graph.requires_at(index)).unwrap_or_default();
            let of_files = now.iter().filter_map(|id| places.get(id)).filter(|on| declared || **on < place);
            let of_history = row.requires.iter().filter_map(|id| places.get(id));
            let requirements: BTreeSet<usize> = of_history.chain(of_files).copied().filter(|on| *on != place).collect();
            for requirement in requirements {
                dag.add_edge(NodeIndex::new(place), NodeIndex::new(requirement), ());
            }
        }
        Self { rows, places, dag }
    }

    fn dependants(&self, place: usize) -> BTreeSet<usize> {
        self.dag.neighbors_directed(NodeIndex::new(place), Incoming).map(NodeIndex::index).collect()
    }

    fn with_dependants(&self, selected: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut all = BTreeSet::new();
        let mut open: Vec<usize> = selected.iter().copied().collect();
        while let Some(place) = open.pop() {
            if all.insert(place) {
                open.extend(self.dependants(place));
            }
        }
        all
    }

    /// Newest first, dependants before what they require. Where files contradict the history in a circle, newest first.
    fn newest_first(&self) -> Vec<usize> {
        let (mut order, left) = topological(&self.dag, |node| std::cmp::Reverse(node.index()));
        order.extend(left.into_iter().rev());
        order.into_iter().map(NodeIndex::index).collect()
    }

    fn requires(&self, place: usize) -> Vec<MigrationId> {
        let requirements = self.dag.neighbors_directed(NodeIndex::new(place), Outgoing);
        let mut ids: Vec<_> =
            requirements.filter_map(|node| self.rows.get(node.index())).map(|row| row.id.clone()).collect();
        ids.sort();
        ids
    }

    fn ids<'s>(&'s self, places: impl IntoIterator<Item = &'s usize>) -> Vec<&'a MigrationId> {
        let mut ids: Vec<_> = places.into_iter().filter_map(|place| self.rows.get(*place)).map(|row| &row.id).collect();
        ids.sort();
        ids
    }
}

fn select(
    relation: &Relation<'_>,
    graph: &Graph,
    history: &History,
    target: &RollbackTarget,
) -> (BTreeSet<usize>, Vec<Diagnostic>) {
    let count = relation.rows.len();
    let texts: &[String] = match target {
        RollbackTarget::Last(last) => return ((count.saturating_sub(last.get())..count).collect(), Vec::new()),
        RollbackTarget::Run(run) => return of_run(relation, *run),
        RollbackTarget::To(text) => std::slice::from_ref(text),
        RollbackTarget::Ids(texts) => texts,
    };
    let (ids, mut problems) = resolve_all(graph, history, texts);
    let mut selected = BTreeSet::new();
    for id in &ids {
        match (relation.places.get(id), target) {
            (None, _) => problems.push(not_applied(graph, history, id)),
            (Some(place), RollbackTarget::To(_)) => selected.extend(place + 1..count),
            (Some(place), _) => {
                selected.insert(*place);
            }
        }
    }
    (selected, problems)
}

fn of_run(relation: &Relation<'_>, run: RunId) -> (BTreeSet<usize>, Vec<Diagnostic>) {
    let of_it = relation.rows.iter().enumerate().filter(|(_, row)| row.run == run);
    let selected: BTreeSet<usize> = of_it.map(|(place, _)| place).collect();
    let mut problems = Vec::new();
    if selected.is_empty() {
        let message = format!("nothing that run {run} applied is in effect");
        let help = "`migengine journal list` shows the runs";
        problems.push(Diagnostic::error(code::NOTHING_OF_RUN, "", message).help(help));
    }
    (selected, problems)
}

fn not_applied(graph: &Graph, history: &History, id: &MigrationId) -> Diagnostic {
    let file = graph.get(id).map_or("", |node| node.file.as_str());
    let problem = Diagnostic::error(code::NOT_APPLIED, file, format!("`{id}` is not applied"));
    let (before, after) = history.neighbours(id);
    match [before, after].into_iter().flatten().collect::<Vec<_>>() {
        nearest if nearest.is_empty() => problem.help("nothing is applied, so there is nothing to reverse"),
        nearest => problem.help(format!("nearest to it, applied: {}", alternatives(nearest.into_iter()))),
    }
}

/// One finding for each chosen migration that something applied still needs.
fn staying(
    relation: &Relation<'_>,
    graph: &Graph,
    selected: &BTreeSet<usize>,
    all: &BTreeSet<usize>,
) -> Vec<Diagnostic> {
    let help = format!("`--cascade` also reverses {}", listed(relation.ids(all.difference(selected))));
    let mut problems = Vec::new();
    for (place, row) in selected.iter().filter_map(|place| relation.rows.get(*place).map(|row| (*place, row))) {
        let staying = relation.dependants(place);
        let staying = relation.ids(staying.difference(selected));
        if !staying.is_empty() {
            let verb = if staying.len() == 1 { "depends on it and stays" } else { "depend on it and stay" };
            let message = format!("`{}` cannot be reversed: {} {verb} applied", row.id, listed(staying));
            let file = graph.get(&row.id).map_or("", |node| node.file.as_str());
            problems.push(Diagnostic::error(code::DEPENDANT_STAYS, file, message).help(help.clone()));
        }
    }
    problems
}

fn no_reverse(graph: &Graph, row: &Applied) -> Diagnostic {
    let node = graph.get(&row.id);
    let reason = node.and_then(|node| node.irreversible_reason.as_deref());
    let message = match reason {
        Some(reason) => format!("`{}` is irreversible: {reason}", row.id),
        None => format!("`{}` has no reverse script, neither in the folder nor in the history", row.id),
    };
    let file = node.map_or("", |node| node.file.as_str());
    Diagnostic::error(code::NO_REVERSE, file, message).help(format!("write `{}_rollback.sql`", row.id))
}

/// The step for one applied migration; none without a reverse script. The folder's script comes before the kept one,
/// so that a mended reverse script is used.
fn step(
    relation: &Relation<'_>,
    graph: &Graph,
    place: usize,
    row: &Applied,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<PlanStep> {
    let node = graph.get(&row.id);
    let file = node.map_or("", |node| node.file.as_str());
    let (script, source) = match (node.and_then(|node| node.down), row.reverse) {
        (Some(down), _) => (down, Source::File),
        (None, Some(kept)) => (kept, Source::History),
        (None, None) => return None,
    };
    if source == Source::File && graph.is_duplicate(&row.id) {
        let message = format!("`{}` exists twice, so its reverse script is not certain", row.id);
        diagnostics.push(Diagnostic::error(code::DUPLICATE_ID, file, message));
    }
    if source == Source::File && node.is_some_and(|node| node.up.tokens != row.tokens) {
        let message =
            format!("`{}` was changed after it was applied; the reverse script of the folder is used", row.id);
        diagnostics.push(Diagnostic::warning(code::CHANGED, file, message));
    }
    Some(PlanStep {
        id: row.id.clone(),
        file: file.to_owned(),
        requires: relation.requires(place),
        script,
        source,
        forward: (row.content, row.tokens),
        reversible: true,
    })
}
