//! Which migrations really depend on which, from what they were seen to make, change and read.

use std::collections::{BTreeMap, BTreeSet};

use super::cost::StatementCost;
use crate::id::MigrationId;
use crate::schema::{ObjectKey, Schema};

/// What a migration makes or changes, and what it only reads, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Objects that it created, changed or removed, and tables whose rows it changed.
    pub writes: BTreeSet<String>,
    /// Objects that it needs as they are.
    pub reads: BTreeSet<String>,
}

impl Footprint {
    /// From the schemas around it and what its statements did.
    #[must_use]
    pub fn new(before: &Schema, after: &Schema, costs: &[StatementCost]) -> Self {
        let mut footprint = Self::default();
        let keys: BTreeSet<&ObjectKey> = before.objects.keys().chain(after.objects.keys()).collect();
        let mut words = String::new();
        for key in keys {
            let (old, new) = (before.objects.get(key), after.objects.get(key));
            if old == new {
                continue;
            }
            footprint.writes.insert(short(key.parent.as_deref().unwrap_or(&key.name)).to_owned());
            for object in [old, new].into_iter().flatten() {
                object.attributes.values().for_each(|value| words.push_str(&format!(" {value}")));
            }
            words.push_str(&format!(" {}", key.name));
        }
        for cost in costs {
            let rows = cost.locks.iter().filter(|lock| lock.mode == "ROW EXCLUSIVE").map(|lock| &lock.object);
            footprint.writes.extend(rows.chain(&cost.emptied).cloned());
            footprint.reads.extend(cost.locks.iter().map(|lock| lock.object.clone()));
            footprint.reads.extend(cost.reads.iter().cloned());
        }
        // Types, functions and schemas are not locked; whoever uses them names them.
        let words: BTreeSet<&str> = words.split(|c: char| !(c.is_alphanumeric() || "_.\"".contains(c))).collect();
        let known = before.objects.keys().filter(|key| key.parent.is_none());
        for key in known {
            let name = key.name.split('(').next().unwrap_or(&key.name);
            let used = words.contains(name) || words.contains(short(name));
            let schema = key.kind == crate::schema::Kind::Schema
                && key.name != "public"
                && words.iter().any(|word| word.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')));
            if used || schema {
                footprint.reads.insert(short(&key.name).to_owned());
            }
        }
        footprint.reads.retain(|name| !footprint.writes.contains(name));
        footprint
    }
}

fn short(name: &str) -> &str {
    name.strip_prefix("public.").unwrap_or(name)
}

/// The fewest direct requirements that keep every migration behind those that last wrote what it reads or writes.
/// `list` is in the order of application. What follows from other requirements is left out.
#[must_use]
pub fn fewest_requires(list: &[(MigrationId, Footprint)]) -> Vec<(MigrationId, Vec<MigrationId>)> {
    let mut writers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut direct: Vec<BTreeSet<usize>> = Vec::new();
    for (at, (_, footprint)) in list.iter().enumerate() {
        let objects = footprint.reads.iter().chain(&footprint.writes);
        direct.push(objects.filter_map(|object| writers.get(object.as_str()).copied()).collect());
        footprint.writes.iter().for_each(|object| {
            writers.insert(object, at);
        });
    }
    let reduced = reduce(&direct);
    let id = |at: &usize| list.get(*at).map(|(id, _)| id.clone());
    list.iter()
        .zip(&reduced)
        .map(|((own, _), requires)| (own.clone(), requires.iter().filter_map(id).collect()))
        .collect()
}

/// A migration that uses what another one made or changed last, without standing behind it by its headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tie {
    /// The migration.
    pub id: MigrationId,
    /// What it should require.
    pub needs: MigrationId,
    /// The object that ties the two.
    pub object: String,
}

/// Every such tie. `list` is in the order of application, each with what its header requires.
#[must_use]
pub fn missing_ties(list: &[(MigrationId, Vec<MigrationId>, Footprint)]) -> Vec<Tie> {
    let places: BTreeMap<&MigrationId, usize> = list.iter().map(|(id, ..)| id).zip(0..).collect();
    let mut behind: Vec<BTreeSet<usize>> = Vec::new();
    let mut writers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ties = Vec::new();
    for (at, (id, requires, footprint)) in list.iter().enumerate() {
        let direct = requires.iter().filter_map(|id| places.get(id).copied());
        let all: BTreeSet<usize> =
            direct.flat_map(|at| behind.get(at).into_iter().flatten().copied().chain([at])).collect();
        for object in footprint.reads.union(&footprint.writes) {
            let writer = writers.get(object.as_str()).copied().filter(|writer| !all.contains(writer));
            if let Some((needs, ..)) = writer.and_then(|writer| list.get(writer)) {
                ties.push(Tie { id: id.clone(), needs: needs.clone(), object: object.clone() });
            }
        }
        footprint.writes.iter().for_each(|object| {
            writers.insert(object, at);
        });
        behind.push(all);
    }
    ties
}

/// Without what follows from the rest: requirements name earlier places only.
#[must_use]
pub fn reduce(direct: &[BTreeSet<usize>]) -> Vec<BTreeSet<usize>> {
    let mut before: Vec<BTreeSet<usize>> = Vec::new();
    let mut reduced = Vec::new();
    for requires in direct {
        let all: BTreeSet<usize> =
            requires.iter().flat_map(|at| before.get(*at).into_iter().flatten().copied().chain([*at])).collect();
        let implied: BTreeSet<usize> =
            requires.iter().flat_map(|at| before.get(*at).into_iter().flatten().copied()).collect();
        reduced.push(requires.difference(&implied).copied().collect());
        before.push(all);
    }
    reduced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, writes: &[&str], reads: &[&str]) -> (MigrationId, Footprint) {
        let set = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
        (MigrationId::new(name).unwrap(), Footprint { writes: set(writes), reads: set(reads) })
    }

    #[test]
    fn a_tie_is_missing_where_no_header_leads_to_the_last_writer() {
        let id = |name: &str| MigrationId::new(name).unwrap();
        let list = [
            (of("001_a", &["a"], &[]), vec![]),
            (of("002_b", &["a"], &[]), vec![id("001_a")]),
            (of("003_c", &["c"], &["a"]), vec![id("001_a")]),
            (of("004_d", &["d"], &["a", "c"]), vec![id("002_b")]),
            (of("005_e", &["d"], &["a"]), vec![id("004_d")]),
        ];
        let list: Vec<_> = list.into_iter().map(|((id, footprint), requires)| (id, requires, footprint)).collect();
        let told: Vec<String> =
            missing_ties(&list).iter().map(|tie| format!("{} {} {}", tie.id, tie.object, tie.needs)).collect();
        assert_eq!(told, ["003_c a 002_b", "004_d c 003_c"]);
    }

    #[test]
    fn only_what_does_not_follow_from_the_rest_is_required() {
        let list = [
            of("001_users", &["users"], &[]),
            of("002_orders", &["orders"], &["users"]),
            of("003_stock", &["stock"], &[]),
            of("004_view", &["report"], &["users", "orders", "stock"]),
            of("005_index", &["users"], &[]),
        ];
        let told: Vec<String> = fewest_requires(&list)
            .into_iter()
            .map(|(id, requires)| {
                format!("{id}:{}", requires.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(","))
            })
            .collect();
        let expected = [
            "001_users:",
            "002_orders:001_users",
            "003_stock:",
            "004_view:002_orders,003_stock",
            "005_index:001_users",
        ];
        assert_eq!(told, expected);
    }
}
