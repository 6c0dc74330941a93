//! What a target chooses, and when it is refused.

use std::num::NonZeroUsize;

use super::*;
use crate::run::state::RunKind;

fn target(text: &str) -> ApplyTarget {
    match text.strip_prefix("--to ") {
        Some(to) => ApplyTarget::To(to.to_owned()),
        None if text.is_empty() => ApplyTarget::All,
        None => ApplyTarget::Ids(text.split(' ').map(str::to_owned).collect()),
    }
}

fn apply(notation: &str, past: &str, wanted: &str, policy: Policy) -> Result<Planned, Refused> {
    plan_apply(&graph_of(notation, past), &history(past), &target(wanted), policy)
}

#[test]
fn apply_chooses_pending_migrations_and_what_they_need() {
    let rows = [
        ("1; 2; 3", "", "", "1 2 3"),
        ("1; 2; 3", "1", "", "2 3"),
        ("1; 2; 3", "1 2 3", "", ""),
        ("", "", "", ""),
        ("1; 2; 3", "", "2", "1 2"),
        ("1; 2; 3", "1", "3", "2 3"),
        ("1; 2; 3", "1", "1", ""),
        ("1; 2:; 3:", "", "3", "3"),
        ("1; 2:; 3:", "", "3 1", "1 3"),
        ("1:; 2:; 3:1; 4:2,3; 5:", "", "4.sql", "1 2 3 4"),
        ("1; 2; 3", "", "--to 2", "1 2"),
        ("1; 2; 3", "1", "--to 2.sql", "2"),
        ("1; 2; 3", "1 2", "--to 1", ""),
        // `--to` follows the order of application: 2 waits for 3, and 4 stands behind both.
        ("1; 2:3; 3:; 4:1", "", "--to 2", "1 3 2"),
        ("1; 2:3; 3:; 4:1", "", "--to 3", "1 3"),
        ("1:; 2:; 3:; 4:", "", "--to 3", "1 2 3"),
        // A requirement that is applied is satisfied, whatever stands before it by now.
        ("1:; 2:1; 3:2", "2<", "3", "3"),
        // Up to a migration whose file is gone.
        ("1; 2:1; 4; 3:2", "1 3_x", "--to 3_x", "refused ME149"),
        // Findings.
        ("1; 2", "", "9", "refused ME140"),
        ("1; 2", "", "9 8", "refused ME140 ME140"),
        ("1_a; 1_b", "", "1", "refused ME141"),
        ("1; 2", "", "--to 9", "refused ME140"),
        ("1; 2; 3", "1 3", "", "refused ME146"),
        ("1; 2; 3:", "1 3<", "3", ""),
        ("1; 2; 3; 4:3", "1 3", "4", "4"),
        ("1; 2; 3", "1*", "", "refused ME147"),
        ("1; 2; 3", "1'", "", "2 3 ME148?"),
        ("2; 3", "1 2", "", "refused ME149"),
        ("1; 2:9; 3:3", "1*", "7", "refused ME140 ME147 ME131 ME133"),
        ("1; 2:2", "1", "1", "refused ME133"),
        // Conflicts.
        ("1; 2; 3!2", "", "", "refused ME138"),
        ("1; 2!3; 3!2", "", "", "refused ME138"),
        ("1; 2; 3:1!2", "", "3", "1 3"),
        ("1; 2; 3:1!2", "", "2", "1 2"),
        ("1; 2; 3:1!2", "1 2", "", "refused ME139"),
        ("1; 2; 3:1!2", "1 3", "2", "refused ME146 ME139"),
        ("1; 2; 3:1!2", "1 2 3", "", ""),
        ("1; 3!2_gone", "1 2_gone", "", "refused ME149 ME139"),
        ("1; 2!9", "", "", "1 2 ME137?"),
    ];
    for (notation, past, wanted, expected) in rows {
        let result = apply(notation, past, wanted, Policy::default());
        assert_eq!(outcome(&result), expected, "{notation} with {past}, apply {wanted}");
    }
}

#[test]
fn a_policy_turns_refusals_into_warnings() {
    let lax = Policy { allow_missing: true, out_of_order: true };
    let rows = [
        ("1; 2; 3", "1 3", "", "2 ME146?"),
        ("2; 3", "1 2", "", "3 ME149?"),
        ("1; 2:1; 4; 3:2", "1 3_x", "--to 3_x", "2 3 ME149?"),
        ("1; 2; 3", "1* 3", "", "refused ME147 ME146?"),
    ];
    for (notation, past, wanted, expected) in rows {
        assert_eq!(outcome(&apply(notation, past, wanted, lax)), expected, "{notation} with {past}, apply {wanted}");
    }
}

#[test]
fn a_conflict_is_named_both_ways() {
    for (notation, past, expected) in [
        ("1; 2:!1", "", "ME138 2.sql:2:1 `2` and `1` conflict: both would be applied"),
        ("1; 2:!1", "1", "ME139 2.sql:2:1 `2` and `1` conflict: `1` is applied, `2` would be"),
        ("1; 2:!1", "2<", "ME139 2.sql:2:1 `2` and `1` conflict: `2` is applied, `1` would be"),
    ] {
        let policy = Policy { out_of_order: true, ..Policy::default() };
        let refused = apply(notation, past, "", policy).unwrap_err();
        assert!(lines(&refused.diagnostics).contains(&expected.to_owned()), "{:?}", lines(&refused.diagnostics));
    }
}

fn back(notation: &str, past: &str, wanted: &str) -> Result<Planned, Refused> {
    let (wanted, cascade) = wanted.strip_suffix(" --cascade").map_or((wanted, false), |wanted| (wanted, true));
    let target = match wanted.split_once(' ') {
        Some(("--to", to)) => RollbackTarget::To(to.to_owned()),
        Some(("--last", count)) => RollbackTarget::Last(count.parse::<NonZeroUsize>().unwrap()),
        Some(("--run", number)) => RollbackTarget::Run(run(number.parse().unwrap())),
        _ => RollbackTarget::Ids(wanted.split(' ').map(str::to_owned).collect()),
    };
    plan_rollback(&graph_of(notation, past), &history(past), &target, cascade)
}

#[test]
fn rollback_reverses_newest_first_and_leaves_nothing_hanging() {
    let rows = [
        ("1; 2; 3", "1 2 3", "--to 1", "3 2"),
        ("1; 2; 3", "1 2 3", "--to 3", ""),
        ("1; 2; 3", "1 2 3", "--to 001.sql", "refused ME140"),
        ("1; 2; 3", "1 2 3", "--to 1_rollback.sql", "3 2"),
        ("1; 2; 3", "1 2 3", "--last 1", "3"),
        ("1; 2; 3", "1 2 3", "--last 2", "3 2"),
        ("1; 2; 3", "1 2 3", "--last 9", "3 2 1"),
        ("1; 2; 3", "", "--last 1", ""),
        ("1; 2; 3", "1@1 2@2 3@2", "--run 2", "3 2"),
        ("1; 2; 3", "1@1 2@2 3@2", "--run 1", "refused ME143"),
        ("1; 2; 3", "1@1 2@2 3@2", "--run 1 --cascade", "3 2 1"),
        ("1; 2; 3", "1@1 2@2 3@2", "--run 3", "refused ME145"),
        ("1; 2; 3", "1 2 3", "3", "3"),
        ("1; 2; 3", "1 2 3", "2", "refused ME143"),
        ("1; 2; 3", "1 2 3", "2 3", "3 2"),
        ("1; 2; 3", "1 2 3", "2 --cascade", "3 2"),
        ("1; 2; 3; 4", "1 2 3 4", "1 3", "refused ME143 ME143"),
        // By the order of application, not by number.
        ("1; 2:; 3:1", "1 3<1 2<", "--to 1", "2 3"),
        ("1; 2:; 3:1", "1 3<1 2<", "--last 1", "2"),
        ("1; 2:; 3:1", "1 3<1 2<", "--to 3", "2"),
        // Not applied.
        ("1; 2; 3", "1 2", "3", "refused ME142"),
        ("1; 2; 3", "1 2", "--to 3", "refused ME142"),
        ("1; 2; 3", "", "--to 1", "refused ME142"),
        ("1; 2; 3", "1 2", "9", "refused ME140"),
        ("1_a; 1_b", "1_a", "1", "refused ME141"),
        ("1; 2; 3; 4; 5", "1 2 3", "4 5 9 2", "refused ME140 ME143 ME142 ME142"),
        // A late one came in front by number; the default that the files imply is not what was true then.
        ("1; 2; 3", "1 3<1 2<1", "2", "2"),
        ("1; 2; 3", "1 3<1 2<1", "--last 1", "2"),
        // What a header says now counts, even against the order of application.
        ("1; 2:1; 3:2", "1 3<1 2<1", "2", "refused ME143"),
        ("1; 2:1; 3:2", "1 3<1 2<1", "2 --cascade", "3 2"),
        // And where the two make a circle, the newest goes first.
        ("1:2; 2:", "1< 2<1", "1 2", "2 1"),
        // A default counts where an imported history knows no dependencies.
        ("1; 2", "1< 2<", "1", "refused ME143"),
        // What the history knows counts when files say otherwise.
        ("1; 2:", "1 2<1", "1", "refused ME143"),
        // Reverse scripts.
        ("1; 2~", "1 2", "2", "refused ME144"),
        ("1; 2~; 3~", "1 2 3", "--to 1", "refused ME144 ME144"),
        ("1; 2~; 3", "1 2 3", "2", "refused ME143 ME144"),
        ("1; 2~", "1 2+", "2", "2"),
        ("1", "1 2+", "2", "2"),
        ("1", "1 2", "2", "refused ME144"),
        ("", "1+ 2+ 3+", "--last 3", "3 2 1"),
        // Broken files do not stand in the way, as long as the reverse script is certain.
        ("1; 2; 3:9; 4:4", "1 2", "2", "2 ME131? ME133?"),
        ("1; 2; 2", "1 2", "2", "refused ME130 ME130?"),
        ("1; 2; 2", "1 2 3+", "--last 1", "3 ME130?"),
        ("1; 2", "1 2*", "2", "2 ME147?"),
    ];
    for (notation, past, wanted, expected) in rows {
        assert_eq!(outcome(&back(notation, past, wanted)), expected, "{notation} with {past}, rollback {wanted}");
    }
}

#[test]
fn a_refused_rollback_names_what_stands_in_the_way() {
    let mut nodes = files("1; 2; 3~; 4");
    nodes[2].irreversible_reason = Some("the old column is dropped".to_owned());
    let past = history("1 2 3");
    let graph = Graph::build(nodes, &past);
    let texts = |all: &[&str]| RollbackTarget::Ids(all.iter().map(|text| (*text).to_owned()).collect());
    let rows: [(RollbackTarget, &str, &str); 4] = [
        (
            texts(&["1"]),
            "ME143 1.sql `1` cannot be reversed: `2` depends on it and stays applied",
            "`--cascade` also reverses `2` and `3`",
        ),
        (texts(&["3"]), "ME144 3.sql `3` is irreversible: the old column is dropped", "write `3_rollback.sql`"),
        (texts(&["4"]), "ME142 4.sql `4` is not applied", "nearest to it, applied: `3`"),
        (
            RollbackTarget::Run(run(5)),
            "ME145  nothing that run 00000000050000000000000000 applied is in effect",
            "`migengine journal list` shows the runs",
        ),
    ];
    for (target, message, help) in rows {
        let refused = plan_rollback(&graph, &past, &target, false).unwrap_err();
        assert_eq!(lines(&refused.diagnostics), [message]);
        assert_eq!(refused.diagnostics[0].help.as_deref(), Some(help));
    }
}

#[test]
fn steps_carry_what_the_run_records() {
    let planned = apply("1; 2:1; 3:1; 4:2,3", "1", "", Policy::default()).unwrap();
    let steps = planned.plan.run_steps();
    let shown: Vec<_> = steps.iter().map(|step| (step.id.as_str(), step.requires.as_slice())).collect();
    assert_eq!(shown, [("2", &[][..]), ("3", &[]), ("4", &[0, 1])]);
    assert_eq!(names(&planned.plan.steps[0].requires), "1", "what is applied already is shown all the same");
    assert_eq!(steps[0].content, script("2", "up").content);

    let planned = back("1; 2:1; 3:1; 4:2,3", "1 2<1 3<1 4<2,3", "--to 1").unwrap();
    assert_eq!(names(planned.plan.steps.iter().map(|step| &step.id)), "4 3 2");
    let steps = planned.plan.run_steps();
    let shown: Vec<_> = steps.iter().map(|step| (step.id.as_str(), step.requires.as_slice())).collect();
    assert_eq!(shown, [("2", &[][..]), ("3", &[]), ("4", &[0, 1])], "in the order of application");
    assert_eq!(steps[2].tokens, planned.plan.steps[0].forward.1, "a run knows a step by what the history keeps of it");
    assert_ne!(steps[2].tokens, planned.plan.steps[0].script.tokens, "and not by the reverse script");
}

#[test]
fn the_reverse_script_of_the_folder_comes_before_the_kept_one() {
    let planned = back("1; 2; 3~", "1 2+ 3+ 4+", "--to 1").unwrap();
    let shown: Vec<_> = planned
        .plan
        .steps
        .iter()
        .map(|step| (step.id.as_str(), step.source, step.script, step.file.as_str()))
        .collect();
    let expected = [
        ("4", Source::History, script("4", "kept"), ""),
        ("3", Source::History, script("3", "kept"), "3.sql"),
        ("2", Source::File, script("2", "down"), "2.sql"),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn the_hash_names_exactly_one_plan() {
    let hash = |notation: &str| apply(notation, "", "", Policy::default()).unwrap().plan.hash;
    let first = hash("1; 2; 3");
    assert_eq!(first, hash("3; 1; 2"), "the order of input does not count");
    assert_eq!(first, hash("1; 2:1; 3:2"), "the same requirements in other words");
    let mut changed = files("1; 2; 3");
    changed[1].up.content = Digest::ZERO;
    let other = plan_apply(&Graph::build(changed, &history("")), &history(""), &ApplyTarget::All, Policy::default());
    let reverse = back("1; 2; 3", "1 2 3", "--last 3").unwrap().plan;
    assert_eq!(reverse.direction, RunKind::Rollback);
    let mut hashes = vec![
        first,
        hash("1; 2"),
        hash("1; 2; 3:1"),
        hash("1; 2; 3:"),
        hash("1; 2; 3:1,2"),
        hash("1; 2; 4"),
        hash(""),
        other.unwrap().plan.hash,
        reverse.hash,
    ];
    hashes.sort();
    let count = hashes.len();
    hashes.dedup();
    assert_eq!(hashes.len(), count);
}
