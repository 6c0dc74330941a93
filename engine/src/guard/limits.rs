//! How long who may wait for whom.

use std::time::Duration;

use crate::migration::Header;

/// What to do about a session that holds what a step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBlocker {
    /// Wait until it is done.
    #[default]
    Wait,
    /// Cancel its statement.
    Cancel,
    /// End the session.
    Terminate,
}

impl OnBlocker {
    /// From its name on the command line.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "wait" => Some(Self::Wait),
            "cancel" => Some(Self::Cancel),
            "terminate" => Some(Self::Terminate),
            _ => None,
        }
    }
}

/// The limits of a step. What its header says wins over what the run was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long one try may wait for a lock. The application waits behind it that long at most.
    pub lock_timeout: Duration,
    /// How long the application may wait behind a step that waits for its locks or holds them.
    pub budget: Duration,
    /// How long to go on trying.
    pub wait: Duration,
    /// What to do about those who stand in the way.
    pub on_blocker: OnBlocker,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lock_timeout: Duration::from_millis(100),
            budget: Duration::from_millis(250),
            wait: Duration::from_secs(600),
            on_blocker: OnBlocker::Wait,
        }
    }
}

impl Limits {
    /// The limits for a script with this header.
    #[must_use]
    pub fn of(self, header: &Header) -> Self {
        Self {
            lock_timeout: header.lock_timeout.unwrap_or(self.lock_timeout),
            budget: header.lock_budget.unwrap_or(self.budget),
            wait: header.lock_wait.unwrap_or(self.wait),
            on_blocker: self.on_blocker,
        }
    }
}
