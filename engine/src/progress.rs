//! How far something that takes its time has come: told while it lasts, for whoever looks on, and never stored.

use std::time::Duration;

use crate::chunk::{Meter, progress_words};
use crate::guard::millis;

/// How far something has come.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Rows of a statement that runs in pieces.
    Rows(Meter),
    /// Work on a whole table that the server counts: an index that is being built, VACUUM, CLUSTER.
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

/// Work that the server counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Work {
    /// By `pg_stat_progress_create_index`.
    #[default]
    Index,
    /// By `pg_stat_progress_vacuum`.
    Vacuum,
    /// CLUSTER and VACUUM FULL, by `pg_stat_progress_cluster`.
    Cluster,
}

impl Work {
    /// From the server's name of the command.
    #[must_use]
    pub fn of(command: &str) -> Self {
        match command {
            "VACUUM" => Self::Vacuum,
            "CLUSTER" | "VACUUM FULL" => Self::Cluster,
            _ => Self::Index,
        }
    }

    /// A short fixed word.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Index => "index_build",
            Self::Vacuum => "vacuum",
            Self::Cluster => "cluster",
        }
    }
}

/// How far work that the server counts has come.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Building {
    /// What it is.
    pub work: Work,
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
            Self::Building(building) => building.work.kind(),
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
        // The phases of an index build say themselves what they are of.
        let work = match self.work {
            Work::Index => "",
            Work::Vacuum => "vacuum: ",
            Work::Cluster => "table rewrite: ",
        };
        format!("{work}{}{percent}{locker}", self.phase)
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
        let phase = |phase: &str| Building { phase: phase.to_owned(), ..Building::default() };
        let building = Building { done: Some(0.42), ..phase("building index: scanning table") };
        assert_eq!(Progress::Building(building).words(), "building index: scanning table, 42 % of this phase");
        let waits = Building { waits_for: Some(7), ..phase("waiting for writers") };
        assert_eq!(Progress::Building(waits).words(), "waiting for writers, for backend 7");
        let vacuum =
            Progress::Building(Building { work: Work::of("VACUUM"), done: Some(0.5), ..phase("scanning heap") });
        assert_eq!((vacuum.kind(), &*vacuum.words()), ("vacuum", "vacuum: scanning heap, 50 % of this phase"));
        let full = Progress::Building(Building { work: Work::of("VACUUM FULL"), ..phase("seq scanning heap") });
        assert_eq!((full.kind(), &*full.words()), ("cluster", "table rewrite: seq scanning heap"));
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
