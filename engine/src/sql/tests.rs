//! Tables of texts and what they are.

use super::*;

/// The statements as the server gets them.
fn pieces(text: &str) -> Vec<&str> {
    let split = split(text);
    assert_eq!(split.problems, [], "{text}");
    split.statements.iter().map(|statement| statement.sql(text)).collect()
}

fn check(text: &str, expect: &[&str]) {
    assert_eq!(pieces(text), expect, "{text}");
    covers(text);
}

/// The pieces, one after the other, are the text.
pub(super) fn covers(text: &str) {
    let split = split(text);
    let mut at = 0;
    for statement in &split.statements {
        assert_eq!(statement.piece.range().start, at, "a gap in {text:?}");
        assert!(statement.text.start >= statement.piece.start && statement.text.end <= statement.piece.end);
        at = statement.piece.range().end;
    }
    assert_eq!(split.tail.range(), at..text.len(), "{text:?}");
}

fn kinds(text: &str) -> Vec<TokenKind> {
    Lexer::new(text).map(|token| token.kind).filter(|kind| !kind.is_trivia()).collect()
}

#[test]
fn statements_end_at_semicolons_that_stand_free() {
    check("", &[]);
    check("  -- nothing\n ;; /* at ; all */ ;", &[]);
    check("select 1", &["select 1"]);
    check("select 1; select 2", &["select 1", "select 2"]);
    check("select 1;;; -- c\n select 2 ;", &["select 1", "select 2"]);
    check("\u{feff}select 1;\r\nselect 2;\r\n", &["select 1", "select 2"]);
    check(
        "select ';', \";\", $$;$$, $a$;$$;$b$;$a$ /* ; /* ; */ ; */ -- ;\n, 2; x",
        &["select ';', \";\", $$;$$, $a$;$$;$b$;$a$ /* ; /* ; */ ; */ -- ;\n, 2", "x"],
    );
    check("select 'it''s; fine'; select 'back\\'; select 1", &["select 'it''s; fine'", "select 'back\\'", "select 1"]);
    check(r"select E'\';', e'a\\'; select 2", &[r"select E'\';', e'a\\'", "select 2"]);
    check(
        "select U&'\\0061;' , U&\"d\\0061;\", B'0;1', x'1;F', N'n;'; y",
        &["select U&'\\0061;' , U&\"d\\0061;\", B'0;1', x'1;F', N'n;'", "y"],
    );
    check("select a$b$c; select d$b$", &["select a$b$c", "select d$b$"]);
    check("select $1, $2; select 1$$;$$", &["select $1, $2", "select 1$$;$$"]);
    check(
        "select \u{e4}$x$; $x$;$x$; select $\u{e4}$;$\u{e4}$",
        &["select \u{e4}$x$", "$x$;$x$", "select $\u{e4}$;$\u{e4}$"],
    );
    check("select 1 -- no end", &["select 1"]);
}

#[test]
fn an_escape_string_goes_on_over_lines() {
    check("select E'a\\''\n'b\\';c'; x", &["select E'a\\''\n'b\\';c'", "x"]);
    check(
        "select E'a' -- more\n\n -- and more\n 'b\\';c'; x",
        &["select E'a' -- more\n\n -- and more\n 'b\\';c'", "x"],
    );
    check("select E'a' 'b\\'; x", &["select E'a' 'b\\'", "x"]);
    check("select E'a' /* \n */ 'b\\'; x", &["select E'a' /* \n */ 'b\\'", "x"]);
    check("select 'a'\n'b\\'; x", &["select 'a'\n'b\\'", "x"]);
}

#[test]
fn standard_conforming_strings_changes_what_a_backslash_is() {
    for off in [
        "set standard_conforming_strings = off",
        "SET SESSION Standard_Conforming_Strings TO 'off'",
        "set standard_conforming_strings to false",
        "set standard_conforming_strings=0",
    ] {
        let text = format!("{off}; select 'a\\';b'; reset standard_conforming_strings; select 'a\\'; x");
        assert_eq!(pieces(&text)[1..], ["select 'a\\';b'", "reset standard_conforming_strings", "select 'a\\'", "x"]);
        covers(&text);
    }
    check(
        "begin; set local standard_conforming_strings = off; select '\\';'; commit; select '\\'; x",
        &["begin", "set local standard_conforming_strings = off", "select '\\';'", "commit", "select '\\'", "x"],
    );
    check(
        "set standard_conforming_strings = on; select '\\'; x",
        &["set standard_conforming_strings = on", "select '\\'", "x"],
    );
    let text = "set standard_conforming_strings = off; select '\\''";
    assert!(!split(text).statements[1].standard_strings, "the statement knows how it must be read again");
}

#[test]
fn bodies_and_rules_hold_their_semicolons() {
    let body = "create or replace function f() returns int language sql begin atomic select 1; \
                select case when true then (select case 1 when 1 then 2 end) else 3 end; select t.end, 1 as case from t; end";
    check(&format!("{body}; select 2"), &[body, "select 2"]);
    let procedure = "CREATE PROCEDURE p() BEGIN ATOMIC END";
    check(&format!("{procedure};x"), &[procedure, "x"]);
    let rule = "create rule r as on insert to t do also (insert into a values (1); delete from b; notify c)";
    check(&format!("{rule}; x"), &[rule, "x"]);
    check("begin; select case when a then b end; end; x", &["begin", "select case when a then b end", "end", "x"]);
    check("create table begin_t (atomic int); x", &["create table begin_t (atomic int)", "x"]);
    check(
        "create function f() returns int as $$ begin ; end $$ language plpgsql; x",
        &["create function f() returns int as $$ begin ; end $$ language plpgsql", "x"],
    );
}

#[test]
fn copy_takes_its_data_along() {
    let text = "copy t (a, b) from stdin;\n1\t'\n;--\n\\.\nselect 1;";
    check(text, &["copy t (a, b) from stdin", "select 1"]);
    let statement = split(text).statements[0];
    assert_eq!(statement.copy_data.map(|span| span.of(text)), Some("1\t'\n;--\n"));
    assert_eq!(statement.piece.of(text), "copy t (a, b) from stdin;\n1\t'\n;--\n\\.\n");
    let text = "COPY public.t FROM STDIN WITH (FORMAT csv); -- data\r\n1\r\n\\.\r\nx";
    check(text, &["COPY public.t FROM STDIN WITH (FORMAT csv)", "x"]);
    assert_eq!(split(text).statements[0].copy_data.map(|span| span.of(text)), Some("1\r\n"));
    let text = "copy t from stdin;\n1\n2";
    assert_eq!(
        split(text).statements[0].copy_data.map(|span| span.of(text)),
        Some("1\n2"),
        "up to the end of the file"
    );
    covers(text);
    for text in [
        "copy t from '/f'; x",
        "copy (select 1 from stdin) to stdout; x",
        "select a from stdin; x",
        "copy t from program 'p'; x",
    ] {
        assert_eq!(pieces(text).len(), 2, "{text}");
    }
    assert_eq!(split("copy t from stdin; select 1;\n\\.\n").problems[0].kind, ProblemKind::TextAfterCopy);
}

#[test]
fn what_is_certainly_wrong_is_pointed_at_where_it_began() {
    let code = |text: &str| {
        covers(text);
        let found = split(text).problems;
        found.iter().map(|problem| format!("{}@{}", problem.kind.code(), problem.at)).collect::<Vec<_>>().join(" ")
    };
    for (text, expect) in [
        ("select 'a;\nb", "ME120@7"),
        ("select E'a\\'", "ME120@7"),
        ("select E'\\", "ME120@7"),
        ("select \"a", "ME121@7"),
        ("select U&\"a", "ME121@7"),
        ("x; do $a$ $$ $b$", "ME122@6"),
        ("x; /* /* */", "ME123@3"),
        ("\\i other.sql\nselect 1;\nselect 2 \\gexec\n", "ME124@0 ME124@32"),
        ("\\.", "ME124@0"),
        ("# it's a comment\nselect 1 # 2;", "ME125@0"),
        ("select 1;\n  #two", "ME125@12"),
        ("create table t (a int; select 1;", "ME126@15"),
        ("select 1); select 2", "ME127@8"),
        ("select ((1)", "ME126@7"),
        ("create function f() begin atomic select 1;", "ME119@20"),
        ("select \"\"", "ME129@7"),
        ("select ${x}", "ME129@7 ME129@8 ME129@10"),
        ("select \0", "ME107@7"),
    ] {
        assert_eq!(code(text), expect, "{text:?}");
    }
    let many = "\\x\n".repeat(500);
    let split = split(&many);
    assert_eq!((split.problems.len(), split.problems_left_out), (100, 400));
}

#[test]
fn tokens_are_those_of_the_server() {
    use TokenKind::{Dot, LBracket, Number, Operator, Param, RBracket, Word};
    for (text, expect) in [
        ("a=-1", &[Word, Operator, Operator, Number][..]),
        ("a@-1", &[Word, Operator, Number]),
        ("1.5e-3 .5 1. 1_000 0xFF 0b1 0o7", &[Number; 7]),
        ("1..2", &[Number, Operator, Number]),
        ("a.b", &[Word, Dot, Word]),
        ("x::int", &[Word, Operator, Word]),
        ("a[1:$2]", &[Word, LBracket, Number, Operator, Param, RBracket]),
        ("1+--c\n2", &[Number, Operator, Number]),
        ("1*/*c*/2", &[Number, Operator, Number]),
    ] {
        assert_eq!(kinds(text), expect, "{text}");
    }
    let written = |text: &'static str| Lexer::new(text).map(|token| token.span.of(text)).collect::<Vec<_>>();
    assert_eq!(written("a=-1"), ["a", "=", "-", "1"]);
    assert_eq!(written("a@-1"), ["a", "@-", "1"]);
    assert_eq!(written("a<>-1"), ["a", "<>", "-", "1"]);
    assert_eq!(written("1e"), ["1", "e"]);
}

#[test]
fn positions_and_comment_lines_belong_to_their_statement() {
    let text = "-- header\n\n-- chunk: a\n-- timeout: 2h\n  update t;\nselect 1; -- timeout: no\n\u{e4}(); -- x\n\n-- y\n/* */ z";
    let statements = split(text).statements;
    let place = |index: usize| (statements[index].position.line, statements[index].position.column);
    assert_eq!([place(0), place(1), place(2), place(3)], [(5, 3), (6, 1), (7, 1), (10, 7)]);
    let lines: Vec<Vec<&str>> =
        statements.iter().map(|one| one.comment_lines(text).map(|(_, line)| line).collect()).collect();
    assert_eq!(lines, [vec!["chunk: a", "timeout: 2h"], vec![], vec![], vec![]]);
    let first = "-- timeout: 1s\nselect 1";
    assert_eq!(split(first).statements[0].comment_lines(first).collect::<Vec<_>>(), [(0, "timeout: 1s")]);
}

#[test]
fn the_token_digest_sees_meaning_only() {
    let digest = |text: &str| tokens_digest(text, &split(text).statements);
    let base = digest("select a, 'x' from t;\n");
    for same in ["select a,'x'from t", "-- c\nselect /* c */ a,\r\n 'x' from t;;", "\u{feff}select a, 'x' from t ;"] {
        assert_eq!(digest(same), base, "{same}");
    }
    for other in ["select a, 'y' from t", "select a; 'x' from t", "select a, 'x' from t; x", "select ab, 'x' from t"] {
        assert_ne!(digest(other), base, "{other}");
    }
    assert_eq!(digest("select 'a\r\nb'"), digest("select 'a\nb'"));
    assert_ne!(digest("copy t from stdin;\n1\n\\."), digest("copy t from stdin;\n2\n\\."));
    assert_eq!(content_digest("\u{feff}a\r\nb"), crate::id::Digest::of(b"a\nb"));
    assert_ne!(content_digest("a\rb"), content_digest("a\nb"));
}

#[test]
fn names_are_as_the_catalog_stores_them() {
    let name = |sql: &str| match classify(&format!("create index concurrently i on {sql} (a)")).effect {
        Effect::IndexBuilt { table, .. } => table.to_string(),
        other => format!("{other:?}"),
    };
    for (written, expect) in [
        ("Users", "users"),
        ("App.Users", "app.users"),
        ("\"App\".\"my \"\"t\"\"\"", "\"App\".\"my \"\"t\"\"\""),
        ("db.s.t", "s.t"),
        ("U&\"d\\0061t\\+000061\"", "data"),
        ("U&\"d!0061t\" uescape '!'", "dat"),
        ("\"order\"", "\"order\""),
        ("\"x y\"", "\"x y\""),
        ("only t", "t"),
    ] {
        assert_eq!(name(written), expect, "{written}");
    }
    let long = "\u{e4}".repeat(40);
    assert_eq!(name(&long), quote_ident(&"\u{e4}".repeat(31)), "63 bytes, no half characters");
}

#[test]
fn strings_are_decoded() {
    for (written, expect) in [
        ("'it''s'", Some("it's")),
        (r"E'it\'s\n\x41\u00e4'", Some("it's\nA\u{e4}")),
        ("U&'\\0061\\\\'", Some("a\\")),
        ("U&'\\d83d\\de00'", Some("\u{1f600}")),
        ("U&'\\00'", None),
        ("$x$a'b$x$", Some("a'b")),
        ("N'n'", Some("n")),
        ("1", None),
    ] {
        let token = Lexer::new(written).next().unwrap();
        assert_eq!(string_value(token, written).as_deref(), expect, "{written}");
    }
}
