//! Table locks: the modes, whom they keep waiting, and on which relations a statement takes them.

use std::fmt;

use crate::sql::QualifiedName;

/// The eight modes of a table lock, weakest first (PostgreSQL documentation, section "Table-level locks").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockMode {
    /// `SELECT`.
    AccessShare,
    /// `SELECT … FOR UPDATE`, foreign key checks.
    RowShare,
    /// `INSERT`, `UPDATE`, `DELETE`.
    RowExclusive,
    /// `VACUUM`, `CREATE INDEX CONCURRENTLY`, `VALIDATE CONSTRAINT`.
    ShareUpdateExclusive,
    /// `CREATE INDEX`.
    Share,
    /// `CREATE TRIGGER`, `ADD FOREIGN KEY`.
    ShareRowExclusive,
    /// `REFRESH MATERIALIZED VIEW CONCURRENTLY`.
    Exclusive,
    /// Most of `ALTER TABLE`, `DROP`, `TRUNCATE`.
    AccessExclusive,
}

/// Which statements of the application a lock keeps waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Blocks {
    /// Neither reads nor writes.
    #[default]
    None,
    /// `INSERT`, `UPDATE`, `DELETE`.
    Writes,
    /// Those and `SELECT`.
    ReadsAndWrites,
}

impl Blocks {
    /// As it is written in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Writes => "writes",
            Self::ReadsAndWrites => "reads_and_writes",
        }
    }
}

/// As the middle of a sentence: `blocks writes`.
impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "blocks neither reads nor writes",
            Self::Writes => "blocks writes",
            Self::ReadsAndWrites => "blocks reads and writes",
        })
    }
}

impl LockMode {
    /// All of them, weakest first.
    pub const ALL: [Self; 8] = [
        Self::AccessShare,
        Self::RowShare,
        Self::RowExclusive,
        Self::ShareUpdateExclusive,
        Self::Share,
        Self::ShareRowExclusive,
        Self::Exclusive,
        Self::AccessExclusive,
    ];

    /// As `LOCK TABLE` wants it, `ACCESS EXCLUSIVE`.
    #[must_use]
    pub fn as_sql(self) -> &'static str {
        match self {
            Self::AccessShare => "ACCESS SHARE",
            Self::RowShare => "ROW SHARE",
            Self::RowExclusive => "ROW EXCLUSIVE",
            Self::ShareUpdateExclusive => "SHARE UPDATE EXCLUSIVE",
            Self::Share => "SHARE",
            Self::ShareRowExclusive => "SHARE ROW EXCLUSIVE",
            Self::Exclusive => "EXCLUSIVE",
            Self::AccessExclusive => "ACCESS EXCLUSIVE",
        }
    }

    /// From the words of [`Self::as_sql`].
    #[must_use]
    pub fn from_sql(words: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_sql() == words)
    }

    /// From the `mode` column of `pg_locks`, `AccessExclusiveLock`.
    #[must_use]
    pub fn from_pg_locks(mode: &str) -> Option<Self> {
        let plain = |name: &str| name.replace(' ', "").to_ascii_lowercase();
        let wanted = plain(mode.strip_suffix("Lock")?);
        Self::ALL.into_iter().find(|one| plain(one.as_sql()) == wanted)
    }

    /// Whom it keeps waiting. Reads need `ACCESS SHARE`, writes `ROW EXCLUSIVE`.
    #[must_use]
    pub fn blocks(self) -> Blocks {
        match self {
            Self::AccessExclusive => Blocks::ReadsAndWrites,
            Self::Share | Self::ShareRowExclusive | Self::Exclusive => Blocks::Writes,
            _ => Blocks::None,
        }
    }
}

/// Which relations a lock is on, seen from the object that the statement names. Some are known to the catalogs only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockOn {
    /// The object itself.
    Itself,
    /// The object and its partitions or inheriting tables.
    Tree,
    /// The table that the index belongs to.
    TableOfIndex,
    /// The tables that the table's foreign keys reference.
    Referenced,
    /// The tables with foreign keys that reference the table, and so on.
    Referencing,
    /// The table that the foreign key references, `object` being the constraint on its table; none for other kinds.
    OtherSideOfConstraint,
    /// The tables that have a column of the domain.
    UsersOfDomain,
    /// The partitioned table that the table is a partition of.
    ParentOf,
}

/// One lock that a statement takes and keeps to the end of its transaction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectLock {
    /// The object, as the statement names it. For a constraint its table is the schema part.
    pub object: QualifiedName,
    /// How strong.
    pub mode: LockMode,
    /// On which relations.
    pub on: LockOn,
}
