//! Asks whether there is a backup: each source of the configuration's `[backup]` section in turn.

pub mod dump;
mod restore;

use std::process::Command;
use std::time::Duration;

use migengine_engine::id::Timestamp;
use migengine_engine::migration::parse_duration;
use migengine_engine::pg::read::ServerFacts;
use migengine_engine::pg::target::Target;
use migengine_engine::preflight::backup::{Found, archive, command, judge, pgbackrest, walg, young};
use migengine_engine::preflight::{Archiver, Check};

use self::dump::Dumped;
use crate::config::Backup;
use crate::error::CommandError;
use crate::outside::process;

/// How old a backup may be where the configuration does not say.
const MAX_AGE: Duration = Duration::from_secs(26 * 3600);
/// How much is read of what a source prints, in bytes.
const KEPT: usize = 1 << 20;
/// How long a source may take to answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The section with its durations understood.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    section: Backup,
    max_age_s: i64,
    timeout: Duration,
    dump_timeout: Duration,
}

impl Sources {
    /// Understands the section.
    ///
    /// # Errors
    /// A duration that is none, or a command without a program.
    pub fn new(section: Option<Backup>) -> Result<Self, CommandError> {
        let section = section.unwrap_or_default();
        let max_age = duration("max_age", section.max_age.as_deref(), MAX_AGE)?;
        let timeout = duration("timeout", section.timeout.as_deref(), TIMEOUT)?;
        let dump_timeout = duration("dump_timeout", section.dump_timeout.as_deref(), dump::TIMEOUT)?;
        for (key, argv) in [("command", &section.command), ("dump_command", &section.dump_command)] {
            if argv.as_ref().is_some_and(Vec::is_empty) {
                return Err(CommandError::usage("ME704", format!("{key} in [backup] names no program")));
            }
        }
        Ok(Self { section, max_age_s: i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX), timeout, dump_timeout })
    }

    /// Asks every source. `system` is the server's system identifier, 0 where it is not known.
    pub async fn check(&self, system: u64, archiver: Option<&Archiver>, now: Timestamp, protected: bool) -> Check {
        let mut proofs = Vec::new();
        let section = &self.section;
        if let Some(argv) = &section.command {
            let proof = self.ask(argv, now, command).await;
            proofs.push((argv.first().cloned().unwrap_or_default(), proof));
        }
        if let Some(stanza) = &section.pgbackrest {
            let argv =
                ["pgbackrest".to_owned(), format!("--stanza={stanza}"), "--output=json".to_owned(), "info".to_owned()];
            let proof = self.ask(&argv, now, |text| pgbackrest(text, stanza, system)).await;
            proofs.push(("pgBackRest".to_owned(), proof));
        }
        if section.walg {
            let argv = ["wal-g", "backup-list", "--json", "--detail"].map(str::to_owned);
            let proof = self.ask(&argv, now, |text| walg(text, system)).await;
            proofs.push(("WAL-G".to_owned(), proof));
        }
        if section.archiver {
            proofs.push(("archiver".to_owned(), archive(archiver, self.max_age_s)));
        }
        judge(&proofs, protected, section.dump)
    }

    /// Takes a dump where the section wants one: of the database, or of these tables.
    ///
    /// # Errors
    /// See [`dump::take`].
    pub async fn dump(
        &self,
        target: &Target,
        server: &ServerFacts,
        tables: &[String],
    ) -> Result<Option<Dumped>, CommandError> {
        if !self.section.dump {
            return Ok(None);
        }
        dump::take(&self.section, self.dump_timeout, target, server, tables).await.map(Some)
    }

    async fn ask(
        &self,
        argv: &[String],
        now: Timestamp,
        read: impl Fn(&str) -> Result<Found, String>,
    ) -> Result<String, String> {
        let (argv, limit) = (argv.to_vec(), self.timeout);
        let printed = tokio::task::spawn_blocking(move || printed(&argv, limit)).await;
        let printed = printed.map_err(|error| format!("running the command ended early: {error}"))??;
        young(&read(&printed)?, now, self.max_age_s)
    }
}

/// What a program that ends well prints, up to [`KEPT`] bytes.
fn printed(argv: &[String], limit: Duration) -> Result<String, String> {
    let [name, arguments @ ..] = argv else { return Err("no program is named".to_owned()) };
    let mut command = Command::new(name);
    command.args(arguments);
    let done = process::run(command, b"", limit, KEPT).map_err(|error| format!("{name} cannot be started: {error}"))?;
    let stdout = String::from_utf8_lossy(&done.stdout).into_owned();
    if done.timed_out {
        return Err(format!("{name} took longer than {limit:?} and was ended"));
    }
    if !done.success {
        let said = done.stderr.lines().chain(stdout.lines()).find(|line| !line.trim().is_empty());
        return Err(format!("{name} ended with {}: {}", done.verdict, said.unwrap_or("it said nothing")));
    }
    Ok(stdout)
}

fn duration(key: &str, text: Option<&str>, default: Duration) -> Result<Duration, CommandError> {
    let Some(text) = text else { return Ok(default) };
    parse_duration(text).ok_or_else(|| {
        CommandError::usage("ME007", format!("{key} = \"{text}\" in [backup] is no duration: write 90s, 30m or 26h"))
    })
}
