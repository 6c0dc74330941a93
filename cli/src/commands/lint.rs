//! `migengine lint [FILES]`: what the scripts would do to the users of the tables, told from their text.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use migengine_engine::diag::{Diagnostic, Severity};
use migengine_engine::hazard::{Context, Report, Tied, look, untied};
use migengine_engine::migration::{FileName, Script, ScriptKind, parse_owned, parse_streamed};

use crate::args::Format;
use crate::commands::rehearse::chain::Chain;
use crate::error::{CommandError, Exit};
use crate::{project, render};

/// What stdout carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LintFormat {
    /// For people, with the line and a caret.
    #[default]
    Text,
    /// One object: `{"findings": […]}`.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Annotations of GitHub workflows.
    Github,
}

/// Options of `lint`.
#[derive(Debug, Clone, Default, Args)]
pub struct LintArgs {
    /// Files to look at; without any, the folder with migrations.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// What stdout carries.
    #[arg(long = "output", value_enum, default_value_t, value_name = "FORMAT")]
    pub output: LintFormat,
    /// One entry for each statement, harmless ones too.
    #[arg(long)]
    pub all_statements: bool,
    /// Major version of the server; some hazards and safe forms depend on it.
    #[arg(long, value_name = "N")]
    pub server_version: Option<u32>,
}

/// Runs the command. Findings of warning level and above exit with 3.
///
/// # Errors
/// A file that was named, or the folder, cannot be read.
pub fn run(context: &crate::context::Context, args: &LintArgs) -> Result<Exit, CommandError> {
    let paths = if args.files.is_empty() { project::list(&context.dir)? } else { args.files.clone() };
    let read = |path: PathBuf| {
        let shown = path.to_string_lossy().into_owned();
        let parsed =
            project::read_as(&path, &shown, |bytes| parse_owned(&shown, bytes), |text| parse_streamed(&shown, text));
        parsed
            .map(|parsed| (shown.clone(), parsed))
            .map_err(|error| CommandError::usage("ME017", format!("the file {shown} cannot be read: {error}")))
    };
    let files = paths.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let format = match (args.output, context.look.format) {
        (LintFormat::Text, Format::Json) => LintFormat::Json,
        (output, _) => output,
    };
    let ties = if args.files.is_empty() { ties(context) } else { Vec::new() };
    let (text, found) = lint(&files, &ties, args, format);
    render::data(text.trim_end());
    Ok(if found { Exit::Differs } else { Exit::Done })
}

/// What a migration of the folder touches without requiring it. Nothing where the folder is in no order; the files'
/// own problems say why.
fn ties(context: &crate::context::Context) -> Vec<Diagnostic> {
    let chain = project::load(&context.dir).and_then(|project| Chain::of(&project, &context.dir));
    let Ok(chain) = chain else { return Vec::new() };
    let tied = chain.members.iter().map(|member| Tied {
        id: &member.link.id,
        requires: &member.requires,
        up: &member.migration.up,
    });
    untied(&tied.collect::<Vec<_>>())
}

/// What reading a file gave.
pub type Parsed = (Option<Script>, Vec<Diagnostic>);

/// Looks at files, each a path as shown to people with what was read there. Forward scripts are looked at in the order of their
/// numbers, each knowing what those before it did; reverse and verify scripts come with the forward script's knowledge.
///
/// `ties` are findings about the folder as a whole. Returns what goes to stdout, and whether anything is a warning or worse. `format` is given apart from the options,
/// so that the command line may name it as it likes.
#[must_use]
pub fn lint(files: &[(String, Parsed)], ties: &[Diagnostic], options: &LintArgs, format: LintFormat) -> (String, bool) {
    let mut report = Report::default();
    report.diagnostics(ties);
    let mut context = Context::new(options.server_version);
    for (file, (script, found)) in in_order(files) {
        report.diagnostics(found);
        let Some(script) = script else { continue };
        let reverse = matches!(FileName::of(file), FileName::Script { kind, .. } if kind != ScriptKind::Forward);
        // What a reverse script drops and creates is no news to the next forward script.
        let mut own = if reverse { context.clone() } else { std::mem::take(&mut context) };
        let facts = look(script, &mut own);
        own.applied();
        if !reverse {
            context = own;
        }
        report.script(script, &facts, options.all_statements);
    }
    let bad = report.worst().is_some_and(|worst| worst >= Severity::Warning);
    let output = match format {
        LintFormat::Text => report.text(),
        LintFormat::Json => report.json(),
        LintFormat::Sarif => report.sarif(),
        LintFormat::Github => report.github(),
    };
    (output, bad)
}

/// By (number, id, kind); what has no id stays in the order given, behind the others.
fn in_order(files: &[(String, Parsed)]) -> Vec<&(String, Parsed)> {
    let mut sorted = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        let key = match FileName::of(&file.0) {
            FileName::Script { id, kind } => (0, Some(id), Some(kind), index),
            _ => (1, None, None, index),
        };
        sorted.insert(key, file);
    }
    sorted.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_know_what_came_before_them() {
        let file = |name: &str, sql: &str| (name.to_owned(), parse_owned(name, sql.as_bytes().to_vec()));
        let files = [
            file("m/10_widen.sql", "ALTER TABLE t ALTER COLUMN a TYPE varchar(20);"),
            file("m/2_t.sql", "CREATE TABLE t (a varchar(10));"),
            file("m/11_drop.sql", "ALTER TABLE t DROP COLUMN a;"),
        ];
        let (text, bad) = lint(&files[..2], &[], &LintArgs::default(), LintFormat::Text);
        assert_eq!((text.as_str(), bad), ("", false));
        let (text, bad) = lint(&files, &[], &LintArgs::default(), LintFormat::Github);
        assert!(bad && text.starts_with("::warning file=m/11_drop.sql,line=1,col=15,title=MH012::"), "{text}");
        let (text, bad) = lint(&[file("m/1_a.sql", "SELECT 'a")], &[], &LintArgs::default(), LintFormat::Json);
        assert!(bad && text.contains("ME120"), "{text}");
    }
}
