//! Files against the history.

use super::*;

#[test]
fn files_and_history_are_compared_in_full() {
    let strict = Policy::default();
    let lax = Policy { allow_missing: true, out_of_order: true };
    // Files, history, policy; changed | comments | missing | out of order; codes.
    let rows = [
        ("1; 2", "1 2", strict, "|||", ""),
        ("1; 2", "", strict, "|||", ""),
        ("", "", strict, "|||", ""),
        ("1; 2; 3", "1 2*", strict, "2|||", "ME147"),
        ("1; 2; 3", "1' 2", strict, "|1||", "ME148?"),
        ("2", "1 2", strict, "||1|", "ME149"),
        ("2", "1 2", lax, "||1|", "ME149?"),
        ("", "1 2", strict, "||1 2|", "ME149 ME149"),
        ("1; 2; 3", "1 3", strict, "|||2", "ME146"),
        ("1; 2; 3", "1 3", lax, "|||2", "ME146?"),
        // Saying what it needs makes it no latecomer.
        ("1; 2:1; 3", "1 3", strict, "|||", ""),
        ("1; 2:; 3", "1 3", strict, "|||", ""),
        // The highest may have no file any more.
        ("1; 2", "1 3", strict, "||3|2", "ME149 ME146"),
        ("1; 2_b", "1 2_c", lax, "||2_c|2_b", "ME149? ME146?"),
        // Everything at once.
        ("1; 2; 3; 4; 5", "1* 2' 2_gone 4", strict, "1|2|2_gone|3", "ME149 ME147 ME148? ME146"),
        // Both checksums differ: changed, not also commented.
        ("1", "1*'", strict, "1|||", "ME147"),
    ];
    for (notation, past, policy, expected, codes) in rows {
        let found = compare(&graph_of(notation, past), &history(past), policy);
        let lists = [&found.changed, &found.comments_changed, &found.missing, &found.out_of_order];
        assert_eq!(lists.map(|ids| names(ids.as_slice())).join("|"), expected, "{notation} with {past}");
        let all = lines(&found.diagnostics);
        let all: Vec<_> = all.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(all.join(" "), codes, "{notation} with {past}");
    }
}

#[test]
fn findings_name_the_file_and_a_way_out() {
    let help = |notation, past| {
        let found = compare(&graph_of(notation, past), &history(past), Policy::default());
        let first = found.diagnostics.first().cloned().unwrap();
        (first.file, first.message, first.help.unwrap_or_default())
    };
    let (file, message, advice) = help("1; 2", "1 2*");
    assert_eq!(file, "2.sql");
    assert!(message.starts_with("the statements of `2` were changed after it was applied ("), "{message}");
    assert!(advice.contains("new migration"), "{advice}");
    let (_, message, advice) = help("1", "1 2");
    assert_eq!(message, "`2` is applied, but its file is gone");
    assert!(advice.contains("migengine rollback 2"), "{advice}");
    let (file, message, advice) = help("1; 2; 3", "1 3");
    assert_eq!((file.as_str(), message.as_str()), ("2.sql", "`2` is pending, but the later `3` is applied already"));
    assert!(advice.contains("--out-of-order"), "{advice}");
}

#[test]
fn a_renamed_file_is_recognised() {
    let past = history("1 2_old");
    let mut nodes = files("1; 2_new");
    nodes[1].up.tokens = past.get(&id("2_old")).unwrap().tokens;
    let found = compare(&Graph::build(nodes, &past), &past, Policy::default());
    let missing = found.diagnostics.iter().find(|one| one.code == code::MISSING_FILE).unwrap();
    assert_eq!(missing.help.as_deref(), Some("2_new.sql holds the same statements: name it `2_old.sql` again"));
}
