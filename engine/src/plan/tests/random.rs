//! Properties over random graphs and histories. proptest prints the smallest failing input and its seed.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::*;

/// A graph without cycles: `ranks` gives a hidden order, each node requires some of lower rank.
fn dag() -> impl Strategy<Value = Vec<Node>> {
    (2..24usize)
        .prop_flat_map(|count| {
            let ranks = Just((0..count).collect::<Vec<_>>()).prop_shuffle();
            (ranks, prop::collection::vec(prop::collection::vec(0..count, 0..4), count))
        })
        .prop_map(|(ranks, wishes)| {
            let one = |(n, wishes): (usize, Vec<usize>)| {
                let lower: BTreeSet<_> = wishes.into_iter().filter(|other| ranks[*other] < ranks[n]).collect();
                let texts: Vec<_> = lower.iter().map(|other| (other + 1).to_string()).collect();
                node(&(n + 1).to_string(), Some(&texts.join(",")), "")
            };
            wishes.into_iter().enumerate().map(one).collect()
        })
}

/// A history that could have come about: the first so many of the order of application.
fn past_of(graph: &Graph, count: usize) -> History {
    History::new(graph.in_order().take(count).zip(1..).map(|(node, seq)| Applied {
        id: node.id.clone(),
        content: node.up.content,
        tokens: node.up.tokens,
        applied_at: Timestamp(seq),
        seq,
        requires: graph.requires(&node.id),
        reverse: None,
        run: run(1),
    }))
}

/// Independent defects, each in numbers of its own, with the finding it must give.
const DEFECTS: [(&str, &str); 8] = [
    ("10:; 10:", "ME130 10.sql"),
    ("20:999", "ME131 20.sql"),
    ("30_a:; 30_b:; 31:30", "ME132 31.sql"),
    ("40:40", "ME133 40.sql"),
    ("50:!50", "ME134 50.sql"),
    ("60:61; 61:60", "ME135 60.sql"),
    ("70:71; 71:72; 72:70", "ME135 70.sql"),
    ("80:!998", "ME137? 80.sql"),
];

proptest! {
    #[test]
    fn order_respects_every_requirement_and_not_the_input(nodes in dag(), seed in any::<u64>()) {
        let graph = Graph::build(nodes.clone(), &History::default());
        prop_assert!(graph.problems().is_empty());
        let order: Vec<_> = graph.in_order().map(|node| node.id.clone()).collect();
        prop_assert_eq!(order.len(), nodes.len());
        for (at, id) in order.iter().enumerate() {
            prop_assert!(graph.requires(id).iter().all(|on| order[..at].contains(on)), "{} too early", id);
        }
        let mut shuffled = nodes;
        let key = |node: &Node| Digest::of_all([&seed.to_le_bytes()[..], node.id.as_str().as_bytes()]);
        shuffled.sort_by_key(key);
        let again = Graph::build(shuffled, &History::default());
        let plan = |graph: &Graph| plan_apply(graph, &History::default(), &ApplyTarget::All, Policy::default());
        prop_assert_eq!(plan(&graph), plan(&again));
        let none = History::default();
        prop_assert_eq!(render(&graph, &none, Format::Dot), render(&again, &none, Format::Dot));
    }

    #[test]
    fn every_defect_is_found_whatever_else_is_wrong(chosen in subsequence(DEFECTS.to_vec(), 0..=DEFECTS.len())) {
        let notation: Vec<_> = chosen.iter().map(|(notation, _)| *notation).collect();
        let graph = graph_of(&format!("1:; 2:1; {}", notation.join("; ")), "");
        let mut found: Vec<String> = lines(graph.problems())
            .iter()
            .map(|line| line.split([':', ' ']).take(2).collect::<Vec<_>>().join(" "))
            .collect();
        let mut expected: Vec<_> = chosen.iter().map(|(_, finding)| (*finding).to_owned()).collect();
        found.sort();
        expected.sort();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn an_apply_takes_what_it_needs_and_nothing_else(nodes in dag(), done in 0..24usize, pick in any::<prop::sample::Index>()) {
        let whole = Graph::build(nodes.clone(), &History::default());
        let past = past_of(&whole, done);
        let graph = Graph::build(nodes, &past);
        let wanted = &graph.nodes()[pick.index(graph.nodes().len())].id;
        let target = ApplyTarget::Ids(vec![wanted.to_string()]);
        let plan = plan_apply(&graph, &past, &target, Policy::default()).unwrap().plan;
        let ids: Vec<_> = plan.steps.iter().map(|step| step.id.clone()).collect();
        prop_assert_eq!(ids.contains(wanted), !past.contains(wanted));
        for (at, id) in ids.iter().enumerate() {
            prop_assert!(!past.contains(id));
            prop_assert!(graph.requires(id).iter().all(|on| past.contains(on) || ids[..at].contains(on)));
            prop_assert!(id == wanted || ids[at..].iter().any(|later| graph.requires(later).contains(id)), "{id} unneeded");
        }
    }

    #[test]
    fn a_rollback_leaves_nothing_without_its_requirements(
        nodes in dag(),
        done in 1..24usize,
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        cascade in any::<bool>(),
    ) {
        let whole = Graph::build(nodes.clone(), &History::default());
        let past = past_of(&whole, done);
        let applied: Vec<_> = past.in_order().map(|row| row.id.clone()).collect();
        let wanted: BTreeSet<_> = picks.iter().map(|pick| applied[pick.index(applied.len())].clone()).collect();
        let target = RollbackTarget::Ids(wanted.iter().map(ToString::to_string).collect());
        let graph = Graph::build(nodes, &past);
        let closed = |gone: &BTreeSet<MigrationId>| {
            let stays = past.by_id().filter(|row| !gone.contains(&row.id));
            stays.flat_map(|row| &row.requires).all(|on| !gone.contains(on))
        };
        match plan_rollback(&graph, &past, &target, cascade) {
            Ok(planned) => {
                let ids: Vec<_> = planned.plan.steps.iter().map(|step| step.id.clone()).collect();
                let newest_first: Vec<_> = applied.iter().rev().filter(|id| ids.contains(id)).cloned().collect();
                prop_assert_eq!(&ids, &newest_first);
                let gone: BTreeSet<_> = ids.into_iter().collect();
                prop_assert!(closed(&gone) && wanted.is_subset(&gone));
                prop_assert!(cascade || gone == wanted);
            }
            Err(refused) => {
                prop_assert!(!cascade && !closed(&wanted));
                prop_assert!(refused.diagnostics.iter().all(|one| one.code == code::DEPENDANT_STAYS));
            }
        }
        let last = NonZeroUsize::new(done).unwrap_or(NonZeroUsize::MIN);
        let all = plan_rollback(&graph, &past, &RollbackTarget::Last(last), false).unwrap().plan;
        prop_assert_eq!(all.steps.len(), applied.len());
    }
}
