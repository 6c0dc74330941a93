//! Whether a change may begin: maintenance windows, hazards that nobody allowed, and a person's word for a protected
//! database. Everything here happens before anything is written anywhere.

use std::io::{BufRead as _, IsTerminal as _};

use migengine_engine::drive::StepScripts;
use migengine_engine::hazard::{self, refusals};
use migengine_engine::migration::Script;
use migengine_engine::pg::read::DatabaseState;
use migengine_engine::pg::session::Session;
use migengine_engine::pg::target::{Host, Target};
use migengine_engine::preflight::Verdict;
use migengine_engine::protect::{Admission, Consent, Protection, admission, hosted};
use migengine_engine::run::event::Event;
use migengine_engine::run::state::{Direction, RunSnapshot, StepSnapshot, StepState};
use tokio::sync::{oneshot, watch};

use crate::args::RunOptions;
use crate::context::{Context, now};
use crate::error::CommandError;
use crate::outside::programs;
use crate::{preflight, render};

/// What is about to happen, and to which database.
pub struct Intention<'a> {
    /// Options.
    pub context: &'a Context,
    /// The database.
    pub target: &'a Target,
    /// A session that may be asked.
    pub session: &'a Session,
    /// What was read of it.
    pub state: &'a DatabaseState,
    /// Whether a run begins, or goes on.
    pub beginning: Beginning,
    /// What was typed.
    pub options: &'a RunOptions,
    /// The scripts that would run, in that order.
    pub scripts: Vec<&'a Script>,
    /// Whether data may be lost without an `Allow` line.
    pub loss: Loss<'a>,
    /// What would happen, for people: several lines.
    pub picture: &'a dyn Fn() -> String,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// Nothing has happened yet.
    New,
    /// It was admitted before, when it began. The backup of then is the one to go back to.
    Again,
}

/// What may be done about data that a script loses and no `Allow` line accepts.
#[derive(Debug, Clone, Copy)]
pub enum Loss<'a> {
    /// The author has to write the line.
    NeedsAllow,
    /// The author's way back may be the only one: whoever goes it may accept the loss, with a reason.
    Accepted(Option<&'a str>),
}

/// The scripts that would still run forward, in order.
#[must_use]
pub fn forward<'s>(run: Option<&RunSnapshot>, scripts: &'s [StepScripts]) -> Vec<&'s Script> {
    let ahead = |index: usize| of_step(run, index).is_none_or(|step| step.state != StepState::Applied);
    let left = scripts.iter().enumerate().filter(|(index, _)| ahead(*index));
    left.filter_map(|(_, step)| step.up.as_deref()).collect()
}

/// The reverse scripts that would still run, in the order in which they do.
#[must_use]
pub fn backward<'s>(run: Option<&RunSnapshot>, scripts: &'s [StepScripts]) -> Vec<&'s Script> {
    let untouched = |step: &StepSnapshot| step.state == StepState::Pending && step.parts_done == 0;
    let in_effect =
        |index: usize| of_step(run, index).is_none_or(|step| step.state != StepState::Undone && !untouched(step));
    let left = scripts.iter().enumerate().rev().filter(|(index, _)| in_effect(*index));
    left.filter_map(|(_, step)| step.down.as_deref()).collect()
}

fn of_step(run: Option<&RunSnapshot>, index: usize) -> Option<&StepSnapshot> {
    run.and_then(|run| run.steps.get(index))
}

/// The steps of a run that goes on, for people.
#[must_use]
pub fn outline(run: &RunSnapshot) -> String {
    let verb = match run.direction {
        Direction::Forward => "go on with",
        Direction::Unwinding => "take back",
    };
    let mut text = format!("{verb} run {}\n", run.run);
    for (planned, step) in run.started.steps.iter().zip(&run.steps) {
        text.push_str(&format!("  {}: {}\n", planned.id, step.state.public_name()));
    }
    text
}

/// A note for the journal on something that a person took upon themselves.
#[must_use]
pub fn note(topic: &str, message: impl Into<String>) -> Event {
    Event::Noted { step: None, topic: topic.to_owned(), message: message.into() }
}

impl Intention<'_> {
    /// Lets the change begin, and says what the journal should keep of the decision.
    ///
    /// # Errors
    /// Why it may not begin; nothing was changed.
    pub async fn admit(&self, stop: &watch::Receiver<bool>) -> Result<Vec<Event>, CommandError> {
        let protection = self.context.protection(self.state.ledger.as_ref());
        let consent = consent(self.options.yes, self.options.confirm.clone());
        let asking = admission(&protection, &consent, &self.state.server.database) == Admission::Ask;
        let mut notes = Vec::new();
        if !asking {
            notes.extend(confirmed(self, &protection, &consent, stop).await?);
        }
        notes.extend(self.window()?);
        if protection.is_on() {
            notes.extend(self.hazards()?);
        } else {
            self.warn_of_hosts();
        }
        let (found, tables) = self.preflight(protection.is_on()).await?;
        notes.extend(found);
        // Nobody is asked for what would be refused afterwards.
        if asking {
            notes.extend(confirmed(self, &protection, &consent, stop).await?);
        }
        notes.extend(self.dump(&tables).await?);
        Ok(notes)
    }

    fn window(&self) -> Result<Option<Event>, CommandError> {
        let windows = self.context.windows();
        let Some(what) = windows.closed(now()) else { return Ok(None) };
        if let Some(reason) = &self.options.outside_window {
            return Ok(Some(note("window", format!("outside of {windows}, because: {reason}"))));
        }
        Err(CommandError::refused("ME703", what)
            .next("wait for it, or take the responsibility, which the journal keeps: --outside-window \"reason\""))
    }

    fn hazards(&self) -> Result<Option<Event>, CommandError> {
        let major = u32::try_from(self.state.server.version / 10_000).ok();
        let refused = refusals(self.scripts.iter().copied(), &mut hazard::Context::new(major));
        if refused.is_empty() {
            return Ok(None);
        }
        match self.loss {
            Loss::NeedsAllow => Err(CommandError::files(refused)),
            Loss::Accepted(None) => Err(CommandError::files(refused).next(
                "if there is no other way back, accept the loss, which the journal keeps: --accept-loss \"reason\"",
            )),
            Loss::Accepted(Some(reason)) => {
                let places: Vec<String> = refused.iter().map(ToString::to_string).collect();
                Ok(Some(note("loss", format!("accepted, because: {reason}; {}", places.join("; ")))))
            }
        }
    }

    /// The checks of server, rights, backups and rows. Also the tables that are touched and there.
    async fn preflight(&self, protected: bool) -> Result<(Vec<Event>, Vec<String>), CommandError> {
        let (sources, limits) = (self.context.backups()?, self.context.row_limits(self.options)?);
        let inspected = preflight::inspect(self.context, self.session, self.state, &self.scripts).await?;
        let mut checks = inspected.checks;
        checks.push(programs::check(self.context.section(), None));
        let mut notes = Vec::new();
        if let (Beginning::New, None) = (self.beginning, &self.options.no_backup) {
            let archiver = inspected.facts.as_ref().and_then(|facts| facts.archiver.as_ref());
            let found = sources.check(self.state.server.system, archiver, now(), protected).await;
            if matches!(found.verdict, Verdict::Ok | Verdict::Warn) {
                notes.push(note("backup", found.says.clone()));
            }
            checks.push(found);
        }
        notes.extend(
            self.options.no_backup.as_ref().map(|why| note("no-backup", format!("without a backup, because: {why}"))),
        );
        if let Some(limits) = limits.filter(|_| !inspected.asks.rows.is_empty()) {
            checks.push(preflight::rows(self.session, &inspected.asks, inspected.facts.as_ref(), limits).await?);
        }
        preflight::heed(self.context, &checks)?;
        let tables = inspected.facts.map(|facts| facts.tables.into_keys().collect()).unwrap_or_default();
        Ok((notes, tables))
    }

    /// The last thing before a new run begins.
    async fn dump(&self, tables: &[String]) -> Result<Option<Event>, CommandError> {
        if self.beginning == Beginning::Again || self.options.no_backup.is_some() {
            return Ok(None);
        }
        let dumped = self.context.backups()?.dump(self.target, &self.state.server, tables).await?;
        Ok(dumped.map(|dumped| {
            self.context.tell(&dumped.note);
            self.context.tell(&dumped.restore);
            note("dump", dumped.note)
        }))
    }

    /// Hosted databases are seldom somebody's own.
    fn warn_of_hosts(&self) {
        if let Some(service) = hosted_at(self.target) {
            self.context.tell(&format!(
                "warning: {} looks like a database at {service}, and nothing protects it: migengine protect",
                self.target
            ));
        }
    }
}

/// The service that hosts the target, where its name tells.
#[must_use]
pub fn hosted_at(target: &Target) -> Option<&'static str> {
    target.servers.iter().find_map(|server| match &server.host {
        Host::Tcp(name) => hosted::service(name),
        Host::Unix(dir) => hosted::service(&dir.to_string_lossy()),
    })
}

/// Whether somebody gave their word for a change to a database, beforehand or now.
///
/// # Errors
/// Nobody did, or for another database.
async fn confirmed(
    intention: &Intention<'_>,
    protection: &Protection,
    consent: &Consent,
    stop: &watch::Receiver<bool>,
) -> Result<Option<Event>, CommandError> {
    let show = || {
        let version = &intention.state.server.version_text;
        format!("target: {} (PostgreSQL {version})\n\n{}", intention.target, (intention.picture)())
    };
    word(protection, consent, &intention.state.server.database, &show, stop).await
}

/// The same for any command: `show` is what a person sees before they are asked.
///
/// # Errors
/// Nobody gave their word, or for another database.
pub async fn word(
    protection: &Protection,
    consent: &Consent,
    database: &str,
    show: &dyn Fn() -> String,
    stop: &watch::Receiver<bool>,
) -> Result<Option<Event>, CommandError> {
    let named = |how: &str| Some(note("confirmed", format!("{database}, protected by {}, {how}", protection.why())));
    match admission(protection, consent, database) {
        Admission::Free => Ok(None),
        Admission::Named => Ok(named("was named with --confirm")),
        Admission::OtherName(name) => {
            Err(CommandError::refused("ME702", format!("`{name}` was to be changed, and this is `{database}`"))
                .next("look which database the options name, then give its name with --confirm"))
        }
        Admission::Unconfirmed => {
            let what = format!("the database `{database}` is protected by {}", protection.why());
            Err(CommandError::refused("ME701", what)
                .next(format!("if it is the one you mean, add: --yes --confirm {}", shell_word(database)))
                .next("at a terminal you are asked for its name instead"))
        }
        Admission::Ask => {
            render::line(&format!("the database `{database}` is protected by {}", protection.why()));
            render::line(show().trim_end());
            match ask("\ntype the name of the database to go on: ", stop.clone()).await {
                Some(answer) if answer.trim() == database => Ok(named("was named at the terminal")),
                Some(answer) => {
                    let what = format!("`{}` is not the name of this database", answer.trim());
                    Err(CommandError::refused("ME702", what).next("look which database the options name"))
                }
                None => Err(CommandError::refused("ME701", "the question was not answered")),
            }
        }
    }
}

/// What the command line says of a person's word, and whether anybody can be asked.
#[must_use]
pub fn consent(yes: bool, confirm: Option<String>) -> Consent {
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    Consent { yes, confirm, terminal }
}

/// Asks at the terminal. Nothing at its end, or when a signal came first.
async fn ask(question: &str, mut stop: watch::Receiver<bool>) -> Option<String> {
    use std::io::Write as _;
    let mut err = std::io::stderr().lock();
    drop(err.write_all(question.as_bytes()).and_then(|()| err.flush()));
    drop(err);
    let (answer, answered) = oneshot::channel();
    // A thread that nobody waits for: reading from a terminal cannot be interrupted.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        drop(answer.send(read.ok().filter(|read| *read > 0).map(|_| line)));
    });
    tokio::select! {
        line = answered => line.ok().flatten(),
        Ok(()) = stop.changed() => None,
    }
}

/// A word as a shell takes it.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
