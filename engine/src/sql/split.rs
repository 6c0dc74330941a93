//! Splits a script into statements, as psql would, without losing a byte.

use super::classify;
use super::lexer::Lexer;
use super::problem::{Problem, ProblemKind};
use super::statement::Statement;
use super::token::{Invalid, Span, Token, TokenKind};
use crate::diag::Position;

/// Problems beyond this many in one file are counted, not kept: after a hundred nobody reads on.
const MAX_PROBLEMS: usize = 100;

/// A script in pieces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Split {
    /// The statements in order. Their `piece`s and then `tail`, one after the other, are the whole text.
    pub statements: Vec<Statement>,
    /// What stands behind the last statement: white space, comments, lone semicolons.
    pub tail: Span,
    /// What is certainly wrong, in order of appearance. The statements are a best effort where this is not empty.
    pub problems: Vec<Problem>,
    /// How many further problems were found and dropped.
    pub problems_left_out: usize,
}

/// Splits a text that begins with `standard_conforming_strings` on. The text is at most
/// [`MAX_FILE_LEN`](super::token::MAX_FILE_LEN) bytes long; what lies beyond is not looked at.
#[must_use]
pub fn split(text: &str) -> Split {
    split_with(text, true)
}

/// Splits a text that begins with the given value of `standard_conforming_strings`.
#[must_use]
pub fn split_with(text: &str, standard_strings: bool) -> Split {
    let mut splitter = Splitter::new(text, standard_strings);
    while let Some(token) = splitter.lexer.next() {
        splitter.take(token);
    }
    splitter.finish()
}

/// How quotes are read at a place between two statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strings {
    /// The value of `standard_conforming_strings`.
    now: bool,
    /// The session's, while `SET LOCAL` or an open transaction may take the current one back.
    session: bool,
}

impl Strings {
    /// As a session begins.
    pub(crate) const START: Self = Self { now: true, session: true };

    /// As a statement is read.
    pub(crate) fn of(statement: &Statement) -> Self {
        Self { now: statement.standard_strings, session: statement.standard_strings }
    }
}

/// Splits a stretch of a text, which begins between two statements and ends so. Says of each statement how quotes are read behind
/// it. Positions count from the beginning of the stretch.
pub(crate) fn split_between(text: &str, span: Span, strings: Strings) -> Vec<(Statement, Strings)> {
    let mut splitter = Splitter::new(text, strings.now);
    splitter.session_strings = strings.session;
    splitter.lexer = Lexer::within(text, span, strings.now);
    splitter.piece_start = span.range().start;
    splitter.here.offset = span.range().start;
    let mut found = Vec::new();
    let take = |splitter: &mut Splitter<'_>, found: &mut Vec<(Statement, Strings)>| {
        let strings = Strings { now: splitter.lexer.standard_strings(), session: splitter.session_strings };
        found.extend(splitter.out.statements.pop().map(|statement| (statement, strings)));
    };
    while let Some(token) = splitter.lexer.next() {
        splitter.take(token);
        take(&mut splitter, &mut found);
    }
    splitter.end_statement(span.range().end, None);
    take(&mut splitter, &mut found);
    found
}

/// What is certain about a text that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Up to here statements are complete, whatever comes behind the text.
    pub(crate) upto: usize,
    /// How quotes are read there.
    pub(crate) strings: Strings,
    /// Where the data begins of a COPY behind that, when it is long, or its end is not in the text.
    pub(crate) data: Option<usize>,
}

/// Splits the beginning of a text of which the end is not known, up to data of at least `long` bytes.
pub(crate) fn settle(text: &str, strings: Strings, long: usize) -> Settled {
    let mut splitter = Splitter::new(text, strings.now);
    splitter.session_strings = strings.session;
    let mut settled = Settled { upto: 0, strings, data: None };
    while let Some(token) = splitter.lexer.next() {
        splitter.take(token);
        let Some(statement) = splitter.out.statements.pop() else { continue };
        let upto = splitter.lexer.offset();
        let whole_lines = |upto: usize| text.as_bytes().get(..upto).is_some_and(|before| before.ends_with(b"\n"));
        match statement.copy_data {
            // The text ends in the line of the `;`, or before the line that ends the data.
            Some(data) if !whole_lines(data.range().start) => return settled,
            Some(data) if data.range().end == upto || !whole_lines(upto) || data.len() >= long => {
                return Settled { data: Some(data.range().start), ..settled };
            }
            _ => {}
        }
        let strings = Strings { now: splitter.lexer.standard_strings(), session: splitter.session_strings };
        settled = Settled { upto, strings, data: None };
    }
    settled
}

struct Splitter<'t> {
    text: &'t str,
    lexer: Lexer<'t>,
    out: Split,
    piece_start: usize,
    here: Cursor,
    above: CommentBlock,
    current: Option<Current>,
    /// Open parentheses of the current statement; kept between statements for its memory.
    parens: Vec<u32>,
    /// The session's value while `SET LOCAL` or an open transaction may take the current one back.
    session_strings: bool,
}

/// What is known of the statement being read.
#[derive(Debug, Default)]
struct Current {
    start: usize,
    end: usize,
    /// Significant tokens so far, up to [`Shape::Other`]'s decision.
    seen: u32,
    shape: Shape,
    /// The token before: what decides about `BEGIN ATOMIC`, `t.end`, `AS end` and `FROM stdin`.
    before: Before,
    /// Open `BEGIN ATOMIC` and `CASE`.
    body_depth: u32,
    body_at: u32,
    copy_from_stdin: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Shape {
    #[default]
    Start,
    Create,
    Routine,
    Rule,
    Copy,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Before {
    #[default]
    Anything,
    Begin(u32),
    DotOrAs,
    From,
}

impl<'t> Splitter<'t> {
    fn new(text: &'t str, standard_strings: bool) -> Self {
        let mut lexer = Lexer::new(text);
        lexer.set_standard_strings(standard_strings);
        Self {
            text,
            lexer,
            out: Split::default(),
            piece_start: 0,
            here: Cursor { offset: 0, position: Position::START },
            above: CommentBlock::default(),
            current: None,
            parens: Vec::new(),
            session_strings: standard_strings,
        }
    }

    fn take(&mut self, mut token: Token) {
        if self.current.is_none() && token.kind == TokenKind::Operator && token.span.of(self.text).starts_with('#') {
            token = self.lexer.take_hash_comment(token);
        }
        match token.kind {
            TokenKind::Invalid(invalid) => self.invalid(invalid, token),
            kind if kind.is_trivia() => {
                if self.current.is_none() {
                    self.above.follow(token, self.text);
                }
            }
            TokenKind::Semicolon => self.semicolon(token),
            _ => self.significant(token),
        }
    }

    fn problem(&mut self, kind: ProblemKind, at: u32) {
        if self.out.problems.len() < MAX_PROBLEMS {
            self.out.problems.push(Problem { kind, at });
        } else {
            self.out.problems_left_out += 1;
        }
    }

    /// Records the problem and goes on: one file shows all its problems at once. What covers a line of another
    /// language is no part of a statement; the rest is.
    fn invalid(&mut self, invalid: Invalid, token: Token) {
        self.problem(ProblemKind::Token(invalid), token.span.start);
        let foreign_line = matches!(invalid, Invalid::MetaCommand | Invalid::HashComment);
        if !(foreign_line && self.current.is_none()) {
            self.significant(token);
        }
    }

    fn significant(&mut self, token: Token) {
        let range = token.span.range();
        let current = self.current.get_or_insert_with(|| Current { start: range.start, ..Current::default() });
        current.end = range.end;
        if token.kind == TokenKind::LParen {
            self.parens.push(token.span.start);
        } else if token.kind == TokenKind::RParen && self.parens.pop().is_none() {
            self.problem(ProblemKind::UnopenedParen, token.span.start);
        }
        let depth = self.parens.len();
        if let Some(current) = &mut self.current {
            current.follow(token, self.text, depth);
        }
    }

    fn semicolon(&mut self, token: Token) {
        let Some(current) = &mut self.current else {
            self.above = CommentBlock::default();
            return;
        };
        let in_rule = current.shape == Shape::Rule && !self.parens.is_empty();
        if in_rule || current.body_depth > 0 {
            current.end = token.span.range().end;
            current.before = Before::Anything;
            return;
        }
        let copy = current.copy_from_stdin;
        let copy_data = copy.then(|| self.copy_data(token.span.range().end));
        self.end_statement(self.lexer.offset(), copy_data);
    }

    /// The lines after `COPY … FROM stdin;` up to `\.` on a line of its own, or to the end of the file. Moves the lexer
    /// behind them.
    fn copy_data(&mut self, from: usize) -> Span {
        let rest = self.text.get(from..).unwrap_or_default();
        let line_len = rest.find('\n').map_or(rest.len(), |newline| newline + 1);
        let same_line = rest.get(..line_len).unwrap_or_default();
        let blank = same_line.len() - same_line.trim_start().len();
        let behind = same_line.trim_start();
        if !behind.is_empty() && !behind.starts_with("--") {
            self.problem(ProblemKind::TextAfterCopy, Span::new(from + blank, from + blank).start);
        }
        let start = from + line_len;
        let mut line_start = start;
        for line in self.text.get(start..).unwrap_or_default().split_inclusive('\n') {
            let next = line_start + line.len();
            if line.trim_end_matches(['\n', '\r']) == "\\." {
                self.lexer.skip_to(next);
                return Span::new(start, line_start);
            }
            line_start = next;
        }
        self.lexer.skip_to(self.text.len());
        Span::new(start, self.text.len())
    }

    /// Closes the current statement; its piece ends before `piece_end`.
    fn end_statement(&mut self, piece_end: usize, copy_data: Option<Span>) {
        let Some(current) = self.current.take() else { return };
        if let Some(open) = self.parens.last() {
            let at = *open;
            self.problem(ProblemKind::UnclosedParen, at);
        }
        self.parens.clear();
        if current.body_depth > 0 {
            self.problem(ProblemKind::UnclosedBody, current.body_at);
        }
        self.here.advance(self.text, current.start);
        let statement = Statement {
            piece: Span::new(self.piece_start, piece_end),
            text: Span::new(current.start, current.end),
            comments: self.above.directly_above(current.start),
            copy_data,
            position: self.here.position,
            standard_strings: self.lexer.standard_strings(),
        };
        self.follow_settings(&statement);
        self.out.statements.push(statement);
        self.piece_start = piece_end;
        self.above = CommentBlock::default();
    }

    /// `standard_conforming_strings` changes how the rest of the file must be read.
    fn follow_settings(&mut self, statement: &Statement) {
        match classify::strings_setting(statement, self.text) {
            classify::StringsSetting::Session(on) => {
                self.session_strings = on;
                self.lexer.set_standard_strings(on);
            }
            classify::StringsSetting::Local(on) => self.lexer.set_standard_strings(on),
            classify::StringsSetting::TransactionEnds => self.lexer.set_standard_strings(self.session_strings),
            classify::StringsSetting::Untouched => {}
        }
    }

    fn finish(mut self) -> Split {
        let end = self.lexer.offset();
        self.end_statement(end, None);
        self.out.tail = Span::new(self.piece_start, self.text.len());
        self.out.problems.sort_by_key(|problem| problem.at);
        self.out
    }
}

impl Current {
    fn follow(&mut self, token: Token, text: &str, paren_depth: usize) {
        self.seen += 1;
        if token.kind != TokenKind::Word {
            self.before = if token.kind == TokenKind::Dot { Before::DotOrAs } else { Before::Anything };
            return;
        }
        let word = token.span.of(text);
        let is = |other: &str| word.eq_ignore_ascii_case(other);
        if matches!(self.shape, Shape::Start | Shape::Create) && self.before != Before::DotOrAs {
            self.shape = self.shape_after(word);
        }
        if self.shape == Shape::Routine {
            self.follow_body(word, paren_depth);
        }
        self.copy_from_stdin |=
            self.shape == Shape::Copy && paren_depth == 0 && self.before == Before::From && is("STDIN");
        self.before = if is("BEGIN") && self.before != Before::DotOrAs {
            Before::Begin(token.span.start)
        } else if is("AS") && self.before != Before::DotOrAs {
            Before::DotOrAs
        } else if is("FROM") {
            Before::From
        } else {
            Before::Anything
        };
    }

    /// What the first words make of the statement: `CREATE [OR REPLACE] FUNCTION | PROCEDURE | RULE`, or `COPY`.
    fn shape_after(&self, word: &str) -> Shape {
        let is = |other: &str| word.eq_ignore_ascii_case(other);
        match self.shape {
            Shape::Start if self.seen == 1 && is("CREATE") => Shape::Create,
            Shape::Start if self.seen == 1 && is("COPY") => Shape::Copy,
            Shape::Create if is("OR") || is("REPLACE") => Shape::Create,
            Shape::Create if is("FUNCTION") || is("PROCEDURE") => Shape::Routine,
            Shape::Create if is("RULE") => Shape::Rule,
            _ => Shape::Other,
        }
    }

    /// `BEGIN ATOMIC … END` with its `CASE … END`. `END` and `CASE` are reserved, so they are names only behind a dot
    /// or `AS`. Parentheses are balanced in themselves and hold no semicolon.
    fn follow_body(&mut self, word: &str, paren_depth: usize) {
        let is = |other: &str| word.eq_ignore_ascii_case(other);
        if paren_depth > 0 || self.before == Before::DotOrAs {
            return;
        }
        match self.before {
            Before::Begin(begin) if is("ATOMIC") => {
                self.body_at = if self.body_depth == 0 { begin } else { self.body_at };
                self.body_depth += 1;
            }
            _ if self.body_depth > 0 && is("CASE") => self.body_depth += 1,
            _ if is("END") => self.body_depth = self.body_depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// A place in the text that only moves forward, so that all positions together cost one pass.
struct Cursor {
    offset: usize,
    position: Position,
}

impl Cursor {
    fn advance(&mut self, text: &str, to: usize) {
        let passed = text.get(self.offset..to).unwrap_or_default();
        let lines = passed.bytes().filter(|byte| *byte == b'\n').count();
        let last_line = passed.rsplit('\n').next().unwrap_or_default();
        let columns = last_line.chars().count();
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        self.position = if lines == 0 {
            Position { line: self.position.line, column: self.position.column.saturating_add(narrow(columns)) }
        } else {
            Position {
                line: self.position.line.saturating_add(narrow(lines)),
                column: narrow(columns).saturating_add(1),
            }
        };
        self.offset = to;
    }
}

/// The run of comment lines that ends where we are, if each stands alone on its line and no blank line lies between.
#[derive(Debug, Clone, Copy, Default)]
struct CommentBlock {
    start: Option<u32>,
    /// Line ends since the last token that was none.
    line_ends: usize,
}

impl CommentBlock {
    fn follow(&mut self, token: Token, text: &str) {
        match token.kind {
            TokenKind::Whitespace => {
                self.line_ends += token.span.of(text).bytes().filter(|byte| *byte == b'\n').count();
                if self.line_ends > 1 {
                    self.start = None;
                }
            }
            TokenKind::LineComment => {
                let first_of_file = text
                    .get(..token.span.range().start)
                    .is_some_and(|before| before.len() < 4 && before.chars().all(|c| c == '\u{feff}'));
                let own_line = self.line_ends > 0 || first_of_file;
                self.start = if own_line { self.start.or(Some(token.span.start)) } else { None };
                self.line_ends = 0;
            }
            _ => *self = Self::default(),
        }
    }

    fn directly_above(self, statement: usize) -> Option<Span> {
        let start = self.start.filter(|_| self.line_ends == 1)?;
        Some(Span::new(start as usize, statement))
    }
}
