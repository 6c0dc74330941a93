//! What a statement that cannot run in a transaction leaves behind.

use super::cursor::Cursor;
use super::name::QualifiedName;
use super::token::TokenKind;

/// What a statement that cannot run in a transaction leaves in the catalogs, so that its completion can be asked for
/// after a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// `CREATE INDEX CONCURRENTLY`. Without a name the server makes one up. The name carries the table's schema where
    /// the table was written with one: an index always lives beside its table.
    IndexBuilt { name: Option<QualifiedName>, table: QualifiedName, if_not_exists: bool, unique: bool },
    /// `DROP INDEX CONCURRENTLY`. The server refuses several names and `CASCADE` here.
    IndexDropped { names: Vec<QualifiedName>, if_exists: bool },
    /// `REINDEX`.
    Reindexed { target: ReindexTarget, concurrently: bool },
    /// `ALTER TABLE … DETACH PARTITION … CONCURRENTLY`, or `FINALIZE`.
    PartitionDetached { parent: QualifiedName, child: QualifiedName, finalize: bool },
    /// `CREATE DATABASE`.
    DatabaseCreated { name: String },
    /// `DROP DATABASE`.
    DatabaseDropped { name: String },
    /// `CREATE TABLESPACE`.
    TablespaceCreated { name: String },
    /// `DROP TABLESPACE`.
    TablespaceDropped { name: String },
    /// `CREATE SUBSCRIPTION`.
    SubscriptionCreated { name: String },
    /// `DROP SUBSCRIPTION`.
    SubscriptionDropped { name: String },
    /// `VACUUM`, `ALTER SYSTEM`, `CLUSTER`, `DISCARD ALL`: running it again is harmless.
    Repeatable,
    /// Nothing that the catalogs could tell: `DO` and `CALL` outside of a transaction, anything else.
    Unknown,
}

/// What is indexed anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReindexTarget {
    /// One index.
    Index(QualifiedName),
    /// All indexes of a table.
    Table(QualifiedName),
    /// All indexes of a schema.
    Schema(String),
    /// All indexes of the database, the catalogs' only without `CONCURRENTLY`.
    Database,
    /// All indexes of the catalogs.
    System,
}

/// `CREATE INDEX`, behind `CREATE`. Nothing unless it is an index built concurrently.
pub(super) fn create_index(mut at: Cursor<'_>) -> Option<Effect> {
    let unique = at.eat(&["UNIQUE"]);
    if !at.eat(&["INDEX"]) || !at.eat(&["CONCURRENTLY"]) {
        return None;
    }
    let if_not_exists = at.eat(&["IF", "NOT", "EXISTS"]);
    let name = if at.eat(&["ON"]) {
        None
    } else {
        let name = at.name();
        if name.is_none() || !at.eat(&["ON"]) {
            return Some(Effect::Unknown);
        }
        name
    };
    at.eat(&["ONLY"]);
    let Some(table) = at.name() else { return Some(Effect::Unknown) };
    let name = name.map(|name| QualifiedName { schema: table.schema.clone(), ..name });
    Some(Effect::IndexBuilt { name, table, if_not_exists, unique })
}

/// `DROP INDEX`, behind these words.
pub(super) fn drop_index(mut at: Cursor<'_>) -> Option<Effect> {
    if !at.eat(&["CONCURRENTLY"]) {
        return None;
    }
    let if_exists = at.eat(&["IF", "EXISTS"]);
    let names = at.names();
    Some(if names.is_empty() { Effect::Unknown } else { Effect::IndexDropped { names, if_exists } })
}

/// `REINDEX`, behind this word. Nothing where it may run in a transaction.
pub(super) fn reindex(mut at: Cursor<'_>) -> Option<Effect> {
    let options = if at.peek().is_some_and(|token| token.kind == TokenKind::LParen) {
        at.parenthesized().unwrap_or_default()
    } else {
        Vec::new()
    };
    let mut concurrently = switched_on(&options, "CONCURRENTLY");
    let Some(kind) = at.eat_any(&["INDEX", "TABLE", "SCHEMA", "DATABASE", "SYSTEM"]) else {
        return concurrently.then_some(Effect::Unknown);
    };
    concurrently |= at.eat(&["CONCURRENTLY"]);
    let target = match kind {
        "INDEX" => at.name().map(ReindexTarget::Index),
        "TABLE" => at.name().map(ReindexTarget::Table),
        "SCHEMA" => at.name().map(|name| ReindexTarget::Schema(name.name)),
        "DATABASE" => Some(ReindexTarget::Database),
        _ => Some(ReindexTarget::System),
    };
    if !concurrently && matches!(kind, "INDEX" | "TABLE") {
        return None;
    }
    Some(target.map_or(Effect::Unknown, |target| Effect::Reindexed { target, concurrently }))
}

/// `ALTER TABLE`, behind these words. Nothing unless it detaches a partition concurrently.
pub(super) fn detach(mut at: Cursor<'_>) -> Option<Effect> {
    at.eat(&["IF", "EXISTS"]);
    at.eat(&["ONLY"]);
    let parent = at.name()?;
    if !at.eat(&["DETACH", "PARTITION"]) {
        return None;
    }
    let child = at.name()?;
    let finalize = at.eat_any(&["CONCURRENTLY", "FINALIZE"])? == "FINALIZE";
    Some(Effect::PartitionDetached { parent, child, finalize })
}

/// Whether an option of a list, `(VERBOSE, CONCURRENTLY off)`, is there and not switched off.
pub(super) fn switched_on(options: &[String], name: &str) -> bool {
    value_of(options, name).is_some_and(|value| !is_off(value))
}

/// Whether an option of a list is there and switched off.
pub(super) fn switched_off(options: &[String], name: &str) -> bool {
    value_of(options, name).is_some_and(is_off)
}

/// The word behind an option's name, empty at the end of the list.
fn value_of<'o>(options: &'o [String], name: &str) -> Option<&'o str> {
    let at = options.iter().position(|word| word == name)?;
    let mut behind = options.iter().skip(at + 1).filter(|word| *word != "=");
    Some(behind.next().map_or("", String::as_str))
}

fn is_off(value: &str) -> bool {
    matches!(value.trim_matches('\''), "OFF" | "FALSE" | "0" | "NO" | "F" | "N")
}
