//! The examples of the rules, and what the examples cannot show.

use super::*;
use crate::migration::parse_script;

fn lint(sql: &str) -> (ScriptFacts, Report) {
    let (script, found) = parse_script("1_a.sql", sql.as_bytes());
    let script = script.unwrap_or_else(|| panic!("{sql}: {found:?}"));
    let facts = look(&script, &mut Context::new(Some(15)));
    let mut report = Report::default();
    report.script(&script, &facts, false);
    (facts, report)
}

fn codes(sql: &str) -> Vec<&'static str> {
    lint(sql).1.entries.iter().filter_map(|entry| entry.code).collect()
}

#[test]
fn each_rule_finds_its_bad_examples_and_leaves_the_good_ones() {
    for rule in RULES {
        assert!(!rule.bad.is_empty() && !rule.good.is_empty(), "{}", rule.code);
        for sql in rule.bad {
            assert!(codes(sql).contains(&rule.code), "{} should find {sql}, found {:?}", rule.code, codes(sql));
        }
        for sql in rule.good {
            assert!(!codes(sql).contains(&rule.code), "{} should not find {sql}", rule.code);
        }
    }
}

#[test]
fn codes_and_hazards_are_in_order() {
    let order: Vec<_> = RULES.iter().map(|rule| rule.code).collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    sorted.dedup();
    // MH032 was never given.
    assert_eq!(order, sorted);
}

#[test]
fn allow_silences_exactly_one_hazard_on_one_object() {
    for (sql, expect) in [
        ("-- Allow: drop-column(t.a) -- \"unused\"\n\nALTER TABLE t DROP COLUMN a", &[][..]),
        ("-- Allow: drop-column(public.t.a)\n\nALTER TABLE t DROP COLUMN a", &[]),
        ("-- Allow: drop-column(T.\"a\")\n\nALTER TABLE t DROP COLUMN a", &[]),
        ("-- Allow: drop-column(t.b)\n\nALTER TABLE t DROP COLUMN a", &["MH037", "MH012"]),
        ("-- Allow: drop-table(t)\n\nALTER TABLE t DROP COLUMN a", &["MH037", "MH012"]),
        ("-- Allow: drop-table(t)\n\nDROP TABLE t; DROP TABLE u", &["MH024", "MH013"]),
        ("-- Allow: drop-tabel(t)\n\nDROP TABLE t", &["MH037", "MH013"]),
        ("-- Allow: rewrite(t), rewrite(t)\n\nALTER TABLE t ALTER a TYPE bigint", &[]),
    ] {
        assert_eq!(codes(sql), expect, "{sql}");
    }
    let (facts, _) = lint("-- Allow: drop-column(t.a) -- \"unused\"\n\nALTER TABLE t DROP COLUMN a");
    assert_eq!(facts.allowed.len(), 1);
    assert_eq!(facts.allowed[0].2.as_deref(), Some("unused"));
    assert!(facts.statements[0].data_loss, "accepted, not undone");
}

#[test]
fn safe_forms_use_the_names_of_the_statement() {
    let safe = |sql: &str| lint(sql).1.entries[0].safe_form.clone().unwrap_or_default();
    for (sql, expect) in [
        (
            "CREATE UNIQUE INDEX i ON s.t (lower(a)) WHERE b",
            "CREATE UNIQUE INDEX CONCURRENTLY i ON s.t (lower(a)) WHERE b",
        ),
        (
            "ALTER TABLE \"T\" ADD CONSTRAINT c CHECK (a > 0)",
            "ALTER TABLE \"T\" ADD CONSTRAINT c CHECK (a > 0) NOT VALID",
        ),
        ("ALTER TABLE t ADD CONSTRAINT c UNIQUE (a, b)", "CREATE UNIQUE INDEX CONCURRENTLY c ON t (a, b)"),
        ("ALTER TABLE t ADD PRIMARY KEY (a)", "ADD CONSTRAINT t_pkey PRIMARY KEY USING INDEX t_pkey"),
        ("ALTER TABLE t ALTER a SET NOT NULL", "ADD CONSTRAINT t_a_not_null CHECK (a IS NOT NULL) NOT VALID"),
        ("ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES p (id)", "FOREIGN KEY (a) REFERENCES p (id) NOT VALID"),
    ] {
        assert!(safe(sql).contains(expect), "{sql}: {}", safe(sql));
    }
}

#[test]
fn what_earlier_scripts_tell_decides() {
    for (before, sql, expect) in [
        ("CREATE TABLE t (a varchar(10))", "ALTER TABLE t ALTER a TYPE character varying(20)", &[][..]),
        ("CREATE TABLE t (a varchar(20))", "ALTER TABLE t ALTER a TYPE varchar(10)", &["MH002"]),
        ("CREATE TABLE t (a int)", "ALTER TABLE t ALTER a TYPE text", &["MH002"]),
        ("CREATE TABLE t (a text)", "ALTER TABLE t ALTER a TYPE varchar", &[]),
        ("CREATE TABLE t (a numeric(8, 2))", "ALTER TABLE t ALTER a TYPE numeric(10, 2)", &[]),
        ("CREATE TABLE t (a numeric(8, 2))", "ALTER TABLE t ALTER a TYPE numeric(10, 3)", &["MH002"]),
        ("CREATE TABLE t (a timestamp)", "ALTER TABLE t ALTER a TYPE timestamptz", &["MH038"]),
        ("CREATE TABLE t (a int NOT NULL)", "ALTER TABLE t ALTER a SET NOT NULL", &[]),
        ("CREATE TABLE IF NOT EXISTS t (a int)", "DROP TABLE t", &["MH013"]),
    ] {
        let (script, _) = parse_script("1_a.sql", before.as_bytes());
        let mut context = Context::new(None);
        look(&script.unwrap(), &mut context);
        context.applied();
        let (script, _) = parse_script("2_a.sql", sql.as_bytes());
        let facts = look(&script.unwrap(), &mut context);
        let found: Vec<_> = facts.statements.iter().flat_map(|one| &one.findings).map(|one| one.code).collect();
        assert_eq!(found, expect, "{before}; {sql}");
    }
}

#[test]
fn nothing_is_too_strange() {
    let pieces = [
        "ALTER",
        "TABLE",
        "t",
        "ADD",
        "COLUMN",
        "(",
        ")",
        ",",
        "'x'",
        "DROP",
        "INDEX",
        "CONCURRENTLY",
        "CREATE",
        "ON",
        "=",
        "::",
        "CHECK",
        "DEFAULT",
        "TYPE",
        "USING",
        "UPDATE",
        "SET",
        "a.b.c",
        "\"q\"",
        "FOREIGN",
        "KEY",
        "REFERENCES",
        "[",
        "]",
        "PARTITION",
        "OF",
        "IN",
        "LOCK",
        "TRUNCATE",
        "DOMAIN",
        "NOT",
        "NULL",
        "1",
        "DO",
        "COPY",
        "PRIMARY",
        "VALIDATE",
    ];
    let seed = 0x5eed_u64;
    println!("seed {seed}");
    let mut state = seed;
    for _ in 0..20_000 {
        let mut sql = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sql.push_str(pieces[(state >> 33) as usize % pieces.len()]);
            sql.push(' ');
        }
        let mut context = Context::default();
        for statement in &crate::sql::split(&sql).statements {
            let facts = classify(&sql, statement, &context);
            assert!(facts.findings.iter().all(|finding| finding.offset <= sql.len()), "{sql}");
            learn(&mut context, &sql, statement);
        }
    }
}

#[test]
fn reports_are_well_formed() {
    let (_, report) = lint("SELECT 1;\n\tALTER TABLE t DROP COLUMN a, ALTER b TYPE bigint;");
    let text = report.text();
    assert!(text.starts_with("1_a.sql:2:16: warning[MH012]:"), "{text}");
    assert!(
        text.contains("    \tALTER TABLE t DROP COLUMN a, ALTER b TYPE bigint;\n    \t              ^\n"),
        "{text}"
    );
    assert!(text.contains("hazard: drop-column(t.a)") && text.contains("instead: "), "{text}");
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["findings"][0]["lock"], "ACCESS EXCLUSIVE");
    assert_eq!(json["findings"][0]["blocks"], "reads_and_writes");
    assert_eq!(json["findings"][1]["rewrite"], true);
    let sarif: serde_json::Value = serde_json::from_str(&report.sarif()).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), 2);
    assert!(report.github().starts_with("::warning file=1_a.sql,line=2,col=16,title=MH012::"), "{}", report.github());
    let (script, _) = parse_script("1_a.sql", b"SELECT 1; ALTER TABLE t ADD a int; ALTER TABLE t DROP a");
    let script = script.unwrap();
    let mut all = Report::default();
    all.script(&script, &look(&script, &mut Context::default()), true);
    assert_eq!(all.entries.len(), 3);
    assert_eq!(all.entries[1].lock, Some("ACCESS EXCLUSIVE"));
}
