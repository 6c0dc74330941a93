//! What is gathered of a server in one round trip. The shell's query builds exactly this as JSON.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Facts {
    /// The server's clock, microseconds since 1970.
    pub now_us: i64,
    /// The role, as the session has it now.
    pub role: String,
    /// Whether it is a superuser.
    pub superuser: bool,
    /// Whether it may create schemas in this database.
    pub may_create_schemas: bool,
    /// Where unqualified names are created.
    pub current_schema: Option<String>,
    /// Whether the role may create there.
    pub may_create_here: bool,
    /// Whether the engine's schema is there already.
    pub own_schema: bool,
    /// The line.
    pub tls: Tls,
    /// Server and client are on the same machine.
    pub same_machine: bool,
    /// Settings by name, as `pg_settings` gives them; only those that the role may see.
    pub settings: BTreeMap<String, String>,
    /// Replication slots.
    pub slots: Vec<Slot>,
    /// Standbys that stream from here.
    pub standbys: Vec<Standby>,
    /// Transactions open for longer than a minute.
    pub long: Vec<LongTransaction>,
    /// Prepared transactions of this database.
    pub prepared: Vec<Prepared>,
    /// Indexes that are not valid.
    pub invalid_indexes: Vec<String>,
    /// Constraints that are not validated, as `table.constraint`.
    pub not_valid: Vec<String>,
    /// Tables that other tools keep their history in.
    pub histories: Vec<History>,
    /// Sessions of others in this database: by application, how many.
    pub sessions: BTreeMap<String, i64>,
    /// The archiver.
    pub archiver: Option<Archiver>,
    /// The tables that were asked for, by the name asked for.
    pub tables: BTreeMap<String, TableFacts>,
}

/// How the line is protected.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Tls {
    /// Whether TLS is spoken.
    pub on: bool,
    /// `TLSv1.3`.
    pub version: Option<String>,
}

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Whether somebody reads from it.
    pub active: bool,
    /// WAL that it keeps, in bytes.
    pub kept: Option<i64>,
    /// `reserved`, `extended`, `unreserved`, `lost`.
    pub wal_status: Option<String>,
}

/// A standby.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Standby {
    /// Its `application_name`.
    pub name: String,
    /// WAL that it has not replayed, in bytes.
    pub behind: Option<i64>,
}

/// A transaction that is open for long.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct LongTransaction {
    /// Its backend.
    pub pid: i32,
    /// Its `application_name`.
    pub application: String,
    /// For how long, in seconds.
    pub seconds: i64,
}

/// A prepared transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Prepared {
    /// Its name.
    pub gid: String,
    /// For how long, in seconds.
    pub seconds: i64,
}

/// The history table of another tool.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct History {
    /// Its qualified name.
    pub table: String,
    /// Its plain name, by which the tool is known.
    pub name: String,
}

/// `pg_stat_archiver`, and whether archiving is on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Archiver {
    /// `archive_mode` is not off.
    pub on: bool,
    /// Seconds since the last file was archived.
    pub archived_ago: Option<i64>,
    /// The last failure is younger than the last success.
    pub failing: bool,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct TableFacts {
    /// Its owner.
    pub owner: String,
    /// Whether the role owns it, or may become somebody who does.
    pub owned: bool,
    /// Rows by the last ANALYZE; -1 where there was none.
    pub rows: i64,
    /// Bytes of the table without its indexes.
    pub size: i64,
    /// Bytes of the table with its indexes and TOAST.
    pub total: i64,
    /// The columns of its primary key, quoted, in order.
    pub key: Vec<String>,
}

/// Which tool keeps its history in a table of this name. Names as the tools' documentation gives them by default.
#[must_use]
pub(crate) fn tool(name: &str) -> &'static str {
    TOOLS.iter().find(|(table, _)| *table == name).map_or("another tool", |(_, tool)| tool)
}

/// Names of history tables that are looked for.
#[must_use]
pub fn history_tables() -> Vec<&'static str> {
    TOOLS.iter().map(|(table, _)| *table).collect()
}

const TOOLS: &[(&str, &str)] = &[
    ("flyway_schema_history", "Flyway"),
    ("schema_version", "Flyway (before version 5)"),
    ("databasechangelog", "Liquibase"),
    ("schema_migrations", "Rails, golang-migrate or dbmate"),
    ("_sqlx_migrations", "sqlx"),
    ("__diesel_schema_migrations", "Diesel"),
    ("refinery_schema_history", "refinery"),
    ("seaql_migrations", "SeaORM"),
    ("alembic_version", "Alembic"),
    ("django_migrations", "Django"),
    ("yoyo_migration", "yoyo"),
    ("_yoyo_migration", "yoyo"),
    ("goose_db_version", "goose"),
    ("atlas_schema_revisions", "Atlas"),
    ("gorp_migrations", "sql-migrate"),
    ("knex_migrations", "Knex"),
    ("_prisma_migrations", "Prisma"),
    ("__drizzle_migrations", "Drizzle"),
    ("SequelizeMeta", "Sequelize"),
    ("pgmigrations", "node-pg-migrate"),
    ("mikro_orm_migrations", "MikroORM"),
    ("typeorm_metadata", "TypeORM"),
    ("__EFMigrationsHistory", "Entity Framework"),
    ("doctrine_migration_versions", "Doctrine"),
    ("phinxlog", "Phinx"),
    ("ecto_schema_migrations", "Ecto"),
    ("graphile_migrations", "Graphile Migrate"),
];
