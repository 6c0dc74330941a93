//! The dependency graph of the files, and everything that is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::Direction::{Incoming, Outgoing};
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use super::code;
use super::cycle::{Cycle, cycles};
use super::input::{History, Node, RefText, Requires};
use super::order::topological;
use super::reference::{ReferenceError, Resolver, listed};
use crate::diag::Diagnostic;
use crate::id::MigrationId;

/// Why one migration depends on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    /// It stands directly behind it, and says nothing else.
    Default,
    /// The reference of this number in its `Requires`.
    Declared(u32),
}

/// A declared conflict whose other side is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conflict {
    pub(super) by: usize,
    pub(super) reference: u32,
    pub(super) with: MigrationId,
}

/// The migrations of a folder with their dependencies. Always complete and ordered, also when [`Self::problems`] is
/// not empty: requirements that could not be resolved are left out, what is on a cycle comes last.
#[derive(Debug, Clone)]
pub struct Graph {
    /// In (number, id) order. The position of a node here is its index everywhere else.
    nodes: Vec<Node>,
    /// From a requirement to what requires it.
    dag: DiGraph<(), Edge>,
    /// Requirements whose files are gone; the history vouches for them.
    gone: BTreeMap<usize, Vec<MigrationId>>,
    pub(super) conflicts: Vec<Conflict>,
    duplicates: BTreeSet<MigrationId>,
    order: Vec<usize>,
    /// Of each node, its place in `order`.
    place: Vec<usize>,
    problems: Vec<Diagnostic>,
}

impl Graph {
    /// Builds the graph from nodes in any order; the result does not depend on it.
    ///
    /// A requirement that names no file but a migration of the history is satisfied. O(V log V + E), no recursion.
    #[must_use]
    pub fn build(mut nodes: Vec<Node>, history: &History) -> Self {
        nodes.sort_by(|a, b| a.id.cmp(&b.id).then_with(|| a.file.cmp(&b.file)));
        let (duplicates, mut problems) = take_duplicates(&mut nodes);
        let mut dag = DiGraph::with_capacity(nodes.len(), nodes.len());
        for _ in &nodes {
            dag.add_node(());
        }
        let mut builder = Builder::new(&nodes, history, dag);
        for (index, node) in nodes.iter().enumerate() {
            builder.add_requirements(index, node);
            builder.add_conflicts(index, node);
        }
        let Builder { dag, gone, conflicts, problems: found, .. } = builder;
        problems.extend(found);
        let (mut order, left) = topological(&dag, NodeIndex::index);
        if !left.is_empty() {
            problems.extend(cycles(&dag).iter().map(|cycle| describe(cycle, &nodes, &dag)));
        }
        order.extend(left);
        let order: Vec<usize> = order.into_iter().map(NodeIndex::index).collect();
        let mut place = vec![0; nodes.len()];
        for (at, node) in order.iter().enumerate() {
            if let Some(slot) = place.get_mut(*node) {
                *slot = at;
            }
        }
        super::sort(&mut problems);
        Self { nodes, dag, gone, conflicts, duplicates, order, place, problems }
    }

    /// Everything wrong with the graph itself, by file and place. Empty or warnings only means that it can be planned.
    #[must_use]
    pub fn problems(&self) -> &[Diagnostic] {
        &self.problems
    }

    /// All migrations in (number, id) order.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All migrations in the order of application: requirements first, ties by (number, id).
    pub fn in_order(&self) -> impl Iterator<Item = &Node> {
        self.order.iter().filter_map(|index| self.nodes.get(*index))
    }

    /// The migration with an id.
    #[must_use]
    pub fn get(&self, id: &MigrationId) -> Option<&Node> {
        self.index(id).and_then(|index| self.nodes.get(index))
    }

    /// What a migration requires directly, gone files included, in (number, id) order. Empty for an unknown id.
    #[must_use]
    pub fn requires(&self, id: &MigrationId) -> Vec<MigrationId> {
        self.index(id).map(|index| self.requires_at(index)).unwrap_or_default()
    }

    /// Like [`Self::requires`], by index.
    pub(super) fn requires_at(&self, index: usize) -> Vec<MigrationId> {
        let mut ids: Vec<_> =
            self.parents(index).filter_map(|parent| self.nodes.get(parent)).map(|node| node.id.clone()).collect();
        ids.extend(self.gone.get(&index).into_iter().flatten().cloned());
        ids.sort();
        ids
    }

    /// The direct requirements whose files are gone.
    pub(super) fn gone(&self, id: &MigrationId) -> &[MigrationId] {
        self.index(id).and_then(|index| self.gone.get(&index)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn is_duplicate(&self, id: &MigrationId) -> bool {
        self.duplicates.contains(id)
    }

    pub(super) fn index(&self, id: &MigrationId) -> Option<usize> {
        self.nodes.binary_search_by(|node| node.id.cmp(id)).ok()
    }

    pub(super) fn order(&self) -> &[usize] {
        &self.order
    }

    pub(super) fn place(&self, index: usize) -> usize {
        self.place.get(index).copied().unwrap_or(usize::MAX)
    }

    pub(super) fn parents(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        self.dag.neighbors_directed(NodeIndex::new(index), Incoming).map(NodeIndex::index)
    }
}

/// Keeps the first of several nodes with one id.
fn take_duplicates(nodes: &mut Vec<Node>) -> (BTreeSet<MigrationId>, Vec<Diagnostic>) {
    let mut duplicates = BTreeSet::new();
    let mut problems = Vec::new();
    nodes.dedup_by(|next, kept| {
        let same = next.id == kept.id;
        if same {
            duplicates.insert(next.id.clone());
            let message = format!("migration `{}` exists twice; the other one is {}", next.id, kept.file);
            let help = "two migrations may share a number, never the whole name: rename one of them";
            problems.push(Diagnostic::error(code::DUPLICATE_ID, &next.file, message).help(help));
        }
        same
    });
    (duplicates, problems)
}

/// What a header's reference turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found<'a> {
    File(usize),
    Gone(&'a MigrationId),
}

struct Builder<'a> {
    nodes: &'a [Node],
    history: &'a History,
    files: Resolver<'a>,
    past: Resolver<'a>,
    /// How many more times a search for similar names is affordable: each is linear in the number of migrations.
    searches: usize,
    dag: DiGraph<(), Edge>,
    gone: BTreeMap<usize, Vec<MigrationId>>,
    conflicts: Vec<Conflict>,
    problems: Vec<Diagnostic>,
}

impl<'a> Builder<'a> {
    fn new(nodes: &'a [Node], history: &'a History, dag: DiGraph<(), Edge>) -> Self {
        let files = Resolver::new(nodes.iter().map(|node| &node.id));
        let is_gone = |id: &&MigrationId| nodes.binary_search_by(|node| node.id.cmp(id)).is_err();
        let past = Resolver::new(history.by_id().map(|row| &row.id).filter(is_gone));
        let searches = 200_000 / (nodes.len() + 1);
        let (gone, conflicts, problems) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { nodes, history, files, past, searches, dag, gone, conflicts, problems }
    }

    fn require(&mut self, index: usize, requirement: usize, edge: Edge) {
        self.dag.add_edge(NodeIndex::new(requirement), NodeIndex::new(index), edge);
    }

    fn add_requirements(&mut self, index: usize, node: &Node) {
        let references = match &node.requires {
            Requires::Declared(references) => references,
            Requires::Default => return self.add_default(index, node),
        };
        let mut seen = BTreeSet::new();
        for (number, reference) in (0u32..).zip(references) {
            let found = match self.look_up(node, reference) {
                Ok(found) => found,
                Err(problem) => {
                    self.problems.push(*problem);
                    continue;
                }
            };
            if found == Found::File(index) {
                let message = format!("`{}` requires itself", node.id);
                let problem = Diagnostic::error(code::REQUIRES_ITSELF, &node.file, message);
                let help = "remove the reference; `Requires: none` makes a migration without requirements";
                self.problems.push(reference.point(problem).help(help));
            } else if !seen.insert(found) {
                let message = format!("`{}` is required twice", self.id_of(found));
                self.problems.push(reference.point(Diagnostic::warning(code::REQUIRED_TWICE, &node.file, message)));
            } else {
                match found {
                    Found::File(requirement) => self.require(index, requirement, Edge::Declared(number)),
                    Found::Gone(id) => self.gone.entry(index).or_default().push(id.clone()),
                }
            }
        }
    }

    /// The file before this one, and an applied migration between them whose file is gone.
    fn add_default(&mut self, index: usize, node: &Node) {
        let before = index.checked_sub(1);
        if let Some(before) = before {
            self.require(index, before, Edge::Default);
        }
        let previous = before.and_then(|before| self.nodes.get(before)).map(|node| &node.id);
        if let (Some(applied), _) = self.history.neighbours(&node.id)
            && previous.is_none_or(|previous| previous < applied)
        {
            self.gone.entry(index).or_default().push(applied.clone());
        }
    }

    fn add_conflicts(&mut self, index: usize, node: &Node) {
        for (number, reference) in (0u32..).zip(&node.conflicts) {
            match self.look_up(node, reference) {
                Ok(found) => {
                    let with = self.id_of(found).clone();
                    if with == node.id {
                        let message = format!("`{with}` conflicts with itself");
                        let problem = Diagnostic::error(code::CONFLICTS_WITH_ITSELF, &node.file, message);
                        self.problems.push(reference.point(problem));
                    } else {
                        self.conflicts.push(Conflict { by: index, reference: number, with });
                    }
                }
                Err(mut problem) => {
                    // A conflict may well be with something that only another branch has.
                    if problem.code == code::UNKNOWN_REQUIREMENT {
                        problem.code = code::UNKNOWN_CONFLICT;
                        problem.severity = crate::diag::Severity::Warning;
                        problem.message = format!("conflict with `{}`, which does not exist here", reference.text);
                    }
                    self.problems.push(*problem);
                }
            }
        }
    }

    fn id_of(&self, found: Found<'a>) -> &'a MigrationId {
        match found {
            Found::File(index) => &self.nodes[index].id, // invariant: the resolver was built over `nodes`
            Found::Gone(id) => id,
        }
    }

    /// Files first: they are what the author of the header saw. Then what only the history knows.
    fn look_up(&mut self, node: &Node, reference: &RefText) -> Result<Found<'a>, Box<Diagnostic>> {
        let error = match self.files.position(&reference.text) {
            Ok((index, _)) => return Ok(Found::File(index)),
            Err(ReferenceError::Unknown { .. }) => match self.past.resolve(&reference.text) {
                Ok(found) => return Ok(Found::Gone(found.id)),
                Err(error) => error,
            },
            Err(error) => error,
        };
        let problem = match error {
            ReferenceError::Ambiguous { text, candidates } => {
                let message = format!("`{text}` is ambiguous: {} share that number", listed(&candidates));
                let problem = Diagnostic::error(code::AMBIGUOUS_REQUIREMENT, &node.file, message);
                problem.help("write the whole name of the one that is meant")
            }
            ReferenceError::Unknown { text } => {
                let message = format!("requires `{text}`, which is neither a file nor in the history");
                let problem = Diagnostic::error(code::UNKNOWN_REQUIREMENT, &node.file, message);
                if self.searches > 0 {
                    self.searches -= 1;
                    problem.help(self.files.help(&text))
                } else {
                    problem.help("`migengine list` shows the migrations that exist")
                }
            }
        };
        Err(Box::new(reference.point(problem)))
    }
}

/// How many migrations of a cycle are written out.
const SHOWN: usize = 100;

fn describe(cycle: &Cycle, nodes: &[Node], dag: &DiGraph<(), Edge>) -> Diagnostic {
    let around = cycle.nodes.iter().zip(cycle.nodes.iter().cycle().skip(1));
    let mut names = Vec::new();
    let mut by_default = Vec::new();
    let mut declared = None;
    for (dependant, requirement) in around {
        let Some(node) = nodes.get(dependant.index()) else { continue };
        if names.len() < SHOWN {
            names.push(format!("`{}` ({})", node.id, node.file));
        }
        let edge = dag.edges_connecting(*requirement, *dependant).next().map(|edge| *edge.weight());
        match (edge, &node.requires) {
            (Some(Edge::Declared(number)), Requires::Declared(references)) if declared.is_none() => {
                declared = references.get(number as usize).map(|reference| (node, reference));
            }
            (Some(Edge::Default), _) => by_default.push(&node.id),
            _ => {}
        }
    }
    if let Some(more) = cycle.nodes.len().checked_sub(SHOWN + 1) {
        names.push(format!("{} more", more + 1));
    }
    if let Some(first) = cycle.nodes.first().and_then(|first| nodes.get(first.index())) {
        names.push(format!("`{}`", first.id));
    }
    let mut message = format!("these migrations require each other in a circle: {}", names.join(" -> "));
    if let Some(others @ 1..) = cycle.component.checked_sub(cycle.nodes.len()) {
        message.push_str(&format!("; {others} more hang together with them in further circles"));
    }
    let file = declared.map_or("", |(node, _)| node.file.as_str());
    let problem = Diagnostic::error(code::CYCLE, file, message);
    let problem = match declared {
        Some((_, reference)) => reference.point(problem),
        None => problem,
    };
    by_default.sort();
    match by_default.is_empty() {
        true => problem.help("remove one of these requirements"),
        false => problem.help(format!(
            "remove one of these requirements; {} no `Requires` key and so require the migration before them",
            match by_default.as_slice() {
                [one] => format!("`{one}` has"),
                many => format!("{} have", listed(many.iter().copied())),
            }
        )),
    }
}

/// Edges as pairs of indices (dependant, requirement), in (number, id) order of both.
pub(super) fn edges(graph: &Graph) -> Vec<(usize, usize)> {
    let mut edges: Vec<_> = graph
        .dag
        .node_indices()
        .flat_map(|node| graph.dag.edges_directed(node, Outgoing))
        .map(|edge| (edge.target().index(), edge.source().index()))
        .collect();
    edges.sort_unstable();
    edges
}
