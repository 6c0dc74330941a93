//! Files, and what is made of them.

use super::*;
use crate::sql::Effect;

fn parse(text: &str) -> Script {
    let (script, found) = parse_script("003_add_prices.sql", text.as_bytes());
    script.unwrap_or_else(|| panic!("{text}: {found:?}"))
}

/// The diagnostics of a file, `CODE line:column`.
fn codes(file: &str, text: &[u8]) -> String {
    let (script, found) = parse_script(file, text);
    let errors = found.iter().any(|one| one.severity == crate::diag::Severity::Error);
    assert_eq!(script.is_none(), errors, "a script, or an error");
    let show = |one: &crate::diag::Diagnostic| match one.position {
        Some(at) => format!("{} {}:{}", one.code, at.line, at.column),
        None => one.code.to_owned(),
    };
    found.iter().map(show).collect::<Vec<_>>().join(", ")
}

/// The parts of a script: `tx(2)`, `tx[serializable](1)`, `alone`.
fn parts(text: &str) -> String {
    let script = parse(text);
    let show = |part: &Part| match &part.kind {
        PartKind::Transaction { begin: None } => format!("tx({})", part.statements.len()),
        PartKind::Transaction { begin: Some(options) } => format!("tx[{options}]({})", part.statements.len()),
        PartKind::Alone { effect: Effect::Unknown } => "alone?".to_owned(),
        PartKind::Alone { .. } => "alone".to_owned(),
        PartKind::Opening(_) => "opening".to_owned(),
        PartKind::Chunked(_) => "chunked".to_owned(),
    };
    script.parts.iter().map(show).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_script_is_divided_as_its_author_meant_it() {
    for (text, expect) in [
        ("", "tx(0)"),
        ("create table a (); create table b ();", "tx(2)"),
        ("BEGIN; create table a (); create table b (); COMMIT;", "tx(2)"),
        ("begin isolation level serializable; select 1; end", "tx[isolation level serializable](1)"),
        ("begin; set transaction isolation level serializable; select 1; end", "tx[isolation level serializable](1)"),
        ("set transaction isolation level serializable; select 1", "tx[isolation level serializable](1)"),
        ("begin; savepoint s; select 1; rollback to s; commit", "tx(3)"),
        ("begin; select 1; commit; begin; select 2; select 3; commit", "tx(1) tx(2)"),
        ("begin; select 1; commit and chain; select 2; commit", "tx(1) tx(1)"),
        ("set a.b = 1; begin; select 1; commit; vacuum; select 2", "tx(1) tx(1) alone tx(1)"),
        ("begin; drop subscription s; commit", "tx(1)"),
        ("create index concurrently i on t (a); select 1", "alone tx(1)"),
        ("select 1; create index concurrently i on t (a)", "tx(1) alone"),
        ("create index concurrently i on t (a); do $$ begin x; end $$; call p()", "alone tx(1) alone?"),
        ("vacuum; do $$ begin commit; end $$", "alone alone?"),
        ("-- Transaction: false\nselect 1; do $$ $$; call p()", "tx(1) alone? alone?"),
        ("-- Transaction: per-statement\nselect 1; do $$ $$; call p()", "tx(1) tx(1) tx(1)"),
        ("-- Transaction: true\nselect 1; select 2", "tx(2)"),
        ("alter type e add value 'x'; select 1", "tx(2)"),
        ("alter type e add value 'x'; insert into t values ('x')", "tx(1) tx(1)"),
        ("alter type e add value 'x'; do $$ begin perform 'x'::e; end $$", "tx(1) tx(1)"),
        ("alter type e add value 'x'; alter type e add value 'y' after 'x'", "tx(2)"),
        ("create type e as enum (); alter type e add value 'x'; select 'x'::e", "tx(3)"),
    ] {
        assert_eq!(parts(text), expect, "{text}");
    }
    assert!(parse("begin; select 1; commit").transactional());
    assert!(!parse("vacuum").transactional());
}

#[test]
fn a_part_knows_its_text_and_the_settings_before_it() {
    let text = "set search_path = a; begin; select 1 ; -- c\n select 2; commit; copy t from stdin;\n1\n\\.\n";
    let script = parse(text);
    let sql: Vec<_> = script.parts.iter().map(|part| script.sql_of(part)).collect();
    assert_eq!(sql, [Some("set search_path = a"), Some("select 1 ; -- c\n select 2"), None]);
    let before: Vec<_> = script.settings_before(2).iter().map(|one| script.sql(one)).collect();
    assert_eq!(before, ["set search_path = a"]);
    assert_eq!(script.copy_data(&script.statements[5]), Some(Data::Held("1\n")));
}

#[test]
fn headers_are_read() {
    let header = parse(
        "-- Migration: 003 add prices\r\n-- Description: two\n-- description: lines\n/* Transaction: false */\n\
         -- note: prose, and so is this: one\n-- TAGS: a, b\n-- Requires: 001, 002_users -- the accounts\n\
         -- Conflicts: 004_x\n-- Lock_timeout: 100ms\n-- lock budget:250ms\n-- migengine: lock-wait=10m\n\
         -- Statement-timeout: 0\n-- Allow: rewrite(users) -- \"small\"\n-- allow: drop-column(a.b)\n\
         -- Irreversible: data is gone\n\nselect 1;\n-- Transaction: false\nselect 2",
    )
    .header;
    assert_eq!(header.description.as_deref(), Some("two\nlines"));
    assert_eq!(header.tags, ["a", "b"]);
    let names = |list: &[Located<MigrationRef>]| list.iter().map(|one| one.value.to_string()).collect::<Vec<_>>();
    assert_eq!(names(header.requires.as_deref().unwrap()), ["001", "002_users"]);
    assert_eq!(names(&header.conflicts), ["004_x"]);
    let millis = [header.lock_timeout, header.lock_budget, header.lock_wait, header.statement_timeout];
    assert_eq!(millis.map(|one| one.unwrap().as_millis()), [100, 250, 600_000, 0]);
    assert_eq!(header.allow.len(), 2);
    assert_eq!(header.transaction, TransactionMode::Inferred, "block comments and later comments do not count");
    assert_eq!(header.irreversible.as_deref(), Some("data is gone"));
    assert_eq!(parse("-- Requires: none\n").header.requires, Some(vec![]));
    assert_eq!(parse("-- nothing\n").header.requires, None);
    let script = parse("-- chunk: t by id\n-- timeout: 2h\nupdate t set a = 1");
    let found: Vec<_> = script.directives(&script.statements[0]).map(|one| (one.key, one.value)).collect();
    assert_eq!(found, [(DirectiveKey::Chunk, "t by id"), (DirectiveKey::Timeout, "2h")]);
}

#[test]
fn every_problem_of_a_file_is_placed() {
    for (text, expect) in [
        ("-- Tranaction: false\nselect 1", "ME110 1:1"),
        ("-- x\n-- Requries: 1\n-- Lock-timeout: soon\nselect (1", "ME110 2:1, ME111 3:1, ME126 4:8"),
        ("-- Transaction: maybe\nx", "ME111 1:1"),
        ("-- Requires: the first one\nx", "ME111 1:1"),
        ("-- Requires: 001,\nx", "ME111 1:1"),
        ("-- Allow: everything\nx", "ME111 1:1"),
        ("-- Irreversible:\nx", "ME111 1:1"),
        ("-- Requires: 1\n-- requires: 2\nx", "ME112 2:1"),
        ("-- migengine: colour=red\nx", "ME113 1:1"),
        ("-- migengine: tranaction=false\nx", "ME110 1:1"),
        ("-- Migration: 004 add prices\nx", "ME114 1:1"),
        ("-- Migration: other\nx", "ME114 1:1"),
        ("-- Migration: 3\nx", ""),
        ("-- Migration: 003_add_prices\nx", ""),
        ("-- Migration: Add prices\nx", ""),
        ("select 1;\n\n-- timeout: 2h\n\nselect 2", "ME115 3:1"),
        ("-- timeout: later\nselect 2", "ME117 1:1"),
        ("begin;\nselect 1;", "ME150 1:1"),
        ("select 1;\n commit;", "ME151 2:2"),
        ("begin; begin; commit;", "ME152 1:8"),
        ("begin; rollback; commit", "ME153 1:8"),
        ("begin; prepare transaction 'x'; commit", "ME154 1:8"),
        ("begin;\nvacuum;\ncommit;", "ME155 2:1"),
        ("-- Transaction: true\nvacuum", "ME156 2:1"),
        ("vacuum; savepoint s", "ME157 1:9"),
        ("-- empty\n", "ME159 1:1"),
        ("\\i a.sql\n# b\nselect 'c", "ME124 1:1, ME125 2:1, ME120 3:8"),
        ("select '\0'", "ME107 1:9"),
        ("select \0", "ME107 1:8"),
    ] {
        assert_eq!(codes("m/003_add_prices.sql", text.as_bytes()), expect, "{text}");
    }
    assert_eq!(codes("003_x.sql", b"select 1;\n'\xe4'"), "ME106 2:2");
    assert_eq!(codes("003_x_rollback.sql", b"-- Rolls back: 002\nselect 1"), "ME114 1:1");
    assert_eq!(codes("003_x_rollback.sql", b"-- Rolls back: 003_x\n-- no way back"), "");
    assert_eq!(codes("003_x_verify.sql", b"select 1; with a as (select 1) table a; do $$ $$; explain select 1"), "");
    assert_eq!(codes("003_x_verify.sql", b"select 1;\ndelete from t; call p()"), "ME158 2:1, ME158 2:16");
    let many = "commit;".repeat(150);
    assert!(codes("003_x.sql", many.as_bytes()).ends_with("ME151 1:694, ME118"));
}

#[test]
fn the_line_is_shown_with_its_problem() {
    let (_, found) = parse_script("003_x.sql", b"select 1;\r\n# oops\r\n");
    assert_eq!(found[0].line_text.as_deref(), Some("# oops"));
    assert_eq!(found[0].to_string(), "003_x.sql:2:1: error[ME125]: `#` begins no comment in SQL");
    assert_eq!(found[0].help.as_deref(), Some("SQL comments are `-- to the end of the line` or `/* … */`"));
}

fn folder(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), Ok(text.as_bytes().to_vec()))).collect();
    let (migrations, found) = discover(files);
    let show = |one: &Migration| {
        let mark = |script: &Option<std::sync::Arc<Script>>, mark: &str| {
            if script.is_some() { mark.to_owned() } else { String::new() }
        };
        format!("{}{}{}", one.id, mark(&one.down, "-"), mark(&one.verify, "?"))
    };
    (migrations.iter().map(show).collect(), found.iter().map(|one| format!("{} {}", one.code, one.file)).collect())
}

#[test]
fn files_become_migrations_in_order() {
    let (migrations, found) = folder(&[
        ("m/10_b.sql", "select 1"),
        ("m/002_a.sql", "select 1"),
        ("m/002_a_rollback.sql", ""),
        ("m/002_a_verify.sql", "select true"),
        ("m/10_a.sql", "select 1"),
        ("m/README.md", "\0"),
        ("m/.#002_a.sql", "\0"),
        ("m/seed.csv", ""),
    ]);
    assert_eq!(migrations, ["002_a-?", "10_a", "10_b"]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn every_problem_of_a_folder_is_reported() {
    let (migrations, found) = folder(&[
        ("001_a.sql", "select 1"),
        ("001_A.sql", "select 1"),
        ("002_b_rollback.sql", "select 1"),
        ("003_c_verify.sql", "select 1"),
        ("004_d.sql", "select '"),
        ("004_d_rollback.sql", "select 1"),
        ("005_e.sql", "select 1"),
        ("005_e_rollback.sql", "select ("),
        ("006_f.SQL", ""),
        ("007_g.down.sql", ""),
        ("init.sql", ""),
        ("008_h.sql", "-- Irreversible: why\nselect 1"),
        ("008_h_rollback.sql", "select 1"),
    ]);
    assert_eq!(migrations, ["001_A", "008_h-"]);
    assert_eq!(
        found,
        [
            "ME103 001_a.sql",
            "ME104 002_b_rollback.sql",
            "ME105 003_c_verify.sql",
            "ME120 004_d.sql",
            "ME126 005_e_rollback.sql",
            "ME102 006_f.SQL",
            "ME102 007_g.down.sql",
            "ME116 008_h.sql",
            "ME102 init.sql",
        ]
    );
    let (_, found) = discover(vec![("001_a.sql".to_owned(), Err("permission denied".to_owned()))]);
    assert_eq!(found[0].to_string(), "001_a.sql: error[ME101]: cannot read the file: permission denied");
}

/// Real projects' files parse, apart from real syntax errors. `MIGENGINE_CORPORA` names a folder of sets, each with a
/// folder `migrations`.
#[test]
fn the_corpora_parse() {
    let Some(folder) = std::env::var_os("MIGENGINE_CORPORA") else {
        println!("skipped: MIGENGINE_CORPORA is unset");
        return;
    };
    let mut broken = Vec::new();
    let mut count = 0;
    for set in std::fs::read_dir(folder).unwrap().flatten().map(|set| set.path().join("migrations")) {
        let Ok(files) = std::fs::read_dir(&set) else { continue };
        let files: Vec<_> = files
            .flatten()
            .map(|file| {
                (file.file_name().to_string_lossy().into_owned(), std::fs::read(file.path()).map_err(|e| e.to_string()))
            })
            .collect();
        count += files.len();
        let (_, found) = discover(files);
        broken.extend(found.iter().map(ToString::to_string).filter(|line| line.contains("error")));
    }
    println!("{count} files, {} errors:\n{}", broken.len(), broken.join("\n"));
    assert!(count > 0, "the folder holds no set");
    assert!(broken.is_empty(), "what is wrong with these files only a server can tell");
}
