//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use migengine_engine::migration::parse_duration;

use crate::commands;
use crate::logging::LogFormat;

/// PostgreSQL schema migrations as plain SQL: planned as a graph, run as a durable state machine.
#[derive(Debug, Parser)]
#[command(name = "migengine", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command. Precedence: flag, environment, migengine.toml, default.
#[derive(Debug, Args, Default, Clone)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The database: a postgres:// URL or a key=value string. Without it libpq's PG* variables count.
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// The database past any connection pooler; used instead of --database-url where both are given.
    #[arg(long, global = true, env = "MIGENGINE_DIRECT_URL", hide_env_values = true, value_name = "URL")]
    pub direct_url: Option<String>,
    /// Use a private PostgreSQL, started for this command on a Unix socket and kept between commands (in DIR).
    #[arg(long, global = true, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    pub embedded: Option<Option<PathBuf>>,
    /// Section [env.NAME] of the configuration.
    #[arg(long, global = true, env = "MIGENGINE_ENV", value_name = "NAME")]
    pub env: Option<String>,
    /// Configuration file [default: migengine.toml, where it is there].
    #[arg(long, global = true, env = "MIGENGINE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder with the migrations [default: migrations].
    #[arg(long, global = true, env = "MIGENGINE_DIR")]
    pub dir: Option<PathBuf>,
    /// Folder of the journal. One that is named belongs to one database; by default each database has its own below
    /// .migengine/journal.
    #[arg(long, global = true, env = "MIGENGINE_JOURNAL", value_name = "DIR")]
    pub journal: Option<PathBuf>,
    /// Schema that holds the engine's tables [default: migengine].
    #[arg(long, global = true, env = "MIGENGINE_SCHEMA", value_name = "NAME")]
    pub schema: Option<String>,
    /// What stdout carries.
    #[arg(long, global = true, value_enum)]
    pub format: Option<AskedFormat>,
    /// Whether messages are coloured.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// Tell more; twice: everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Tell errors only.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// How much the log on stderr tells: off, error, warn, info, debug, trace; or target=level pairs [default: by -v].
    #[arg(long, global = true, env = "MIGENGINE_LOG", value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// How the log looks [default: human].
    #[arg(long, global = true, env = "MIGENGINE_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
}

/// Formats that can be asked for. The last two are for `audit export` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AskedFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// One JSON object a line.
    #[value(hide = true)]
    Jsonl,
    /// Comma-separated values, RFC 4180.
    #[value(hide = true)]
    Csv,
}

/// Formats of stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Options of the commands that change the database.
#[derive(Debug, Args, Clone, Default)]
#[command(next_help_heading = "Run options")]
pub struct RunOptions {
    /// How long to wait for another runner's lock [default: 0s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub lock_wait_runner: Option<Duration>,
    /// How long one try of a step may wait for a lock: the application waits behind it [default: 100ms].
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub lock_timeout: Option<Duration>,
    /// How long the application may wait behind a step before the step is cancelled [default: 250ms].
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub lock_budget: Option<Duration>,
    /// How long a step goes on trying to get its locks [default: 10m].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub lock_wait: Option<Duration>,
    /// What to do about sessions that hold what a step needs [default: wait].
    #[arg(long, value_enum, value_name = "HOW")]
    pub on_blocker: Option<OnBlocker>,
    /// How long a session that outlived its runner may go on before it is ended, or given up waiting for [default: 20s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub orphan_wait: Option<Duration>,
    /// How long to try to reach the database again in the middle of a run [default: 30s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub reconnect: Option<Duration>,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
    /// The name of the database that is meant. A protected one is changed without asking only with this and --yes.
    #[arg(long, value_name = "DATABASE")]
    pub confirm: Option<String>,
    /// Go ahead outside of the maintenance windows; the reason is kept in the journal.
    #[arg(long, value_name = "REASON", value_parser = reason)]
    pub outside_window: Option<String>,
    /// Go ahead without a backup; the reason is kept in the journal.
    #[arg(long, value_name = "REASON", value_parser = reason)]
    pub no_backup: Option<String>,
    /// Do not look for rows that would break pending constraints.
    #[arg(long)]
    pub no_data_checks: bool,
    /// With --format json: every event and how far things have come as they happen, one object a line; the last line is
    /// the result.
    #[arg(long)]
    pub events: bool,
    /// How to show a run while it lasts.
    #[arg(long, value_enum, value_name = "HOW", default_value_t = ShowProgress::Auto)]
    pub progress: ShowProgress,
}

/// How to show a run while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ShowProgress {
    /// A live display where stderr is a terminal, lines elsewhere.
    #[default]
    Auto,
    /// Lines.
    Plain,
}

/// What to do about sessions in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnBlocker {
    /// Wait until they are done.
    Wait,
    /// Cancel their statements.
    Cancel,
    /// End them.
    Terminate,
}

impl From<OnBlocker> for migengine_engine::guard::OnBlocker {
    fn from(how: OnBlocker) -> Self {
        match how {
            OnBlocker::Wait => Self::Wait,
            OnBlocker::Cancel => Self::Cancel,
            OnBlocker::Terminate => Self::Terminate,
        }
    }
}

/// A reason that is kept in the journal.
///
/// # Errors
/// It says nothing.
pub fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() { Err("say why: it is kept in the journal".to_owned()) } else { Ok(text.to_owned()) }
}

fn positive(text: &str) -> Result<Duration, String> {
    let limit = duration(text)?;
    if limit < Duration::from_millis(1) { Err("it must be 1ms at least".to_owned()) } else { Ok(limit) }
}

/// A duration as the command line takes it.
///
/// # Errors
/// It is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write a number and a unit: 100ms, 2s, 10m, 2h".to_owned())
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what would run, in order. Takes no lock and writes nothing.
    Plan(commands::plan::PlanArgs),
    /// Apply pending migrations.
    Apply(commands::apply::ApplyArgs),
    /// Reverse applied migrations.
    Rollback(commands::rollback::RollbackArgs),
    /// Show what is applied, pending, changed, missing, and any unfinished run.
    Status(commands::status::StatusArgs),
    /// List the migrations in the folder with their headers.
    List(commands::list::ListArgs),
    /// Look at runs and their events.
    Journal(commands::journal::JournalArgs),
    /// Write a new pair of migration files.
    New(commands::new::NewArgs),
    /// Say what became of a step where neither the history nor the catalogs can tell.
    Resolve(commands::resolve::ResolveArgs),
    /// Keep runners on this database from beginning another batch of a statement that runs in pieces.
    Pause(commands::pause::PauseArgs),
    /// Let runners go on that `pause` holds.
    Resume,
    /// Look at the files for what would lock, rewrite, scan or lose something. Needs no database.
    Lint(commands::lint::LintArgs),
    /// Explain an error code or a hazard; without one, list them all.
    Explain(commands::explain::ExplainArgs),
    /// Prove every migration and every rollback on a scratch database.
    Rehearse(commands::rehearse::RehearseArgs),
    /// Show a schema, or the difference of two.
    Schema(commands::schema::SchemaArgs),
    /// Check everything that a run depends on: server, rights, files, backups, rows. Changes nothing.
    Doctor(commands::doctor::DoctorArgs),
    /// Compare the database with what was rehearsed.
    Drift(commands::drift::DriftArgs),
    /// Mark the database, so that changes to it need its name typed; or take the mark off.
    Protect(commands::protect::ProtectArgs),
    /// Look at the audit log, check that nobody changed it, or export it.
    Audit(commands::audit::AuditArgs),
    /// Write the schema to a file: pg_dump's text, the same for the same schema.
    Export(commands::export::ExportArgs),
    /// Write a script that completes commands and options in a shell.
    Completions(commands::completions::CompletionsArgs),
    /// Write the manual pages.
    Man(commands::man::ManArgs),
}
