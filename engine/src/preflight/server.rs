//! Checks of the server, from what was gathered of it.

use super::facts::{Facts, tool};
use super::{Check, age, bytes, some};
use crate::id::Timestamp;

/// When the facts were asked for and when they came, by this machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Asked.
    pub before: Timestamp,
    /// Answered.
    pub after: Timestamp,
}

/// Free space where the data lies, and what the pending steps need of it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Free; absent where it cannot be known.
    pub free: Option<i64>,
    /// Tables that are written anew, and new indexes: at most as much again.
    pub needed: i64,
}

/// A difference between two clocks that makes times in journal and history misleading.
const SKEW_US: i64 = 5_000_000;
/// WAL kept by a slot that nobody reads from, and from which on it is told.
const SLOT_KEEPS: i64 = 1_073_741_824;
/// A standby that is this far behind is told.
const STANDBY_BEHIND: i64 = 268_435_456;
/// A transaction that is open for longer is told.
const LONG_S: i64 = 300;

/// All checks that need nothing but the facts.
#[must_use]
pub fn server_checks(facts: &Facts, clock: Clock, disk: Disk) -> Vec<Check> {
    vec![
        settings(facts),
        skew(facts, clock),
        free_space(disk),
        replication(facts),
        transactions(facts),
        leftovers(facts),
        other_tools(facts),
    ]
}

fn settings(facts: &Facts) -> Check {
    let is = |name: &str, value: &str| facts.settings.get(name).is_some_and(|found| found == value);
    let mut odd = Vec::new();
    if !is("session_replication_role", "origin") && facts.settings.contains_key("session_replication_role") {
        odd.push("session_replication_role is not origin, so triggers and foreign keys do not work".to_owned());
    }
    if facts.settings.get("transaction_timeout").is_some_and(|limit| limit != "0") {
        odd.push("transaction_timeout ends long steps".to_owned());
    }
    if is("fsync", "off") {
        odd.push("fsync is off: a crash of the server may lose what was committed".to_owned());
    }
    if is("full_page_writes", "off") {
        odd.push("full_page_writes is off: a crash of the server may damage what was committed".to_owned());
    }
    if !odd.is_empty() {
        return Check::warn(
            "settings",
            odd.join("; "),
            "SHOW the setting, and ask who set it: ALTER ROLE, ALTER DATABASE or the server's configuration",
        );
    }
    match facts.settings.get("synchronous_commit").map(String::as_str) {
        Some("off" | "local") => {
            Check::ok("settings", "synchronous_commit is off by default; the engine's sessions switch it on")
        }
        _ => Check::ok("settings", "nothing that would change how steps behave"),
    }
}

/// The answer was made at some time between asking and its arrival.
fn skew(facts: &Facts, clock: Clock) -> Check {
    let off = if facts.now_us < clock.before.0 {
        facts.now_us - clock.before.0
    } else {
        (facts.now_us - clock.after.0).max(0)
    };
    let seconds = off.abs() / 1_000_000;
    match off {
        _ if off.abs() <= SKEW_US => {
            Check::ok("clock", format!("the server's clock and this one's differ by less than {} s", seconds + 1))
        }
        _ => Check::warn(
            "clock",
            format!(
                "the server's clock is {} {} this machine's",
                age(seconds),
                if off > 0 { "ahead of" } else { "behind" }
            ),
            "set the clocks by NTP: times in the journal and in the history are of different clocks",
        ),
    }
}

fn free_space(disk: Disk) -> Check {
    match disk.free {
        None => Check::skipped("disk", "the server's disk cannot be seen from here"),
        Some(free) if disk.needed > free => Check::fail(
            "disk",
            format!("the pending steps may write {} while {} are free", bytes(disk.needed), bytes(free)),
            "make room on the server's disk",
        ),
        Some(free) if disk.needed > free / 2 => Check::warn(
            "disk",
            format!("the pending steps may write {} of the {} that are free", bytes(disk.needed), bytes(free)),
            "make room on the server's disk",
        ),
        Some(free) => Check::ok("disk", format!("{} free, {} needed at most", bytes(free), bytes(disk.needed))),
    }
}

fn replication(facts: &Facts) -> Check {
    let mut odd = Vec::new();
    for slot in &facts.slots {
        let status = slot.wal_status.as_deref().unwrap_or("reserved");
        if matches!(status, "lost" | "unreserved") {
            odd.push(format!("the slot {} is {status}", slot.name));
        } else if !slot.active && slot.kept.is_some_and(|kept| kept >= SLOT_KEEPS) {
            odd.push(format!(
                "nobody reads from the slot {}, which keeps {}",
                slot.name,
                bytes(slot.kept.unwrap_or_default())
            ));
        }
    }
    for standby in facts.standbys.iter().filter(|standby| standby.behind.is_some_and(|behind| behind >= STANDBY_BEHIND))
    {
        odd.push(format!("the standby {} is {} behind", standby.name, bytes(standby.behind.unwrap_or_default())));
    }
    if odd.is_empty() {
        let (slots, standbys) = (facts.slots.len(), facts.standbys.len());
        return Check::ok("replication", format!("{slots} slots and {standbys} standbys, none of them far behind"));
    }
    Check::warn(
        "replication",
        some(&odd),
        "let the standbys catch up, or drop slots that nobody needs: a large step adds to their lag",
    )
}

fn transactions(facts: &Facts) -> Check {
    let long = facts.long.iter().filter(|long| long.seconds >= LONG_S);
    let long = long
        .map(|long| format!("{} (pid {}) is in a transaction for {}", long.application, long.pid, age(long.seconds)));
    let prepared = facts.prepared.iter();
    let prepared = prepared.map(|one| format!("the prepared transaction {} waits for {}", one.gid, age(one.seconds)));
    let odd: Vec<String> = prepared.chain(long).collect();
    if odd.is_empty() {
        return Check::ok("transactions", "no long transaction and no prepared one");
    }
    Check::warn(
        "transactions",
        some(&odd),
        "end them, or COMMIT PREPARED / ROLLBACK PREPARED: steps wait for the locks they hold",
    )
}

fn leftovers(facts: &Facts) -> Check {
    let mut odd = Vec::new();
    if !facts.invalid_indexes.is_empty() {
        odd.push(format!("invalid indexes: {}", some(&facts.invalid_indexes)));
    }
    if !facts.not_valid.is_empty() {
        odd.push(format!("constraints that were never validated: {}", some(&facts.not_valid)));
    }
    if odd.is_empty() {
        return Check::ok("leftovers", "no invalid index, and every constraint is validated");
    }
    Check::warn(
        "leftovers",
        odd.join("; "),
        "REINDEX INDEX CONCURRENTLY or drop the indexes, VALIDATE CONSTRAINT the constraints",
    )
}

fn other_tools(facts: &Facts) -> Check {
    if facts.histories.is_empty() {
        return Check::ok("other-tools", "no other migration tool has left its history here");
    }
    let found: Vec<String> =
        facts.histories.iter().map(|history| format!("{} ({})", history.table, tool(&history.name))).collect();
    Check::warn("other-tools", some(&found), "make sure that only one tool changes this schema")
}

/// Sessions of applications, which make an unprotected database look like one in use.
#[must_use]
pub fn traffic(facts: &Facts, protected: bool) -> Check {
    let count: i64 = facts.sessions.values().sum();
    if count == 0 {
        return Check::ok("traffic", "nobody else is connected");
    }
    let who: Vec<String> = facts
        .sessions
        .iter()
        .map(|(name, count)| format!("{} ({count})", if name.is_empty() { "without a name" } else { name }))
        .collect();
    let sessions = if count == 1 { "session" } else { "sessions" };
    let says = format!("{count} {sessions} of others: {}", some(&who));
    if protected {
        return Check::ok("traffic", says);
    }
    Check::warn("traffic", says, "if this database is in use, protect it: migengine protect")
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::facts::{LongTransaction, Prepared, Slot, Standby};
    use super::*;

    const CLOCK: Clock = Clock { before: Timestamp(1_000_000), after: Timestamp(2_000_000) };

    fn verdicts(facts: &Facts) -> Vec<(&'static str, Verdict)> {
        let disk = Disk { free: Some(1 << 40), needed: 0 };
        server_checks(facts, CLOCK, disk).iter().map(|check| (check.name, check.verdict)).collect()
    }

    fn odd(facts: &Facts) -> Vec<&'static str> {
        verdicts(facts).into_iter().filter(|(_, verdict)| *verdict != Verdict::Ok).map(|(name, _)| name).collect()
    }

    fn fine() -> Facts {
        Facts { now_us: 1_500_000, ..Facts::default() }
    }

    #[test]
    fn a_server_in_order_passes_everything() {
        assert_eq!(odd(&fine()), [""; 0]);
    }

    #[test]
    fn each_oddity_is_told_by_its_own_check() {
        let slot = |active, kept, status: &str| Slot {
            name: "s".to_owned(),
            active,
            kept: Some(kept),
            wal_status: Some(status.to_owned()),
        };
        let set = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
        for (facts, expected) in [
            (Facts { settings: set("session_replication_role", "replica"), ..fine() }, "settings"),
            (Facts { settings: set("transaction_timeout", "60000"), ..fine() }, "settings"),
            (Facts { now_us: 9_000_000, ..fine() }, "clock"),
            (Facts { now_us: -9_000_000, ..fine() }, "clock"),
            (Facts { slots: vec![slot(false, 2 << 30, "extended")], ..fine() }, "replication"),
            (Facts { slots: vec![slot(true, 0, "lost")], ..fine() }, "replication"),
            (
                Facts { standbys: vec![Standby { name: "b".to_owned(), behind: Some(1 << 30) }], ..fine() },
                "replication",
            ),
            (
                Facts {
                    long: vec![LongTransaction { pid: 1, application: "report".to_owned(), seconds: 400 }],
                    ..fine()
                },
                "transactions",
            ),
            (Facts { prepared: vec![Prepared { gid: "g".to_owned(), seconds: 1 }], ..fine() }, "transactions"),
            (Facts { invalid_indexes: vec!["i".to_owned()], ..fine() }, "leftovers"),
            (Facts { not_valid: vec!["t.c".to_owned()], ..fine() }, "leftovers"),
        ] {
            assert_eq!(odd(&facts), [expected], "{facts:?}");
        }
        let quiet = Facts { slots: vec![slot(true, 2 << 30, "reserved"), slot(false, 9, "reserved")], ..fine() };
        assert_eq!(odd(&quiet), [""; 0]);
    }

    #[test]
    fn a_step_larger_than_the_free_space_fails() {
        let verdict = |free, needed| free_space(Disk { free, needed }).verdict;
        assert_eq!(verdict(Some(10), 11), Verdict::Fail);
        assert_eq!(verdict(Some(10), 6), Verdict::Warn);
        assert_eq!(verdict(Some(10), 5), Verdict::Ok);
        assert_eq!(verdict(None, 5), Verdict::Skipped);
    }

    #[test]
    fn traffic_is_a_warning_only_where_nothing_protects() {
        let busy = Facts { sessions: [("web".to_owned(), 3)].into(), ..fine() };
        assert_eq!(traffic(&busy, false).verdict, Verdict::Warn);
        assert_eq!(traffic(&busy, true).verdict, Verdict::Ok);
        assert_eq!(traffic(&fine(), false).verdict, Verdict::Ok);
    }
}
