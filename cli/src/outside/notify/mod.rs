//! Notifications: somebody is told of a moment, by webhook, Slack, mail or a program. Tried again with growing pauses,
//! given up after a while.

mod mail;
mod template;
mod webhook;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use migengine_engine::pg::secret::Secret;

use super::http::Refused;
use super::moment::Moment;
use super::post::{Happening, Receiver, Remark};
use super::settings::{Notify, NotifyKind};
use super::{duration, process};
use crate::error::CommandError;
use mail::Mail;
use template::Template;
use webhook::Webhook;

/// What is told where the configuration does not say.
const MOMENTS: [Moment; 4] = [Moment::Started, Moment::NeedsPerson, Moment::Failed, Moment::Finished];

/// How long one try may take where the configuration does not say.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long tries go on for one message.
const GIVE_UP: Duration = Duration::from_secs(10);

/// The pause after the first failed try; each later one is three times as long.
const PAUSE: Duration = Duration::from_millis(300);

/// The text where the configuration does not say.
const TEXT: &str = "migengine: {kind} of {database} {event} ({state}){message}{next}";

/// One who is told.
pub struct Notifier {
    name: &'static str,
    on: BTreeSet<Moment>,
    template: Template,
    timeout: Duration,
    way: Way,
    /// After one message that had to be given up the others of the run get a single try.
    tired: bool,
}

enum Way {
    Webhook(Webhook),
    Slack { url: Secret },
    Mail(Box<Mail>),
    Command(Vec<String>),
}

impl Notifier {
    /// From the configuration. Secrets come from the variables that it names.
    ///
    /// # Errors
    /// A key that is missing or does not fit, a variable that is not set, a template with an unknown field.
    pub fn new(settings: &Notify) -> Result<Self, CommandError> {
        let name = name(settings.kind);
        let problem = |what: String| CommandError::usage("ME759", format!("[[notify]] of kind {name}: {what}"));
        if let Some(key) = unfit(settings) {
            return Err(problem(format!("{key} does not belong to it")));
        }
        let missing = |key: &str| problem(format!("{key} is missing"));
        let url = || match (&settings.url, &settings.url_env) {
            (_, Some(variable)) => secret(variable),
            (Some(url), None) => Ok(Secret::new(url.clone())),
            (None, None) => Err(missing("url_env")),
        };
        let way = match settings.kind {
            NotifyKind::Webhook => {
                Way::Webhook(Webhook { url: url()?, key: settings.secret_env.as_deref().map(secret).transpose()? })
            }
            NotifyKind::Slack => Way::Slack { url: url()? },
            NotifyKind::Email => Way::Mail(Box::new(Mail::new(settings, &missing, &problem)?)),
            NotifyKind::Command => {
                let command = settings.command.clone().unwrap_or_default();
                if command.first().is_none_or(String::is_empty) {
                    return Err(missing("command"));
                }
                Way::Command(command)
            }
        };
        let template = Template::parse(settings.template.as_deref().unwrap_or(TEXT)).map_err(|field| {
            problem(format!("the template has no field {{{field}}}: {}", template::FIELDS.join(", ")))
        })?;
        let on = settings.on.clone().map_or_else(|| MOMENTS.into(), |on| on.into_iter().collect());
        let timeout = duration("timeout", settings.timeout.as_deref(), TIMEOUT)?;
        Ok(Self { name, on, template, timeout, way, tired: false })
    }

    /// The kind, for remarks.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    fn attempt(&self, happening: &Happening, text: &str) -> Result<(), Refused> {
        match &self.way {
            Way::Webhook(webhook) => webhook.send(happening, text, self.timeout),
            Way::Slack { url } => webhook::slack(url, text, self.timeout),
            Way::Mail(mail) => mail.send(happening, text, self.timeout),
            Way::Command(words) => {
                let refused = |why: String| Refused { why, again: false };
                let [program, args @ ..] = words.as_slice() else { return Ok(()) };
                let mut command = Command::new(program);
                command.args(args).env("MIGENGINE_EVENT", happening.moment.name()).env("MIGENGINE_TEXT", text);
                let input = happening.object.to_string();
                match process::run(command, input.as_bytes(), self.timeout, process::KEPT) {
                    Ok(done) if done.success => Ok(()),
                    Ok(done) => Err(refused(format!("{program}: {}", done.verdict))),
                    Err(error) => Err(refused(format!("{program} cannot be run: {error}"))),
                }
            }
        }
    }
}

impl Receiver for Notifier {
    fn wants(&self) -> BTreeSet<Moment> {
        self.on.clone()
    }

    fn patience(&self) -> Duration {
        GIVE_UP + self.timeout
    }

    fn deliver(&mut self, happening: &Happening) -> Vec<Remark> {
        let text = self.template.fill(happening);
        let begun = Instant::now();
        let mut pause = PAUSE;
        let mut tries = 1;
        let what = format!("{} of {}", self.name, happening.moment.name());
        loop {
            let refused = match self.attempt(happening, &text) {
                Ok(()) => {
                    return vec![Remark { topic: "notify", message: format!("{what}: told"), trouble: false }];
                }
                Err(refused) => refused,
            };
            if !refused.again || self.tired || begun.elapsed() + pause > GIVE_UP {
                self.tired = refused.again;
                let tries = if tries == 1 { String::new() } else { format!(" after {tries} tries") };
                let message = format!("[ME762] nobody was told by {what}{tries}: {}", refused.why);
                return vec![Remark { topic: "notify", message, trouble: true }];
            }
            std::thread::sleep(pause);
            pause *= 3;
            tries += 1;
        }
    }
}

const fn name(kind: NotifyKind) -> &'static str {
    match kind {
        NotifyKind::Webhook => "webhook",
        NotifyKind::Slack => "slack",
        NotifyKind::Email => "email",
        NotifyKind::Command => "command",
    }
}

/// A key that is set and belongs to other kinds only.
fn unfit(settings: &Notify) -> Option<&'static str> {
    use NotifyKind::{Command, Email, Slack, Webhook};
    let keys: [(&str, bool, &[NotifyKind]); 10] = [
        ("url", settings.url.is_some(), &[Webhook]),
        ("url_env", settings.url_env.is_some(), &[Webhook, Slack]),
        ("secret_env", settings.secret_env.is_some(), &[Webhook]),
        ("server", settings.server.is_some(), &[Email]),
        ("port", settings.port.is_some(), &[Email]),
        ("tls", settings.tls.is_some(), &[Email]),
        ("user", settings.user.is_some(), &[Email]),
        ("password_env", settings.password_env.is_some(), &[Email]),
        ("from, to", settings.from.is_some() || settings.to.is_some(), &[Email]),
        ("command", settings.command.is_some(), &[Command]),
    ];
    keys.into_iter().find(|(_, set, kinds)| *set && !kinds.contains(&settings.kind)).map(|(key, ..)| key)
}

/// The secret in a variable that the configuration names.
///
/// # Errors
/// ME761: it is not set.
pub fn secret(variable: &str) -> Result<Secret, CommandError> {
    match std::env::var(variable) {
        Ok(text) if !text.is_empty() => Ok(Secret::new(text)),
        _ => {
            let what = format!("the environment variable {variable}, which the configuration names, is not set");
            Err(CommandError::usage("ME761", what))
        }
    }
}
