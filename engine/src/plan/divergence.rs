//! The files held against the history: what was changed, what is gone, what came too late.

use std::collections::BTreeMap;

use super::code;
use super::graph::Graph;
use super::input::{Applied, History, Node};
use crate::diag::{Diagnostic, Severity};
use crate::id::{Digest, MigrationId};

/// What an apply may go ahead with. The default refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Applied migrations whose files are gone are a warning.
    pub allow_missing: bool,
    /// Pending migrations before an applied one are a warning (`--out-of-order`).
    pub out_of_order: bool,
}

/// How files and history differ. Each list is in (number, id) order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Divergence {
    /// Applied, and the statements of the file are others now.
    pub changed: Vec<MigrationId>,
    /// Applied, and only comments or white space of the file are others now.
    pub comments_changed: Vec<MigrationId>,
    /// Applied, and there is no file.
    pub missing: Vec<MigrationId>,
    /// Pending, without `Requires`, and before the highest applied one.
    pub out_of_order: Vec<MigrationId>,
    /// The same with reasons, one for each entry of the lists above, by file; severities as the policy says.
    pub diagnostics: Vec<Diagnostic>,
}

/// Compares all files with the whole history. O(n log n).
#[must_use]
pub fn compare(graph: &Graph, history: &History, policy: Policy) -> Divergence {
    let mut found = Divergence::default();
    let highest = history.by_id().next_back();
    let mut pending_by_tokens: BTreeMap<Digest, &Node> = BTreeMap::new();
    for node in graph.nodes() {
        let row = history.get(&node.id);
        match (row, highest) {
            (Some(row), _) => found.compare_applied(node, row),
            (None, Some(highest)) if node.id < highest.id && !node.declares_requirements() => {
                found.diagnostics.push(out_of_order(node, highest, policy));
                found.out_of_order.push(node.id.clone());
            }
            (None, _) => {}
        }
        if row.is_none() {
            pending_by_tokens.insert(node.up.tokens, node);
        }
    }
    for row in history.by_id().filter(|row| graph.get(&row.id).is_none()) {
        found.missing.push(row.id.clone());
        found.diagnostics.push(missing(row, pending_by_tokens.get(&row.tokens).copied(), policy));
    }
    super::sort(&mut found.diagnostics);
    found
}

impl Divergence {
    fn compare_applied(&mut self, node: &Node, row: &Applied) {
        let id = &node.id;
        if node.up.tokens != row.tokens {
            let (was, is) = (row.tokens.short(), node.up.tokens.short());
            let message = format!("the statements of `{id}` were changed after it was applied ({was} then, {is} now)");
            let help = "put the file back as it was and write the change as a new migration; or reverse it first \
                        with `migengine rollback`";
            self.diagnostics.push(Diagnostic::error(code::CHANGED, &node.file, message).help(help));
            self.changed.push(id.clone());
        } else if node.up.content != row.content {
            let message = format!("comments or white space of `{id}` were changed after it was applied");
            self.diagnostics.push(Diagnostic::warning(code::COMMENTS_CHANGED, &node.file, message));
            self.comments_changed.push(id.clone());
        }
    }
}

fn missing(row: &Applied, same: Option<&Node>, policy: Policy) -> Diagnostic {
    let id = &row.id;
    let problem = Diagnostic::error(code::MISSING_FILE, "", format!("`{id}` is applied, but its file is gone"));
    let mut problem = match same {
        Some(node) => problem.help(format!("{} holds the same statements: name it `{id}.sql` again", node.file)),
        None => problem.help(format!(
            "restore `{id}.sql` from version control; or reverse it with `migengine rollback {id}`, which can work \
             from the history"
        )),
    };
    if policy.allow_missing {
        problem.severity = Severity::Warning;
    }
    problem
}

fn out_of_order(node: &Node, highest: &Applied, policy: Policy) -> Diagnostic {
    let message = format!("`{}` is pending, but the later `{}` is applied already", node.id, highest.id);
    let mut problem = Diagnostic::error(code::OUT_OF_ORDER, &node.file, message)
        .help("give it a higher number, or say with `-- Requires:` what it needs, or pass `--out-of-order`");
    if policy.out_of_order {
        problem.severity = Severity::Warning;
    }
    problem
}
