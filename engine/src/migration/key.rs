//! The keys of a header, and what looks like a slip in one.

use strsim::damerau_levenshtein;

/// The keys of a header comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    Migration,
    Description,
    Author,
    Date,
    Tags,
    Rollback,
    RollsBack,
    Requires,
    Conflicts,
    Transaction,
    LockTimeout,
    LockBudget,
    LockWait,
    StatementTimeout,
    Allow,
    Irreversible,
}

/// Every key with its spelling in people's files, and its plain form: lower case, words joined by `-`.
const KEYS: &[(Key, &str, &str)] = &[
    (Key::Migration, "Migration", "migration"),
    (Key::Description, "Description", "description"),
    (Key::Author, "Author", "author"),
    (Key::Date, "Date", "date"),
    (Key::Tags, "Tags", "tags"),
    (Key::Rollback, "Rollback", "rollback"),
    (Key::RollsBack, "Rolls back", "rolls-back"),
    (Key::Requires, "Requires", "requires"),
    (Key::Conflicts, "Conflicts", "conflicts"),
    (Key::Transaction, "Transaction", "transaction"),
    (Key::LockTimeout, "Lock-timeout", "lock-timeout"),
    (Key::LockBudget, "Lock-budget", "lock-budget"),
    (Key::LockWait, "Lock-wait", "lock-wait"),
    (Key::StatementTimeout, "Statement-timeout", "statement-timeout"),
    (Key::Allow, "Allow", "allow"),
    (Key::Irreversible, "Irreversible", "irreversible"),
];

/// Words of ordinary prose that happen to lie near a key.
const PROSE: &[&str] = &[
    "actor",
    "all",
    "alloc",
    "allot",
    "alloy",
    "also",
    "arrow",
    "auth",
    "below",
    "callback",
    "data",
    "dare",
    "dates",
    "elbow",
    "fallback",
    "fate",
    "fellow",
    "flow",
    "follow",
    "follows",
    "gate",
    "hallo",
    "hello",
    "hollow",
    "late",
    "mate",
    "mellow",
    "mitigation",
    "rate",
    "reversible",
    "show",
    "slow",
    "swallow",
    "tabs",
    "taps",
    "transition",
    "translation",
    "yellow",
];

/// What the word before a colon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    Known(Key),
    Near(Key),
    Prose,
}

impl Key {
    /// As it is written in documentation.
    pub(super) fn name(self) -> &'static str {
        KEYS.iter().find(|(key, ..)| *key == self).map_or("", |(_, name, _)| name)
    }

    /// Whether it only documents, so that several lines of it do no harm.
    pub(super) fn may_repeat(self) -> bool {
        matches!(self, Self::Description | Self::Author | Self::Date | Self::Tags | Self::Allow)
    }
}

/// Lower case, with `_`, `-` and spaces made one `-`.
pub(super) fn plain(written: &str) -> String {
    let lower = written.trim().to_ascii_lowercase();
    lower.split(['-', '_', ' ', '\t']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

/// Looks a written key up. A slip is up to two edits away, one for keys of four letters.
pub(super) fn lookup(written: &str) -> Lookup {
    let plain = plain(written);
    if let Some((key, ..)) = KEYS.iter().find(|(.., name)| *name == plain) {
        return Lookup::Known(*key);
    }
    if PROSE.contains(&plain.as_str()) {
        return Lookup::Prose;
    }
    let near = KEYS
        .iter()
        .map(|(key, _, name)| (damerau_levenshtein(name, &plain), name.len(), *key))
        .filter(|(distance, len, _)| *distance <= if *len <= 4 { 1 } else { 2 })
        .min();
    near.map_or(Lookup::Prose, |(_, _, key)| Lookup::Near(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_whatever_their_case_and_joints() {
        for (written, key) in [
            ("Lock-timeout", Key::LockTimeout),
            ("LOCK_TIMEOUT", Key::LockTimeout),
            ("lock  timeout", Key::LockTimeout),
            ("rolls back", Key::RollsBack),
            ("Rolls-Back", Key::RollsBack),
            ("tags", Key::Tags),
        ] {
            assert_eq!(lookup(written), Lookup::Known(key), "{written}");
        }
    }

    #[test]
    fn a_slip_is_near_and_prose_is_not() {
        for (written, key) in [
            ("Tranaction", Key::Transaction),
            ("Transactoin", Key::Transaction),
            ("Requries", Key::Requires),
            ("Require", Key::Requires),
            ("Confilcts", Key::Conflicts),
            ("Lock-timout", Key::LockTimeout),
            ("locktimeout", Key::LockTimeout),
            ("Alow", Key::Allow),
            ("Dtae", Key::Date),
            ("tag", Key::Tags),
            ("Rols back", Key::RollsBack),
            ("Irreversable", Key::Irreversible),
        ] {
            assert_eq!(lookup(written), Lookup::Near(key), "{written}");
        }
        for written in [
            "Note",
            "TODO",
            "See",
            "data",
            "also",
            "below",
            "follow",
            "flow",
            "auth",
            "fallback",
            "http",
            "Example",
            "Usage",
            "safety-assured",
            "to be run manually",
            "Layout",
            "sampling",
            "Step",
            "Warning",
            "lock",
            "wait",
            "timeout",
            "state",
            "type",
            "Copyright",
            "License",
            "action",
            "require that",
            "transition",
        ] {
            assert_eq!(lookup(written), Lookup::Prose, "{written}");
        }
    }
}
