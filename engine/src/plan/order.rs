//! The order of application: topological, and of all such orders always the same one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use petgraph::Direction::{Incoming, Outgoing};
use petgraph::graph::{DiGraph, NodeIndex};

/// Kahn's algorithm with a heap: whenever several nodes are ready, the one with the lowest `rank` comes first.
///
/// An edge points from what must come first to what follows. Returns the ordered nodes, and those on a cycle or
/// behind one, in index order. O(E + V log V), no recursion.
pub(super) fn topological<N, E, K: Ord>(
    dag: &DiGraph<N, E>,
    rank: impl Fn(NodeIndex) -> K,
) -> (Vec<NodeIndex>, Vec<NodeIndex>) {
    let mut missing: Vec<usize> =
        dag.node_indices().map(|node| dag.neighbors_directed(node, Incoming).count()).collect();
    let mut ready: BinaryHeap<_> = dag
        .node_indices()
        .filter(|node| missing.get(node.index()) == Some(&0))
        .map(|node| Reverse((rank(node), node)))
        .collect();
    let mut order = Vec::with_capacity(dag.node_count());
    while let Some(Reverse((_, node))) = ready.pop() {
        order.push(node);
        for next in dag.neighbors_directed(node, Outgoing) {
            let Some(count) = missing.get_mut(next.index()) else { continue };
            *count -= 1;
            if *count == 0 {
                ready.push(Reverse((rank(next), next)));
            }
        }
    }
    let left = dag.node_indices().filter(|node| missing.get(node.index()).is_some_and(|count| *count > 0)).collect();
    (order, left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word by word, in quadratic time.
    fn naive(dag: &DiGraph<(), ()>) -> Vec<NodeIndex> {
        let mut order: Vec<NodeIndex> = Vec::new();
        loop {
            let ready = dag.node_indices().find(|node| {
                !order.contains(node) && dag.neighbors_directed(*node, Incoming).all(|before| order.contains(&before))
            });
            match ready {
                Some(node) => order.push(node),
                None => return order,
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition_on_any_graph(
            nodes in 1..20usize,
            edges in prop::collection::vec((0..20usize, 0..20usize), 0..40),
        ) {
            let mut dag = DiGraph::<(), ()>::new();
            for _ in 0..nodes {
                dag.add_node(());
            }
            for (a, b) in edges {
                dag.add_edge(NodeIndex::new(a % nodes), NodeIndex::new(b % nodes), ());
            }
            let (order, left) = topological(&dag, NodeIndex::index);
            prop_assert_eq!(&order, &naive(&dag));
            prop_assert_eq!(order.len() + left.len(), nodes);
        }
    }
}
