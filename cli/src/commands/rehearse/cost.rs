//! What statements cost, in words.

use migengine_engine::rehearse::{HeldLock, StatementCost};

/// A line for each statement that somebody could notice: `m/003.sql:4: ALTER TABLE: ACCESS EXCLUSIVE on users; …`.
#[must_use]
pub(super) fn lines(costs: &[StatementCost]) -> Vec<String> {
    costs.iter().filter(|cost| !cost.is_free() || cost.lint.is_some()).map(line).collect()
}

fn line(cost: &StatementCost) -> String {
    let mut facts: Vec<String> = cost.locks.iter().map(lock).collect();
    facts.extend(cost.rewrites.iter().map(|table| format!("writes {table} anew")));
    facts.extend(cost.emptied.iter().map(|table| format!("empties {table}")));
    facts.extend(cost.builds.iter().map(|build| format!("builds {} on {}", build.index, build.table)));
    let scanned = cost.scans.iter().filter(|scan| {
        !cost.rewrites.contains(&scan.table) && !cost.builds.iter().any(|build| build.table == scan.table)
    });
    facts.extend(scanned.map(|scan| format!("reads {} whole", scan.table)));
    facts.extend(cost.dropped.iter().filter(|one| one.cascade).map(|one| format!("drops {} along", one.object)));
    if cost.wal_bytes >= LITTLE {
        facts.push(format!("{} of WAL", bytes(cost.wal_bytes)));
    }
    if facts.is_empty() {
        facts.push("nothing beyond what was locked before it".to_owned());
    }
    let lint = cost.lint.as_ref().map(|words| format!("\n             lint expected otherwise: {words}"));
    format!("{}:{}: {}: {}{}", cost.file, cost.line, cost.verb, facts.join("; "), lint.unwrap_or_default())
}

fn lock(lock: &HeldLock) -> String {
    format!("{} on {}", lock.mode, lock.object)
}

/// Every change of the catalogs writes some log; less than this is not worth telling.
const LITTLE: u64 = 1 << 20;

/// `512 B`, `3.4 MB`: powers of 1024, as PostgreSQL counts.
#[must_use]
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1024 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit behind the point")]
    let mut value = count as f64;
    let mut unit = "B";
    for larger in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_as_postgresql_counts() {
        for (count, expected) in [(0, "0 B"), (1536, "1.5 kB"), (37 << 30, "37.0 GB"), (5 << 50, "5120.0 TB")] {
            assert_eq!(bytes(count), expected);
        }
    }
}
