//! What a command works with: options resolved by precedence (flag, environment, migengine.toml, default).

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use migengine_engine::guard::{Limits as GuardLimits, OnBlocker};
use migengine_engine::id::Timestamp;
use migengine_engine::migration::parse_duration;
use migengine_engine::pg::layout::SchemaName;
use migengine_engine::pg::read::{DatabaseState, Ledger, read};
use migengine_engine::pg::session::{Session, default_settings};
use migengine_engine::pg::target::{SystemFiles, Target};
use migengine_engine::protect::Protection;
use migengine_engine::protect::window::Windows;

use crate::args::{AskedFormat, Color, Format, Global, RunOptions};
use crate::backup::Sources;
use crate::config::{self, DriftPolicy, Section};
use crate::embedded::{self, Embedded};
use crate::error::CommandError;
use crate::journals::JournalPlace;
use crate::outside::Outside;
use crate::preflight::RowLimits;

/// Where things go and how they look.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// What stdout carries.
    pub format: Format,
    /// Whether stderr is coloured.
    pub color: bool,
    /// 0 to 2.
    pub verbose: u8,
    /// Errors only.
    pub quiet: bool,
}

impl Look {
    /// From the options and the terminal.
    #[must_use]
    pub fn of(global: &Global) -> Self {
        let color = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        // Whoever reads lines of JSON gets errors as JSON too.
        let format = match global.format {
            Some(AskedFormat::Json | AskedFormat::Jsonl) => Format::Json,
            Some(AskedFormat::Text | AskedFormat::Csv) | None => Format::Text,
        };
        Self { format, color, verbose: global.verbose, quiet: global.quiet }
    }
}

/// Resolved options.
pub struct Context {
    /// Look of the output.
    pub look: Look,
    /// Folder with the migrations.
    pub dir: PathBuf,
    /// Where the journal is.
    pub journal: JournalPlace,
    /// The engine's schema.
    pub schema: SchemaName,
    section: Section,
    global: Global,
    embedded: std::sync::Mutex<Option<Embedded>>,
}

impl Context {
    /// Resolves.
    ///
    /// # Errors
    /// Configuration that does not parse.
    pub fn new(global: Global) -> Result<Self, CommandError> {
        let section = config::load(global.config.as_deref(), global.env.as_deref())?;
        let schema = global.schema.clone().or(section.schema.clone()).unwrap_or_else(|| "migengine".to_owned());
        let schema = SchemaName::new(&schema).map_err(|what| CommandError::usage("ME005", what))?;
        let dir = global.dir.clone().or(section.dir.clone()).unwrap_or_else(|| PathBuf::from("migrations"));
        let journal = JournalPlace::new(global.journal.clone().or(section.journal.clone()));
        let look = Look::of(&global);
        Ok(Self { look, dir, journal, schema, section, global, embedded: std::sync::Mutex::new(None) })
    }

    /// Starts the log.
    ///
    /// # Errors
    /// A level that is none.
    pub fn start_log(&self) -> Result<(), CommandError> {
        crate::logging::start(&self.global, &self.section)
    }

    /// Where to connect. Starts the embedded server if that is asked for.
    ///
    /// # Errors
    /// A URL that cannot be understood, or a server that cannot be started.
    pub fn target(&self) -> Result<Target, CommandError> {
        let env = |name: &str| std::env::var(name).ok();
        if let Some(dir) = &self.global.embedded {
            let mut running = self.embedded.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if running.is_none() {
                *running = Some(embedded::start(dir.as_deref())?);
            }
            let url = running.as_ref().map(|server| server.url().to_owned());
            return Ok(Target::resolve(url.as_deref(), &|_| None, &SystemFiles)?);
        }
        Ok(Target::resolve(self.url(&env)?.as_deref(), &env, &SystemFiles)?)
    }

    /// The URL. A direct one is used for everything, wherever it comes from; only a database that is typed wins over a
    /// direct URL that is not: who types a name means that one.
    fn url(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, CommandError> {
        let (global, section) = (&self.global, &self.section);
        let typed =
            |value: &Option<String>, name: &str| value.clone().filter(|value| env(name).as_ref() != Some(value));
        let given = typed(&global.direct_url, "MIGENGINE_DIRECT_URL")
            .or_else(|| typed(&global.database_url, "DATABASE_URL"))
            .or_else(|| global.direct_url.clone());
        if given.is_some() {
            return Ok(given);
        }
        let named = |name: &String| {
            env(name).ok_or_else(|| {
                let what = format!("the environment variable {name}, which {} names, is not set", config::FILE);
                CommandError::usage("ME006", what)
            })
        };
        match (&section.direct_url_env, &section.direct_url, &global.database_url, &section.database_url_env) {
            (Some(name), ..) | (None, None, None, Some(name)) => named(name).map(Some),
            (None, Some(url), ..) | (None, None, Some(url), _) => Ok(Some(url.clone())),
            (None, None, None, None) => Ok(section.database_url.clone()),
        }
    }

    /// The configuration of this environment.
    #[must_use]
    pub fn section(&self) -> &Section {
        &self.section
    }

    /// The format as it was asked for.
    #[must_use]
    pub fn asked_format(&self) -> Option<AskedFormat> {
        self.global.format
    }

    /// The name given with `--env`.
    #[must_use]
    pub fn environment(&self) -> Option<&str> {
        self.global.env.as_deref()
    }

    /// Starts whatever is to be told of a run.
    ///
    /// # Errors
    /// A mistake in the configuration, or events asked for in text.
    pub fn outside(&self, options: &RunOptions) -> Result<Outside, CommandError> {
        if options.events && self.look.format != Format::Json {
            return Err(CommandError::usage("ME716", "--events is for machines: add --format json"));
        }
        Outside::start(&self.section, self.environment(), options.events)
    }

    /// The folder given with `--embedded=DIR`.
    #[must_use]
    pub fn embedded_dir(&self) -> Option<&std::path::Path> {
        self.global.embedded.as_ref().and_then(|dir| dir.as_deref())
    }

    /// Connects and reads the state, changing nothing.
    ///
    /// # Errors
    /// No connection, or tables that are not ours.
    pub async fn open(&self, target: &Target, limits: &Limits) -> Result<(Session, DatabaseState), CommandError> {
        let session = Session::open(target, &self.schema, "migengine", &limits.settings()).await?;
        for warning in &session.warnings {
            self.tell(warning);
        }
        let state = read(&session.client, &self.schema).await?;
        Ok((session, state))
    }

    /// Why changes to this database need a person's word, if they do. The mark inside of it wins over any file.
    #[must_use]
    pub fn protection(&self, ledger: Option<&Ledger>) -> Protection {
        let file = self.global.config.as_deref().unwrap_or(std::path::Path::new(config::FILE)).display();
        let configured = self.section.protected == Some(true);
        Protection {
            configured: configured.then(|| match &self.global.env {
                Some(env) => format!("[env.{env}] of {file}"),
                None => file.to_string(),
            }),
            mark: ledger.and_then(|ledger| ledger.mark.clone()),
        }
    }

    /// What to do where the database is not as it was rehearsed.
    #[must_use]
    pub fn drift_policy(&self) -> DriftPolicy {
        self.section.drift.unwrap_or_default()
    }

    /// When changes are welcome.
    #[must_use]
    pub fn windows(&self) -> Windows {
        self.section.window.clone().unwrap_or_default()
    }

    /// The windows that a run keeps to: none where somebody took the responsibility for being outside of them.
    #[must_use]
    pub fn windows_of(&self, options: &RunOptions) -> Windows {
        if options.outside_window.is_some() { Windows::default() } else { self.windows() }
    }

    /// How to find out whether there is a backup.
    ///
    /// # Errors
    /// A value of the section that cannot be understood.
    pub fn backups(&self) -> Result<Sources, CommandError> {
        Sources::new(self.section.backup.clone())
    }

    /// How far rows are looked at before a run; absent where they are not.
    ///
    /// # Errors
    /// A duration in the configuration that is none.
    pub fn row_limits(&self, options: &RunOptions) -> Result<Option<RowLimits>, CommandError> {
        if options.no_data_checks || self.section.data_checks == Some(false) {
            return Ok(None);
        }
        let text = self.section.data_check_timeout.as_deref().unwrap_or("2s");
        let each = parse_duration(text).ok_or_else(|| {
            let what = format!("data_check_timeout = \"{text}\" is no duration: write 100ms, 2s or 10m");
            CommandError::usage("ME007", what)
        })?;
        Ok(Some(RowLimits::of_a_run(positive("data_check_timeout", each)?)))
    }

    /// The limits of a run.
    ///
    /// # Errors
    /// A duration in the configuration that is none.
    pub fn limits(&self, options: &RunOptions) -> Result<Limits, CommandError> {
        let configured = |flag: Option<Duration>, key: &str, text: &Option<String>, default: Duration| {
            let parsed = text.as_deref().map(|text| {
                parse_duration(text).ok_or_else(|| {
                    CommandError::usage(
                        "ME007",
                        format!("{key} = \"{text}\" is no duration: write 100ms, 2s, 10m or 2h"),
                    )
                })
            });
            flag.map_or_else(|| parsed.unwrap_or(Ok(default)), Ok)
        };
        // What cannot be understood is told before anything is looked at.
        self.row_limits(options)?;
        self.backups()?;
        let section = &self.section;
        let guard = GuardLimits::default();
        Ok(Limits {
            lock_wait_runner: configured(
                options.lock_wait_runner,
                "lock_wait_runner",
                &section.lock_wait_runner,
                Duration::ZERO,
            )?,
            guard: GuardLimits {
                lock_timeout: positive(
                    "lock_timeout",
                    configured(options.lock_timeout, "lock_timeout", &section.lock_timeout, guard.lock_timeout)?,
                )?,
                budget: positive(
                    "lock_budget",
                    configured(options.lock_budget, "lock_budget", &section.lock_budget, guard.budget)?,
                )?,
                wait: configured(options.lock_wait, "lock_wait", &section.lock_wait, guard.wait)?,
                on_blocker: match (options.on_blocker, section.on_blocker.as_deref()) {
                    (Some(how), _) => how.into(),
                    (None, Some(name)) => OnBlocker::from_name(name).ok_or_else(|| {
                        let what = format!("on_blocker = \"{name}\" is none of wait, cancel, terminate");
                        CommandError::usage("ME018", what)
                    })?,
                    (None, None) => guard.on_blocker,
                },
            },
            orphan_wait: configured(options.orphan_wait, "orphan_wait", &section.orphan_wait, Duration::from_secs(20))?,
            reconnect: configured(options.reconnect, "reconnect", &section.reconnect, Duration::from_secs(30))?,
            jobs: 1,
        })
    }

    /// Something worth knowing, on stderr.
    pub fn tell(&self, text: &str) {
        if !self.look.quiet {
            crate::render::line(text);
        }
    }

    /// Stops the embedded server, if this command started one.
    ///
    /// # Errors
    /// It could not be stopped.
    pub fn close(self) -> Result<(), CommandError> {
        match self.embedded.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some(server) => Ok(server.stop()?),
            None => Ok(()),
        }
    }
}

/// How long the engine waits for locks on its own tables, which nobody else has a use for. Steps have limits of their
/// own.
const OWN_LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Zero would mean the opposite of what it says: PostgreSQL takes it for no limit.
fn positive(key: &str, limit: Duration) -> Result<Duration, CommandError> {
    if limit < Duration::from_millis(1) {
        return Err(CommandError::usage("ME007", format!("{key} must be 1ms at least")));
    }
    Ok(limit)
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Another runner's lock.
    pub lock_wait_runner: Duration,
    /// The application and the steps, for one another.
    pub guard: GuardLimits,
    /// A session that outlived its runner.
    pub orphan_wait: Duration,
    /// The database, in the middle of a run.
    pub reconnect: Duration,
    /// Sessions for steps side by side.
    pub jobs: usize,
}

impl Limits {
    /// Settings of every session.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        default_settings(OWN_LOCK_TIMEOUT)
    }
}

/// The clock of the process.
#[must_use]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX).saturating_add(crate::crash::ahead_us()))
}

/// `user@host`, for the audit trail.
#[must_use]
pub fn actor() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::effective()).ok().flatten();
    let user = user.map_or_else(|| nix::unistd::Uid::effective().to_string(), |user| user.name);
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    format!("{user}@{}", host.unwrap_or_else(|| "unknown".to_owned()))
}
