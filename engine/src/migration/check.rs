//! Collects what is wrong with one file.

use super::text::Text;
use crate::diag::{Diagnostic, Severity};

/// Findings beyond this many in one file are counted, not kept.
const MAX_FINDINGS: usize = 100;

/// The findings of one file. Keeps all of them up to a limit, because each costs a pass over the text.
pub(super) struct Report<'t> {
    file: &'t str,
    text: &'t Text,
    found: Vec<Diagnostic>,
    left_out: usize,
}

impl<'t> Report<'t> {
    pub(super) fn new(file: &'t str, text: &'t Text) -> Self {
        Self { file, text, found: Vec::new(), left_out: 0 }
    }

    pub(super) fn error(&mut self, code: &'static str, offset: u32, message: impl Into<String>, help: Option<&str>) {
        self.add(Severity::Error, code, offset, message.into(), help);
    }

    pub(super) fn warning(&mut self, code: &'static str, offset: u32, message: impl Into<String>, help: Option<&str>) {
        self.add(Severity::Warning, code, offset, message.into(), help);
    }

    fn add(&mut self, severity: Severity, code: &'static str, offset: u32, message: String, help: Option<&str>) {
        if self.found.len() >= MAX_FINDINGS {
            self.left_out += 1;
            return;
        }
        let mut diagnostic = self.text.point(Diagnostic::error(code, self.file, message), offset as usize);
        diagnostic.severity = severity;
        diagnostic.help = help.map(ToOwned::to_owned);
        self.found.push(diagnostic);
    }

    pub(super) fn extend(&mut self, diagnostics: Vec<Diagnostic>) {
        self.found.extend(diagnostics);
    }

    pub(super) fn leave_out(&mut self, count: usize) {
        self.left_out += count;
    }

    pub(super) fn has_errors(&self) -> bool {
        self.found.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// In the order of their places.
    pub(super) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|diagnostic| diagnostic.position);
        if self.left_out > 0 {
            let message = format!("{} more problems in this file are not shown", self.left_out);
            self.found.push(Diagnostic { severity: Severity::Note, ..Diagnostic::error("ME118", self.file, message) });
        }
        self.found
    }
}
