//! A plan as text, as SQL and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Deref;
use std::sync::Arc;

use migengine_engine::diag::Diagnostic;
use migengine_engine::guard::millis;
use migengine_engine::migration::{Migration, Script};
use migengine_engine::plan::{PlanStep, Planned, Source};
use migengine_engine::run::state::RunKind;
use migengine_engine::sql::Command;
use serde_json::{Value, json};

use migengine_engine::hazard::{Context as Knowledge, Finding, look};

use crate::project::Project;
use crate::sources::Kept;

/// A plan with everything that people want to know of its steps.
pub struct Picture<'a> {
    planned: &'a Planned,
    warnings: Vec<Diagnostic>,
    steps: Vec<Step<'a>>,
    earlier: BTreeMap<String, i64>,
}

struct Step<'a> {
    step: &'a PlanStep,
    migration: Option<&'a Migration>,
    script: Option<Held<'a>>,
    hazards: Vec<Finding>,
}

/// The script of a step: of the folder, or of the history.
enum Held<'a> {
    File(&'a Script),
    Kept(Arc<Script>),
}

impl Deref for Held<'_> {
    type Target = Script;

    fn deref(&self) -> &Script {
        match self {
            Self::File(script) => script,
            Self::Kept(script) => script,
        }
    }
}

impl<'a> Picture<'a> {
    /// Brings the plan and the files together.
    #[must_use]
    pub fn new(project: &'a Project, kept: &Kept, planned: &'a Planned) -> Self {
        let reverse = planned.plan.direction == RunKind::Rollback;
        let mut knowledge = Knowledge::new(None);
        let steps = planned.plan.steps.iter().map(|step| {
            let migration = project.get(&step.id);
            let file = migration.and_then(|found| if reverse { found.down.as_deref() } else { Some(&*found.up) });
            let script = match step.source {
                Source::File => file.map(Held::File),
                Source::History => kept.down(&step.id).map(Held::Kept),
            };
            // What an earlier step of this plan creates is nobody's yet when a later one changes it.
            let hazards = script.as_deref().map(|script| look(script, &mut knowledge)).unwrap_or_default();
            let of_statements = hazards.statements.into_iter().flat_map(|facts| facts.findings);
            let hazards = of_statements.chain(hazards.findings).collect();
            Step { step, migration, script, hazards }
        });
        let mut warnings = planned.warnings.clone();
        for found in &project.diagnostics {
            if !warnings.contains(found) {
                warnings.push(found.clone());
            }
        }
        Self { planned, warnings, steps: steps.collect(), earlier: BTreeMap::new() }
    }

    /// With how long steps took when they were applied before, in microseconds.
    #[must_use]
    pub fn with_earlier(mut self, earlier: BTreeMap<String, i64>) -> Self {
        self.earlier = earlier;
        self
    }

    fn took(&self, step: &Step<'_>) -> Option<i64> {
        let forward = self.planned.plan.direction == RunKind::Apply;
        self.earlier.get(step.step.id.as_str()).copied().filter(|_| forward)
    }

    /// The warnings that belong to no step.
    #[must_use]
    pub fn general(&self) -> Vec<Diagnostic> {
        let files: BTreeSet<&str> = self.steps.iter().flat_map(Step::files).collect();
        self.warnings.iter().filter(|found| !files.contains(found.file.as_str())).cloned().collect()
    }

    fn of_step(&self, step: &Step<'_>) -> Vec<&Diagnostic> {
        let files = step.files();
        self.warnings.iter().filter(|found| files.contains(&found.file.as_str())).collect()
    }

    /// Numbered steps.
    #[must_use]
    pub fn text(&self) -> String {
        let verb = match self.planned.plan.direction {
            RunKind::Apply => "apply",
            RunKind::Rollback => "reverse",
        };
        let count = self.steps.len();
        let noun = if count == 1 { "migration" } else { "migrations" };
        let mut text = format!("{verb} {count} {noun} (plan {})\n", self.planned.plan.hash.short());
        let margin = count.to_string().len();
        for (number, step) in (1..).zip(&self.steps) {
            let _ = writeln!(text, "\n{number:>margin$}. {}", step.step.id);
            let mut line = |words: &str| {
                let _ = writeln!(text, "{:margin$}  {words}", "");
            };
            if let Some(description) = step.description() {
                line(&description);
            }
            if step.step.source == Source::History {
                line("from the history: the folder has no reverse script");
            }
            line(&format!("requires: {}", step.requires()));
            line(&format!("transaction: {}", step.transaction()));
            if let Some(took) = self.took(step) {
                let took = std::time::Duration::from_micros(took.unsigned_abs());
                line(&format!("took {} when it was last applied here", millis(took)));
            }
            if let Some(why) = step.irreversible() {
                line(&format!("irreversible: {why}"));
            }
            for found in self.of_step(step) {
                line(&found.to_string());
            }
            for hazard in &step.hazards {
                line(&step.hazard_line(hazard));
            }
        }
        text
    }

    /// The scripts, one after the other. What the engine would run as one transaction stands in one.
    #[must_use]
    pub fn sql(&self) -> String {
        let mut text = String::new();
        for (number, step) in (1..).zip(&self.steps) {
            let Some(script) = &step.script else { continue };
            let (count, file) = (self.steps.len(), &script.file);
            let _ = writeln!(text, "-- Step {number} of {count}: {file} (transaction: {})", step.transaction());
            let body = script.text.replace("\r\n", "\n");
            let body = body.trim_end();
            let wrap = script.transactional() && !begins(script);
            let _ =
                if wrap { writeln!(text, "BEGIN;\n{}\nCOMMIT;\n", closed(body)) } else { writeln!(text, "{body}\n") };
        }
        text
    }

    /// The object of the JSON interface.
    #[must_use]
    pub fn json(&self, with_sql: bool) -> Value {
        let steps: Vec<Value> = self.steps.iter().map(|step| self.step_json(step, with_sql)).collect();
        json!({
            "plan_hash": self.planned.plan.hash.to_string(),
            "direction": self.planned.plan.direction.name(),
            "steps": steps,
            "warnings": self.general().iter().map(warning_json).collect::<Vec<_>>(),
        })
    }

    fn step_json(&self, step: &Step<'_>, with_sql: bool) -> Value {
        let plan = step.step;
        let mut object = json!({
            "id": plan.id.as_str(),
            "requires": plan.requires.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
            "transactional": plan.script.transactional,
            "warnings": self.of_step(step).into_iter().map(warning_json).chain(step.hazards.iter().map(hazard_json)).collect::<Vec<_>>(),
            "parts": step.parts(),
            "earlier_duration_ms": self.took(step).map(|took| took / 1000),
            "reversible": plan.reversible,
            "file": step.script.as_ref().map(|script| &script.file),
            "description": step.description(),
        });
        if let (true, Some(script), Some(map)) = (with_sql, &step.script, object.as_object_mut()) {
            map.insert("sql".to_owned(), script.text.to_string().into());
        }
        object
    }
}

fn hazard_json(hazard: &Finding) -> Value {
    json!({
        "code": hazard.code,
        "message": hazard.message,
        "object": hazard.object,
        "hazard": hazard.hazard,
        "safe_form": hazard.safe_form,
    })
}

impl Step<'_> {
    /// `003_x.sql:4:1: warning[MH001]: …`, as the other findings are written.
    fn hazard_line(&self, hazard: &Finding) -> String {
        let script = self.script.as_deref();
        let found = Diagnostic {
            severity: hazard.severity,
            ..Diagnostic::warning(hazard.code, script.map_or("", |script| &script.file), hazard.message.clone())
        };
        match script {
            Some(script) => script.text.point(found, hazard.offset).to_string(),
            None => found.to_string(),
        }
    }

    fn files(&self) -> Vec<&str> {
        let Some(migration) = self.migration else { return Vec::new() };
        let others = [&migration.down, &migration.verify].into_iter().flatten();
        std::iter::once(&migration.up).chain(others).map(|script| script.file.as_str()).collect()
    }

    fn description(&self) -> Option<String> {
        let text = self.migration?.up.header.description.as_deref()?;
        Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    fn requires(&self) -> String {
        let ids: Vec<&str> = self.step.requires.iter().map(|id| id.as_str()).collect();
        if ids.is_empty() { "nothing".to_owned() } else { ids.join(", ") }
    }

    fn parts(&self) -> usize {
        self.script.as_ref().map_or(1, |script| script.parts.len())
    }

    fn transaction(&self) -> String {
        match (self.step.script.transactional, self.parts()) {
            (true, _) => "one".to_owned(),
            (false, 1) => "none (1 part)".to_owned(),
            (false, parts) => format!("none ({parts} parts)"),
        }
    }

    fn irreversible(&self) -> Option<String> {
        if self.step.reversible {
            return None;
        }
        let reason = self.migration.and_then(|migration| migration.up.header.irreversible.clone());
        Some(reason.unwrap_or_else(|| "there is no reverse script".to_owned()))
    }
}

fn warning_json(found: &Diagnostic) -> Value {
    json!({
        "code": found.code,
        "message": found.message,
        "object": null,
        "file": found.file,
        "line": found.position.map(|at| at.line),
        "column": found.position.map(|at| at.column),
        "help": found.help,
    })
}

/// Whether the author wrote a transaction of their own.
fn begins(script: &Script) -> bool {
    script.statements.iter().any(|statement| matches!(statement.command(&script.text), Command::Begin { .. }))
}

/// With a semicolon on a line of its own where the last statement might have none, or a comment follows it.
fn closed(body: &str) -> String {
    if body.ends_with(';') || body.ends_with("\\.") { body.to_owned() } else { format!("{body}\n;") }
}
