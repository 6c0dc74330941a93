//! Sessions of ours that outlived their runner: waited for, then ended, and never one that may have a live runner.
//!
//! Two kinds, and a proof for each:
//!
//! - *It holds the lock.* The journal names the session that last worked for a process with this journal open
//!   ([`Journal::hold`]). Nobody else has the journal open now, so that process is gone, or it is this one, which has
//!   given the session up. Without that proof the holder may be a live peer: it is waited for and never touched.
//! - *It does not hold the lock; we do.* The lease names the session of the epoch before. It was superseded when we got
//!   the lock. Others that bear the name of a step of that run are waited for only.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::points::Point;
use super::{DriveError, Driver};
use crate::pg::lock::{self, Holder};
use crate::pg::orphan::{self, Orphan};
use crate::pg::read::ReadError;
use crate::pg::session::Session;
use crate::progress::Progress;
use crate::run::journal::Journal;

/// How long an ended session may take to go away: it rolls back and lets go of its locks first.
const GOING: Duration = Duration::from_secs(10);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl<J: Journal> Driver<'_, J> {
    /// Takes the runner lock, from an orphan of this journal's too. `None`: we have it; else who has.
    pub(crate) async fn take_lock(&self, session: &Session) -> Result<Option<Option<Holder>>, DriveError> {
        let take = async |patience| lock::take(session, patience).await.map_err(ReadError::from);
        if take(Duration::ZERO).await? {
            return Ok(None);
        }
        let options = self.world.options;
        let found = lock::holders(session).await;
        if !self.are_own_orphans(&found).await? {
            // A session of this very run may be an orphan all the same; it is worth waiting for.
            let run = self.run_id().to_string();
            let ours = self.run.epoch.is_some() && found.iter().any(|holder| holder.name.contains(&run));
            let patience =
                if ours { options.lock_patience.max(options.orphan_patience) } else { options.lock_patience };
            self.queue(&found);
            return if take(patience).await? { Ok(None) } else { Ok(Some(lock::holder(session).await)) };
        }
        let names: Vec<String> = found.iter().map(ToString::to_string).collect();
        self.world.observer.say(&format!(
            "the lock is held by what a runner that is gone left behind: {}. Waiting for it, {} s at most",
            names.join(", "),
            options.orphan_patience.as_secs()
        ));
        self.queue(&found);
        if take(options.orphan_patience).await? {
            return Ok(None);
        }
        let left = lock::holders(session).await;
        if self.are_own_orphans(&left).await? {
            for orphan in &left {
                self.end(session, orphan).await?;
            }
        }
        let patience = options.lock_patience.max(GOING);
        if take(patience).await? { Ok(None) } else { Ok(Some(lock::holder(session).await)) }
    }

    fn queue(&self, found: &[Holder]) {
        let holder = found.first().map(ToString::to_string);
        self.world.observer.progress(None, &Progress::Queueing { holder });
    }

    /// Whether all of them worked for a process that had this journal open and does not any more.
    async fn are_own_orphans(&self, holders: &[Holder]) -> Result<bool, DriveError> {
        let held = self.world.journal.held().await?;
        Ok(!holders.is_empty() && holders.iter().all(|holder| holder.is_one_of(&held)))
    }

    async fn end(&self, session: &Session, orphan: &Holder) -> Result<(), DriveError> {
        let Some(backend_start) = orphan.backend_start else { return Ok(()) };
        self.world.observer.say(&format!("ending a session of a runner that is gone: {orphan}"));
        self.world.observer.point(Point::OrphanBefore);
        match orphan::terminate(session, orphan.pid, backend_start).await {
            Ok(()) => {}
            Err(error) if error.code().is_some_and(|code| code.code() == "42501") => {
                self.world.observer.say(&format!("this role may not end it: {error}"));
            }
            Err(error) => return Err(ReadError::from(error).into()),
        }
        self.world.observer.point(Point::OrphanAfter);
        Ok(())
    }

    /// Under the lock, before the epoch is raised: no session of the epoch before is at work any more.
    pub(crate) async fn settle_orphans(&self, session: &Session, found: Vec<Orphan>) -> Result<(), DriveError> {
        let (mut found, mut told) = (found, false);
        let mut deadline = Instant::now() + self.world.options.orphan_patience;
        let mut ended = false;
        while let Some(first) = found.first() {
            // The session of a runner that has just ended may be seen for a moment more.
            if !std::mem::replace(&mut told, true) {
                tracing::debug!(orphan = %first.session, "a session of an older epoch is at work");
            }
            if Instant::now() >= deadline {
                let recorded: Vec<_> = found.iter().filter(|orphan| orphan.recorded).collect();
                if ended || recorded.len() < found.len() {
                    return Err(DriveError::Orphan { who: first.session.to_string() });
                }
                for orphan in recorded {
                    self.end(session, &orphan.session).await?;
                }
                (ended, deadline) = (true, Instant::now() + GOING);
            }
            sleep(LOOK_EVERY).await;
            found = orphan::at_work(session).await.map_err(ReadError::from)?;
        }
        Ok(())
    }
}
