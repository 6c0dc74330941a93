//! Events as they happen, one JSON object a line on stdout (`--events`). Written on a thread of its own: a reader that
//! stops reading holds up nothing but its own news.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use migengine_engine::id::RunId;
use migengine_engine::progress::Progress;
use migengine_engine::run::event::Recorded;
use migengine_engine::run::state::RunSnapshot;
use serde_json::Value;

use crate::render::{self, journal, progress::progress_line_json};

/// Pause between two progress lines of the same step.
const EVERY: Duration = Duration::from_millis(500);
/// Progress is left out while this many lines wait to be written. Events never are.
const CROWDED: usize = 1_000;

/// The way to stdout.
pub struct Stream {
    queue: Option<Sender<Value>>,
    waiting: Arc<AtomicUsize>,
    writer: Option<JoinHandle<()>>,
    /// The run and its last event, for progress lines.
    at: Mutex<Option<RunId>>,
    seq: AtomicU64,
    told: Mutex<BTreeMap<String, Instant>>,
}

impl Stream {
    /// Starts writing.
    #[must_use]
    pub fn start() -> Self {
        let (queue, lines) = channel::<Value>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        let writer = std::thread::spawn(move || {
            for line in lines {
                render::data(&line.to_string());
                left.fetch_sub(1, Ordering::Relaxed);
            }
        });
        Self {
            queue: Some(queue),
            waiting,
            writer: Some(writer),
            at: Mutex::default(),
            seq: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    /// An event of a run.
    pub fn event(&self, run: &RunSnapshot, record: &Recorded) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(record.run);
        self.seq.store(record.seq, Ordering::Relaxed);
        self.put(journal::event_line_json(run, record));
    }

    /// How far something has come; now and then.
    pub fn progress(&self, step: Option<&str>, progress: &Progress) {
        let key = format!("{} {}", progress.kind(), step.unwrap_or_default());
        let now_ = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let recently = told.get(&key).is_some_and(|at| now_.saturating_duration_since(*at) < EVERY);
        if recently || self.waiting.load(Ordering::Relaxed) > CROWDED {
            return;
        }
        told.insert(key, now_);
        let run = *self.at.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(progress_line_json(run, self.seq.load(Ordering::Relaxed), step, progress));
    }

    fn put(&self, line: Value) {
        if let Some(queue) = &self.queue {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            // The writer goes on until this is dropped.
            queue.send(line).ok();
        }
    }
}

impl Drop for Stream {
    /// Everything is written before the object with the result.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            writer.join().ok();
        }
    }
}
