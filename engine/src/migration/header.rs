//! The comment lines before the first SQL token, `-- Key: value`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::directive::DirectiveKey;
use super::key::{self, Key, Lookup};
use super::reference::MigrationRef;
use super::value::{self, Allowance};
use crate::diag::{Diagnostic, Position};
use crate::id::MigrationId;
use crate::sql::{Lexer, TokenKind};

/// A value with the place where its line stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// What was written.
    pub value: T,
    /// Where the comment line begins.
    pub position: Position,
}

/// `-- Transaction:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransactionMode {
    /// No key: one transaction, unless a statement cannot run in one.
    #[default]
    Inferred,
    /// `true`: one transaction, or an error.
    Whole,
    /// `per-statement`: each statement in a transaction of its own where it can.
    PerStatement,
    /// `false`: statement by statement; procedures and `DO` outside of any transaction.
    Off,
}

/// What the header of a script says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// `Migration`, for people.
    pub migration: Option<String>,
    /// `Description`; several lines of it joined by line ends.
    pub description: Option<String>,
    /// `Author`.
    pub author: Option<String>,
    /// `Date`, as written.
    pub date: Option<String>,
    /// `Tags`, split at commas.
    pub tags: Vec<String>,
    /// `Rollback`, for people.
    pub rollback: Option<String>,
    /// `Rolls back`.
    pub rolls_back: Option<String>,
    /// `Requires`: nothing without the key, empty for `none`.
    pub requires: Option<Vec<Located<MigrationRef>>>,
    /// `Conflicts`.
    pub conflicts: Vec<Located<MigrationRef>>,
    /// `Transaction`.
    pub transaction: TransactionMode,
    /// `Lock-timeout`.
    pub lock_timeout: Option<Duration>,
    /// `Lock-budget`.
    pub lock_budget: Option<Duration>,
    /// `Lock-wait`.
    pub lock_wait: Option<Duration>,
    /// `Statement-timeout`; zero for no limit.
    pub statement_timeout: Option<Duration>,
    /// `Allow`.
    pub allow: Vec<Allowance>,
    /// `Irreversible`, with its reason.
    pub irreversible: Option<String>,
}

/// Splits `Key: value`. Nothing where the part before the colon cannot be a key, or `::` follows.
pub(super) fn key_and_value(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let key = key.trim();
    let word_like = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ' ' | '\t');
    let possible = !key.is_empty() && key.len() <= 40 && key.chars().all(word_like) && !value.starts_with(':');
    possible.then(|| (key, value.trim()))
}

/// Reads the header of a file. `id` is what the file's name says, for the keys that must agree with it.
pub(super) fn parse(file: &str, text: &str, id: Option<&MigrationId>) -> (Header, Vec<Diagnostic>) {
    let mut reader = Reader { file, text, id, header: Header::default(), found: Vec::new(), seen: BTreeSet::new() };
    for token in Lexer::new(text) {
        match token.kind {
            TokenKind::LineComment => reader.line(token.span.range().start, token.span.of(text)),
            TokenKind::Whitespace | TokenKind::BlockComment | TokenKind::Semicolon => {}
            _ => break,
        }
    }
    (reader.header, reader.found)
}

struct Reader<'t> {
    file: &'t str,
    text: &'t str,
    id: Option<&'t MigrationId>,
    header: Header,
    found: Vec<Diagnostic>,
    seen: BTreeSet<Key>,
}

impl Reader<'_> {
    fn error(&mut self, code: &'static str, offset: usize, message: String, help: Option<&str>) {
        let mut diagnostic = Diagnostic::error(code, self.file, message).at(self.text, offset);
        diagnostic.help = help.map(ToOwned::to_owned);
        self.found.push(diagnostic);
    }

    fn line(&mut self, offset: usize, comment: &str) {
        let Some((key, value)) = key_and_value(comment.trim_start_matches('-').trim()) else { return };
        if key.eq_ignore_ascii_case("migengine") {
            return self.alias(offset, value);
        }
        match key::lookup(key) {
            Lookup::Known(key) => self.value(offset, key, value),
            Lookup::Near(meant) if DirectiveKey::parse(key).is_none() => {
                let name = meant.name();
                let help = format!("write `-- {name}: {value}`; if it is prose, put another word before the colon");
                self.error("ME110", offset, format!("unknown header key `{key}`; `{name}` is meant"), Some(&help));
            }
            _ => {}
        }
    }

    /// `-- migengine: key=value`, where every key must be known.
    fn alias(&mut self, offset: usize, pair: &str) {
        let Some((key, value)) = pair.split_once('=') else {
            return self.error("ME113", offset, "expected `-- migengine: key=value`".to_owned(), None);
        };
        match key::lookup(key) {
            Lookup::Known(key) => self.value(offset, key, value.trim()),
            _ if DirectiveKey::parse(key).is_some() => {}
            Lookup::Near(meant) => {
                let message = format!("unknown key `{}`; `{}` is meant", key.trim(), meant.name());
                self.error("ME110", offset, message, None);
            }
            Lookup::Prose => self.error("ME113", offset, format!("unknown key `{}`", key.trim()), None),
        }
    }

    fn value(&mut self, offset: usize, key: Key, written: &str) {
        if !self.seen.insert(key) && !key.may_repeat() {
            let message = format!("`{}` is given twice", key.name());
            return self.error("ME112", offset, message, Some("keep one of the two lines"));
        }
        let text = || Some(written.to_owned());
        let add = |before: &mut Option<String>| match before {
            Some(before) => *before = format!("{before}\n{written}"),
            None => *before = text(),
        };
        match key {
            Key::Migration => {
                self.agree(offset, key, written);
                self.header.migration = text();
            }
            Key::RollsBack => {
                self.agree(offset, key, written);
                self.header.rolls_back = text();
            }
            Key::Description => add(&mut self.header.description),
            Key::Author => add(&mut self.header.author),
            Key::Date => add(&mut self.header.date),
            Key::Rollback => self.header.rollback = text(),
            Key::Tags => {
                let tags = written.split(',').map(str::trim).filter(|tag| !tag.is_empty());
                self.header.tags.extend(tags.map(ToOwned::to_owned));
            }
            Key::Irreversible if written.is_empty() => self.bad(offset, key, "it needs a reason"),
            Key::Irreversible => self.header.irreversible = text(),
            _ => self.typed(offset, key, written),
        }
    }

    /// The keys whose values the engine acts on. A remark behind ` --` is cut off.
    fn typed(&mut self, offset: usize, key: Key, written: &str) {
        let value = value::without_remark(written);
        match key {
            Key::Requires => {
                if let Some(references) = self.references(offset, key, value) {
                    self.header.requires = Some(references);
                }
            }
            Key::Conflicts => self.header.conflicts = self.references(offset, key, value).unwrap_or_default(),
            Key::Transaction => match key::plain(value).as_str() {
                "true" => self.header.transaction = TransactionMode::Whole,
                "false" => self.header.transaction = TransactionMode::Off,
                "per-statement" => self.header.transaction = TransactionMode::PerStatement,
                _ => self.bad(offset, key, &format!("`{value}` is none of true, false, per-statement")),
            },
            Key::LockTimeout => self.header.lock_timeout = self.positive(offset, key, value),
            Key::LockBudget => self.header.lock_budget = self.positive(offset, key, value),
            Key::LockWait => self.header.lock_wait = self.duration(offset, key, value),
            Key::StatementTimeout => self.header.statement_timeout = self.duration(offset, key, value),
            Key::Allow => match value::parse_allow(written) {
                Ok(allowed) => {
                    self.header.allow.extend(allowed.into_iter().map(|one| Allowance { offset, ..one }));
                }
                Err(why) => self.bad(offset, key, &why),
            },
            _ => {}
        }
    }

    fn bad(&mut self, offset: usize, key: Key, why: &str) {
        self.error("ME111", offset, format!("bad value of `{}`: {why}", key.name()), None);
    }

    fn duration(&mut self, offset: usize, key: Key, value: &str) -> Option<Duration> {
        let duration = value::parse_duration(value);
        if duration.is_none() {
            self.bad(offset, key, &format!("`{value}` is no duration; write 100ms, 2s, 10m or 2h"));
        }
        duration
    }

    /// A duration for which zero would mean the opposite of what it says: PostgreSQL takes it for no limit.
    fn positive(&mut self, offset: usize, key: Key, value: &str) -> Option<Duration> {
        let duration = self.duration(offset, key, value)?;
        if duration < Duration::from_millis(1) {
            self.bad(offset, key, "it must be 1ms at least; to allow more, write a long time");
            return None;
        }
        Some(duration)
    }

    fn references(&mut self, offset: usize, key: Key, value: &str) -> Option<Vec<Located<MigrationRef>>> {
        if value.eq_ignore_ascii_case("none") {
            return Some(Vec::new());
        }
        let position = Position::of(self.text, offset);
        let mut references = Vec::new();
        for written in value.split(',').map(str::trim) {
            let plausible = written.starts_with(|c: char| c.is_ascii_digit()) && !written.contains(char::is_whitespace);
            if !plausible {
                let why = format!("`{written}` names no migration; write ids or numbers between commas, or none");
                self.bad(offset, key, &why);
                return None;
            }
            references.push(Located { value: MigrationRef::parse(written), position });
        }
        Some(references)
    }

    fn agree(&mut self, offset: usize, key: Key, written: &str) {
        let Some(id) = self.id else { return };
        if !agrees(id, written) {
            let message = format!("`{}: {written}` does not agree with the file name, which says `{id}`", key.name());
            self.error("ME114", offset, message, Some("copied from another file? mend the line or the file name"));
        }
    }
}

/// Whether a text names this migration: its id, a text that begins with its number, or the id without the number.
fn agrees(id: &MigrationId, written: &str) -> bool {
    let written = written.trim().trim_start_matches('#');
    let digits = written.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = written.split_at(digits);
    if digits > 0 && !rest.starts_with(|c: char| c.is_alphabetic()) {
        return number.trim_start_matches('0') == id.number();
    }
    let slug = id.as_str().get(id.digits().len()..).unwrap_or_default();
    written == id.as_str() || key::plain(written) == key::plain(slug)
}
