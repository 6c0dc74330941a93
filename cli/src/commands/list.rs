//! `migengine list`: the migrations in the folder. Needs no database.

use clap::Args;
use migengine_engine::diag::Severity;
use migengine_engine::migration::{Header, Migration};
use migengine_engine::plan::{Graph, History};
use serde_json::{Value, json};

use crate::args::Format;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::{outcome, project, render};

/// Options of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {}

/// Runs the command. Migrations without errors are listed also when others have some.
///
/// # Errors
/// See the contract's exit codes.
pub fn run(context: &Context, _args: &ListArgs) -> Result<Exit, CommandError> {
    let project = project::load(&context.dir)?;
    let graph = Graph::build(project.nodes(), &History::default());
    let mut found = project.diagnostics.clone();
    found.extend(graph.problems().iter().cloned());
    let broken = found.iter().any(|found| found.severity == Severity::Error);
    let error = broken.then(|| CommandError::files(found.clone()));
    if context.look.format == Format::Json {
        let list: Vec<Value> = project.migrations.iter().map(|migration| object(migration, &graph)).collect();
        let error = error.as_ref().map(outcome::error_json);
        render::data(&json!({ "migrations": list, "error": error }).to_string());
    } else if !project.migrations.is_empty() {
        let heading = ["ID", "REQUIRES", "TRANSACTION", "REVERSE", "DESCRIPTION"].map(str::to_owned).to_vec();
        let rows = project.migrations.iter().map(|migration| row(migration, &graph));
        let rows: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
        render::data(render::table(0, &rows).trim_end());
    } else if error.is_none() {
        context.tell(&format!("there is no migration in {}", context.dir.display()));
    }
    match error {
        Some(error) => {
            render::line(render::error_text(&error, context.look.color).trim_end());
            Ok(error.exit)
        }
        None => {
            crate::commands::apply::warn(context, &found);
            Ok(Exit::Done)
        }
    }
}

fn requires(migration: &Migration, graph: &Graph) -> Vec<String> {
    graph.requires(&migration.id).iter().map(ToString::to_string).collect()
}

fn row(migration: &Migration, graph: &Graph) -> Vec<String> {
    let required = requires(migration, graph);
    let reverse = match (&migration.down, &migration.up.header.irreversible) {
        (Some(_), _) => "yes",
        (None, Some(_)) => "irreversible",
        (None, None) => "no",
    };
    vec![
        migration.id.to_string(),
        if required.is_empty() { "-".to_owned() } else { required.join(", ") },
        match (migration.up.transactional(), migration.up.parts.len()) {
            (true, _) => "one".to_owned(),
            (false, parts) => format!("none ({parts})"),
        },
        reverse.to_owned(),
        one_line(&migration.up.header),
    ]
}

fn one_line(header: &Header) -> String {
    header.description.as_deref().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn object(migration: &Migration, graph: &Graph) -> Value {
    let header = &migration.up.header;
    let ms = |limit: Option<std::time::Duration>| limit.map(|limit| limit.as_millis());
    json!({
        "id": migration.id.as_str(),
        "file": migration.up.file,
        "rollback_file": migration.down.as_ref().map(|script| &script.file),
        "verify_file": migration.verify.as_ref().map(|script| &script.file),
        "migration": header.migration,
        "description": header.description,
        "author": header.author,
        "date": header.date,
        "tags": header.tags,
        "requires": requires(migration, graph),
        "conflicts": header.conflicts.iter().map(|found| found.value.as_str()).collect::<Vec<_>>(),
        "transactional": migration.up.transactional(),
        "parts": migration.up.parts.len(),
        "reversible": migration.down.is_some(),
        "irreversible": header.irreversible,
        "lock_timeout_ms": ms(header.lock_timeout),
        "lock_budget_ms": ms(header.lock_budget),
        "lock_wait_ms": ms(header.lock_wait),
        "statement_timeout_ms": ms(header.statement_timeout),
        "content": migration.up.content.to_string(),
        "tokens": migration.up.tokens.to_string(),
    })
}
