//! What a statement cost, as it was measured on the scratch database: locks, rewrites, scans, builds, what it dropped.

use std::collections::{BTreeMap, BTreeSet};

use super::contradiction::contradiction;
use super::verdict::HeldLock;
use crate::hazard::{LockMode, StatementFacts};

/// A relation's identity in the catalogs.
pub type Oid = u32;

/// A relation, as the catalogs show it at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// As SQL names it, without the schema `public`.
    pub name: String,
    /// `relkind`: `r` a table, `i` an index, …
    pub kind: char,
    /// The table of an index.
    pub table: Option<Oid>,
    /// `relfilenode`; 0 where it has no storage. Another one means that it was written anew, or emptied.
    pub file: Oid,
}

impl Relation {
    /// Rows are in it, and users ask for them by its name.
    #[must_use]
    pub fn is_table(&self) -> bool {
        matches!(self.kind, 'r' | 'p' | 'm' | 'v' | 'f')
    }

    fn is_index(&self) -> bool {
        matches!(self.kind, 'i' | 'I')
    }
}

/// Something that a statement dropped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dropped {
    /// Kind and name: `index users_email`.
    pub object: String,
    /// The statement did not name it: it went because something else did.
    pub cascade: bool,
}

/// A table that was read from end to end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scan {
    /// The table.
    pub table: String,
    /// How many rows it had to read on the scratch database.
    pub rows: u64,
}

/// An index that was built, on a table that was there before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Build {
    /// The index.
    pub index: String,
    /// Its table.
    pub table: String,
}

/// What one statement cost. Relations that the migration itself made do not count: nobody uses them yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatementCost {
    /// The script.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// Its first words, `ALTER TABLE`.
    pub verb: String,
    /// Which part of the script: statements of one part share a transaction, and keep their locks to its end.
    pub part: usize,
    /// Locks that it took or made stronger. Reading alone, which disturbs nobody, is left out.
    pub locks: Vec<HeldLock>,
    /// Tables and views that it only reads, or needs to be there.
    pub reads: Vec<String>,
    /// Tables whose rows were written anew.
    pub rewrites: Vec<String>,
    /// Tables that were emptied at once (`TRUNCATE`).
    pub emptied: Vec<String>,
    /// Tables that were read whole.
    pub scans: Vec<Scan>,
    /// Indexes that were built.
    pub builds: Vec<Build>,
    /// What it dropped.
    pub dropped: Vec<Dropped>,
    /// Bytes of write-ahead log.
    pub wal_bytes: u64,
    /// In microseconds, on the scratch database.
    pub duration_us: u64,
    /// What `lint` expects of the statement, where the measurement says otherwise. The measurement is right.
    pub lint: Option<String>,
}

impl StatementCost {
    /// Nobody notices it.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.locks.is_empty() && self.dropped.is_empty() && self.scans.is_empty() && self.builds.is_empty()
    }
}

/// What was seen after a statement.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Locks of the session, with the relation where it is still there.
    pub locks: Vec<(Oid, LockMode)>,
    /// Relations that may have changed: those that are locked, or all of them.
    pub relations: BTreeMap<Oid, Relation>,
    /// Relations that were there when the statement began, and are not any more.
    pub gone: Vec<Oid>,
    /// Sequential scans so far, and rows they read.
    pub scans: BTreeMap<Oid, (u64, u64)>,
    /// Tables that were rewritten, where the server tells; see [`Observed::tells`].
    pub rewritten: Vec<Oid>,
    /// What was dropped, where the server tells.
    pub dropped: Vec<Dropped>,
    /// Whether the two lists above can be trusted: event triggers need a superuser.
    pub tells: bool,
    /// Place in the write-ahead log, in bytes.
    pub wal: u64,
}

/// Turns what is seen after each statement into what each one cost.
#[derive(Debug, Default)]
pub struct Tally {
    /// Relations from before the migration.
    before: BTreeMap<Oid, Relation>,
    /// Storage as it was seen last.
    files: BTreeMap<Oid, Oid>,
    known_indexes: BTreeSet<Oid>,
    held: BTreeMap<Oid, LockMode>,
    scans: BTreeMap<Oid, (u64, u64)>,
    wal: u64,
    costs: Vec<StatementCost>,
    /// How many statements there were when the part began, and the storage then.
    part: (usize, BTreeMap<Oid, Oid>),
}

impl Tally {
    /// With what is there before the migration, and the place in the log.
    #[must_use]
    pub fn new(before: BTreeMap<Oid, Relation>, wal: u64) -> Self {
        let files = before.iter().map(|(oid, relation)| (*oid, relation.file)).collect();
        let known_indexes = before.iter().filter(|(_, relation)| relation.is_index()).map(|(oid, _)| *oid).collect();
        Self { before, files, known_indexes, wal, ..Self::default() }
    }

    /// Relations from before the migration.
    #[must_use]
    pub fn before(&self) -> &BTreeMap<Oid, Relation> {
        &self.before
    }

    /// A transaction begins: no locks are held, nothing was read.
    pub fn begin_part(&mut self) {
        self.part = (self.costs.len(), self.files.clone());
        self.held.clear();
        self.scans.clear();
    }

    /// The transaction was rolled back and begins again.
    pub fn begin_again(&mut self) {
        let (statements, files) = std::mem::take(&mut self.part);
        self.costs.truncate(statements);
        self.files = files;
        self.begin_part();
    }

    /// What had been read already when the part's transaction began.
    pub fn baseline(&mut self, scans: BTreeMap<Oid, (u64, u64)>) {
        self.scans = scans;
    }

    /// Where the log stands before the next statement.
    pub fn mark(&mut self, wal: u64) {
        self.wal = wal;
    }

    fn held_by_name(&self) -> BTreeMap<String, LockMode> {
        self.held.iter().filter_map(|(oid, mode)| Some((self.name(*oid)?.to_owned(), *mode))).collect()
    }

    /// Takes in what was seen after a statement; `cost` says which one it is, `expected` what its text tells.
    pub fn statement(&mut self, cost: StatementCost, seen: Observed, expected: Option<&StatementFacts>) {
        let held: BTreeMap<String, LockMode> = self.held_by_name();
        let mut cost = StatementCost { wal_bytes: seen.wal.saturating_sub(self.wal), ..cost };
        self.wal = seen.wal;
        for (oid, mode) in &seen.locks {
            let stronger = self.held.get(oid).is_none_or(|held| held < mode);
            if stronger {
                self.held.insert(*oid, *mode);
                if *mode == LockMode::AccessShare {
                    let table = self.before.get(oid).filter(|relation| relation.is_table());
                    cost.reads.extend(table.map(|relation| relation.name.clone()));
                } else if let Some(object) = self.name(*oid) {
                    let mode = mode.as_sql().to_owned();
                    cost.locks.retain(|lock| lock.object != object);
                    cost.locks.push(HeldLock { object: object.to_owned(), mode });
                }
            }
        }
        for (oid, (scans, rows)) in &seen.scans {
            let (before, rows_before) = self.scans.insert(*oid, (*scans, *rows)).unwrap_or_default();
            if let Some(table) = self.name(*oid).filter(|_| *scans > before) {
                cost.scans.push(Scan { table: table.to_owned(), rows: rows.saturating_sub(rows_before) });
            }
        }
        self.storage(&mut cost, &seen);
        cost.dropped = if seen.tells { seen.dropped } else { self.dropped(&seen.gone) };
        cost.locks.sort_by(|a, b| a.object.cmp(&b.object));
        for list in [&mut cost.rewrites, &mut cost.emptied, &mut cost.reads] {
            list.sort();
        }
        cost.scans.sort();
        cost.builds.sort();
        cost.dropped.sort();
        cost.dropped.dedup();
        cost.lint = expected.and_then(|facts| contradiction(facts, &cost, &held, &self.before));
        self.costs.push(cost);
    }

    /// Files that were replaced, and indexes that are new.
    fn storage(&mut self, cost: &mut StatementCost, seen: &Observed) {
        let mut rebuilt = Vec::new();
        for (oid, relation) in &seen.relations {
            let old = self.files.insert(*oid, relation.file);
            let Some(before) = self.before.get(oid) else {
                if relation.is_index() && self.known_indexes.insert(*oid) {
                    rebuilt.push((relation.name.clone(), relation.table));
                }
                continue;
            };
            // An empty one gets a file of its own the first time it is written; tables have theirs from the start.
            if old.is_none_or(|old| old == relation.file) || relation.file == 0 {
                continue;
            }
            let told = seen.rewritten.contains(oid);
            let emptied = cost.verb.starts_with("TRUNCATE");
            match before.kind {
                'r' | 'm' if emptied && !told => cost.emptied.push(before.name.clone()),
                'r' | 'm' => cost.rewrites.push(before.name.clone()),
                'i' => rebuilt.push((before.name.clone(), before.table)),
                _ => {}
            }
        }
        for (index, table) in rebuilt {
            let table = table.and_then(|oid| self.name(oid)).map(str::to_owned);
            // The indexes of a table that is written anew, or that the migration made, go without saying.
            if let Some(table) = table.filter(|table| !cost.rewrites.contains(table) && !cost.emptied.contains(table)) {
                cost.builds.push(Build { index, table });
            }
        }
    }

    fn dropped(&self, gone: &[Oid]) -> Vec<Dropped> {
        let named = |oid: &Oid| {
            let relation = self.before.get(oid)?;
            let kind = match relation.kind {
                'i' | 'I' => "index",
                'S' => "sequence",
                'v' => "view",
                'm' => "materialized view",
                'f' => "foreign table",
                'r' | 'p' => "table",
                _ => return None,
            };
            Some(Dropped { object: format!("{kind} {}", relation.name), cascade: false })
        };
        gone.iter().filter_map(named).collect()
    }

    fn name(&self, oid: Oid) -> Option<&str> {
        self.before.get(&oid).map(|relation| relation.name.as_str())
    }

    /// Everything measured, in order.
    #[must_use]
    pub fn into_costs(self) -> Vec<StatementCost> {
        self.costs
    }
}

/// The strongest lock on each relation over several statements, by name.
#[must_use]
pub fn strongest_locks(costs: &[StatementCost]) -> Vec<HeldLock> {
    let mut strongest: BTreeMap<&str, LockMode> = BTreeMap::new();
    for lock in costs.iter().flat_map(|cost| &cost.locks) {
        if let Some(mode) = LockMode::from_sql(&lock.mode) {
            let known = strongest.entry(&lock.object).or_insert(mode);
            *known = mode.max(*known);
        }
    }
    strongest
        .into_iter()
        .map(|(object, mode)| HeldLock { object: object.to_owned(), mode: mode.as_sql().to_owned() })
        .collect()
}

/// The lock of a migration that hinders users most; of several the first by name. A table's index is named only where
/// nothing is locked as strongly by itself.
#[must_use]
pub fn worst_lock(locks: &[HeldLock]) -> Option<&HeldLock> {
    let strength = |lock: &HeldLock| LockMode::from_sql(&lock.mode);
    locks.iter().fold(None, |worst: Option<&HeldLock>, lock| match worst {
        Some(worst) if strength(worst) >= strength(lock) => Some(worst),
        _ => Some(lock),
    })
}
