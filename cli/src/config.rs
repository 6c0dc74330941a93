//! migengine.toml. Unknown keys are errors that name the key and its line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use migengine_engine::protect::window::Windows;
use serde::Deserialize;

use crate::error::CommandError;
use crate::logging::{LogFormat, LogLevel};
use crate::outside::settings::{Export, Hooks, Notify};
use crate::paths::refuse_leaving;
use crate::telemetry::settings::{Metrics, OtlpSettings, SentrySettings};

/// The file's name where no other is given.
pub const FILE: &str = "migengine.toml";

/// One section: the top of the file, or `[env.NAME]`, whose keys win.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Where the database is. Better kept in the environment: see `database_url_env`.
    pub database_url: Option<String>,
    /// Name of the environment variable that holds the URL.
    pub database_url_env: Option<String>,
    /// Where the database is past any connection pooler.
    pub direct_url: Option<String>,
    /// Name of the environment variable that holds that URL.
    pub direct_url_env: Option<String>,
    /// Folder with the migrations.
    pub dir: Option<PathBuf>,
    /// Folder of the journal.
    pub journal: Option<PathBuf>,
    /// Schema of the engine's tables.
    pub schema: Option<String>,
    /// How long to wait for another runner's lock.
    pub lock_wait_runner: Option<String>,
    /// How long one try of a step may wait for a lock.
    pub lock_timeout: Option<String>,
    /// How long the application may wait behind a step.
    pub lock_budget: Option<String>,
    /// How long a step goes on trying to get its locks.
    pub lock_wait: Option<String>,
    /// What to do about sessions in the way: wait, cancel, terminate.
    pub on_blocker: Option<String>,
    /// How long a session that outlived its runner may go on.
    pub orphan_wait: Option<String>,
    /// How long to try to reach the database again.
    pub reconnect: Option<String>,
    /// What to do where the database is not as it was rehearsed: warn, refuse.
    pub drift: Option<DriftPolicy>,
    /// Whether changes need a person's word. A mark inside the database cannot be taken off here.
    pub protected: Option<bool>,
    /// When changes are welcome: one window or a list of them.
    #[serde(default, deserialize_with = "windows")]
    pub window: Option<Windows>,
    /// Whether rows are looked at before a run that would break pending constraints.
    pub data_checks: Option<bool>,
    /// How long one look at rows may take.
    pub data_check_timeout: Option<String>,
    /// How to find out whether there is a backup, and whether to make one.
    pub backup: Option<Backup>,
    /// Programs to run at moments of a run. An environment adds to those at the top, and replaces them one by one.
    #[serde(default)]
    pub hooks: Hooks,
    /// How long a hook may take.
    pub hook_timeout: Option<String>,
    /// The schema as a file.
    pub export: Option<Export>,
    /// How much the log tells.
    pub log_level: Option<LogLevel>,
    /// How the log looks: human, json.
    pub log_format: Option<LogFormat>,
    /// Who is told of a run. The list of an environment replaces the one at the top.
    pub notify: Option<Vec<Notify>>,
    /// For Prometheus.
    pub metrics: Option<Metrics>,
    /// OpenTelemetry.
    pub otlp: Option<OtlpSettings>,
    /// Sentry.
    pub sentry: Option<SentrySettings>,
}

/// `[backup]` or `[env.NAME.backup]`. One source that proves a backup is enough.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// How old a backup may be.
    pub max_age: Option<String>,
    /// How long one source may take to answer.
    pub timeout: Option<String>,
    /// A program that exits with 0 where there is a backup, and may print `{"finished_at": "…"}`.
    pub command: Option<Vec<String>>,
    /// The stanza of pgBackRest.
    pub pgbackrest: Option<String>,
    /// Ask WAL-G.
    #[serde(default)]
    pub walg: bool,
    /// The archiver's last success counts.
    #[serde(default)]
    pub archiver: bool,
    /// Run pg_dump before the first step.
    #[serde(default)]
    pub dump: bool,
    /// What is dumped.
    #[serde(default)]
    pub dump_tables: DumpTables,
    /// Folder of the dumps.
    pub dump_dir: Option<PathBuf>,
    /// A program that takes the dump on its standard input instead.
    pub dump_command: Option<Vec<String>>,
    /// How long a dump may take.
    pub dump_timeout: Option<String>,
}

/// What a dump holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DumpTables {
    /// The database.
    #[default]
    All,
    /// The tables that the pending steps lock or change.
    Touched,
}

/// What to do where the database is not as it was rehearsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriftPolicy {
    /// Tell after a run.
    #[default]
    Warn,
    /// Begin no run on top of it, and fail a run that ends in it.
    Refuse,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    env: BTreeMap<String, Section>,
    database_url: Option<String>,
    database_url_env: Option<String>,
    direct_url: Option<String>,
    direct_url_env: Option<String>,
    dir: Option<PathBuf>,
    journal: Option<PathBuf>,
    schema: Option<String>,
    lock_wait_runner: Option<String>,
    lock_timeout: Option<String>,
    lock_budget: Option<String>,
    lock_wait: Option<String>,
    on_blocker: Option<String>,
    orphan_wait: Option<String>,
    reconnect: Option<String>,
    drift: Option<DriftPolicy>,
    protected: Option<bool>,
    #[serde(default, deserialize_with = "windows")]
    window: Option<Windows>,
    data_checks: Option<bool>,
    data_check_timeout: Option<String>,
    backup: Option<Backup>,
    #[serde(default)]
    hooks: Hooks,
    hook_timeout: Option<String>,
    export: Option<Export>,
    log_level: Option<LogLevel>,
    log_format: Option<LogFormat>,
    notify: Option<Vec<Notify>>,
    metrics: Option<Metrics>,
    otlp: Option<OtlpSettings>,
    sentry: Option<SentrySettings>,
}

/// A window, or a list of windows. What is wrong with one is told with its line.
fn windows<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<Windows>, D::Error> {
    struct Texts;

    impl<'de> serde::de::Visitor<'de> for Texts {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a window such as \"Sat 02:00-05:00 Europe/Berlin\", or a list of them")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = list.next_element()? {
                texts.push(text);
            }
            Ok(texts)
        }
    }

    let texts = input.deserialize_any(Texts)?;
    Windows::parse(texts.iter().map(String::as_str)).map(Some).map_err(serde::de::Error::custom)
}

/// Reads the configuration and picks the environment.
///
/// # Errors
/// The file that was named is not there, or does not parse, or has no such environment.
pub fn load(file: Option<&Path>, env: Option<&str>) -> Result<Section, CommandError> {
    let path = file.unwrap_or(Path::new(FILE));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && file.is_none() => String::new(),
        Err(error) => {
            let what = format!("the configuration {} cannot be read: {error}", path.display());
            return Err(CommandError::usage("ME001", what));
        }
    };
    let name = path.display().to_string();
    let section = parse(&text, &name, env)?;
    refuse_leaving(&section, &text, &name)?;
    Ok(section)
}

fn parse(text: &str, name: &str, env: Option<&str>) -> Result<Section, CommandError> {
    let file: File = toml::from_str(text).map_err(|error| {
        // The parser quotes the offending line; where that could be the password's, only the place is told.
        let (line, column) = place(text, error.span().map_or(0, |span| span.start));
        CommandError::usage("ME002", format!("{name}:{line}:{column}: {}", error.message().trim_end()))
    })?;
    let mut picked = match env {
        None => Section::default(),
        Some(env) => match file.env.get(env) {
            Some(section) => section.clone(),
            None => {
                let known: Vec<&str> = file.env.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "it has none".to_owned() } else { known.join(", ") };
                let what = format!("{name} has no section [env.{env}] ({known})");
                return Err(CommandError::usage("ME003", what));
            }
        },
    };
    // An environment that says where its database is in one way must not be overruled by the other way at the top.
    let ways = [&picked.database_url, &picked.database_url_env, &picked.direct_url, &picked.direct_url_env];
    if ways.into_iter().all(Option::is_none) {
        picked.database_url = file.database_url;
        picked.database_url_env = file.database_url_env;
        picked.direct_url = file.direct_url;
        picked.direct_url_env = file.direct_url_env;
    }
    Ok(Section {
        dir: picked.dir.or(file.dir),
        journal: picked.journal.or(file.journal),
        schema: picked.schema.or(file.schema),
        lock_wait_runner: picked.lock_wait_runner.or(file.lock_wait_runner),
        lock_timeout: picked.lock_timeout.or(file.lock_timeout),
        lock_budget: picked.lock_budget.or(file.lock_budget),
        lock_wait: picked.lock_wait.or(file.lock_wait),
        on_blocker: picked.on_blocker.or(file.on_blocker),
        orphan_wait: picked.orphan_wait.or(file.orphan_wait),
        reconnect: picked.reconnect.or(file.reconnect),
        drift: picked.drift.or(file.drift),
        protected: picked.protected.or(file.protected),
        window: picked.window.or(file.window),
        data_checks: picked.data_checks.or(file.data_checks),
        data_check_timeout: picked.data_check_timeout.or(file.data_check_timeout),
        backup: picked.backup.or(file.backup),
        hooks: file.hooks.into_iter().chain(picked.hooks).collect(),
        hook_timeout: picked.hook_timeout.or(file.hook_timeout),
        export: picked.export.or(file.export),
        log_level: picked.log_level.or(file.log_level),
        log_format: picked.log_format.or(file.log_format),
        notify: picked.notify.or(file.notify),
        metrics: picked.metrics.or(file.metrics),
        otlp: picked.otlp.or(file.otlp),
        sentry: picked.sentry.or(file.sentry),
        ..picked
    })
}

fn place(text: &str, offset: usize) -> (u32, u32) {
    let position = migengine_engine::diag::Position::of(text, offset);
    (position.line, position.column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_overrides_the_top() {
        let text = "dir = \"a\"\nschema = \"s\"\n[env.production]\ndir = \"b\"\n";
        let section = parse(text, FILE, Some("production")).unwrap();
        assert_eq!((section.dir, section.schema.as_deref()), (Some("b".into()), Some("s")));
        assert_eq!(parse(text, FILE, None).unwrap().dir, Some("a".into()));
    }

    #[test]
    fn windows_are_one_or_many() {
        let window = |text: &str| parse(text, FILE, None).unwrap().window.map(|windows| windows.to_string());
        assert_eq!(window("window = \"Sat 02:00-05:00 UTC\"\n").as_deref(), Some("Sat 02:00-05:00 UTC"));
        let two = "window = [\"Sat 02:00-05:00 UTC\", \"daily 03:00-04:00 Europe/Berlin\"]\n";
        assert_eq!(window(two).as_deref(), Some("Sat 02:00-05:00 UTC, daily 03:00-04:00 Europe/Berlin"));
        assert_eq!(window(""), None);
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, env, expected) in [
            ("dirr = \"a\"\n", None, "migengine.toml:1:1: unknown field `dirr`"),
            ("\n[env.p]\nschemaa = \"x\"\n", None, "migengine.toml:3:1: unknown field `schemaa`"),
            ("dir = 3\n", None, "migengine.toml:1:7: invalid type"),
            (
                "\nwindow = \"Sat 02:00-05:00 Europe/Berlln\"\n",
                None,
                "migengine.toml:2:10: there is no time zone `Europe/B",
            ),
            ("window = [\"Sat 02:00-05:00 UTC\",\n \"Sun 2 UTC\"]\n", None, "migengine.toml:1:10: `2` are no hours"),
            ("log_level = \"loud\"\n", None, "migengine.toml:1:13: `loud` is no log level"),
            ("[env.p]\nlog_format = \"xml\"\n", None, "migengine.toml:2:14: unknown variant `xml`"),
            ("[backup]\nmaxage = \"1h\"\n", None, "migengine.toml:2:1: unknown field `maxage`"),
            ("window = 3\n", None, "migengine.toml:1:10: invalid type"),
            ("[env.p]\n", Some("q"), "migengine.toml has no section [env.q] (p)"),
        ] {
            let error = parse(text, FILE, env).unwrap_err();
            assert!(error.what.starts_with(expected), "{} against {expected}", error.what);
        }
    }
}
