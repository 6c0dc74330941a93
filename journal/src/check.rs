//! Integrity of a whole journal.

use migengine_engine::id::RunId;
use migengine_engine::run::event::Recorded;
use migengine_engine::run::journal::{Journal, JournalError};

use crate::SledJournal;
use crate::chain::{self, Head};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// Every run, oldest first.
    pub runs: Vec<RunReport>,
}

/// One run of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunReport {
    /// The run.
    pub run: RunId,
    /// Records there, readable or not.
    pub records: u64,
    /// The end of its chain, and with it the anchor to compare with the database; or the first thing that is wrong.
    pub verdict: Result<Head, String>,
}

impl CheckReport {
    /// Whether every run is whole.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.runs.iter().all(|run| run.verdict.is_ok())
    }
}

impl SledJournal {
    /// Checks every run: checksums, order without gaps, the chain of hashes, each payload, and whatever `fold` finds
    /// wrong in its events (an illegal transition).
    ///
    /// # Errors
    /// Only where the store cannot be read at all; what is wrong with a run stands in the report.
    pub async fn check(&self, fold: impl Fn(&[Recorded]) -> Result<(), String>) -> Result<CheckReport, JournalError> {
        let mut runs = Vec::new();
        for run in self.runs().await? {
            runs.push(match self.raw(run).await {
                Ok(raw) => RunReport { run, records: raw.len() as u64, verdict: verdict(run, &raw, &fold) },
                Err(JournalError::Damaged { reason, .. }) => RunReport { run, records: 0, verdict: Err(reason) },
                Err(error) => return Err(error),
            });
        }
        Ok(CheckReport { runs })
    }
}

fn verdict(
    run: RunId,
    raw: &[(u64, Vec<u8>)],
    fold: impl Fn(&[Recorded]) -> Result<(), String>,
) -> Result<Head, String> {
    let chain = chain::read_keyed(run, raw).map_err(|broken| broken.to_string())?;
    let head = chain.last().map_or(Head::EMPTY, |(_, sealed)| Head { seq: sealed.seq, hash: sealed.hash });
    let events: Vec<Recorded> = chain.into_iter().map(|(recorded, _)| recorded).collect();
    fold(&events)?;
    Ok(head)
}
