//! What machines are told of a run for people to look at later: a Prometheus textfile, traces and metrics by OTLP, and
//! Sentry. Each on a thread of its own; a run is never held up, and its end for [`PATIENCE`] at most.

pub mod otlp;
pub mod prometheus;
pub mod sentry;
pub mod settings;
pub mod trace;

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use migengine_engine::run::event::{Event, Recorded};
use migengine_engine::run::state::RunSnapshot;
use tokio::sync::oneshot;

use crate::config::Section;
use crate::context::now;
use crate::error::CommandError;
use crate::outside::post::Remark;
use otlp::Otlp;
use prometheus::Textfile;
use sentry::Sentry;
use trace::{Trace, Tracer};

/// How long the end of a run waits for all of them together.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// One who is told.
pub trait Exporter: Send {
    /// For remarks.
    fn name(&self) -> &'static str;
    /// Whether it wants to know of a run when it takes the lock, too.
    fn early(&self) -> bool {
        false
    }
    /// Tells it. May block.
    ///
    /// # Errors
    /// Why it was not told, without secrets.
    fn export(&mut self, trace: &Trace) -> Result<(), String>;
}

/// Everything that the configuration asks for.
pub struct Telemetry {
    environment: Option<String>,
    tracer: Mutex<Option<Tracer>>,
    workers: Vec<Worker>,
}

struct Worker {
    name: &'static str,
    early: bool,
    queue: Sender<Arc<Trace>>,
    done: oneshot::Receiver<Result<(), String>>,
}

impl Telemetry {
    /// From the configuration and the environment's variables.
    ///
    /// # Errors
    /// ME719: something is no address, or ME761: a variable is not set.
    pub fn start(section: &Section, environment: Option<&str>) -> Result<Self, CommandError> {
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let mut exporters: Vec<Box<dyn Exporter>> = Vec::new();
        if let Some(path) = section.metrics.as_ref().and_then(|metrics| metrics.textfile.clone()) {
            exporters.push(Box::new(Textfile::new(path)));
        }
        if let Some(otlp) = Otlp::new(section.otlp.as_ref(), &env)? {
            exporters.push(Box::new(otlp));
        }
        if let Some(sentry) = Sentry::new(section.sentry.as_ref(), &env)? {
            exporters.push(Box::new(sentry));
        }
        let workers = exporters.into_iter().map(Worker::start).collect();
        Ok(Self { environment: environment.map(str::to_owned), tracer: Mutex::default(), workers })
    }

    /// Tells nobody.
    #[must_use]
    pub fn silent() -> Self {
        Self { environment: None, tracer: Mutex::default(), workers: Vec::new() }
    }

    /// An event; `run` contains it.
    pub fn event(&self, run: &RunSnapshot, record: &Recorded) {
        if self.workers.is_empty() {
            return;
        }
        let mut tracer = self.tracer.lock().unwrap_or_else(PoisonError::into_inner);
        if tracer.as_ref().is_none_or(|tracer| tracer.run() != record.run) {
            *tracer = Some(Tracer::new(run, record, self.environment.as_deref()));
        }
        let Some(tracer) = tracer.as_mut() else { return };
        tracer.event(run, record);
        if matches!(record.event, Event::Locked { .. }) {
            let trace = Arc::new(tracer.trace());
            self.workers.iter().filter(|worker| worker.early).for_each(|worker| worker.offer(&trace));
        }
    }

    /// The run is over or rests: tells everybody, and waits for them as long as that is worth it. One that never had the
    /// lock was none.
    pub async fn close(self, run: &RunSnapshot) -> Vec<Remark> {
        let tracer = self.tracer.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some(tracer) = tracer.filter(|_| run.epoch.is_some()) else { return Vec::new() };
        let trace = Arc::new(tracer.finish(run, now()));
        self.workers.iter().for_each(|worker| worker.offer(&trace));
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut remarks = Vec::new();
        for worker in self.workers {
            let name = worker.name;
            let why = match worker.close(deadline).await {
                Ok(()) => continue,
                Err(why) => why,
            };
            let message = format!("[ME718] {name} was not told of the run: {why}");
            remarks.push(Remark { topic: "telemetry", message, trouble: true });
        }
        remarks
    }
}

impl Worker {
    fn start(mut exporter: Box<dyn Exporter>) -> Self {
        let (queue, traces) = channel::<Arc<Trace>>();
        let (end, done) = oneshot::channel();
        let (name, early) = (exporter.name(), exporter.early());
        std::thread::spawn(move || {
            let mut result = Ok(());
            for trace in traces {
                result = exporter.export(&trace);
            }
            end.send(result).ok();
        });
        Self { name, early, queue, done }
    }

    fn offer(&self, trace: &Arc<Trace>) {
        // A thread that is gone has nothing to say; closing tells.
        self.queue.send(Arc::clone(trace)).ok();
    }

    async fn close(self, deadline: tokio::time::Instant) -> Result<(), String> {
        drop(self.queue);
        match tokio::time::timeout_at(deadline, self.done).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err("it ended early".to_owned()),
            Err(_) => Err(format!("it took longer than {} s", PATIENCE.as_secs())),
        }
    }
}
