//! Where the rules put what they find.

use super::context::Context;
use super::facts::{Cost, Finding, StatementFacts, path};
use super::lock::{LockMode, LockOn, ObjectLock};
use super::rule::Rule;
use crate::sql::{QualifiedName, quote_ident};

/// Collects the facts of one statement.
pub(super) struct Out<'c> {
    /// What is known beforehand.
    pub(super) context: &'c Context,
    /// What was found.
    pub(super) facts: StatementFacts,
}

/// What a finding says.
pub(super) struct Say {
    pub(super) message: String,
    pub(super) safe_form: String,
}

impl Out<'_> {
    /// Whether the server is at least this version; where it is not known, the older behaviour is assumed.
    pub(super) fn at_least(&self, major: u32) -> bool {
        self.context.server_major.is_some_and(|server| server >= major)
    }

    /// Notes a lock on the object itself.
    pub(super) fn lock(&mut self, object: &QualifiedName, mode: LockMode) {
        self.lock_on(object, mode, LockOn::Itself);
    }

    /// Notes a lock. Nobody waits for a table of the same run.
    pub(super) fn lock_on(&mut self, object: &QualifiedName, mode: LockMode, on: LockOn) {
        let lock = ObjectLock { object: object.clone(), mode, on };
        if !self.context.is_fresh(object) && !self.facts.locks.contains(&lock) {
            self.facts.locks.push(lock);
        }
    }

    /// Notes that the table is read or written whole, though nothing is wrong with that.
    pub(super) fn scans(&mut self, table: &QualifiedName) {
        self.facts.scan |= !self.context.is_fresh(table);
    }

    /// Reports a hazard for an object, or a column of it.
    pub(super) fn find(
        &mut self,
        rule: &'static Rule,
        object: &QualifiedName,
        column: Option<&str>,
        offset: usize,
        cost: Cost,
        say: Say,
    ) {
        if self.context.is_fresh(object) {
            return;
        }
        let facts = &mut self.facts;
        facts.rewrite |= cost.rewrite;
        facts.scan |= cost.scan;
        facts.data_loss |= cost.data_loss;
        facts.breaks_application |= cost.breaks_application;
        facts.findings.push(Finding {
            code: rule.code,
            hazard: rule.hazard,
            severity: rule.severity,
            object: column.map_or(object.to_string(), |column| format!("{object}.{}", quote_ident(column))),
            path: path(object, column),
            cost,
            message: say.message,
            safe_form: say.safe_form,
            offset,
        });
    }
}

/// Shorthand for what a finding says.
pub(super) fn say(message: impl Into<String>, safe_form: impl Into<String>) -> Say {
    Say { message: message.into(), safe_form: safe_form.into() }
}

/// A name made of these words, cut where PostgreSQL would cut it.
pub(super) fn made_name(words: &[&str]) -> String {
    let mut name = words.join("_");
    while name.len() > 63 {
        name.pop();
    }
    quote_ident(&name)
}
