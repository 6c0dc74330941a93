//! When to try, when to step back, and when to give up.

use std::time::Duration;

use super::claim::Case;
use super::holder::{Holder, HolderKind, conflicts};
use super::limits::Limits;
use super::tally::{Tally, millis};
use crate::hazard::ObjectLock;
use crate::run::failure::Failure;
use crate::sql::Effect;

/// A transaction younger than this is likely over in a moment; waiting for it in the queue costs less than waiting for
/// a moment in which there is none.
const YOUNG: Duration = Duration::from_millis(100);
/// A prepared transaction older than this was most likely forgotten. Nothing but a person ends it.
const FORGOTTEN: Duration = Duration::from_secs(5);
/// Shortest and longest pause between two tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));
/// A pause lasts this many times the stall that the try before it caused: the application gets five sixths of the time.
const PEACE: u32 = 5;
/// So often a step may be cancelled while it holds its locks. It does the same each time.
const HOLD_CANCELS: u32 = 2;

/// What a look at the holders says.
#[derive(Debug, Clone, PartialEq)]
pub enum Look {
    /// Nobody is in the way for long.
    Go,
    /// Only autovacuum is, and it gives way to somebody who waits for longer than `deadlock_timeout`.
    PushAside,
    /// These are; wait until they are done.
    Wait(Vec<Holder>),
    /// This will not end by itself.
    GiveUp(Box<Failure>),
}

/// Judges the holders. `waited` is how long the step has been kept from its locks.
///
/// Holders that this role may not look into do not count: their age is not known, and every session of the application
/// holds some lock at some time.
#[must_use]
pub fn look(holders: &[Holder], claims: &[ObjectLock], limits: &Limits, waited: Duration) -> Look {
    let mut blocking: Vec<Holder> = Vec::new();
    let mut autovacuum = false;
    for holder in holders {
        let claimed = claims.get(holder.claim).map(|claim| claim.mode);
        if !claimed.zip(holder.mode).is_some_and(|(claimed, held)| conflicts(claimed, held)) {
            continue;
        }
        match (holder.kind(), holder.age) {
            (HolderKind::Hidden, _) => {}
            (HolderKind::Autovacuum, _) => autovacuum = true,
            (_, Some(age)) if age < YOUNG => {}
            _ => {
                let known = |other: &Holder| (other.pid, &other.prepared) == (holder.pid, &holder.prepared);
                if !blocking.iter().any(known) {
                    blocking.push(holder.clone());
                }
            }
        }
    }
    let forgotten = blocking
        .iter()
        .find(|holder| holder.kind() == HolderKind::Prepared && holder.age.is_none_or(|age| age >= FORGOTTEN));
    match (forgotten, blocking.as_slice()) {
        (Some(holder), _) => Look::GiveUp(Box::new(prepared(holder))),
        (None, []) if autovacuum => Look::PushAside,
        (None, []) => Look::Go,
        (None, _) if waited >= limits.wait => Look::GiveUp(Box::new(never_free(&blocking, limits))),
        (None, _) => Look::Wait(blocking),
    }
}

fn prepared(holder: &Holder) -> Failure {
    let gid = holder.prepared.clone().unwrap_or_default();
    let message = format!("{holder}, and will until somebody ends it; nothing was changed");
    let hint = format!("COMMIT PREPARED '{gid}' or ROLLBACK PREPARED '{gid}', then go on");
    Failure { hint: Some(hint), ..Failure::own("ME432", message) }
}

fn never_free(blocking: &[Holder], limits: &Limits) -> Failure {
    let names: Vec<String> = blocking.iter().map(ToString::to_string).collect();
    let who = if names.is_empty() {
        "who held them each time was gone, or hidden, when the guard looked".to_owned()
    } else {
        names.join("; ")
    };
    let message = format!("the locks were not to be had within {}: {who}", millis(limits.wait));
    let ways = if blocking.iter().any(|holder| holder.kind() == HolderKind::Idle) {
        "end the idle transaction (`SELECT pg_terminate_backend(PID)`, or --on-blocker terminate)"
    } else {
        "choose a quieter time, wait longer (--lock-wait 1h), or move them aside (--on-blocker cancel)"
    };
    Failure { hint: Some(ways.to_owned()), ..Failure::own("ME430", message) }
}

/// When the guard itself cancelled a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It stood in the queue for a lock.
    Queueing,
    /// It had its locks, and worked.
    Holding,
}

/// Why a try came to nothing, where another one may do better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setback {
    /// A lock was not free within `lock_timeout`.
    LockTimeout,
    /// It was chosen to break a deadlock.
    Deadlock,
    /// The guard cancelled it.
    Budget(Cancelled),
}

/// Recognises a setback by the server's code and by what the guard did.
#[must_use]
pub fn setback(sqlstate: Option<&str>, cancelled: Option<Cancelled>) -> Option<Setback> {
    match (sqlstate, cancelled) {
        (Some("55P03"), _) => Some(Setback::LockTimeout),
        (Some("40P01"), _) => Some(Setback::Deadlock),
        (Some("57014"), Some(phase)) => Some(Setback::Budget(phase)),
        _ => None,
    }
}

/// What to do after a setback.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Try again after this pause.
    Again(Duration),
    /// Leave it.
    GiveUp(Box<Failure>),
}

/// Judges a setback that the tally knows of already. `random` is in `0..1`.
#[must_use]
pub fn after(
    setback: Setback,
    tally: &Tally,
    limits: &Limits,
    recipe: Option<&str>,
    waited: Duration,
    random: f64,
) -> Verdict {
    if let (Setback::Budget(Cancelled::Holding), HOLD_CANCELS..) = (setback, tally.hold_cancels) {
        let message = format!(
            "the application waited behind this step for longer than the budget of {}, {} times, while the step held \
             its locks and worked; it was cancelled and nothing of it is in effect",
            millis(limits.budget),
            tally.hold_cancels
        );
        let or = "or allow it that long in the script's header: -- Lock-budget: 10s";
        let hint = recipe.map_or_else(|| or.to_owned(), |recipe| format!("{recipe}; {or}"));
        return Verdict::GiveUp(Box::new(Failure { hint: Some(hint), ..Failure::own("ME431", message) }));
    }
    let pause = pause(tally.attempts, tally.last_stall, random);
    if waited + pause >= limits.wait {
        return Verdict::GiveUp(Box::new(never_free(&tally.blockers, limits)));
    }
    Verdict::Again(pause)
}

/// Whether a statement outside of any transaction may be left to work for as long as it takes: it keeps neither reads nor
/// writes waiting, and cancelling it would leave something half done.
#[must_use]
pub fn is_gentle(effect: &Effect) -> bool {
    !matches!(effect, Effect::Repeatable | Effect::Unknown | Effect::Reindexed { concurrently: false, .. })
}

/// Makes the server's "cancelled" of a statement outside of any transaction tell that it was the guard.
pub fn over_budget(failure: &mut Failure, case: &Case) {
    failure.code = "ME431".to_owned();
    failure.message = format!(
        "the application waited behind this statement for longer than the budget of {}, so it was cancelled",
        millis(case.limits.budget)
    );
    failure.hint.clone_from(&case.recipe);
}

/// How long to leave the application in peace: full jitter between 50 ms and a bound that doubles with every try up to
/// 30 s, but never less than five times the stall that was just caused.
#[must_use]
pub fn pause(attempts: u32, stall: Duration, random: f64) -> Duration {
    let (least, most) = PAUSE;
    let bound = least.saturating_mul(1 << attempts.min(16)).min(most);
    let jitter = least + (bound - least).mul_f64(random.clamp(0.0, 1.0));
    jitter.max(stall.saturating_mul(PEACE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hazard::{LockMode, LockOn};
    use crate::sql::QualifiedName;

    fn claim(mode: LockMode) -> Vec<ObjectLock> {
        let object = QualifiedName { schema: None, name: "t".to_owned() };
        vec![ObjectLock { object, mode, on: LockOn::Tree }]
    }

    fn holder(mode: LockMode, state: &str, age_ms: u64) -> Holder {
        Holder {
            relation: "t".to_owned(),
            mode: Some(mode),
            pid: Some(7),
            state: Some(state.to_owned()),
            age: Some(Duration::from_millis(age_ms)),
            ..Holder::default()
        }
    }

    #[test]
    fn a_look_waits_for_old_conflicting_transactions_only() {
        let limits = Limits::default();
        let check = |holder: Holder, claimed: LockMode, expected: &str| {
            let found = match look(std::slice::from_ref(&holder), &claim(claimed), &limits, Duration::ZERO) {
                Look::Go => "go".to_owned(),
                Look::PushAside => "push".to_owned(),
                Look::Wait(who) => format!("wait for {}", who.len()),
                Look::GiveUp(failure) => failure.code,
            };
            assert_eq!(found, expected, "{holder:?}");
        };
        use LockMode::{AccessExclusive, AccessShare, RowExclusive, Share, ShareRowExclusive, ShareUpdateExclusive};
        check(holder(AccessShare, "active", 6_000), AccessExclusive, "wait for 1");
        check(holder(AccessShare, "idle in transaction", 6_000), AccessExclusive, "wait for 1");
        check(holder(AccessShare, "active", 20), AccessExclusive, "go");
        check(holder(AccessShare, "active", 6_000), ShareRowExclusive, "go");
        check(holder(RowExclusive, "active", 6_000), ShareRowExclusive, "wait for 1");
        check(holder(Share, "active", 6_000), Share, "go");
        let vacuum = |query: &str| Holder {
            backend: Some("autovacuum worker".to_owned()),
            query: Some(query.to_owned()),
            ..holder(ShareUpdateExclusive, "active", 9_000)
        };
        check(vacuum("autovacuum: VACUUM t"), AccessExclusive, "push");
        check(vacuum("autovacuum: VACUUM t (to prevent wraparound)"), AccessExclusive, "wait for 1");
        let hidden = Holder { state: None, age: None, ..holder(AccessShare, "", 0) };
        check(hidden, AccessExclusive, "go");
        let prepared = |age| Holder { pid: None, prepared: Some("g".to_owned()), ..holder(RowExclusive, "", age) };
        check(prepared(1_000), AccessExclusive, "wait for 1");
        check(prepared(60_000), AccessExclusive, "ME432");
        check(prepared(20), AccessExclusive, "go");
    }

    #[test]
    fn after_the_wait_is_over_the_blockers_are_named() {
        let limits = Limits { wait: Duration::from_secs(2), ..Limits::default() };
        let held = [holder(LockMode::AccessShare, "idle in transaction", 6_000)];
        let found = look(&held, &claim(LockMode::AccessExclusive), &limits, limits.wait);
        let Look::GiveUp(failure) = found else { panic!("{found:?}") };
        assert_eq!(failure.code, "ME430");
        assert!(failure.message.contains("pid 7 (idle in transaction for 6.0 s) holds t"), "{}", failure.message);
        assert!(failure.hint.unwrap().contains("pg_terminate_backend"));
    }

    #[test]
    fn setbacks_are_known_by_their_code_and_by_who_cancelled() {
        use Cancelled::{Holding, Queueing};
        for (code, cancelled, expected) in [
            (Some("55P03"), None, Some(Setback::LockTimeout)),
            (Some("55P03"), Some(Queueing), Some(Setback::LockTimeout)),
            (Some("40P01"), None, Some(Setback::Deadlock)),
            (Some("57014"), None, None),
            (Some("57014"), Some(Holding), Some(Setback::Budget(Holding))),
            (Some("23505"), Some(Holding), None),
            (None, None, None),
        ] {
            assert_eq!(setback(code, cancelled), expected, "{code:?} {cancelled:?}");
        }
    }

    #[test]
    fn pauses_stay_within_their_bounds() {
        let ms = Duration::from_millis;
        for (attempts, stall, random, expected) in [
            (1, ms(0), 0.0, ms(50)),
            (1, ms(0), 1.0, ms(100)),
            (4, ms(0), 1.0, ms(800)),
            (4, ms(0), 0.5, ms(425)),
            (400, ms(0), 1.0, ms(30_000)),
            (1, ms(100), 0.0, ms(500)),
            (1, ms(20), 1.0, ms(100)),
        ] {
            assert_eq!(pause(attempts, stall, random), expected, "{attempts} {stall:?} {random}");
        }
    }

    #[test]
    fn a_step_that_holds_too_long_gets_a_second_chance_and_no_third() {
        let limits = Limits::default();
        let holding = Setback::Budget(Cancelled::Holding);
        let mut tally = Tally { attempts: 1, hold_cancels: 1, ..Tally::default() };
        let verdict = after(holding, &tally, &limits, Some("do it so"), Duration::ZERO, 0.0);
        assert_eq!(verdict, Verdict::Again(Duration::from_millis(50)));
        tally.hold_cancels = 2;
        let Verdict::GiveUp(failure) = after(holding, &tally, &limits, Some("do it so"), Duration::ZERO, 0.0) else {
            panic!("a third try")
        };
        assert_eq!(failure.code, "ME431");
        assert!(failure.hint.unwrap().starts_with("do it so"));
        let queueing = Setback::Budget(Cancelled::Queueing);
        assert!(matches!(after(queueing, &tally, &limits, None, Duration::ZERO, 0.0), Verdict::Again(_)));
        let late = after(queueing, &tally, &limits, None, limits.wait, 0.0);
        assert!(matches!(late, Verdict::GiveUp(failure) if failure.code == "ME430"));
    }
}
