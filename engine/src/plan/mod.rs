//! What to run, and whether it may run. Pure: files and history in, a plan or all reasons against it out.
//!
//! [`graph`] orders the files by their dependencies, [`divergence`] holds them against the history, [`apply`] and
//! [`rollback`] choose the steps for a target. All findings are [`Diagnostic`]s, and all of them are returned at once.

pub mod apply;
mod conflict;
mod cycle;
pub mod divergence;
pub mod graph;
pub mod input;
mod order;
pub mod reference;
pub mod render;
pub mod rollback;
mod steps;
#[cfg(test)]
mod tests;

pub use apply::{ApplyTarget, plan_apply};
pub use divergence::{Divergence, Policy, compare};
pub use graph::Graph;
pub use input::{Applied, History, Node, RefText, Requires, Script};
pub use reference::{ReferenceError, Resolved, Resolver, Role};
pub use render::{Format, render};
pub use rollback::{RollbackTarget, plan_rollback};
pub use steps::{Plan, PlanStep, Planned, Refused, Source};

use crate::diag::Diagnostic;

/// Codes of everything the planner finds, each with a page in `migengine explain`.
pub mod code {
    /// Two forward scripts with one id.
    pub const DUPLICATE_ID: &str = "ME130";
    /// A `Requires` that names neither a file nor an applied migration.
    pub const UNKNOWN_REQUIREMENT: &str = "ME131";
    /// A number in `Requires` or `Conflicts` that several migrations share.
    pub const AMBIGUOUS_REQUIREMENT: &str = "ME132";
    /// A migration that requires itself.
    pub const REQUIRES_ITSELF: &str = "ME133";
    /// A migration that conflicts with itself.
    pub const CONFLICTS_WITH_ITSELF: &str = "ME134";
    /// Migrations that require each other.
    pub const CYCLE: &str = "ME135";
    /// Warning: the same requirement twice in one header.
    pub const REQUIRED_TWICE: &str = "ME136";
    /// Warning: a `Conflicts` that names nothing.
    pub const UNKNOWN_CONFLICT: &str = "ME137";
    /// Two migrations of one plan conflict.
    pub const CONFLICT_IN_PLAN: &str = "ME138";
    /// A migration of the plan conflicts with an applied one.
    pub const CONFLICT_WITH_APPLIED: &str = "ME139";
    /// A target that names nothing.
    pub const UNKNOWN_TARGET: &str = "ME140";
    /// A target that could be several migrations.
    pub const AMBIGUOUS_TARGET: &str = "ME141";
    /// A rollback target that is not applied.
    pub const NOT_APPLIED: &str = "ME142";
    /// Something applied depends on what would be reversed.
    pub const DEPENDANT_STAYS: &str = "ME143";
    /// Neither the folder nor the history has a reverse script.
    pub const NO_REVERSE: &str = "ME144";
    /// Nothing that a run applied is in effect.
    pub const NOTHING_OF_RUN: &str = "ME145";
    /// A pending migration stands before an applied one.
    pub const OUT_OF_ORDER: &str = "ME146";
    /// The statements of an applied migration were changed.
    pub const CHANGED: &str = "ME147";
    /// Warning: comments or white space of an applied migration were changed.
    pub const COMMENTS_CHANGED: &str = "ME148";
    /// The file of an applied migration is gone.
    pub const MISSING_FILE: &str = "ME149";
}

/// By file and place, so that output does not depend on the order of checks.
fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics
        .sort_by(|a, b| (&a.file, a.position, a.code, &a.message).cmp(&(&b.file, b.position, b.code, &b.message)));
}
