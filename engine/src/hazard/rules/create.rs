//! `CREATE` of tables, views, triggers and domains, and what it locks of the tables that are there.

use super::super::facts::Cost;
use super::super::lock::{LockMode, LockOn};
use super::super::out::{Out, say};
use super::super::read::Read;
use super::super::rule::Rule;
use super::{constraint, partition};
use crate::diag::Severity;
use crate::sql::{Cursor, QualifiedName, TokenKind, quote_ident};

pub(super) const DOMAIN: Rule = Rule {
    code: "MH026",
    hazard: "domain-scan",
    severity: Severity::Warning,
    title: "A new check of a domain reads every table that uses it",
    bad: &["ALTER DOMAIN d ADD CONSTRAINT c CHECK (VALUE > 0)", "ALTER DOMAIN d SET NOT NULL"],
    good: &["ALTER DOMAIN d ADD CONSTRAINT c CHECK (VALUE > 0) NOT VALID", "ALTER DOMAIN d VALIDATE CONSTRAINT c"],
};

pub(super) const LONG_NAME: Rule = Rule {
    code: "MH034",
    hazard: "long-name",
    severity: Severity::Warning,
    title: "A name is longer than 63 bytes and is cut",
    bad: &["CREATE TABLE a2345678901234567890123456789012345678901234567890123456789012345 (a int)"],
    good: &["CREATE TABLE a23456789012345678901234567890123456789012345678901234567890123 (a int)"],
};

/// Behind `CREATE … TABLE`.
pub(super) fn table(mut at: Cursor<'_>, out: &mut Out<'_>) -> bool {
    at.eat(&["IF", "NOT", "EXISTS"]);
    let offset = at.offset();
    let Some(table) = at.name() else { return false };
    if at.eat(&["PARTITION", "OF"]) {
        partition::of_parent(at, &table, offset, out);
        return true;
    }
    let Some(elements) = at.paren_items() else { return true };
    for mut element in elements {
        let offset = element.offset();
        if element.find(&["REFERENCES"])
            && let Some(parent) = element.name()
            && parent != table
        {
            out.lock(&parent, LockMode::ShareRowExclusive);
            constraint::other_table(&table, &parent, offset, out);
        }
    }
    if at.eat(&["INHERITS"]) {
        for mut parent in at.paren_items().unwrap_or_default() {
            if let Some(parent) = parent.name() {
                out.lock(&parent, LockMode::ShareUpdateExclusive);
            }
        }
    }
    true
}

/// Behind `CREATE [OR REPLACE] … TRIGGER`.
pub(super) fn trigger(mut at: Cursor<'_>, out: &mut Out<'_>) -> bool {
    at.find(&["ON"]);
    let Some(table) = at.name() else { return false };
    out.lock_on(&table, LockMode::ShareRowExclusive, LockOn::Tree);
    let mut from = at.until(&["FOR", "EXECUTE", "WHEN"]);
    if from.eat(&["FROM"])
        && let Some(parent) = from.name()
    {
        out.lock(&parent, LockMode::ShareRowExclusive);
    }
    true
}

/// Behind `CREATE POLICY`, `ALTER POLICY` and `CREATE RULE`.
pub(super) fn on_table(mut at: Cursor<'_>, words: &[&str], out: &mut Out<'_>) -> bool {
    if !at.find(words) {
        return false;
    }
    let Some(table) = at.name() else { return false };
    out.lock(&table, LockMode::AccessExclusive);
    true
}

/// Behind `CREATE [OR REPLACE] VIEW`.
pub(super) fn view(mut at: Cursor<'_>, replace: bool, out: &mut Out<'_>) -> bool {
    let Some(view) = at.name() else { return false };
    if replace {
        out.lock(&view, LockMode::AccessExclusive);
    }
    true
}

/// Behind `CREATE STATISTICS` and `COMMENT ON TABLE`: nobody waits but other maintenance.
pub(super) fn light(mut at: Cursor<'_>, words: &[&str], column: bool, out: &mut Out<'_>) -> bool {
    if !words.is_empty() && !at.find(words) {
        return true;
    }
    let Some(mut name) = at.name() else { return false };
    if column {
        // `a.b.c` keeps its last two parts; the table of a column is what stands before them.
        let Some(table) = name.schema.take() else { return false };
        name = QualifiedName { schema: None, name: table };
    }
    out.lock(&name, LockMode::ShareUpdateExclusive);
    true
}

/// Behind `ALTER DOMAIN`.
pub(super) fn alter_domain(mut at: Cursor<'_>, out: &mut Out<'_>) -> bool {
    let Some(domain) = at.name() else { return false };
    let offset = at.offset();
    let added = at.eat(&["ADD"]);
    let not_null = at.eat(&["SET", "NOT", "NULL"]);
    if at.eat(&["VALIDATE"]) {
        out.lock_on(&domain, LockMode::Share, LockOn::UsersOfDomain);
        out.scans(&domain);
        return true;
    }
    if !not_null && (!added || at.has(&["NOT", "VALID"])) {
        return true;
    }
    out.lock_on(&domain, LockMode::Share, LockOn::UsersOfDomain);
    let words = format!("this blocks writes of users to every table with a column of {domain} while it scans them");
    let name = {
        let mut named = at.clone();
        named.eat(&["CONSTRAINT"]).then(|| named.column()).flatten()
    };
    let name = quote_ident(&name.unwrap_or_else(|| format!("{}_check", domain.name)));
    let safe = if not_null {
        format!(
            "ALTER DOMAIN {domain} ADD CONSTRAINT … CHECK (VALUE IS NOT NULL) NOT VALID; VALIDATE it in a quiet hour"
        )
    } else {
        format!(
            "ALTER DOMAIN {domain} ADD … NOT VALID; then ALTER DOMAIN {domain} VALIDATE CONSTRAINT {name} in a quiet hour"
        )
    };
    out.find(&DOMAIN, &domain, None, offset, Cost::scan(LockMode::Share), say(words, safe));
    true
}

/// Names that the server cuts, which the next statement then may not find.
pub(super) fn long_names(at: &Cursor<'_>, out: &mut Out<'_>) {
    let mut at = at.clone();
    // Enough for the names of any definition; data in long lists is of no interest.
    for _ in 0..2_000 {
        let Some(token) = at.next() else { break };
        let len = match token.kind {
            TokenKind::Word => token.span.len(),
            TokenKind::QuotedIdent => token.span.len().saturating_sub(2),
            _ => continue,
        };
        let written = token.span.of(at.text());
        if len > 63 {
            let cut: String = written
                .trim_matches('"')
                .chars()
                .scan(0, |bytes, c| {
                    *bytes += c.len_utf8();
                    (*bytes <= 63).then_some(c)
                })
                .collect();
            let name = QualifiedName { schema: None, name: cut.clone() };
            let words = format!(
                "the server cuts {written} to {cut}; two such names may meet, and code that compares names fails"
            );
            out.find(
                &LONG_NAME,
                &name,
                None,
                token.span.range().start,
                Cost::default(),
                say(words, format!("a name of at most 63 bytes, such as {cut}")),
            );
        }
    }
}
