//! Properties of the splitter on texts that nobody wrote.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::tests::covers;
use super::*;

/// Stretches of SQL that open, close and hide things.
const SNIPPETS: &[&str] = &[
    "select 1",
    ";",
    ";\n",
    "'",
    "''",
    "E'",
    "\\'",
    "\\",
    "\"",
    "\"a\"",
    "U&\"",
    "U&'",
    "$$",
    "$a$",
    "$b$",
    "$",
    "a$b$c",
    "--",
    "-- x\n",
    "/*",
    "*/",
    "(",
    ")",
    "\n",
    "\r\n",
    " ",
    "begin",
    "begin atomic",
    "end",
    "case",
    "commit",
    "rollback",
    "create function f()",
    "create rule r as on insert to t do also (",
    "copy t from stdin",
    "\\.\n",
    "\n\\.\n",
    "#",
    "\0",
    "\u{feff}",
    "\u{e4}",
    "\u{1f600}",
    "set standard_conforming_strings = off",
    "set standard_conforming_strings = on",
    "1.5e3",
    "::",
    "create index concurrently i on t (a)",
    "alter type t add value 'x'",
    "reindex (",
    "U&\"\\00",
    " uescape '!'",
    "-- timeout: 1s\n",
    "-- Requires: none\n",
    "-- migengine: a=b\n",
    "alter subscription s set (",
    "N'",
    "B'",
    "x'",
    "as end",
    ".end",
    "from",
    "stdin",
];

/// Nothing panics, no byte is lost, tokens touch, and a piece by itself is one piece again.
fn holds(text: &str) {
    covers(text);
    let mut at = 0;
    for token in Lexer::new(text) {
        assert_eq!(token.span.range().start, at, "{text:?}");
        assert!(token.span.range().end > at, "{text:?}");
        at = token.span.range().end;
        assert!(text.is_char_boundary(at), "{text:?}");
    }
    assert_eq!(at, text.len(), "{text:?}");
    let split = split(text);
    for statement in &split.statements {
        drop(std::hint::black_box(statement.class(text)));
        let piece = statement.piece.of(text);
        if statement.piece.start > 0 && piece.starts_with('\u{feff}') {
            continue; // A byte order mark is one only at the beginning of a file; elsewhere it is a name.
        }
        let again = split_with(piece, statement.standard_strings);
        assert_eq!(again.statements.len(), 1, "{piece:?} of {text:?}");
        assert_eq!(again.statements[0].sql(piece), statement.sql(text), "{piece:?} of {text:?}");
        assert!(again.tail.is_empty(), "{piece:?} of {text:?}");
    }
    assert!(split_with(split.tail.of(text), true).statements.is_empty(), "{text:?}");
    std::hint::black_box(tokens_digest(text, &split.statements));
    std::hint::black_box(content_digest(text));
    drop(crate::migration::parse_script("001_x.sql", text.as_bytes()));
}

proptest! {
    #[test]
    fn any_text_holds(text in "\\PC{0,80}") {
        holds(&text);
    }

    #[test]
    fn any_bytes_hold(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        drop(crate::migration::parse_script("001_x.sql", &bytes));
        holds(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_mixture_of_sql_holds(choice in proptest::collection::vec(0..SNIPPETS.len(), 0..30)) {
        holds(&choice.iter().map(|index| SNIPPETS[*index]).collect::<String>());
    }
}

/// A small generator of Marsaglia's, so that a printed seed replays a run.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// Mutations of SQL for `MIGENGINE_FUZZ_SECONDS` (2) from `MIGENGINE_SEED`.
#[test]
fn fuzz_split_for_seconds() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let seed = number("MIGENGINE_SEED", 0x9e37_79b9_7f4a_7c15).max(1);
    let limit = Duration::from_secs(number("MIGENGINE_FUZZ_SECONDS", 2));
    println!("MIGENGINE_SEED={seed}");
    let mut random = Xorshift(seed);
    let begin = Instant::now();
    let mut text = String::new();
    let mut rounds = 0_u64;
    while begin.elapsed() < limit {
        for _ in 0..=random.below(4) {
            let place = (0..=random.below(text.len() + 1).min(text.len())).rev().find(|at| text.is_char_boundary(*at));
            let place = place.unwrap_or(0);
            match random.below(5) {
                0 if !text.is_empty() => text.truncate(place),
                1 if place < text.len() => drop(text.remove(place)),
                _ => text.insert_str(place, SNIPPETS[random.below(SNIPPETS.len())]),
            }
        }
        if text.len() > 400 {
            text.clear();
        }
        if let Err(panic) = std::panic::catch_unwind(|| holds(&text)) {
            eprintln!("round {rounds} of MIGENGINE_SEED={seed}: {text:?}");
            std::panic::resume_unwind(panic);
        }
        rounds += 1;
    }
    println!("{rounds} texts");
    assert!(rounds > 0);
}
