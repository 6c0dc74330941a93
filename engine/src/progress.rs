//! How far something that takes its time has come: told while it lasts, for whoever looks on, and never stored.

use std::time::Duration;

use crate::chunk::{Meter, progress_words};
use crate::guard::millis;

/// How far something has come.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Rows of a statement that runs in pieces.
    Rows(Meter),
    /// An index that is being built.
    Building(Building),
    /// A step that waits for its locks.
    Waiting(Waiting),
    /// A statement in pieces that holds before its next batch, and why.
    Holding(String),
    /// A statement that the server is at, as seen from elsewhere.
    Working {
        /// For how long.
        time: Duration,
        /// The backends it waits for.
        behind: Vec<i32>,
    },
    /// A run that waits for another runner's lock.
    Queueing {
        /// Who has it, where that may be seen.
        holder: Option<String>,
    },
}

/// An index build, by `pg_stat_progress_create_index`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Building {
    /// The server's word for what it is at.
    pub phase: String,
    /// How much of this phase is done, from 0 to 1, where the server can tell.
    pub done: Option<f64>,
    /// The backend it waits for.
    pub waits_for: Option<i32>,
}

/// A wait for locks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Waiting {
    /// Tries that came to nothing.
    pub attempts: u32,
    /// Since the first look.
    pub waited: Duration,
    /// When the step gives up, counted from the first look.
    pub limit: Duration,
    /// Who is in the way, as last seen; one sentence for each.
    pub blockers: Vec<String>,
}

impl Progress {
    /// A short fixed word for what sort it is.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Rows(_) => "rows",
            Self::Building(_) => "index_build",
            Self::Waiting(_) => "lock_wait",
            Self::Holding(_) => "holding",
            Self::Working { .. } => "working",
            Self::Queueing { .. } => "runner_lock",
        }
    }

    /// For people, without the name of the step.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Rows(meter) => progress_words(meter),
            Self::Building(building) => building.words(),
            Self::Waiting(waiting) => waiting.words(),
            Self::Holding(reason) => format!("holds: {reason}"),
            Self::Working { time, behind } => {
                let pids: Vec<String> = behind.iter().map(ToString::to_string).collect();
                let behind =
                    if pids.is_empty() { String::new() } else { format!(", waits for backend {}", pids.join(", ")) };
                format!("at work for {}{behind}", millis(*time))
            }
            Self::Queueing { holder: Some(holder) } => format!("waits for another runner: {holder}"),
            Self::Queueing { holder: None } => "waits for another runner".to_owned(),
        }
    }
}

impl Progress {
    /// The same without those in the way, where they are shown by themselves.
    #[must_use]
    pub fn brief(&self) -> String {
        match self {
            Self::Waiting(waiting) => waiting.brief(),
            other => other.words(),
        }
    }
}

impl Building {
    fn words(&self) -> String {
        let percent = self.done.map(|done| format!(", {:.0} % of this phase", 100.0 * done)).unwrap_or_default();
        let locker = self.waits_for.map(|pid| format!(", for backend {pid}")).unwrap_or_default();
        format!("{}{percent}{locker}", self.phase)
    }
}

impl Waiting {
    fn words(&self) -> String {
        let who = if self.blockers.is_empty() { String::new() } else { format!(": {}", self.blockers.join("; ")) };
        format!("{}{who}", self.brief())
    }

    fn brief(&self) -> String {
        let tries = match self.attempts {
            0 => String::new(),
            1 => ", 1 try so far".to_owned(),
            tries => format!(", {tries} tries so far"),
        };
        format!("waits for its locks, {} of {}{tries}", millis(self.waited), millis(self.limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sort_says_what_matters() {
        let building =
            Building { phase: "building index: scanning table".to_owned(), done: Some(0.42), waits_for: None };
        assert_eq!(Progress::Building(building).words(), "building index: scanning table, 42 % of this phase");
        let waits = Building { phase: "waiting for writers".to_owned(), done: None, waits_for: Some(7) };
        assert_eq!(Progress::Building(waits).words(), "waiting for writers, for backend 7");
        let waiting = Waiting {
            attempts: 2,
            waited: Duration::from_millis(6_200),
            limit: Duration::from_secs(600),
            blockers: vec!["pid 7 holds users".to_owned()],
        };
        let words = "waits for its locks, 6.2 s of 10 min, 2 tries so far: pid 7 holds users";
        assert_eq!(Progress::Waiting(waiting).words(), words);
    }
}
