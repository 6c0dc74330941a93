//! How long locks would be held on tables of real size: what was measured on small ones, scaled.
//!
//! The model is a rough one: bytes of the real table, divided by what the rehearsal's server did a moment ago on a table
//! of some megabytes. Its cache is warm, nobody else works on it, and it does not wait for the disk. Expect a factor of
//! three either way.

use std::collections::BTreeMap;

use super::cost::StatementCost;
use crate::hazard::LockMode;

/// A table as large as it really is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// As the server last counted them.
    pub rows: u64,
    /// Without its indexes.
    pub bytes: u64,
    /// Of all its indexes.
    pub index_bytes: u64,
}

/// What the rehearsal's server does in a second, in bytes of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed {
    /// Reading it to check a condition.
    pub scan: u64,
    /// Writing it anew.
    pub rewrite: u64,
    /// Building an index on it.
    pub build: u64,
}

/// A lock, and for how long it would be held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The relation.
    pub object: String,
    /// `ACCESS EXCLUSIVE`.
    pub mode: String,
    /// From when it is taken to the end of the transaction, in microseconds.
    pub micros: u64,
}

/// Locks that hinder users and would be held for a millisecond or more, the longest first. A lock is held from its own
/// statement to the end of its part: a quick one before a long one is a long one too.
#[must_use]
pub fn holds(costs: &[StatementCost], sizes: &BTreeMap<String, Size>, speed: &Speed) -> Vec<Hold> {
    let mut found: BTreeMap<(&str, LockMode), u64> = BTreeMap::new();
    for (at, cost) in costs.iter().enumerate() {
        let rest = costs.iter().skip(at).take_while(|later| later.part == cost.part);
        let micros: u64 = rest.map(|later| duration(later, sizes, speed)).sum();
        for lock in &cost.locks {
            let mode = LockMode::from_sql(&lock.mode).filter(|mode| *mode >= LockMode::Share);
            if let Some(mode) = mode.filter(|_| micros >= 1000) {
                let known = found.entry((&lock.object, mode)).or_default();
                *known = micros.max(*known);
            }
        }
    }
    let mut holds: Vec<Hold> = found
        .into_iter()
        .map(|((object, mode), micros)| Hold { object: object.to_owned(), mode: mode.as_sql().to_owned(), micros })
        .collect();
    holds.sort_by_key(|hold| std::cmp::Reverse(hold.micros));
    holds
}

/// How long a statement would take, in microseconds. Changing rows counts as writing the table anew.
fn duration(cost: &StatementCost, sizes: &BTreeMap<String, Size>, speed: &Speed) -> u64 {
    let size = |table: &str| sizes.get(table).copied().unwrap_or_default();
    let mut micros = 0_u64;
    let changes = ["UPDATE", "DELETE", "MERGE"].iter().any(|verb| cost.verb.starts_with(verb));
    for table in &cost.rewrites {
        micros += time(size(table).bytes, speed.rewrite) + time(size(table).index_bytes, speed.build);
    }
    for build in &cost.builds {
        micros += time(size(&build.table).bytes, speed.build);
    }
    for scan in &cost.scans {
        let counted = cost.rewrites.contains(&scan.table) || cost.builds.iter().any(|build| build.table == scan.table);
        if !counted {
            micros += time(size(&scan.table).bytes, if changes { speed.rewrite } else { speed.scan });
        }
    }
    micros
}

fn time(bytes: u64, per_second: u64) -> u64 {
    let micros = u128::from(bytes) * 1_000_000 / u128::from(per_second.max(1));
    u64::try_from(micros).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearse::{HeldLock, Scan};

    fn cost(part: usize, lock: Option<(&str, &str)>, rewrite: Option<&str>, scan: Option<&str>) -> StatementCost {
        let lock = lock.map(|(object, mode)| HeldLock { object: object.to_owned(), mode: mode.to_owned() });
        StatementCost {
            part,
            locks: lock.into_iter().collect(),
            rewrites: rewrite.map(str::to_owned).into_iter().collect(),
            scans: scan.map(|table| Scan { table: table.to_owned(), rows: 0 }).into_iter().collect(),
            ..StatementCost::default()
        }
    }

    #[test]
    fn a_lock_is_held_to_the_end_of_its_part() {
        let exclusive = "ACCESS EXCLUSIVE";
        let gb = 1 << 30;
        let size = Size { rows: 1, bytes: 40 * gb, index_bytes: 10 * gb };
        let sizes = BTreeMap::from([("users".to_owned(), size), ("small".to_owned(), Size::default())]);
        let speed = Speed { scan: 4 * gb, rewrite: gb, build: gb / 2 };
        let costs = [
            cost(0, Some(("small", exclusive)), None, None),
            cost(0, Some(("users", exclusive)), Some("users"), Some("users")),
            cost(1, Some(("users", "SHARE UPDATE EXCLUSIVE")), None, Some("users")),
            cost(2, Some(("users", exclusive)), None, Some("users")),
            cost(3, Some(("unknown", exclusive)), None, Some("unknown")),
        ];
        let found: Vec<(String, u64)> =
            holds(&costs, &sizes, &speed).into_iter().map(|hold| (hold.object, hold.micros / 1_000_000)).collect();
        assert_eq!(found, [("small".to_owned(), 60), ("users".to_owned(), 60)]);
        assert_eq!(holds(&costs[3..], &sizes, &speed)[0].micros, 10_000_000);
    }
}
