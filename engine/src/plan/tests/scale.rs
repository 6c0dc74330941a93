//! Size: what must not need a stack, quadratic time or luck.

use std::time::{Duration, Instant};

use super::*;

/// For unoptimised code; quadratic time would miss it by orders of magnitude.
const LIMIT: Duration = Duration::from_secs(3);

/// Time that this thread had a processor, so that a busy machine fails no test. Elsewhere than on Linux, wall time.
/// <https://docs.kernel.org/scheduler/sched-stats.html>: the first field of schedstat, in nanoseconds.
fn clock(begin: Instant) -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let on_cpu = text.split(' ').next().and_then(|field| field.parse().ok());
    on_cpu.map_or_else(|| begin.elapsed(), Duration::from_nanos)
}

fn within(what: &str, work: impl FnOnce()) {
    let limit = if cfg!(debug_assertions) { LIMIT } else { LIMIT / 3 };
    let now = Instant::now();
    let begin = clock(now);
    work();
    let took = clock(now) - begin;
    println!("{what}: {took:?}");
    assert!(took < limit, "{what} took {took:?}");
}

/// `count` nodes; each requires three before it, near and far.
fn wide(count: usize) -> Vec<Node> {
    (0..count)
        .map(|n| {
            let mut before: Vec<usize> = [n / 2, n.saturating_sub(1), n.saturating_sub(1000)].to_vec();
            before.sort_unstable();
            before.dedup();
            before.retain(|other| *other != n);
            let texts: Vec<_> = before.iter().map(|other| format!("{other:06}_m")).collect();
            sized(n, Some(&texts.join(",")))
        })
        .collect()
}

fn sized(n: usize, requires: Option<&str>) -> Node {
    let mut node = node("1", requires, "");
    node.id = id(&format!("{n:06}_m"));
    node.file = format!("{n:06}_m.sql");
    node
}

#[test]
fn a_hundred_thousand_nodes_and_three_hundred_thousand_edges() {
    let nodes = wide(100_000);
    let none = history("");
    within("100,000 nodes, 300,000 edges", || {
        let graph = Graph::build(nodes, &none);
        assert_eq!(graph.problems(), []);
        assert!(super::super::graph::edges(&graph).len() > 299_000);
        assert!(graph.in_order().map(|node| &node.id).is_sorted());
    });
}

#[test]
fn a_chain_of_a_hundred_thousand_in_reverse_and_one_great_circle() {
    let count = 100_000;
    let next = |n: usize| format!("{:06}_m", n + 1);
    let chain: Vec<_> =
        (0..count).map(|n| sized(n, Some(&if n + 1 < count { next(n) } else { String::new() }))).collect();
    within("reversed chain", || {
        let graph = Graph::build(chain, &history(""));
        assert_eq!(graph.problems(), []);
        assert_eq!(graph.in_order().next().map(|node| node.file.as_str()), Some("099999_m.sql"));
    });
    let circle: Vec<_> = (0..count).map(|n| sized(n, Some(&format!("{:06}_m", (n + 1) % count)))).collect();
    within("one circle", || {
        let graph = Graph::build(circle, &history(""));
        let [found] = graph.problems() else { panic!("{} findings", graph.problems().len()) };
        assert_eq!(found.code, code::CYCLE);
        assert!(found.message.contains("99900 more"), "{}", found.message);
    });
}

#[test]
fn ten_thousand_unknown_requirements_are_all_reported() {
    let nodes: Vec<_> = (0..10_000).map(|n| sized(n, Some(&format!("{n}_unknown")))).collect();
    within("10,000 unknown requirements", || {
        assert_eq!(Graph::build(nodes, &history("")).problems().len(), 10_000);
    });
}

#[test]
fn ten_thousand_files_are_planned_and_held_against_their_history() {
    let nodes: Vec<_> = (0..10_000).map(|n| sized(n, None)).collect();
    let past = History::new(nodes.iter().take(9_000).zip(1..).map(|(node, seq)| Applied {
        id: node.id.clone(),
        content: node.up.content,
        tokens: node.up.tokens,
        applied_at: Timestamp(seq),
        seq,
        requires: Vec::new(),
        reverse: None,
        run: run(1),
    }));
    let graph = Graph::build(nodes.clone(), &past);
    within("graph of 10,000 files", || assert_eq!(Graph::build(nodes, &past).problems(), []));
    within("apply of 10,000 files, 9,000 applied", || {
        let planned = plan_apply(&graph, &past, &ApplyTarget::All, Policy::default()).unwrap();
        assert_eq!(planned.plan.steps.len(), 1_000);
    });
    within("rollback of 9,000", || {
        let target = RollbackTarget::To("000000_m".to_owned());
        let planned = plan_rollback(&graph, &past, &target, false).unwrap();
        assert_eq!(planned.plan.run_steps().len(), 8_999);
    });
}
