//! The world around a run: programs and services that are told of it. Everything here runs on threads of its own, with
//! bounded queues and time limits. Nothing here can block a run or fail it.

pub mod export;
pub mod hook;
pub mod http;
pub mod moment;
pub mod notify;
pub mod post;
pub mod process;
pub mod programs;
pub mod settings;
pub mod stream;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use migengine_engine::migration::parse_duration;
use migengine_engine::progress::Progress;
use migengine_engine::run::event::Recorded;
use migengine_engine::run::state::RunSnapshot;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::config::Section;
use crate::error::CommandError;
use crate::outcome;
use crate::telemetry::Telemetry;
use hook::HookRunner;
use moment::{Moment, moments};
use notify::Notifier;
use post::{Happening, Post, Remark};
use stream::Stream;

/// Everybody who is told of a run.
pub struct Outside {
    environment: Option<String>,
    stream: Option<Stream>,
    telemetry: Telemetry,
    posts: Vec<Post>,
    remarks: Mutex<mpsc::UnboundedReceiver<Remark>>,
}

impl Outside {
    /// Starts what the configuration asks for, and with `events` the stream on stdout.
    ///
    /// # Errors
    /// A mistake in the configuration, before anything is changed.
    pub fn start(section: &Section, environment: Option<&str>, events: bool) -> Result<Self, CommandError> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut posts = Vec::new();
        if let Some((moment, _)) = section.hooks.iter().find(|(_, words)| words.iter().all(String::is_empty)) {
            let what =
                format!("the hook {} names no program: write a list, [\"program\", \"argument\"]", moment.name());
            return Err(CommandError::usage("ME755", what));
        }
        let timeout = duration("hook_timeout", section.hook_timeout.as_deref(), hook::TIMEOUT)?;
        if !section.hooks.is_empty() {
            let hooks = HookRunner::new(section.hooks.clone(), timeout);
            posts.push(Post::start("a hook".to_owned(), Box::new(hooks), sender.clone()));
        }
        for settings in section.notify.iter().flatten() {
            let notifier = Notifier::new(settings)?;
            posts.push(Post::start(notifier.name().to_owned(), Box::new(notifier), sender.clone()));
        }
        let telemetry = Telemetry::start(section, environment)?;
        let stream = events.then(Stream::start);
        let environment = environment.map(str::to_owned);
        Ok(Self { environment, stream, telemetry, posts, remarks: Mutex::new(receiver) })
    }

    /// Tells nobody.
    #[must_use]
    pub fn silent() -> Self {
        let (_, receiver) = mpsc::unbounded_channel();
        let telemetry = Telemetry::silent();
        Self { environment: None, stream: None, telemetry, posts: Vec::new(), remarks: Mutex::new(receiver) }
    }

    /// How far something has come.
    pub fn progress(&self, step: Option<&str>, progress: &Progress) {
        if let Some(stream) = &self.stream {
            stream.progress(step, progress);
        }
    }

    /// An event of the run.
    pub fn event(&self, run: &RunSnapshot, record: &Recorded) {
        self.written(run, record);
        for moment in moments(run, record) {
            self.tell(moment, run, record.event.step().map(|step| run.step_name(step)));
        }
    }

    /// An event that leads up to driving a run, which is no moment of it: the first ones, and what a person decided.
    pub fn written(&self, run: &RunSnapshot, record: &Recorded) {
        if let Some(stream) = &self.stream {
            stream.event(run, record);
        }
        self.telemetry.event(run, record);
    }

    /// A moment of the run.
    pub fn tell(&self, moment: Moment, run: &RunSnapshot, step: Option<&str>) {
        let mut happening: Option<Happening> = None;
        for post in self.posts.iter().filter(|post| post.wants(moment)) {
            let happening = happening.get_or_insert_with(|| Happening {
                moment,
                step: step.map(str::to_owned),
                object: Arc::new(self.object(moment, run, step)),
            });
            post.offer(happening.clone());
        }
    }

    /// The run as the world is told of it: the object of the JSON interface, with where and what.
    #[must_use]
    pub fn object(&self, moment: Moment, run: &RunSnapshot, step: Option<&str>) -> Value {
        let mut object = outcome::json(run, None);
        if let (Some(map), Value::Object(more)) = (
            object.as_object_mut(),
            json!({
                "event": moment.name(),
                "at": crate::render::time(crate::context::now()),
                "environment": self.environment,
                "database": run.started.database.name,
                "host": run.started.database.host,
                "actor": run.started.actor,
                "step": step,
                "next": outcome::next_command(run),
            }),
        ) {
            map.extend(more);
        }
        object
    }

    /// Waits until everybody was told, as long as that is worth waiting for, or until a signal. Returns what came of it.
    pub async fn close(self, run: &RunSnapshot, mut stop: watch::Receiver<bool>) -> Vec<Remark> {
        let patience = self.posts.iter().map(Post::patience).max().unwrap_or(Duration::ZERO);
        let deadline = tokio::time::Instant::now() + patience;
        let (mut left, mut told) = (Vec::new(), Vec::new());
        stop.mark_unchanged();
        let closing = async {
            let posts = async {
                for post in self.posts {
                    left.extend(post.close(deadline).await);
                }
            };
            let (telemetry, ()) = tokio::join!(self.telemetry.close(run), posts);
            told.extend(telemetry);
            // Waits for whoever reads the events, so it must not hold up the signals.
            drop(tokio::task::spawn_blocking(move || drop(self.stream)).await);
        };
        tokio::select! {
            () = closing => {}
            Ok(()) = stop.changed() => {}
        }
        let mut remarks = told;
        let mut receiver = self.remarks.into_inner().unwrap_or_else(PoisonError::into_inner);
        while let Ok(remark) = receiver.try_recv() {
            remarks.push(remark);
        }
        remarks.extend(left.into_iter().map(|message| Remark { topic: "outside", message, trouble: true }));
        remarks
    }
}

/// A duration of the configuration.
///
/// # Errors
/// It is none, or zero.
pub fn duration(key: &str, text: Option<&str>, default: Duration) -> Result<Duration, CommandError> {
    let Some(text) = text else { return Ok(default) };
    parse_duration(text).filter(|limit| !limit.is_zero()).ok_or_else(|| {
        CommandError::usage("ME007", format!("{key} = \"{text}\" is no duration: write 100ms, 2s, 10m or 2h"))
    })
}
