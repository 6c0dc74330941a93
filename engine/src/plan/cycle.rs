//! Cycles, as people want them named: each knot once, by its shortest way round.

use std::collections::VecDeque;

use petgraph::Direction::Incoming;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

/// One strongly connected component with more than one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cycle {
    /// Each requires the next, the last requires the first. Begins with the lowest index.
    pub(super) nodes: Vec<NodeIndex>,
    /// How many nodes are tied together, those of `nodes` included.
    pub(super) component: usize,
}

/// Edge visits spent on one component. Up to about a thousand nodes the shortest cycle is found for certain; in a
/// larger knot it is the shortest through the lowest nodes, which is just as true and costs linear time.
const BUDGET: usize = 2_000_000;

/// One cycle for every strongly connected component, ordered by first node.
///
/// An edge points from a requirement to what requires it; there are no edges from a node to itself. Kosaraju's
/// algorithm, because petgraph's Tarjan is recursive and a long chain would overflow the stack.
pub(super) fn cycles<E>(dag: &DiGraph<(), E>) -> Vec<Cycle> {
    let components = kosaraju_scc(dag);
    let mut member = vec![usize::MAX; dag.node_count()];
    for (number, component) in components.iter().enumerate() {
        for node in component {
            if let Some(slot) = member.get_mut(node.index()) {
                *slot = number;
            }
        }
    }
    let mut search = Search { dag, member: &member, parent: vec![None; dag.node_count()], spent: 0 };
    let mut found: Vec<Cycle> =
        components.into_iter().filter(|component| component.len() > 1).map(|nodes| search.shortest(nodes)).collect();
    found.sort_by(|a, b| a.nodes.cmp(&b.nodes));
    found
}

struct Search<'a, E> {
    dag: &'a DiGraph<(), E>,
    member: &'a [usize],
    /// Where the search came from; reset after each search, so that all of them together stay linear in what they see.
    parent: Vec<Option<NodeIndex>>,
    spent: usize,
}

impl<E> Search<'_, E> {
    fn shortest(&mut self, mut component: Vec<NodeIndex>) -> Cycle {
        component.sort();
        self.spent = 0;
        let mut best: Vec<NodeIndex> = Vec::new();
        for start in &component {
            if !best.is_empty() && (self.spent > BUDGET || best.len() == 2) {
                break;
            }
            if let Some(cycle) = self.through(*start).filter(|cycle| best.is_empty() || cycle.len() < best.len()) {
                best = cycle;
            }
        }
        let lowest = best.iter().enumerate().min_by_key(|(_, node)| **node).map_or(0, |(at, _)| at);
        best.rotate_left(lowest);
        Cycle { nodes: best, component: component.len() }
    }

    /// Breadth first along the requirements, inside the component, until one of them is the start again.
    fn through(&mut self, start: NodeIndex) -> Option<Vec<NodeIndex>> {
        let mut queue = VecDeque::from([start]);
        let mut touched = Vec::new();
        let mut last = None;
        'search: while let Some(node) = queue.pop_front() {
            let mut requirements: Vec<_> = self.dag.neighbors_directed(node, Incoming).collect();
            requirements.sort();
            self.spent += requirements.len();
            for requirement in requirements {
                if requirement == start {
                    last = Some(node);
                    break 'search;
                }
                let same = self.member.get(requirement.index()) == self.member.get(start.index());
                if let Some(slot @ None) = self.parent.get_mut(requirement.index()).filter(|_| same) {
                    *slot = Some(node);
                    touched.push(requirement);
                    queue.push_back(requirement);
                }
            }
        }
        let cycle = last.map(|last| {
            let back = |node: &NodeIndex| self.parent.get(node.index()).copied().flatten();
            let mut way: Vec<_> = std::iter::successors(Some(last), back).collect();
            way.reverse();
            way
        });
        for node in touched {
            if let Some(slot) = self.parent.get_mut(node.index()) {
                *slot = None;
            }
        }
        cycle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_knot_is_named_once_by_its_shortest_way_round() {
        // Edges as (requirement, dependant); the cycle is read along the requirements.
        type Row = (usize, &'static [(usize, usize)], &'static [(&'static [usize], usize)]);
        let rows: [Row; 6] = [
            (3, &[(0, 1), (1, 2)], &[]),
            (2, &[(0, 1), (1, 0)], &[(&[0, 1], 2)]),
            (3, &[(0, 1), (1, 2), (2, 0)], &[(&[0, 2, 1], 3)]),
            // A cycle of four with a short cut of two inside.
            (4, &[(0, 1), (1, 2), (2, 3), (3, 0), (3, 2)], &[(&[2, 3], 4)]),
            (5, &[(0, 1), (1, 0), (1, 2), (3, 4), (4, 3), (2, 3)], &[(&[0, 1], 2), (&[3, 4], 2)]),
            // Behind a cycle is not on it.
            (4, &[(0, 1), (1, 0), (1, 2), (2, 3)], &[(&[0, 1], 2)]),
        ];
        for (count, edges, expected) in rows {
            let mut dag = DiGraph::<(), ()>::new();
            for _ in 0..count {
                dag.add_node(());
            }
            for (from, to) in edges {
                dag.add_edge(NodeIndex::new(*from), NodeIndex::new(*to), ());
            }
            let found: Vec<(Vec<usize>, usize)> = cycles(&dag)
                .into_iter()
                .map(|cycle| (cycle.nodes.into_iter().map(NodeIndex::index).collect(), cycle.component))
                .collect();
            let expected: Vec<_> = expected.iter().map(|(nodes, size)| (nodes.to_vec(), *size)).collect();
            assert_eq!(found, expected, "{edges:?}");
        }
    }

    #[test]
    fn a_cycle_of_a_hundred_thousand_needs_no_stack_and_no_quadratic_time() {
        let count = 100_000;
        let mut dag = DiGraph::<(), ()>::new();
        for _ in 0..count {
            dag.add_node(());
        }
        for node in 0..count {
            dag.add_edge(NodeIndex::new(node), NodeIndex::new((node + 1) % count), ());
        }
        let found = cycles(&dag);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].nodes.len(), count);
    }
}
