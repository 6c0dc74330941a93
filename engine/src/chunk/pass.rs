//! What comes after the last key: another look for rows that came in behind, or the end.

/// How often rows that appeared behind the cursor are looked for.
pub const SWEEPS: u32 = 3;

/// One way through the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// From 1; what comes after the first is a sweep.
    pub number: u32,
    /// Rows that it changed.
    pub rows: u64,
}

/// What to do after a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Go through the key once more.
    Sweep,
    /// It is done.
    Finish,
}

/// Judges. Rows may have been inserted behind the cursor meanwhile (random keys), or a transaction with an older key was
/// committed late. Sweeping again is right only where a row that was changed is not found again.
#[must_use]
pub fn after_pass(pass: Pass, sweeps: bool) -> After {
    if sweeps && pass.rows > 0 && pass.number <= SWEEPS { After::Sweep } else { After::Finish }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeping_ends_when_nothing_is_found_and_after_three_times_at_the_latest() {
        for (number, rows, sweeps, expected) in [
            (1, 10, true, After::Sweep),
            (1, 0, true, After::Finish),
            (1, 10, false, After::Finish),
            (2, 1, true, After::Sweep),
            (2, 0, true, After::Finish),
            (3, 1, true, After::Sweep),
            (4, 1, true, After::Finish),
        ] {
            assert_eq!(after_pass(Pass { number, rows }, sweeps), expected, "{number} {rows} {sweeps}");
        }
    }
}
