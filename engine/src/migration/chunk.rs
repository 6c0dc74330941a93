//! `-- chunk: users by id, target 200ms`: what it says, and where in its statement the key's range goes.

use std::time::Duration;

use super::check::Report;
use super::directive::{DirectiveKey, directives};
use super::shape::{self, Place};
use super::value::{parse_duration, without_remark};
use crate::sql::{Cursor, Lexer, QualifiedName, Statement, TokenKind, quote_ident};

/// A statement that is run in pieces, each over a range of a key, each in a transaction of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The table whose key divides the work.
    pub table: QualifiedName,
    /// The columns of that key, as the author named them; nothing for the primary key.
    pub key: Option<Vec<String>>,
    /// How long the statement of one batch should take.
    pub target: Duration,
    /// Keys in the first batch.
    pub size: u32,
    /// Most keys in any batch.
    pub max_size: u32,
    /// Replicas may be this far behind; beyond it the work holds.
    pub max_lag: Duration,
    /// The time of day in which it may work, `22:00` to `06:00`, by the server's clock.
    pub window: Option<(String, String)>,
    /// Whether rows that the statement still finds after a pass are worked on again.
    pub sweep: bool,
    /// Columns that the statement assigns.
    pub assigned: Vec<String>,
    /// What a column of the table is called by in the statement, ready for SQL.
    pub qualifier: String,
    /// Where the range goes.
    pub place: Place,
}

/// Statement time that a batch aims at. Whoever wants a row of it waits that long at most, so it is well below what an
/// application notices (50 ms); longer batches save little, because their COMMIT does not wait for the disk.
const TARGET: Duration = Duration::from_millis(30);
/// Keys of the first batch.
const SIZE: u32 = 2_000;
/// Most keys of a batch.
const MAX_SIZE: u32 = 50_000;
/// How far replicas may be behind.
const MAX_LAG: Duration = Duration::from_secs(10);

const FORM: &str = "write `-- chunk: TABLE by COLUMN, target 200ms`; several columns as `by (a, b)`; options are target, \
    size, max-size, max-lag, between HH:MM and HH:MM, sweep and no sweep";

/// Reads the directive above a statement, if it has one. Errors go to the report.
pub(super) fn read(text: &str, statement: &Statement, report: &mut Report<'_>) -> Option<Chunk> {
    let mut found = directives(statement, text).filter(|directive| directive.key == DirectiveKey::Chunk);
    let directive = found.next()?;
    let at = u32::try_from(directive.offset).unwrap_or(u32::MAX);
    if found.next().is_some() {
        report.error("ME435", at, "a statement is divided by one key only; here are two `chunk` lines", None);
        return None;
    }
    let said = match parse(without_remark(directive.value)) {
        Ok(said) => said,
        Err(Wrong::Form(why)) => {
            report.error("ME434", at, why, Some(FORM));
            return None;
        }
        Err(Wrong::Targets) => {
            let help = "give each table a statement and a `chunk` line of its own";
            report.error("ME435", at, "a chunk has one target table; several are named here", Some(help));
            return None;
        }
    };
    let found = match shape::look(text, statement, &said.table) {
        Ok(found) => found,
        Err(unfit) => {
            report.error("ME435", unfit.at.unwrap_or(at), unfit.what, unfit.help);
            return None;
        }
    };
    let changed = said.key.iter().flatten().find(|column| found.assigned.contains(column));
    if let Some(column) = changed {
        report.error("ME438", at, changes_key(column), Some(OTHER_KEY));
        return None;
    }
    Some(Chunk {
        sweep: said.sweep.unwrap_or(found.settles),
        assigned: found.assigned,
        qualifier: found.qualifier,
        place: found.place,
        table: said.table,
        key: said.key,
        target: said.target,
        size: said.size.min(said.max_size),
        max_size: said.max_size,
        max_lag: said.max_lag,
        window: said.window,
    })
}

/// What to do about a statement that changes its own key.
pub const OTHER_KEY: &str = "divide it by another key, one that the statement leaves alone";

/// The sentence for a statement that changes a column of its key.
#[must_use]
pub fn changes_key(column: &str) -> String {
    let column = quote_ident(column);
    format!("the statement changes {column}, which is part of the key: rows would move ahead and be changed twice")
}

enum Wrong {
    Form(String),
    Targets,
}

/// The directive alone.
struct Said {
    table: QualifiedName,
    key: Option<Vec<String>>,
    target: Duration,
    size: u32,
    max_size: u32,
    max_lag: Duration,
    window: Option<(String, String)>,
    sweep: Option<bool>,
}

fn parse(written: &str) -> Result<Said, Wrong> {
    let wrong = |why: &str| Wrong::Form(why.to_owned());
    let mut at = Cursor::new(Lexer::new(written));
    let table = at.name().ok_or_else(|| wrong("a chunk names its table first"))?;
    let mut key = None;
    if at.eat(&["BY"]) {
        let list = at.eat_kind(TokenKind::LParen).is_some();
        let columns: Vec<QualifiedName> = if list { at.names() } else { at.name().into_iter().collect() };
        let closed = !list || at.eat_kind(TokenKind::RParen).is_some();
        if columns.is_empty() || !closed || columns.iter().any(|column| column.schema.is_some()) {
            return Err(wrong("behind `by` stand columns of the table's own key"));
        }
        key = Some(columns.into_iter().map(|column| column.name).collect());
    }
    let rest = at.rest().trim();
    let options = match rest.strip_prefix(',') {
        Some(options) => options,
        None if rest.is_empty() => "",
        None => return Err(Wrong::Form(format!("did not expect `{rest}` there"))),
    };
    let mut said = Said {
        table,
        key,
        target: TARGET,
        size: SIZE,
        max_size: MAX_SIZE,
        max_lag: MAX_LAG,
        window: None,
        sweep: None,
    };
    for option in options.split(',').map(str::trim).filter(|option| !option.is_empty()) {
        said.option(option)?;
    }
    Ok(said)
}

impl Said {
    fn option(&mut self, option: &str) -> Result<(), Wrong> {
        let (name, value) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
        let value = value.trim();
        let duration = |value: &str| match parse_duration(value) {
            Some(duration) if !duration.is_zero() => Ok(duration),
            Some(_) => Err(Wrong::Form(format!("`{name}` cannot be zero: nothing could ever be done within it"))),
            None => Err(Wrong::Form(format!("`{value}` is no duration; write 200ms, 2s or 10m"))),
        };
        let count = |value: &str| match value.replace('_', "").parse::<u32>() {
            Ok(count) if (1..=10_000_000).contains(&count) => Ok(count),
            _ => Err(Wrong::Form(format!("`{name}` is a number of keys, 1 at least; `{value}` is none"))),
        };
        match name.to_ascii_lowercase().replace('_', "-").as_str() {
            "target" => self.target = duration(value)?,
            "max-lag" => self.max_lag = duration(value)?,
            "size" => self.size = count(value)?,
            "max-size" => self.max_size = count(value)?,
            "sweep" if value.is_empty() => self.sweep = Some(true),
            "no" if value.eq_ignore_ascii_case("sweep") => self.sweep = Some(false),
            "no-sweep" if value.is_empty() => self.sweep = Some(false),
            "between" => self.window = Some(window(value)?),
            // A comma and a name where an option should stand: a second table.
            _ if value.is_empty() || value.to_ascii_lowercase().starts_with("by ") => return Err(Wrong::Targets),
            _ => return Err(Wrong::Form(format!("`{name}` is no option of a chunk"))),
        }
        Ok(())
    }
}

/// `22:00 and 06:00`.
fn window(value: &str) -> Result<(String, String), Wrong> {
    let time = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let (hour, minute): (u8, u8) = (hour.parse().ok()?, minute.parse().ok()?);
        (hour < 24 && minute < 60).then(|| format!("{hour:02}:{minute:02}"))
    };
    let lower = value.to_ascii_lowercase();
    let times = lower.split_once(" and ").and_then(|(from, to)| Some((time(from)?, time(to)?)));
    times
        .filter(|(from, to)| from != to)
        .ok_or_else(|| Wrong::Form(format!("`between {value}`: write `between 22:00 and 06:00`")))
}
