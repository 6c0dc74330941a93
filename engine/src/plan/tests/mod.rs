//! Tests of the planner as a whole, in a notation of one line.
//!
//! Files: `1; 2~; 3:1,2; 4:; 5!4`: id, `~` for no reverse script, `:` and the value of `Requires` (empty for `none`),
//! `!` and the value of `Conflicts`. History, oldest first: `1 2<1 3<@7 4* 5' 6+`: id, `<` and what it required then
//! (without it: the one before), `@` and the run, `*` for other statements than the file's, `'` for other comments,
//! `+` for a reverse script kept in the history.

mod divergence;
mod graph;
mod random;
mod render;
mod scale;
mod target;

use std::sync::Arc;

use super::*;
use crate::diag::{Position, Severity};
use crate::id::{Digest, MigrationId, RunId, Timestamp};

pub(super) fn id(text: &str) -> MigrationId {
    MigrationId::new(text).unwrap()
}

pub(super) fn script(text: &str, kind: &str) -> Script {
    let digest = |what: &str| Digest::of(format!("{text} {kind} {what}").as_bytes());
    Script { content: digest("content"), tokens: digest("tokens"), transactional: true }
}

pub(super) fn references(texts: &str) -> Vec<RefText> {
    let texts = texts.split(',').map(str::trim).filter(|text| !text.is_empty());
    texts
        .zip(1..)
        .map(|(text, column)| RefText {
            text: text.to_owned(),
            position: Position { line: 2, column },
            line: Some(Arc::from(format!("-- line with {text}"))),
        })
        .collect()
}

pub(super) fn node(name: &str, requires: Option<&str>, conflicts: &str) -> Node {
    let (name, reverse) = name.strip_suffix('~').map_or((name, true), |name| (name, false));
    Node {
        id: id(name),
        file: format!("{name}.sql"),
        requires: requires.map_or(Requires::Default, |texts| Requires::Declared(references(texts))),
        conflicts: references(conflicts),
        up: script(name, "up"),
        down: reverse.then(|| script(name, "down")),
        irreversible_reason: None,
    }
}

pub(super) fn files(notation: &str) -> Vec<Node> {
    let each = notation.split(';').map(str::trim).filter(|text| !text.is_empty());
    each.map(|text| {
        let (text, conflicts) = text.split_once('!').unwrap_or((text, ""));
        let (name, requires) = text.split_once(':').map_or((text, None), |(name, texts)| (name, Some(texts)));
        node(name.trim(), requires, conflicts)
    })
    .collect()
}

pub(super) fn run(number: u64) -> RunId {
    RunId::from_parts(number, [0; 10])
}

pub(super) fn history(notation: &str) -> History {
    let mut before: Option<MigrationId> = None;
    History::new(notation.split_whitespace().zip(1..).map(|(text, seq)| {
        let (text, kept) = text.strip_suffix('+').map_or((text, false), |text| (text, true));
        let (text, comments) = text.strip_suffix('\'').map_or((text, false), |text| (text, true));
        let (text, statements) = text.strip_suffix('*').map_or((text, false), |text| (text, true));
        let (text, number) = text.split_once('@').unwrap_or((text, "1"));
        let (name, requires) = text.split_once('<').map_or((text, None), |(name, texts)| (name, Some(texts)));
        let requires = match requires {
            Some(texts) => texts.split(',').filter(|text| !text.is_empty()).map(id).collect(),
            None => before.iter().cloned().collect(),
        };
        before = Some(id(name));
        let (up, other) = (script(name, "up"), script(name, "older"));
        Applied {
            id: id(name),
            content: if comments || statements { other.content } else { up.content },
            tokens: if statements { other.tokens } else { up.tokens },
            applied_at: Timestamp(seq),
            seq,
            requires,
            reverse: kept.then(|| script(name, "kept")),
            run: run(number.parse().unwrap()),
        }
    }))
}

pub(super) fn graph_of(notation: &str, past: &str) -> Graph {
    Graph::build(files(notation), &history(past))
}

/// Ids in a row.
pub(super) fn names<'i>(ids: impl IntoIterator<Item = &'i MigrationId>) -> String {
    ids.into_iter().map(MigrationId::as_str).collect::<Vec<_>>().join(" ")
}

/// `ME130 2.sql:2:1 message`, with a `?` behind the code of a warning.
pub(super) fn lines(diagnostics: &[Diagnostic]) -> Vec<String> {
    let line = |found: &Diagnostic| {
        let place = found.position.map_or_else(String::new, |at| format!(":{}:{}", at.line, at.column));
        let mark = if found.severity == Severity::Error { "" } else { "?" };
        format!("{}{mark} {}{place} {}", found.code, found.file, found.message)
    };
    diagnostics.iter().map(line).collect()
}

/// The ids of a plan in order, and then the codes of warnings; or the codes of what was refused.
pub(super) fn outcome(result: &Result<Planned, Refused>) -> String {
    let codes = |found: &[Diagnostic]| {
        found.iter().fold(String::new(), |text, one| {
            format!("{text} {}{}", one.code, if one.severity == Severity::Error { "" } else { "?" })
        })
    };
    match result {
        Ok(planned) => {
            format!("{}{}", names(planned.plan.steps.iter().map(|step| &step.id)), codes(&planned.warnings))
        }
        Err(refused) => format!("refused{}", codes(&refused.diagnostics)),
    }
}
