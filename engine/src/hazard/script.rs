//! What only the statements of a script together show, and the `Allow` lines of its header.

use std::collections::BTreeSet;

use super::classify;
use super::context::Context;
use super::facts::{Cost, Finding, StatementFacts};
use super::learn::learn;
use super::lock::{Blocks, LockMode, LockOn};
use super::out::{Out, Say, say};
use super::rule::Rule;
use crate::diag::Severity;
use crate::migration::{Allowance, PartKind, Script, TransactionMode};
use crate::sql::{Command, Lexer, QualifiedName, TokenKind, ident_value};

pub(super) const BACKFILL: Rule = Rule {
    code: "MH023",
    hazard: "ddl-then-backfill",
    severity: Severity::Warning,
    title: "Rows are changed while the table is locked against everybody",
    bad: &["ALTER TABLE t ADD COLUMN a int; UPDATE t SET a = 1 WHERE b > 2"],
    good: &["CREATE TABLE t (a int); ALTER TABLE t ADD COLUMN b int; UPDATE t SET b = 1 WHERE a > 2"],
};

pub(super) const SEVERAL: Rule = Rule {
    code: "MH024",
    hazard: "several-locks",
    severity: Severity::Note,
    title: "One transaction locks several tables in use",
    bad: &["ALTER TABLE t ADD COLUMN a int; ALTER TABLE u ADD COLUMN a int"],
    good: &["ALTER TABLE t ADD COLUMN a int; ALTER TABLE t ADD COLUMN b int"],
};

pub(super) const LOCAL: Rule = Rule {
    code: "MH028",
    hazard: "set-local-outside",
    severity: Severity::Warning,
    title: "SET LOCAL outside of a transaction does nothing",
    bad: &["-- Transaction: false\n\nSET LOCAL work_mem = '1GB'"],
    good: &["SET LOCAL work_mem = '1GB'", "-- Transaction: false\n\nSET work_mem = '1GB'"],
};

pub(super) const UNUSED: Rule = Rule {
    code: "MH037",
    hazard: "unused-allow",
    severity: Severity::Warning,
    title: "An Allow that allows nothing",
    bad: &["-- Allow: rewrite(t) -- \"tiny\"\n\nSELECT 1"],
    good: &["-- Allow: drop-table(t) -- \"empty\"\n\nDROP TABLE t"],
};

/// What is known of a script.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScriptFacts {
    /// For each of its statements, in order, without what `Allow` accepts.
    pub statements: Vec<StatementFacts>,
    /// What `Allow` accepts: the index of the statement, the finding, the reason.
    pub allowed: Vec<(usize, Finding, Option<String>)>,
    /// About the script itself: `Allow` lines that match nothing.
    pub findings: Vec<Finding>,
}

/// Looks at a script, and lets the context learn from it. Call [`Context::applied`] between runs.
pub fn look(script: &Script, context: &mut Context) -> ScriptFacts {
    let text: &str = &script.text;
    let mut facts = ScriptFacts::default();
    for statement in &script.statements {
        facts.statements.push(classify(text, statement, context));
        learn(context, text, statement);
    }
    let piecemeal = script.parts.len() > 1
        || matches!(script.header.transaction, TransactionMode::Off | TransactionMode::PerStatement);
    for part in &script.parts {
        if matches!(part.kind, PartKind::Transaction { .. }) {
            transaction(script, part.statements.clone(), &mut facts.statements, context);
        }
        if piecemeal && part.statements.len() == 1 {
            alone(script, part.statements.clone(), &mut facts.statements, context);
        }
    }
    allow(script, &mut facts);
    facts
}

fn add(
    facts: &mut StatementFacts,
    context: &Context,
    rule: &'static Rule,
    object: &QualifiedName,
    offset: usize,
    cost: Cost,
    words: Say,
) {
    let mut out = Out { context, facts: std::mem::take(facts) };
    out.find(rule, object, None, offset, cost, words);
    *facts = out.facts;
}

fn transaction(script: &Script, range: std::ops::Range<usize>, all: &mut [StatementFacts], context: &Context) {
    let mut locked: BTreeSet<QualifiedName> = BTreeSet::new();
    let mut blocking: BTreeSet<QualifiedName> = BTreeSet::new();
    let mut told = false;
    let none = Context::new(context.server_major);
    for index in range {
        let (Some(statement), Some(facts)) = (script.statements.get(index), all.get_mut(index)) else { continue };
        let offset = statement.text.range().start;
        let own = |facts: &StatementFacts, least: LockMode| -> BTreeSet<QualifiedName> {
            let named = facts.locks.iter().filter(|lock| matches!(lock.on, LockOn::Itself | LockOn::Tree));
            named.filter(|lock| lock.mode >= least).map(|lock| lock.object.clone()).collect()
        };
        let changes = facts.verb.starts_with("UPDATE") || facts.verb.starts_with("DELETE");
        if changes
            && let Some(table) = own(facts, LockMode::RowExclusive).into_iter().find(|table| blocking.contains(table))
        {
            let words = format!("{table} stays locked against reads and writes of users while these rows are changed");
            let safe =
                format!("put this into a migration of its own, and run it in pieces: `-- chunk: {} by …`", table.name);
            add(facts, &none, &BACKFILL, &table, offset, Cost::scan(LockMode::AccessExclusive), say(words, safe));
        }
        let here = own(facts, LockMode::Share);
        if !told
            && let Some(table) = here.iter().find(|table| !locked.contains(*table))
            && let Some(first) = locked.iter().next()
        {
            told = true;
            let words =
                format!("{table} is locked while {first} already is: users wait for both, or run into a deadlock");
            let safe = format!("change {table} in a migration of its own");
            let table = table.clone();
            add(facts, &none, &SEVERAL, &table, offset, Cost::lock(LockMode::Share), say(words, safe));
        }
        locked.extend(here);
        let strongest = own(facts, LockMode::AccessExclusive);
        if facts.blocks() == Blocks::ReadsAndWrites {
            blocking.extend(strongest);
        }
    }
}

fn alone(script: &Script, range: std::ops::Range<usize>, all: &mut [StatementFacts], context: &Context) {
    for index in range {
        let (Some(statement), Some(facts)) = (script.statements.get(index), all.get_mut(index)) else { continue };
        let local = statement.command(&script.text) == Command::Set { local: true };
        if local {
            let name = QualifiedName { schema: None, name: "session".to_owned() };
            let words = "outside of a transaction SET LOCAL ends with its own statement, so it sets nothing";
            let safe = "SET without LOCAL; migengine resets it after the script";
            add(facts, context, &LOCAL, &name, statement.text.range().start, Cost::default(), say(words, safe));
        }
    }
}

/// Takes away what the header accepts, and tells which lines accept nothing.
fn allow(script: &Script, facts: &mut ScriptFacts) {
    for allowance in &script.header.allow {
        let path = object_path(&allowance.object);
        let mut used = false;
        for (index, statement) in facts.statements.iter_mut().enumerate() {
            let (accepted, left) = std::mem::take(&mut statement.findings)
                .into_iter()
                .partition(|finding| finding.hazard == allowance.hazard && plain(&finding.path) == plain(&path));
            statement.findings = left;
            used |= !accepted.is_empty();
            facts.allowed.extend(accepted.into_iter().map(|finding| (index, finding, allowance.reason.clone())));
        }
        let before = facts
            .allowed
            .iter()
            .any(|(_, finding, _)| finding.hazard == allowance.hazard && plain(&finding.path) == plain(&path));
        if !used && !before {
            facts.findings.push(unused(allowance, path, &facts.statements));
        }
    }
}

fn unused(allowance: &Allowance, path: Vec<String>, statements: &[StatementFacts]) -> Finding {
    let known = super::RULES.iter().any(|rule| rule.hazard == allowance.hazard);
    let near = statements.iter().flat_map(|facts| &facts.findings).find(|finding| finding.hazard == allowance.hazard);
    let safe_form = match (known, near) {
        (false, _) => format!("`{}` is no hazard; `migengine explain` lists them", allowance.hazard),
        (true, Some(finding)) => format!("-- Allow: {}({})", finding.hazard, finding.object),
        (true, None) => "remove it".to_owned(),
    };
    Finding {
        code: UNUSED.code,
        hazard: UNUSED.hazard,
        severity: UNUSED.severity,
        object: allowance.object.clone(),
        path,
        cost: Cost::default(),
        message: format!(
            "nothing in this script is {}({}), so this Allow accepts nothing",
            allowance.hazard, allowance.object
        ),
        safe_form,
        offset: allowance.offset,
    }
}

/// The parts of `app.users.email`, as the catalog stores them. The arguments of a function do not count.
fn object_path(written: &str) -> Vec<String> {
    Lexer::new(written)
        .take_while(|token| token.kind != TokenKind::LParen)
        .filter_map(|token| ident_value(token, written, '\\'))
        .collect()
}

fn plain(path: &[String]) -> &[String] {
    match path {
        [schema, rest @ ..] if schema == "public" && !rest.is_empty() => rest,
        whole => whole,
    }
}
