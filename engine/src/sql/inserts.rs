//! Statements that put literal values into a table. Dumps and data scripts consist of a million of them, one like the other,
//! and whatever is said of the first one's tables, locks and hazards holds for all.

use super::lexer::Lexer;
use super::statement::Statement;
use super::token::TokenKind;

/// What such statements have in common when they differ in nothing but their literals: all tokens but those of the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InsertFrame {
    tokens: String,
    standard_strings: bool,
}

enum Place {
    /// `INSERT INTO t (a, b)`
    Head,
    /// `VALUES (1, 'x'), (2, NULL)`
    Rows,
    /// `ON CONFLICT DO NOTHING`
    Tail,
}

/// The frame of a statement that is an `INSERT` of literals and ends with a `;`, and of whose piece nothing is a comment.
pub(crate) fn insert_frame(text: &str, statement: &Statement) -> Option<InsertFrame> {
    let standard_strings = statement.standard_strings;
    let (mut place, mut depth, mut ended, mut tokens) = (Place::Head, 0_u32, false, String::new());
    if !starts_insert(text, statement) {
        return None;
    }
    for token in Lexer::within(text, statement.piece, standard_strings) {
        let written = token.span.of(text);
        match token.kind {
            TokenKind::Whitespace => continue,
            TokenKind::Semicolon if !ended && depth == 0 => {
                ended = true;
                continue;
            }
            TokenKind::Invalid(_) => return None,
            kind if ended || kind.is_trivia() => return None,
            TokenKind::LParen => depth += 1,
            TokenKind::RParen => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if matches!(place, Place::Rows) {
            match token.kind {
                TokenKind::Word if depth == 0 => place = Place::Tail,
                _ if is_of_a_row(token.kind, written) => continue,
                _ => return None,
            }
        }
        tokens.push_str(written);
        tokens.push(' ');
        if matches!(place, Place::Head) {
            match token.kind {
                TokenKind::Word if depth == 0 && written.eq_ignore_ascii_case("VALUES") => place = Place::Rows,
                TokenKind::Word | TokenKind::QuotedIdent | TokenKind::Dot | TokenKind::Comma => {}
                TokenKind::LParen | TokenKind::RParen => {}
                _ => return None,
            }
        }
    }
    (ended && !matches!(place, Place::Head)).then_some(InsertFrame { tokens, standard_strings })
}

fn starts_insert(text: &str, statement: &Statement) -> bool {
    let mut first = statement.significant(text);
    let mut is = |word: &str| first.next().is_some_and(|token| token.is_word(text, word));
    is("INSERT") && is("INTO")
}

fn is_of_a_row(kind: TokenKind, written: &str) -> bool {
    match kind {
        TokenKind::LParen | TokenKind::RParen | TokenKind::Comma | TokenKind::Number => true,
        TokenKind::BitString | TokenKind::HexString => true,
        TokenKind::Operator => matches!(written, "-" | "+"),
        TokenKind::Word => ["NULL", "TRUE", "FALSE", "DEFAULT"].iter().any(|word| written.eq_ignore_ascii_case(word)),
        kind => kind.is_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::split;
    use super::*;

    fn frames(text: &str) -> Vec<Option<String>> {
        split(text).statements.iter().map(|one| insert_frame(text, one).map(|frame| frame.tokens)).collect()
    }

    #[test]
    fn what_differs_in_its_literals_only_has_the_same_frame() {
        let frame = "INSERT INTO app . \"T\" ( a , b ) VALUES ";
        let alike = "INSERT INTO app.\"T\" (a, b) VALUES (1, 'x'), (-2.5, NULL);\nINSERT INTO app.\"T\"(a,b) VALUES (DEFAULT, E'\\'');\n\
            INSERT INTO app.\"T\" (a, b) VALUES (X'1F', $$y$$);";
        assert_eq!(frames(alike), vec![Some(frame.to_owned()); 3]);
        let tail =
            "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING;INSERT INTO t VALUES (2) ON CONFLICT (id) DO NOTHING;";
        let found = frames(tail);
        assert!(found.iter().all(Option::is_some) && found[0] != found[1], "{found:?}");
        let cased = frames("INSERT INTO t VALUES (1);insert into t values (1);");
        assert!(cased[0].is_some() && cased[1].is_some() && cased[0] != cased[1], "{cased:?}");
    }

    #[test]
    fn what_may_do_more_than_store_literals_has_none() {
        for text in [
            "INSERT INTO t VALUES (now());",
            "INSERT INTO t VALUES ('1'::app.thing);",
            "INSERT INTO t VALUES ((SELECT 1));",
            "INSERT INTO t VALUES (a);",
            "INSERT INTO t VALUES (ARRAY[1]);",
            "INSERT INTO t VALUES (1 || 2);",
            "INSERT INTO t SELECT 1;",
            "WITH x AS (DELETE FROM t) INSERT INTO t VALUES (1);",
            "INSERT INTO t VALUES (1)",
            "-- timeout: 2s\nINSERT INTO t VALUES (1);",
            "INSERT INTO t VALUES (1 /* one */);",
            ";INSERT INTO t VALUES (1);",
            "SELECT 1;",
        ] {
            assert_eq!(frames(text), [None], "{text}");
        }
    }
}
