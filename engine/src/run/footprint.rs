//! What a step touches, as far as its text tells: whether two steps can run at the same time without one of them
//! waiting for the other.

use crate::guard::conflicts;
use crate::hazard::{Context, LockMode, LockOn, classify, learn};
use crate::migration::{Part, PartKind, Script};

/// What one script touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Footprint {
    /// These tables and no others, each with the strongest lock it takes on it. Names go without their schema, because
    /// the text does not tell what `search_path` makes of a name alone.
    Tables(Vec<(String, LockMode)>),
    /// The text does not tell.
    Unknown,
}

/// Statements whose effects are confined to the tables they lock and to the object they make.
const CONFINED: &[&str] = &[
    "CREATE TABLE",
    "CREATE UNLOGGED TABLE",
    "CREATE INDEX",
    "CREATE UNIQUE INDEX",
    "ALTER TABLE",
    "INSERT INTO",
    "UPDATE",
    "DELETE FROM",
    "TRUNCATE",
    "LOCK TABLE",
    "COPY",
    "ANALYZE",
    "VACUUM",
    "REINDEX TABLE",
    "DROP TABLE",
    "SELECT",
    "SET",
    "BEGIN",
    "START",
    "COMMIT",
    "END",
];

/// Whether a part sees the database as it was at its beginning (`BEGIN ISOLATION LEVEL REPEATABLE READ`, or stricter):
/// then the head of the audit log, which every other step moves, would fail it (SQLSTATE 40001).
fn fixes_its_snapshot(part: &Part) -> bool {
    matches!(&part.kind, PartKind::Transaction { begin: Some(options) }
        if ["REPEATABLE", "SERIALIZABLE"].iter().any(|level| options.to_ascii_uppercase().contains(level)))
}

impl Footprint {
    /// Looks at all statements of a script.
    #[must_use]
    pub fn of(script: &Script) -> Self {
        if script.parts.iter().any(fixes_its_snapshot) {
            return Self::Unknown;
        }
        let text: &str = &script.text;
        let mut context = Context::default();
        let mut tables: Vec<(String, LockMode)> = Vec::new();
        for statement in &script.statements {
            let facts = classify(text, statement, &context);
            learn(&mut context, text, statement);
            let confined = CONFINED
                .iter()
                .any(|verb| facts.verb.strip_prefix(verb).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')));
            // Partitions are taken for the table's own: where another step names one of them, it waits, and no more.
            let named = facts.locks.iter().all(|lock| matches!(lock.on, LockOn::Itself | LockOn::Tree));
            if !facts.classified || !confined || !named {
                return Self::Unknown;
            }
            tables.extend(facts.locks.into_iter().map(|lock| (lock.object.name, lock.mode)));
            tables.extend(made(text, statement));
        }
        tables.sort();
        tables.dedup();
        Self::Tables(tables)
    }

    /// Whether two steps may run at the same time.
    #[must_use]
    pub fn apart_from(&self, other: &Self) -> bool {
        let (Self::Tables(mine), Self::Tables(theirs)) = (self, other) else { return false };
        mine.iter().all(|(name, mode)| {
            let other = theirs.iter().filter(|(there, _)| there == name);
            other.into_iter().all(|(_, there)| !conflicts(*mode, *there))
        })
    }
}

/// The object that a `CREATE` makes: nobody else may make, or touch, one of that name meanwhile.
fn made(text: &str, statement: &crate::sql::Statement) -> Option<(String, LockMode)> {
    let mut at = crate::sql::Cursor::new(statement.tokens(text));
    if !at.eat(&["CREATE"]) {
        return None;
    }
    at.eat(&["UNLOGGED"]);
    at.eat(&["UNIQUE"]);
    at.eat_any(&["TABLE", "INDEX"])?;
    at.eat(&["CONCURRENTLY"]);
    at.eat(&["IF", "NOT", "EXISTS"]);
    // An index without a name: the server finds one that is free.
    if at.eat(&["ON"]) {
        return None;
    }
    at.name().map(|name| (name.name, LockMode::AccessExclusive))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::parse_script;

    fn of(text: &str) -> Footprint {
        Footprint::of(&parse_script("001_a.sql", text.as_bytes()).0.unwrap())
    }

    #[test]
    fn steps_that_would_wait_for_each_other_are_not_apart() {
        let apart = |a: &str, b: &str| of(a).apart_from(&of(b)) && of(b).apart_from(&of(a));
        for (a, b) in [
            ("CREATE INDEX a ON t (x)", "CREATE INDEX b ON u (x)"),
            ("CREATE INDEX a ON t (x)", "CREATE INDEX b ON t (y)"),
            ("CREATE INDEX CONCURRENTLY a ON t (x)", "CREATE INDEX CONCURRENTLY b ON u (x)"),
            ("CREATE TABLE t (a int)", "CREATE TABLE u (a int)"),
            ("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)"),
            ("ALTER TABLE t ADD COLUMN a int", "ALTER TABLE u ADD COLUMN a int"),
        ] {
            assert!(apart(a, b), "{a} beside {b}");
        }
        for (a, b) in [
            ("ALTER TABLE t ADD COLUMN a int", "ALTER TABLE t ADD COLUMN b int"),
            ("ALTER TABLE app.t ADD COLUMN a int", "INSERT INTO t VALUES (1)"),
            ("CREATE INDEX a ON t (x)", "INSERT INTO t VALUES (1)"),
            ("CREATE INDEX CONCURRENTLY a ON t (x)", "CREATE INDEX CONCURRENTLY b ON t (y)"),
            ("CREATE TABLE IF NOT EXISTS t (a int)", "CREATE TABLE IF NOT EXISTS t (a int)"),
            ("CREATE TABLE t (a int REFERENCES u)", "CREATE TABLE v (a int REFERENCES u)"),
            ("DO $$ BEGIN EXECUTE 'DROP TABLE t'; END $$", "CREATE TABLE u (a int)"),
            ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE TABLE u (a int)"),
            ("DROP INDEX i", "CREATE TABLE u (a int)"),
        ] {
            assert!(!apart(a, b), "{a} beside {b}");
        }
    }
}
