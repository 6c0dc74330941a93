//! A way out: one receiver on a thread of its own, fed through a bounded queue. What happens there never blocks a run
//! and never fails it; it only leaves a remark.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::moment::Moment;

/// How many happenings wait for a slow receiver before more of them are dropped.
const QUEUE: usize = 256;

/// Something that happened to a run.
#[derive(Debug, Clone)]
pub struct Happening {
    /// What sort of thing.
    pub moment: Moment,
    /// The migration it is about, if one.
    pub step: Option<String>,
    /// The run as JSON, with the fields of [`super::Outside::object`].
    pub object: Arc<Value>,
}

/// What is worth keeping of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// A short fixed word: `hook`, `notify`, `export`, ...
    pub topic: &'static str,
    /// One sentence, without secrets.
    pub message: String,
    /// Whether people should see it at once, and not only in the journal.
    pub trouble: bool,
}

/// Somebody who is told.
pub trait Receiver: Send {
    /// The moments it waits for.
    fn wants(&self) -> BTreeSet<Moment>;
    /// Longest time that is worth waiting for it once the run is over.
    fn patience(&self) -> Duration;
    /// Tells it. May block.
    fn deliver(&mut self, happening: &Happening) -> Vec<Remark>;
}

/// The way to one receiver.
pub struct Post {
    name: String,
    wants: BTreeSet<Moment>,
    patience: Duration,
    queue: SyncSender<Happening>,
    dropped: AtomicUsize,
    done: oneshot::Receiver<()>,
}

impl Post {
    /// Starts the thread. `name` is for remarks.
    pub fn start(name: String, mut receiver: Box<dyn Receiver>, remarks: mpsc::UnboundedSender<Remark>) -> Self {
        let (wants, patience) = (receiver.wants(), receiver.patience());
        let (queue, happenings) = sync_channel::<Happening>(QUEUE);
        let (end, done) = oneshot::channel();
        std::thread::spawn(move || {
            for happening in happenings {
                for remark in receiver.deliver(&happening) {
                    remarks.send(remark).ok();
                }
            }
            end.send(()).ok();
        });
        Self { name, wants, patience, queue, dropped: AtomicUsize::new(0), done }
    }

    /// Whether it waits for this moment.
    #[must_use]
    pub fn wants(&self, moment: Moment) -> bool {
        self.wants.contains(&moment)
    }

    /// Hands a happening over, unless too many wait already.
    pub fn offer(&self, happening: Happening) {
        if self.queue.try_send(happening).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Longest time that is worth waiting for it.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Waits until everything was delivered, until `deadline` at most. Says what was not.
    pub async fn close(self, deadline: tokio::time::Instant) -> Vec<String> {
        let Self { name, queue, dropped, done, .. } = self;
        drop(queue);
        let mut left = Vec::new();
        if tokio::time::timeout_at(deadline, done).await.is_err() {
            left.push(format!("{name} was still busy when the run was over; it is not waited for any longer"));
        }
        match dropped.into_inner() {
            0 => {}
            count => left.push(format!("{name} was too slow: {count} messages to it were dropped")),
        }
        left
    }
}
