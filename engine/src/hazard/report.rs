//! Findings as they are shown: text, JSON, SARIF, annotations of GitHub.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::facts::{Finding, StatementFacts};
use super::lock::Blocks;
use super::script::ScriptFacts;
use crate::diag::{Diagnostic, Position, Severity};
use crate::migration::Script;

/// One line of a report: a finding, a problem of the file, or, where all statements are asked for, a statement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// As given.
    pub file: String,
    /// From 1; 0 where no place is meant.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// `MH001`, `ME111`; none for a harmless statement.
    pub code: Option<&'static str>,
    /// None for a harmless statement.
    pub severity: Option<Severity>,
    /// `rewrite`; none for problems of files and harmless statements.
    pub hazard: Option<&'static str>,
    /// What is hit.
    pub object: Option<String>,
    /// `ACCESS EXCLUSIVE`.
    pub lock: Option<&'static str>,
    /// Whom the lock keeps waiting.
    pub blocks: Blocks,
    /// A table is written anew.
    pub rewrite: bool,
    /// A table is read whole.
    pub scan: bool,
    /// Data is gone afterwards.
    pub data_loss: bool,
    /// What happens.
    pub message: String,
    /// What to do instead.
    pub safe_form: Option<String>,
    /// The line of the file.
    pub line_text: Option<String>,
    /// Whether the statement is of a known kind.
    pub classified: bool,
    /// The first words of the statement.
    pub verb: Option<String>,
}

/// Everything found in some files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// In the order of the files and lines.
    pub entries: Vec<Entry>,
}

impl Report {
    /// Adds the problems of a file.
    pub fn diagnostics(&mut self, found: &[Diagnostic]) {
        self.entries.extend(found.iter().map(|one| Entry {
            file: one.file.clone(),
            line: one.position.map_or(0, |at| at.line),
            column: one.position.map_or(0, |at| at.column),
            code: Some(one.code),
            severity: Some(one.severity),
            message: one.message.clone(),
            safe_form: one.help.clone(),
            line_text: one.line_text.clone(),
            classified: true,
            ..Entry::default()
        }));
    }

    /// Adds what was found in a script. With `all`, exactly one entry a statement, harmless ones too: its strongest
    /// lock, all it does, and the worst of its findings.
    pub fn script(&mut self, script: &Script, facts: &ScriptFacts, all: bool) {
        let from = self.entries.len();
        self.entries.extend(facts.findings.iter().map(|finding| entry(script, finding)));
        for (statement, facts) in script.statements.iter().zip(&facts.statements) {
            if all {
                self.entries.push(whole(script, statement.text.range().start, facts));
            } else {
                self.entries.extend(facts.findings.iter().map(|finding| entry(script, finding)));
            }
        }
        if let Some(new) = self.entries.get_mut(from..) {
            new.sort_by_key(|entry| (entry.line, entry.column));
        }
    }

    /// Whether anything is at least this bad.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.entries.iter().filter_map(|entry| entry.severity).max()
    }

    /// For people: where, what, the line with a caret, and what to do.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for one in &self.entries {
            let place =
                if one.line > 0 { format!("{}:{}:{}", one.file, one.line, one.column) } else { one.file.clone() };
            let head = one.code.map_or("ok".to_owned(), |code| format!("{}[{code}]", word(one.severity)));
            // Writing to a string cannot go wrong.
            let _ = writeln!(text, "{place}: {head}: {}", one.message);
            if one.code.is_none() {
                continue;
            }
            if let Some(line) = one.line_text.as_ref().filter(|_| one.line > 0) {
                // Tabs stay tabs, so that the caret stands under its character.
                let blank = |c| if c == '\t' { '\t' } else { ' ' };
                let gap: String = line.chars().take(one.column.saturating_sub(1) as usize).map(blank).collect();
                let _ = writeln!(text, "    {}\n    {gap}^", line.chars().take(200).collect::<String>());
            }
            if let (Some(hazard), Some(object)) = (one.hazard, &one.object) {
                let _ = writeln!(text, "    hazard: {hazard}({object})");
            }
            if let Some(safe) = &one.safe_form {
                let _ = writeln!(text, "    instead: {safe}");
            }
        }
        text
    }

    /// One object, `{"findings": […]}`.
    #[must_use]
    pub fn json(&self) -> String {
        let findings: Vec<Value> = self.entries.iter().map(Entry::json).collect();
        format!("{:#}\n", json!({ "findings": findings }))
    }

    /// Commands of GitHub workflows, one a line.
    #[must_use]
    pub fn github(&self) -> String {
        let mut text = String::new();
        for one in self.entries.iter().filter(|entry| entry.code.is_some()) {
            let command = match one.severity {
                Some(Severity::Error) => "error",
                Some(Severity::Warning) => "warning",
                _ => "notice",
            };
            let property = |value: &str| data(value).replace(':', "%3A").replace(',', "%2C");
            let code = one.code.unwrap_or_default();
            let message = match &one.safe_form {
                Some(safe) => format!("{}\ninstead: {safe}", one.message),
                None => one.message.clone(),
            };
            let (line, column) = (one.line.max(1), one.column.max(1));
            let file = property(&one.file);
            let _ = writeln!(text, "::{command} file={file},line={line},col={column},title={code}::{}", data(&message));
        }
        text
    }
}

fn data(value: &str) -> String {
    value.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn word(severity: Option<Severity>) -> &'static str {
    match severity {
        None => "none",
        Some(Severity::Note) => "note",
        Some(Severity::Warning) => "warning",
        Some(Severity::Error) => "error",
    }
}

impl Entry {
    fn json(&self) -> Value {
        json!({
            "file": self.file, "line": self.line, "column": self.column, "code": self.code,
            "severity": word(self.severity), "hazard": self.hazard, "object": self.object, "lock": self.lock,
            "blocks": self.blocks.as_str(), "rewrite": self.rewrite, "scan": self.scan, "data_loss": self.data_loss,
            "message": self.message, "safe_form": self.safe_form, "classified": self.classified, "verb": self.verb,
        })
    }
}

fn place(script: &Script, offset: usize) -> (Position, Option<String>) {
    let found = script.text.point(Diagnostic::error("", "", ""), offset);
    (found.position.unwrap_or(Position::START), found.line_text)
}

fn entry(script: &Script, finding: &Finding) -> Entry {
    let (position, line_text) = place(script, finding.offset);
    Entry {
        file: script.file.clone(),
        line: position.line,
        column: position.column,
        code: Some(finding.code),
        severity: Some(finding.severity),
        hazard: Some(finding.hazard),
        object: Some(finding.object.clone()),
        lock: finding.cost.lock.map(super::LockMode::as_sql),
        blocks: finding.blocks(),
        rewrite: finding.cost.rewrite,
        scan: finding.cost.scan,
        data_loss: finding.cost.data_loss,
        message: finding.message.clone(),
        safe_form: Some(finding.safe_form.clone()),
        line_text,
        classified: true,
        verb: None,
    }
}

fn whole(script: &Script, offset: usize, facts: &StatementFacts) -> Entry {
    let worst = facts.findings.iter().reduce(|a, b| if b.severity > a.severity { b } else { a });
    let strongest = facts.strongest();
    let (position, line_text) = place(script, offset);
    let message = match (worst, strongest) {
        (Some(finding), _) => finding.message.clone(),
        (None, _) if !facts.classified => "not classified".to_owned(),
        (None, Some(lock)) => format!("{} users of {}", lock.mode.blocks(), lock.object),
        (None, None) => "locks no table that is in use".to_owned(),
    };
    Entry {
        file: script.file.clone(),
        line: position.line,
        column: position.column,
        code: worst.map(|finding| finding.code),
        severity: worst.map(|finding| finding.severity),
        hazard: worst.map(|finding| finding.hazard),
        object: worst.map(|finding| finding.object.clone()).or(strongest.map(|lock| lock.object.to_string())),
        lock: strongest.map(|lock| lock.mode.as_sql()),
        blocks: facts.blocks(),
        rewrite: facts.rewrite,
        scan: facts.scan,
        data_loss: facts.data_loss,
        message,
        safe_form: worst.map(|finding| finding.safe_form.clone()),
        line_text,
        classified: facts.classified,
        verb: Some(facts.verb.clone()),
    }
}
