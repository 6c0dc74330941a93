//! A rule is data: its code, its name, and examples that a test runs.

use crate::diag::Severity;

/// One hazard that the classifier knows.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// `MH001`. Never used again for something else.
    pub code: &'static str,
    /// The name by which `-- Allow: hazard(object)` accepts it. Several rules may share one.
    pub hazard: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// One line for lists.
    pub title: &'static str,
    /// Scripts whose last statement it finds.
    pub bad: &'static [&'static str],
    /// Scripts in which it finds nothing.
    pub good: &'static [&'static str],
}
