//! Where the text of a statement promises something else than was measured. The measurement is right.

use std::collections::BTreeMap;

use super::cost::{Oid, Relation, StatementCost};
use crate::hazard::{LockMode, LockOn, StatementFacts};
use crate::sql::QualifiedName;

/// What `lint` expects of a statement and the scratch database did not show, or the other way round. `held` are the
/// locks of the transaction before it. Statements that `lint` does not know contradict nothing.
pub(super) fn contradiction(
    facts: &StatementFacts,
    cost: &StatementCost,
    held: &BTreeMap<String, LockMode>,
    before: &BTreeMap<Oid, Relation>,
) -> Option<String> {
    if !facts.classified {
        return None;
    }
    let mut found = Vec::new();
    found.extend(stronger_than_expected(facts, cost, before));
    found.extend(weaker_than_expected(facts, cost, held, before));
    // What the migration made itself is cheap, which its text does not always show (`IF NOT EXISTS`). How rows are found depends on how many there are: a plan says nothing on empty tables.
    let old = facts.locks.iter().any(|lock| is_table(before, &plain(&lock.object)));
    let plans = ["UPDATE", "DELETE", "INSERT", "MERGE", "SELECT", "WITH", "COPY"];
    if !plans.iter().any(|verb| facts.verb.starts_with(verb)) {
        match (facts.rewrite, cost.rewrites.first()) {
            (false, Some(table)) => found.push(format!("no rewrite is expected, and {table} was written anew")),
            (true, None) if old && cost.emptied.is_empty() => {
                found.push("a rewrite is expected, and none happened".to_owned())
            }
            _ => {}
        }
        let worked = !cost.scans.is_empty() || !cost.builds.is_empty() || !cost.rewrites.is_empty();
        match (facts.scan, worked) {
            (false, true) if cost.rewrites.is_empty() => {
                let scanned = cost.scans.iter().map(|scan| &scan.table);
                let table = scanned.chain(cost.builds.iter().map(|build| &build.table)).next();
                found.push(format!("no scan is expected, and {} was read whole", table.map_or("a table", |name| name)));
            }
            (true, false) if old => found.push("a scan is expected, and none happened".to_owned()),
            _ => {}
        }
    }
    (!found.is_empty()).then(|| found.join("; "))
}

fn is_table(before: &BTreeMap<Oid, Relation>, name: &str) -> bool {
    before.values().any(|relation| relation.name == name && relation.is_table())
}

/// Indexes are left out: `lint` speaks of tables.
fn stronger_than_expected(
    facts: &StatementFacts,
    cost: &StatementCost,
    before: &BTreeMap<Oid, Relation>,
) -> Option<String> {
    let tables = cost.locks.iter().filter(|lock| is_table(before, &lock.object));
    let measured = tables.filter_map(|lock| Some((LockMode::from_sql(&lock.mode)?, &lock.object)));
    let (mode, object) = measured.max_by_key(|(mode, _)| *mode)?;
    let expected = facts.strongest().map(|lock| lock.mode);
    // Weaker ones are left out of what is expected, because they hinder nobody.
    if mode < LockMode::ShareUpdateExclusive || expected.is_some_and(|expected| expected >= mode) {
        return None;
    }
    let expected = expected.map_or("no lock that hinders anybody", LockMode::as_sql);
    Some(format!("{expected} is expected, and {} on {object} was taken", mode.as_sql()))
}

fn weaker_than_expected(
    facts: &StatementFacts,
    cost: &StatementCost,
    held: &BTreeMap<String, LockMode>,
    before: &BTreeMap<Oid, Relation>,
) -> Option<String> {
    let expected = facts.strongest().filter(|lock| matches!(lock.on, LockOn::Itself | LockOn::Tree))?;
    let name = plain(&expected.object);
    let taken = cost.locks.iter().filter(|lock| lock.object == name).find_map(|lock| LockMode::from_sql(&lock.mode));
    let mode = taken.max(held.get(&name).copied());
    // What was not there before the migration, or is named in another way, cannot be compared.
    if !is_table(before, &name) || mode.is_some_and(|mode| mode >= expected.mode) {
        return None;
    }
    let measured = mode.map_or("no lock", LockMode::as_sql);
    Some(format!("{} on {name} is expected, and {measured} was taken", expected.mode.as_sql()))
}

fn plain(name: &QualifiedName) -> String {
    let name = name.to_string();
    name.strip_prefix("public.").map_or(name.clone(), str::to_owned)
}
