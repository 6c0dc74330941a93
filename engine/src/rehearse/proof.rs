//! Whether a reverse script was ever proven, and what follows for a rollback.

use super::lock::LockFile;
use crate::migration::{FileName, Script};
use crate::protect::Protection;

/// The reverse scripts of which nobody knows that they restore the schema: never rehearsed, changed since, or found to
/// do something else.
#[must_use]
pub fn unproven<'s>(lock: &LockFile, reverse: impl IntoIterator<Item = &'s Script>) -> Vec<&'s Script> {
    let proven = |script: &Script| {
        let FileName::Script { id, .. } = FileName::of(&script.file) else { return false };
        lock.get(&id).is_some_and(|entry| entry.proven && entry.down == Some(script.tokens))
    };
    reverse.into_iter().filter(|script| !proven(script)).collect()
}

/// What an unproven reverse script means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Everything is proven, or a person took the rest upon themselves.
    Given,
    /// Tell, and go on.
    Warn,
    /// Do not begin.
    Refuse,
}

/// Decides whether a rollback may begin. `unproven` counts the scripts without a proof, `accepted` is `--unproven`.
#[must_use]
pub fn trust(unproven: usize, accepted: bool, protection: &Protection) -> Trust {
    match (unproven, accepted, protection.is_on()) {
        (0, ..) | (_, true, _) => Trust::Given,
        (_, false, true) => Trust::Refuse,
        (_, false, false) => Trust::Warn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_protected_database_insists_on_proof() {
        let protected = Protection { configured: Some("[env.production]".to_owned()), mark: None };
        let free = Protection::default();
        for (unproven, accepted, protection, expected) in [
            (0, false, &protected, Trust::Given),
            (1, false, &protected, Trust::Refuse),
            (1, true, &protected, Trust::Given),
            (1, false, &free, Trust::Warn),
            (2, true, &free, Trust::Given),
        ] {
            assert_eq!(trust(unproven, accepted, protection), expected, "{unproven} {accepted} {protection:?}");
        }
    }
}
