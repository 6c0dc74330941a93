//! The shape of a statement that is to run in pieces: its table, what it assigns, and where a condition can be added.
//! Tolerant: whatever is not certain to fit is refused with its reason, because a statement that is divided wrongly
//! changes rows twice, or not at all.

use crate::sql::{Lexer, QualifiedName, Span, Statement, Token, TokenKind, ident_value, quote_ident};

/// Where in its file the range of the key goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In place of the word `true` before the mark `/*chunk*/`.
    Mark(Span),
    /// Beside the statement's own condition: it begins behind `after` and ends at `end`.
    Beside {
        /// Behind `WHERE`.
        after: u32,
        /// Behind the condition's last token.
        end: u32,
    },
    /// There is no condition: a `WHERE` goes here.
    Append(u32),
}

/// What was found.
pub(super) struct Shape {
    /// Columns it assigns.
    pub(super) assigned: Vec<String>,
    /// What a column of the table is called by.
    pub(super) qualifier: String,
    /// Where the range goes.
    pub(super) place: Place,
    /// Whether a row that was worked on is not found again: running it again does no harm.
    pub(super) settles: bool,
}

/// Why a statement cannot be divided.
pub(super) struct Unfit {
    /// A sentence.
    pub(super) what: String,
    /// What to do.
    pub(super) help: Option<&'static str>,
    /// Where; nothing for the directive itself.
    pub(super) at: Option<u32>,
}

fn unfit(at: Option<u32>, what: impl Into<String>, help: &'static str) -> Unfit {
    Unfit { what: what.into(), help: Some(help).filter(|help| !help.is_empty()), at }
}

const LIMIT: &str =
    "leave the limit out: the engine chooses how many rows a batch takes, and remembers where it stopped";
const MARK: &str = "mark the place in the WHERE of the SELECT that reads the table: `AND true /*chunk*/`";

/// The significant tokens of a statement, with the depth of parentheses each stands at, and the mark.
struct Reader<'t> {
    text: &'t str,
    tokens: Vec<(Token, usize)>,
    mark: Option<usize>,
}

/// Looks at a statement that is to be divided by a key of `table`.
pub(super) fn look(text: &str, statement: &Statement, table: &QualifiedName) -> Result<Shape, Unfit> {
    let reader = Reader::new(text, statement);
    match reader.word(0).as_deref() {
        Some("UPDATE") => reader.change(1, table, true),
        Some("DELETE") if reader.is(1, "FROM") => reader.change(2, table, false),
        Some("INSERT") => reader.insert(table),
        Some("WITH") => Err(unfit(
            Some(statement.text.start),
            "a statement that begins with WITH may change several tables, so it cannot be run in pieces",
            "move the query behind WITH into FROM or USING",
        )),
        _ => Err(unfit(
            Some(statement.text.start),
            "only UPDATE, DELETE and INSERT … SELECT can be run in pieces",
            "remove the `chunk` line, or put it above the statement that changes many rows",
        )),
    }
}

impl<'t> Reader<'t> {
    fn new(text: &'t str, statement: &Statement) -> Self {
        let mut reader = Self { text, tokens: Vec::new(), mark: None };
        let mut depth = 0_usize;
        // The mark may stand behind the last token, where the statement as the server gets it has ended.
        let whole = Span { start: statement.text.start, end: statement.piece.end };
        for token in Lexer::within(text, whole, statement.standard_strings) {
            match token.kind {
                TokenKind::BlockComment => {
                    let inside = token.span.of(text).trim_start_matches("/*").trim_end_matches("*/");
                    if inside.trim().eq_ignore_ascii_case("chunk") {
                        reader.mark = reader.tokens.len().checked_sub(1).or(reader.mark);
                    }
                }
                kind if kind.is_trivia() || token.span.start >= statement.text.end => {}
                TokenKind::LParen => {
                    reader.tokens.push((token, depth));
                    depth += 1;
                }
                TokenKind::RParen => {
                    depth = depth.saturating_sub(1);
                    reader.tokens.push((token, depth));
                }
                _ => reader.tokens.push((token, depth)),
            }
        }
        reader
    }

    fn token(&self, index: usize) -> Option<Token> {
        self.tokens.get(index).map(|(token, _)| *token)
    }

    fn depth(&self, index: usize) -> usize {
        self.tokens.get(index).map_or(0, |(_, depth)| *depth)
    }

    fn word(&self, index: usize) -> Option<String> {
        let token = self.token(index).filter(|token| token.kind == TokenKind::Word)?;
        Some(token.span.of(self.text).to_ascii_uppercase())
    }

    fn is(&self, index: usize, word: &str) -> bool {
        self.word(index).is_some_and(|found| found == word)
    }

    fn kind(&self, index: usize) -> Option<TokenKind> {
        self.token(index).map(|token| token.kind)
    }

    fn ident(&self, index: usize) -> Option<String> {
        ident_value(self.token(index)?, self.text, '\\')
    }

    /// `a`, `a.b` or `a.b.c` from `index` on, with the index behind it.
    fn name(&self, index: usize) -> Option<(QualifiedName, usize)> {
        let mut name = QualifiedName { schema: None, name: self.ident(index)? };
        let mut next = index + 1;
        while self.kind(next) == Some(TokenKind::Dot) {
            name = QualifiedName { schema: Some(name.name), name: self.ident(next + 1)? };
            next += 2;
        }
        Some((name, next))
    }

    /// The alias behind a table's name, with the index behind it.
    fn alias(&self, index: usize, ends: &[&str]) -> (Option<String>, usize) {
        let star = self.token(index).is_some_and(|token| token.span.of(self.text) == "*");
        let index = if star { index + 1 } else { index };
        if self.is(index, "AS") {
            return (self.ident(index + 1), index + 2);
        }
        let ends_here = self.word(index).is_some_and(|word| ends.contains(&word.as_str()));
        match self.ident(index) {
            Some(alias) if !ends_here => (Some(alias), index + 1),
            _ => (None, index),
        }
    }

    fn start(&self, index: usize) -> Option<u32> {
        self.token(index).map(|token| token.span.start)
    }

    /// A word at the outermost depth, from `index` on.
    fn outer(&self, index: usize, word: &str) -> Option<usize> {
        (index..self.tokens.len()).find(|at| self.depth(*at) == 0 && self.is(*at, word))
    }

    /// The first `LIMIT` or `FETCH FIRST` from `index` on for which `counts` holds.
    fn limit(&self, index: usize, counts: impl Fn(usize) -> bool) -> Option<usize> {
        let is_limit = |at: &usize| {
            self.is(*at, "LIMIT") || (self.is(*at, "FETCH") && (self.is(at + 1, "FIRST") || self.is(at + 1, "NEXT")))
        };
        (index..self.tokens.len()).filter(is_limit).find(|at| counts(*at))
    }

    fn same_table(&self, index: usize, found: &QualifiedName, table: &QualifiedName) -> Result<(), Unfit> {
        let schema = |name: &QualifiedName| name.schema.clone().filter(|schema| schema != "public");
        let differs = schema(found).zip(schema(table)).is_some_and(|(a, b)| a != b);
        if found.name == table.name && !differs {
            return Ok(());
        }
        let what = format!("the `chunk` line names {table}, and the statement changes {found}");
        Err(unfit(self.start(index), what, "name the table that the statement changes"))
    }

    /// `UPDATE` or `DELETE FROM`, from behind these words.
    fn change(&self, from: usize, table: &QualifiedName, update: bool) -> Result<Shape, Unfit> {
        let from = if self.is(from, "ONLY") { from + 1 } else { from };
        let Some((found, next)) = self.name(from) else {
            return Err(unfit(self.start(from), "the table of this statement cannot be told", ""));
        };
        self.same_table(from, &found, table)?;
        let (alias, next) = self.alias(next, &["SET", "USING", "WHERE", "RETURNING"]);
        let condition = self.outer(next, "WHERE");
        let returning = self.outer(next, "RETURNING").unwrap_or(self.tokens.len());
        if let Some(at) = condition.and_then(|condition| self.limit(condition, |_| true)) {
            return Err(unfit(self.start(at), "a statement that is run in pieces cannot have its own limit", LIMIT));
        }
        let end = self.token(returning.saturating_sub(1)).map_or(0, |token| token.span.end);
        let place = match (self.mark(), condition) {
            (Some(mark), _) => Place::Mark(mark?),
            (None, Some(condition)) if self.is(condition + 1, "CURRENT") && self.is(condition + 2, "OF") => {
                return Err(unfit(
                    self.start(condition),
                    "WHERE CURRENT OF changes one row; there is nothing to divide",
                    "",
                ));
            }
            (None, Some(condition)) => {
                Place::Beside { after: self.token(condition).map_or(0, |token| token.span.end), end }
            }
            (None, None) => Place::Append(end),
        };
        let assigned = if update { self.assigned(next, condition.unwrap_or(returning)) } else { Vec::new() };
        let settles = match condition {
            Some(condition) if update => self.asks_for_null(condition + 1, returning, &assigned),
            Some(_) => !update,
            None => !update,
        };
        Ok(Shape { assigned, qualifier: quote_ident(&alias.unwrap_or(found.name)), place, settles })
    }

    /// The columns on the left of `SET a = 1, (b, c) = (2, 3)`.
    fn assigned(&self, from: usize, to: usize) -> Vec<String> {
        let mut columns = Vec::new();
        let mut due = false;
        let mut index = from;
        while index < to {
            let outer = self.depth(index) == 0;
            if outer && (self.is(index, "SET") && index == from || self.kind(index) == Some(TokenKind::Comma)) {
                due = true;
            } else if due {
                due = false;
                if self.kind(index) == Some(TokenKind::LParen) {
                    while index < to && self.kind(index) != Some(TokenKind::RParen) {
                        columns.extend(self.ident(index));
                        index += 1;
                    }
                } else {
                    columns.extend(self.ident(index));
                }
            }
            index += 1;
        }
        columns
    }

    /// Whether the condition asks, beside whatever else it asks for, that a column be null which the statement assigns:
    /// `WHERE lower IS NULL AND …`. An `OR` at the same depth would make that optional.
    fn asks_for_null(&self, from: usize, to: usize, assigned: &[String]) -> bool {
        let optional = (from..to).any(|at| self.depth(at) == 0 && self.is(at, "OR"));
        let asks = |at: usize| {
            let is_null = self.is(at + 1, "IS") && self.is(at + 2, "NULL");
            let negated = at > from && self.is(at - 1, "NOT");
            self.depth(at) == 0
                && is_null
                && !negated
                && self.ident(at).is_some_and(|column| assigned.contains(&column))
        };
        !optional && (from..to).any(asks)
    }

    /// `INSERT INTO … SELECT … FROM table … WHERE … AND true /*chunk*/`.
    fn insert(&self, table: &QualifiedName) -> Result<Shape, Unfit> {
        if !(0..self.tokens.len()).any(|at| self.is(at, "SELECT")) {
            let what = "an INSERT without a SELECT has no rows to divide";
            return Err(unfit(self.start(0), what, "remove the `chunk` line"));
        }
        let Some(mark) = self.mark() else {
            return Err(unfit(self.start(0), "an INSERT … SELECT does not show where its rows can be divided", MARK));
        };
        let depth = self.mark.map_or(0, |at| self.depth(at));
        if let Some(at) = self.limit(0, |at| self.depth(at) <= depth) {
            return Err(unfit(self.start(at), "a statement that is run in pieces cannot have its own limit", LIMIT));
        }
        let source = (0..self.tokens.len())
            .filter(|at| {
                ["FROM", "JOIN"].iter().any(|word| self.is(*at, word)) || self.kind(*at) == Some(TokenKind::Comma)
            })
            .filter_map(|at| self.name(if self.is(at + 1, "ONLY") { at + 2 } else { at + 1 }))
            .find(|(found, _)| found.name == table.name && (table.schema.is_none() || found.schema == table.schema));
        let Some((found, next)) = source else {
            let what = format!("the `chunk` line names {table}, which the SELECT does not read from");
            return Err(unfit(None, what, "name the table whose rows the SELECT goes through"));
        };
        let ends =
            ["WHERE", "JOIN", "LEFT", "RIGHT", "FULL", "INNER", "CROSS", "NATURAL", "ON", "USING", "TABLESAMPLE"];
        let (alias, _) = self.alias(next, &ends);
        Ok(Shape {
            assigned: Vec::new(),
            qualifier: quote_ident(&alias.unwrap_or(found.name)),
            place: Place::Mark(mark?),
            settles: false,
        })
    }

    /// The word `true` before the mark.
    fn mark(&self) -> Option<Result<Span, Unfit>> {
        let at = self.mark?;
        let span = self.token(at).map(|token| token.span).filter(|_| self.is(at, "TRUE"));
        Some(span.ok_or_else(|| unfit(self.start(at), "the mark `/*chunk*/` stands behind the word `true`", MARK)))
    }
}
