//! A script that is read in stretches is the script that is read at once.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::diag::Diagnostic;
use crate::sql::insert_frame;

const TINY: Bounds = Bounds { block: 4, window: 8 };

/// Stretches of scripts: SQL, data, what ends data, and what only looks like any of them.
const SNIPPETS: &[&str] = &[
    "COPY t FROM stdin;\n",
    "COPY t (a, b) FROM STDIN WITH (FORMAT csv); -- go\r\n",
    "COPY t FROM stdin;",
    "1\tone\n2\ttwo\n",
    "1\tone\r\n2\t\u{e4}\u{1f600}\r\n",
    "\\N\t\\N\n",
    "a line of data without an end",
    "\\.\n",
    "\\.\r\n",
    "\\.",
    "\\.x\n",
    "\\.\r",
    "\\",
    "\n\\.\n",
    "\n",
    "\r\n",
    "INSERT INTO t VALUES (1, 'COPY t FROM stdin;\n1\n\\.\n');\n",
    "SELECT 1;\n",
    "SELECT $a$ COPY t FROM stdin;\n$a$;\n",
    "-- COPY t FROM stdin;\n",
    "/* COPY t FROM stdin;\n */",
    "-- timeout: 2s\n",
    "SET standard_conforming_strings = off;\n",
    "SET standard_conforming_strings = on;\n",
    "SELECT 'a\\'';\n",
    "SELECT 'open",
    "'",
    ";",
    ";\n",
    "BEGIN;\n",
    "COMMIT;\n",
    "\u{feff}",
    "\u{0}",
    "CREATE TABLE t (a int);\n",
    "INSERT INTO t VALUES (1, '\u{e4}');\n",
    "INSERT INTO t VALUES (-2, NULL), (3, 'x;');\r\n",
    "INSERT INTO t VALUES (4, 'y');",
    "INSERT INTO u (a) VALUES (E'\\'');\n",
    "INSERT INTO u (a) VALUES ('\\');\n",
    "INSERT INTO u (a) VALUES (now());\n",
    "\nINSERT INTO t VALUES (5, 'z')",
    "COMMENT ON TABLE t IS 'x';\n",
];

fn streamed(bytes: &[u8], bounds: Bounds, step: usize) -> Option<(Option<Script>, Vec<Diagnostic>)> {
    let mut intake = Intake::new(bounds);
    for stretch in bytes.chunks(step) {
        if !intake.take(stretch) {
            return None;
        }
    }
    parse_streamed("m/001_a.sql", intake.finish(PathBuf::from("m/001_a.sql"))?)
}

/// Returns whether data stayed behind.
fn same(bytes: &[u8], bounds: Bounds, step: usize) -> bool {
    let Some((script, found)) = streamed(bytes, bounds, step) else { return false };
    let (whole, expected) = parse_script("m/001_a.sql", bytes);
    assert_eq!(found, expected);
    let (script, whole) = (script.unwrap(), whole.unwrap());
    assert_eq!((script.content, script.tokens), (whole.content, whole.tokens));
    assert_eq!((&script.header, script.transactional()), (&whole.header, whole.transactional()));
    let mut others = whole.statements.iter();
    for one in &script.statements {
        let other = others.next().unwrap();
        assert_eq!((script.sql(one), one.position), (whole.sql(other), other.position));
        assert_eq!(one.standard_strings, other.standard_strings);
        let (at, end) = (one.text.range().start, one.text.range().end);
        assert_eq!(script.text.position(at), whole.text.position(other.text.range().start));
        assert_eq!(script.text.position(end), whole.text.position(other.text.range().end));
        let data = script.copy_data(one).map(|data| match data {
            Data::Held(text) => text.as_bytes(),
            Data::Left(_, block) => &bytes[block.start as usize..(block.start + block.len) as usize],
        });
        let expected = whole.copy_data(other).map(|data| match data {
            Data::Held(text) => text.as_bytes(),
            Data::Left(..) => unreachable!("this script was read at once"),
        });
        assert_eq!(data, expected);
        if let Some((_, block)) = script.inserts_behind(one) {
            let left = &bytes[block.start as usize..(block.start + block.len) as usize];
            let left = std::str::from_utf8(left).unwrap();
            assert_eq!(block.lines as usize, left.matches('\n').count());
            let like = insert_frame(&whole.text, other).unwrap();
            let mut pieces = String::new();
            while pieces.len() < left.len() {
                let other = others.next().unwrap();
                assert_eq!(insert_frame(&whole.text, other).as_ref(), Some(&like));
                pieces += other.piece.of(&whole.text);
            }
            assert_eq!(pieces, left);
        }
    }
    assert_eq!(others.next(), None);
    assert!(whole.transactional() || script.parts == whole.parts);
    let source = script.text.source().unwrap();
    let text = whole.text.as_bytes();
    assert_eq!(&bytes[source.begin as usize..source.end as usize], text);
    assert!(text.starts_with(script.text.beginning().as_bytes()));
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_mixture_is_the_same_script(choice in proptest::collection::vec(0..SNIPPETS.len(), 0..24), step in 1..40_usize) {
        let text: String = choice.iter().map(|at| SNIPPETS[*at]).collect();
        same(text.as_bytes(), TINY, step);
    }

    #[test]
    fn ordinary_data_scripts_stay_in_the_file(rows in 3..40_usize, blocks in 1..4_usize, step in 1..300_usize) {
        let mut text = String::from("\u{feff}-- Description: data\r\nCREATE TABLE t (a int, b text);\n");
        for block in 0..blocks {
            text += "-- timeout: 2s\nCOPY t FROM stdin;\n";
            for row in 0..rows {
                text += &format!("{row}\t\u{e4} {block}\n\\N\t\\N\r\n");
            }
            text += "\\.\nINSERT INTO t VALUES (1, 'COPY t FROM stdin;\n');\n";
        }
        text += "-- chunked: no\n-- verify: above nothing\n";
        prop_assert!(same(text.as_bytes(), TINY, step));
    }
}

#[test]
fn inserts_that_are_alike_stay_in_the_file() {
    let row = |n: usize| format!("INSERT INTO t VALUES ({n}, 'it''s; {n}');\n");
    let rows = |from: usize| (from..from + 200).map(row).collect::<String>();
    let mut text = format!("-- Description: data\nCREATE TABLE t (a int, b text);\n{}COPY t FROM stdin;\n", rows(1));
    text += &"1\tx\n".repeat(100);
    text +=
        &format!("\\.\n{}INSERT INTO u VALUES (1);\n{}-- verify: above nothing\nSELECT 1;\n", rows(1000), rows(2000));
    for step in [1, 7, 100, 5000] {
        assert!(same(text.as_bytes(), TINY, step), "{step}");
    }
    let (script, _) = streamed(text.as_bytes(), TINY, 100).unwrap();
    let script = script.unwrap();
    assert!(script.text.len() < 1000, "{} bytes are held:\n{}", script.text.len(), &*script.text);
    // Statements that are parts of their own are counted, and so all of them are held.
    let alone = format!("-- Transaction: per-statement\n{}", rows(1));
    assert!(streamed(alone.as_bytes(), TINY, 100).is_none());
}

#[test]
fn warnings_behind_data_name_the_line_of_the_file() {
    let mut text = String::from("COPY t FROM stdin;\n");
    text += &"1\n".repeat(1000);
    text += "\\.\n\n-- timeout: 2s\n\nSELECT 1;\n";
    assert!(same(text.as_bytes(), TINY, 100));
    let (_, found) = streamed(text.as_bytes(), TINY, 100).unwrap();
    assert_eq!(found[0].position.unwrap().line, 1004);
    assert_eq!(found[0].line_text.as_deref(), Some("-- timeout: 2s"));
}

#[test]
fn byte_order_marks_are_content_but_for_the_first() {
    let data = "1\tone\n".repeat(100);
    let marks = ["", "\u{feff}", "\u{feff}\u{feff}"];
    for (first, inside) in marks.iter().flat_map(|first| marks.iter().map(move |inside| (first, inside))) {
        let text = format!("{first}SELECT 1;\nCOPY t FROM stdin;\n{inside}{data}\\.\n");
        assert!((1..9).all(|step| same(text.as_bytes(), TINY, step)), "{text:?}");
    }
}

#[test]
fn what_is_broken_is_left_to_who_holds_it_whole() {
    let data = "1\n".repeat(100);
    for (before, after) in [("", "\u{0}\n\\.\n"), ("", "\\.\nSELECT 'a"), ("SELECT 'a;\n", "\\.\n")] {
        let text = format!("{before}COPY t FROM stdin;\n{data}{after}");
        assert!(streamed(text.as_bytes(), TINY, 7).is_none(), "{text}");
    }
    let mut bytes = format!("COPY t FROM stdin;\n{data}").into_bytes();
    bytes.push(0xc3);
    assert!(streamed(&bytes, TINY, 7).is_none());
    bytes.extend_from_slice(b"(\n\\.\n");
    assert!(streamed(&bytes, TINY, 7).is_none());
}
