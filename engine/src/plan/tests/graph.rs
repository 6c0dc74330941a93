//! Dependencies: what resolves to what, in which order it comes out, and every way in which it can be wrong.

use super::*;

#[test]
fn order_follows_requirements_then_numbers() {
    let rows = [
        ("", ""),
        ("1", "1"),
        ("3; 1; 2", "1 2 3"),
        ("10; 9; 2", "2 9 10"),
        ("1; 2; 3:1; 4:2,3", "1 2 3 4"),
        ("1:4; 2:; 3:; 4:", "2 3 4 1"),
        ("1:3; 2:; 3:", "2 3 1"),
        ("1; 2:3; 3:1", "1 3 2"),
        ("1_b; 1_a; 2:1_b", "1_a 1_b 2"),
        // Default requirements hang on a node that had to wait.
        ("1; 2:5; 3; 4; 5:", "1 5 2 3 4"),
        ("001_a; 002_b; 003_c:1, 002_b.sql", "001_a 002_b 003_c"),
        ("20240102_b; 20240101_a; 3_c:20240102", "3_c"),
    ];
    for (notation, expected) in rows {
        let graph = graph_of(notation, "");
        let order = names(graph.in_order().map(|node| &node.id));
        if notation.contains("3_c:") && expected == "3_c" {
            // 3 stands first by number and still waits; by default the timestamps then hang on it: a circle.
            assert_eq!(graph.problems()[0].code, code::CYCLE);
            continue;
        }
        assert_eq!(order, expected, "{notation}");
        assert_eq!(lines(graph.problems()), Vec::<String>::new(), "{notation}");
    }
}

#[test]
fn requirements_resolve_by_id_number_and_path() {
    let rows = [
        ("1; 2", "", "2", "1"),
        ("1; 2:", "", "2", ""),
        ("001_a; 2:1", "", "2", "001_a"),
        ("001_a; 2:001", "", "2", "001_a"),
        ("001_a; 2:migrations/001_a.sql", "", "2", "001_a"),
        ("001_a; 2:001_a_rollback.sql", "", "2", "001_a"),
        ("1; 2; 3:2,1", "", "3", "1 2"),
        // Files that are gone, known from the history.
        ("2:1", "1", "2", "1"),
        ("3:002", "1 002_gone", "3", "002_gone"),
        ("1; 3", "1 2", "3", "1 2"),
        ("3", "1 2", "3", "2"),
        ("1; 2; 3", "1", "3", "2"),
        // A file comes before a migration whose file is gone.
        ("2_new; 3:2", "2_old", "3", "2_new"),
    ];
    for (notation, past, of, expected) in rows {
        let graph = graph_of(notation, past);
        assert_eq!(lines(graph.problems()), Vec::<String>::new(), "{notation}");
        assert_eq!(names(&graph.requires(&id(of))), expected, "{notation} with {past}");
    }
}

#[test]
fn every_defect_is_named_with_file_and_place() {
    let rows: [(&str, &[&str]); 17] = [
        ("1; 1", &["ME130 1.sql migration `1` exists twice; the other one is 1.sql"]),
        ("1; 1; 1", &["ME130 1.sql migration `1` exists twice; the other one is 1.sql"; 2]),
        ("1; 2:9", &["ME131 2.sql:2:1 requires `9`, which is neither a file nor in the history"]),
        ("1; 2:1,9", &["ME131 2.sql:2:2 requires `9`, which is neither a file nor in the history"]),
        ("1_a; 1_b; 2:1", &["ME132 2.sql:2:1 `1` is ambiguous: `1_a` and `1_b` share that number"]),
        ("1:1", &["ME133 1.sql:2:1 `1` requires itself"]),
        ("1; 2:1,001", &["ME136? 2.sql:2:2 `1` is required twice"]),
        ("1!1", &["ME134 1.sql:2:1 `1` conflicts with itself"]),
        ("1!9", &["ME137? 1.sql:2:1 conflict with `9`, which does not exist here"]),
        ("1_a; 1_b!1", &["ME132 1_b.sql:2:1 `1` is ambiguous: `1_a` and `1_b` share that number"]),
        (
            "1:2; 2:1",
            &["ME135 1.sql:2:1 these migrations require each other in a circle: `1` (1.sql) -> `2` (2.sql) -> `1`"],
        ),
        (
            "1:3; 2; 3",
            &["ME135 1.sql:2:1 these migrations require each other in a circle: \
               `1` (1.sql) -> `3` (3.sql) -> `2` (2.sql) -> `1`"],
        ),
        (
            // The place is that of a declared requirement, also where the first one is a default.
            "1:; 2; 3:4; 4",
            &["ME135 3.sql:2:1 these migrations require each other in a circle: `3` (3.sql) -> `4` (4.sql) -> `3`"],
        ),
        (
            "1:2; 2:1; 3:4; 4:3",
            &[
                "ME135 1.sql:2:1 these migrations require each other in a circle: `1` (1.sql) -> `2` (2.sql) -> `1`",
                "ME135 3.sql:2:1 these migrations require each other in a circle: `3` (3.sql) -> `4` (4.sql) -> `3`",
            ],
        ),
        (
            "1:2; 2:1,3; 3:2",
            &["ME135 1.sql:2:1 these migrations require each other in a circle: \
               `1` (1.sql) -> `2` (2.sql) -> `1`; 1 more hang together with them in further circles"],
        ),
        (
            "1:2; 2:1; 3:9",
            &[
                "ME135 1.sql:2:1 these migrations require each other in a circle: `1` (1.sql) -> `2` (2.sql) -> `1`",
                "ME131 3.sql:2:1 requires `9`, which is neither a file nor in the history",
            ],
        ),
        ("1; 2:none", &["ME131 2.sql:2:1 requires `none`, which is neither a file nor in the history"]),
    ];
    for (notation, expected) in rows {
        let graph = graph_of(notation, "");
        assert_eq!(lines(graph.problems()), expected, "{notation}");
        let count = graph.nodes().len();
        assert_eq!(graph.in_order().count(), count, "{notation}: nothing is lost");
    }
}

#[test]
fn findings_show_the_line_and_say_what_to_do() {
    let rows = [
        ("001_users; 2:001_user", "did you mean `001_users`?"),
        ("1:1", "remove the reference"),
        ("1:3; 2; 3", "`2` and `3` have no `Requires` key and so require the migration before them"),
        ("1:2; 2", "`2` has no `Requires` key"),
        ("1:2; 2:1", "remove one of these requirements"),
    ];
    for (notation, expected) in rows {
        let graph = graph_of(notation, "");
        let [found] = graph.problems() else { panic!("{notation}: {:?}", lines(graph.problems())) };
        assert!(found.help.as_deref().is_some_and(|help| help.contains(expected)), "{notation}: {:?}", found.help);
        assert!(found.line_text.as_deref().is_some_and(|line| line.starts_with("-- line")), "{notation}");
    }
}

#[test]
fn an_unresolved_requirement_is_an_error_when_only_another_branch_has_it() {
    // In the history it would do; not applied and without a file it does not.
    assert_eq!(graph_of("5:4", "4").problems(), []);
    assert_eq!(graph_of("5:4", "3").problems()[0].code, code::UNKNOWN_REQUIREMENT);
    assert_eq!(graph_of("5:4", "4_a<@1 4_b").problems()[0].code, code::AMBIGUOUS_REQUIREMENT);
}
