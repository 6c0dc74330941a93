//! What a protected environment refuses: data that would be lost, and tables that would be written anew, unless the
//! author has accepted exactly that with an `Allow` line.

use super::context::Context;
use super::facts::Finding;
use super::script::{ScriptFacts, look};
use crate::diag::Diagnostic;
use crate::migration::Script;

/// Refusals for scripts that would run one after the other, in that order; empty when they may run. Each has the place
/// of the statement, and as help the line that would accept it. What an earlier script of the same plan creates is
/// nobody's yet, so changing it is no hazard.
///
/// Statements that the classifier does not know are not refused.
#[must_use]
pub fn refusals<'s>(scripts: impl IntoIterator<Item = &'s Script>, context: &mut Context) -> Vec<Diagnostic> {
    let mut refused = Vec::new();
    for script in scripts {
        let facts = look(script, context);
        refused.extend(refusals_of(script, &facts));
    }
    refused
}

/// Refusals for one script of which everything is known. What its `Allow` lines accept is not among the findings.
#[must_use]
pub fn refusals_of(script: &Script, facts: &ScriptFacts) -> Vec<Diagnostic> {
    let findings = facts.statements.iter().flat_map(|statement| &statement.findings);
    findings.filter(|finding| needs_permission(finding)).map(|finding| refusal(script, finding)).collect()
}

/// Data loss and rewrites can neither be undone nor be interrupted without harm; the rest costs time.
fn needs_permission(finding: &Finding) -> bool {
    finding.cost.data_loss || finding.cost.rewrite
}

fn refusal(script: &Script, finding: &Finding) -> Diagnostic {
    let what = if finding.cost.data_loss { "data would be lost" } else { "the table would be written anew" };
    let message = format!("refused in a protected environment, {what} ({}): {}", finding.code, finding.message);
    let allow =
        format!("to accept it, write in the header: -- Allow: {}({}) -- \"reason\"", finding.hazard, finding.object);
    let help = if finding.safe_form.is_empty() { allow } else { format!("instead: {}; {allow}", finding.safe_form) };
    let refused = Diagnostic::error("ME433", script.file.clone(), message).help(help);
    script.text.point(refused, finding.offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::parse_script;

    fn refused(texts: &[&str]) -> Vec<String> {
        let scripts: Vec<Script> =
            texts.iter().map(|text| parse_script("001_a.sql", text.as_bytes()).0.unwrap()).collect();
        let shown = |found: &Diagnostic| {
            let place = found.position.unwrap();
            format!("{}:{} {}", place.line, place.column, found.help.as_deref().unwrap_or_default())
        };
        refusals(&scripts, &mut Context::default()).iter().map(shown).collect()
    }

    #[test]
    fn data_loss_and_rewrites_are_refused_unless_allowed() {
        let none: &[&str] = &[];
        assert_eq!(refused(&["ALTER TABLE t ADD a int; CREATE INDEX i ON t (a)"]), none);
        assert_eq!(refused(&["CREATE TABLE t (a int)", "DROP TABLE t; "]), none);
        assert_eq!(refused(&["-- Allow: drop-table(t) -- \"empty\"\n\nDROP TABLE t"]), none);
        assert_eq!(refused(&["-- Allow: drop-table(u) -- \"other\"\n\nDROP TABLE t"]).len(), 1);
        let both = refused(&["ALTER TABLE t DROP COLUMN a;\nALTER TABLE t ADD b float DEFAULT random();"]);
        assert_eq!(both.len(), 2, "{both:?}");
        assert!(both[0].starts_with("1:") && both[0].contains("-- Allow: drop-column(t.a)"), "{both:?}");
        assert!(both[1].starts_with("2:") && both[1].contains("-- Allow: rewrite(t"), "{both:?}");
    }

    #[test]
    fn what_is_unknown_is_not_refused() {
        assert!(refused(&["DO $$ BEGIN EXECUTE 'DROP TABLE t'; END $$"]).is_empty());
    }
}
