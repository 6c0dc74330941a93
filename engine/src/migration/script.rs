//! One script: its text, header, statements and parts.

use std::sync::Arc;

use super::check::Report;
use super::directive::{self, Directive, DirectiveKey};
use super::discover::{FileName, ScriptKind};
use super::header::{self, Header};
use super::parts::{self, Part, PartKind};
use super::text::{Block, Data, Holds, Source, Text};
use super::value;
use crate::diag::Diagnostic;
use crate::id::Digest;
use crate::sql::{self, Command, Lexer, MAX_FILE_LEN, Span, Split, Statement, TokenKind};

/// A script that can be run: nothing is certainly wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The file, as given.
    pub file: String,
    /// The text without a byte order mark, otherwise as in the file, less what stayed there. All spans refer to it.
    pub text: Text,
    /// What its header says.
    pub header: Header,
    /// Its statements, transaction control included.
    pub statements: Vec<Statement>,
    /// How they are run, in order.
    pub parts: Vec<Part>,
    /// Checksum over the LF-normalised bytes.
    pub content: Digest,
    /// Checksum over the significant tokens: unchanged by comments and white space.
    pub tokens: Digest,
}

impl Script {
    /// Whether it takes effect as a whole or not at all: exactly one part, a transaction.
    #[must_use]
    pub fn transactional(&self) -> bool {
        matches!(self.parts.as_slice(), [Part { kind: PartKind::Transaction { .. }, .. }])
    }

    /// Whether it can be part of a larger transaction: it is one itself, and asks nothing of it that only the beginning
    /// of a transaction can give (`ISOLATION LEVEL SERIALIZABLE`).
    #[must_use]
    pub fn can_join(&self) -> bool {
        matches!(self.parts.as_slice(), [Part { kind: PartKind::Transaction { begin: None }, .. }])
    }

    /// The SQL of one of its statements as the server gets it.
    #[must_use]
    pub fn sql(&self, statement: &Statement) -> &str {
        statement.sql(&self.text)
    }

    /// The data of one of its `COPY … FROM stdin` statements.
    #[must_use]
    pub fn copy_data(&self, statement: &Statement) -> Option<Data<'_>> {
        statement.copy_data.map(|span| self.text.data(span))
    }

    /// The statements like this one that follow it and stayed in the file.
    #[must_use]
    pub fn inserts_behind(&self, statement: &Statement) -> Option<(&Source, &Block)> {
        self.text.inserts_behind(statement)
    }

    /// Checksum over the significant tokens of some of its statements.
    #[must_use]
    pub fn tokens_of(&self, statements: &[Statement]) -> Digest {
        tokens(&self.text, statements)
    }

    /// The statements of a part.
    #[must_use]
    pub fn statements_of(&self, part: &Part) -> &[Statement] {
        self.statements.get(part.statements.clone()).unwrap_or_default()
    }

    /// The whole stretch of text from the first to the last statement of a part, to be sent as one message. Nothing
    /// for an empty part, and where that would not do: COPY data, or a `SET` that changes how strings are read.
    #[must_use]
    pub fn sql_of(&self, part: &Part) -> Option<&str> {
        let statements = self.statements_of(part);
        let (first, last) = (statements.first()?, statements.last()?);
        let even = statements
            .iter()
            .all(|statement| statement.copy_data.is_none() && statement.standard_strings == first.standard_strings);
        even.then(|| self.text.get(first.text.range().start..last.text.range().end))?
    }

    /// What the comment lines directly above a statement ask for it.
    pub fn directives<'s>(&'s self, statement: &Statement) -> impl Iterator<Item = Directive<'s>> + use<'s> {
        directive::directives(statement, &self.text)
    }

    /// The statements of earlier parts that changed the session (`SET search_path = app`), in order. Whoever starts at
    /// this part, after an interruption, runs these again first.
    #[must_use]
    pub fn settings_before(&self, part: usize) -> Vec<&Statement> {
        let earlier = self.parts.iter().take(part).flat_map(|part| self.statements_of(part));
        earlier.filter(|statement| matches!(statement.command(&self.text), Command::Set { local: false })).collect()
    }
}

/// Reads a script, of a file or from the history. The file's name decides what its header must agree with and whether
/// it may write. There is a script only where no error is among the diagnostics.
///
/// Codes: ME106 invalid UTF-8, ME107 NUL byte, ME109 too large, and those of the header, lexer and parts.
#[must_use]
pub fn parse_script(file: &str, bytes: &[u8]) -> (Option<Script>, Vec<Diagnostic>) {
    parse_owned(file, bytes.to_vec())
}

/// As [`parse_script`], where the bytes are not needed any more: they become the script's text without being copied.
#[must_use]
pub fn parse_owned(file: &str, mut bytes: Vec<u8>) -> (Option<Script>, Vec<Diagnostic>) {
    if bytes.len() > MAX_FILE_LEN {
        return (None, vec![Diagnostic::error("ME109", file, "the file is larger than 4 GiB")]);
    }
    // What is wrong is told with the mark counted, as an editor of bytes would.
    let marked = bytes.starts_with("\u{feff}".as_bytes());
    if let Err(error) = std::str::from_utf8(&bytes) {
        return (None, vec![invalid_utf8(file, &bytes, error.valid_up_to())]);
    }
    if marked {
        bytes.drain(.."\u{feff}".len());
    }
    // invariant: checked above
    let text = Text::Held(Arc::new(String::from_utf8(bytes).unwrap_or_default()));
    let content = sql::data_digest(&text); // without another mark behind the first, which is content
    parse_text(file, text, content)
}

/// Reads a script that stayed in the file in part. Nothing where the blocks that were left there are not those of its
/// statements: then it has to be held whole.
#[must_use]
pub fn parse_streamed(file: &str, text: Text) -> Option<(Option<Script>, Vec<Diagnostic>)> {
    let source = text.source()?.clone();
    if usize::try_from(source.end).map_or(true, |end| end > MAX_FILE_LEN) {
        return None;
    }
    let (script, found) = parse_text(file, text, source.content);
    if let Some(script) = &script {
        let known = |block: &Block| {
            let owner = script.statements.partition_point(|statement| statement.piece.range().end < block.at);
            script.statements.get(owner).is_some_and(|owner| match block.holds {
                Holds::Data => owner.copy_data.is_some_and(|data| data.is_empty() && data.range().start == block.at),
                // Parts are counted by the statements that are in memory.
                Holds::Inserts => owner.piece.range().end == block.at && script.transactional(),
            })
        };
        if !source.left.iter().all(known) {
            return None;
        }
    }
    script.is_some().then_some((script, found))
}

fn parse_text(file: &str, text: Text, content: Digest) -> (Option<Script>, Vec<Diagnostic>) {
    let name = FileName::of(file);
    let (id, kind) = match &name {
        FileName::Script { id, kind } => (Some(id), *kind),
        _ => (None, ScriptKind::Forward),
    };
    let (header, found) = header::parse(file, &text, id);
    let mut report = Report::new(file, &text);
    report.extend(found);
    let Split { mut statements, tail, problems, problems_left_out } = sql::split(&text);
    for statement in &mut statements {
        let more = text.lines_before(statement.text.range().start);
        statement.position.line = statement.position.line.saturating_add(more);
    }
    for problem in &problems {
        report.error(problem.kind.code(), problem.at, problem.kind.to_string(), problem.kind.help());
    }
    report.leave_out(problems_left_out);
    nul_inside(&text, &problems, &mut report);
    check_directives(&text, &statements, tail, &mut report);
    let parts = if !problems.is_empty() {
        Vec::new() // What follows a broken string is no statement, so its transactions tell nothing.
    } else {
        parts::divide(&text, &statements, header.transaction, &mut report)
    };
    match kind {
        ScriptKind::Verify => check_read_only(&text, &statements, &mut report),
        ScriptKind::Forward if statements.is_empty() && !report.has_errors() && id.is_some() => {
            report.warning("ME159", 0, "the migration holds no statement", None);
        }
        _ => {}
    }
    if report.has_errors() {
        return (None, report.into_diagnostics());
    }
    let found = report.into_diagnostics();
    let tokens = text.source().map_or_else(|| tokens(&text, &statements), |source| source.tokens);
    let script = Script { file: file.to_owned(), content, tokens, header, statements, parts, text };
    (Some(script), found)
}

fn tokens(text: &Text, statements: &[Statement]) -> Digest {
    sql::tokens_digest_with(text, statements, |span| match text.data(span) {
        Data::Held(data) => sql::data_digest(data),
        Data::Left(_, block) => block.digest,
    })
}

/// Says where the first bad byte stands; line and column are of the text before it.
fn invalid_utf8(file: &str, bytes: &[u8], offset: usize) -> Diagnostic {
    let valid = bytes.get(..offset).and_then(|valid| std::str::from_utf8(valid).ok()).unwrap_or_default();
    let byte = bytes.get(offset).copied().unwrap_or_default();
    let message = format!("invalid UTF-8 at byte {offset} (0x{byte:02x})");
    Diagnostic::error("ME106", file, message)
        .at(valid, offset)
        .help("save the file as UTF-8; `iconv -f LATIN1 -t UTF-8` mends most of them")
}

/// The lexer reports NUL bytes between tokens; here are those inside strings and comments.
fn nul_inside(text: &str, problems: &[sql::Problem], report: &mut Report<'_>) {
    let reported = problems.iter().any(|problem| problem.kind == sql::ProblemKind::Token(sql::Invalid::Nul));
    if let (Some(at), false) = (text.bytes().position(|byte| byte == 0), reported) {
        let kind = sql::ProblemKind::Token(sql::Invalid::Nul);
        report.error(kind.code(), Span::new(at, at).start, kind.to_string(), kind.help());
    }
}

/// Directives that stand above nothing are silently without effect unless someone says so.
fn check_directives(text: &str, statements: &[Statement], tail: Span, report: &mut Report<'_>) {
    let gaps = statements.iter().map(|statement| {
        let end = statement.comments.unwrap_or(statement.text).start;
        Span { start: statement.piece.start, end }
    });
    for gap in gaps.chain([tail]).filter(|gap| gap.len() > 2) {
        for token in Lexer::within(text, gap, true).filter(|token| token.kind == TokenKind::LineComment) {
            let line = token.span.of(text).trim_start_matches('-').trim();
            let key = header::key_and_value(line).and_then(|(key, _)| DirectiveKey::parse(key));
            if key.is_some() {
                let message = "this directive stands directly above no statement, so it has no effect";
                let help = "put it on the line above its statement; if it is prose, put another word before the colon";
                report.warning("ME115", token.span.start, message, Some(help));
            }
        }
    }
    for statement in statements.iter().filter(|statement| statement.comments.is_some()) {
        for directive in directive::directives(statement, text) {
            if directive.key == DirectiveKey::Timeout && value::parse_duration(directive.value).is_none() {
                let message = format!("`{}` is no duration; write 100ms, 2s, 10m or 2h", directive.value);
                report.error("ME117", Span::new(directive.offset, directive.offset).start, message, None);
            } else if directive.value.is_empty() {
                let at = Span::new(directive.offset, directive.offset).start;
                report.error("ME117", at, "this directive has no value", None);
            }
        }
    }
}

/// A verify script may look, not touch.
fn check_read_only(text: &str, statements: &[Statement], report: &mut Report<'_>) {
    for statement in statements {
        let reads = !matches!(
            statement.command(text),
            Command::Other
                | Command::Call
                | Command::Copy
                | Command::AddEnumValue { .. }
                | Command::CreateEnum { .. }
                | Command::AlterType
                | Command::PrepareTransaction
                | Command::DiscardAll
        );
        if !reads {
            report.error(
                "ME158",
                statement.text.start,
                "a verify script only reads: SELECT, WITH, VALUES, TABLE, SHOW, EXPLAIN or DO",
                Some("move what changes the database into the migration itself"),
            );
        }
    }
}
