//! What a part of a script will lock, as far as its text tells.

use std::time::Duration;

use super::limits::Limits;
use crate::hazard::{Blocks, Context, LockMode, LockOn, ObjectLock, classify, learn};
use crate::migration::{Part, Script};
use crate::sql::{Statement, TokenKind};

/// What the guard knows of a part before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Locks on tables that exist already which keep reads or writes of others waiting.
    pub claims: Vec<ObjectLock>,
    /// Locks on several tables that are taken before anything else, in one order for everybody; empty where that is not
    /// to be.
    pub first: Vec<ObjectLock>,
    /// The script changes `search_path`, so that names without a schema may mean tables anywhere.
    pub loose: bool,
    /// The limits that hold for it.
    pub limits: Limits,
    /// How long one try may wait for a lock: the limit, or longer where nobody can be kept waiting by it.
    pub lock_timeout: Duration,
    /// How to do the same without keeping anybody waiting, where the classifier knows.
    pub recipe: Option<String>,
    /// What it touches.
    pub reach: Reach,
}

/// What a part touches, as far as its text tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nothing but what it makes itself. Every statement makes something empty: it is over at once, nobody's lock is in its
    /// way, and it leaves the settings of the session as they were.
    NewOnly,
    /// Anything.
    Anything,
}

impl Case {
    /// The tables that it locks by their names, as SQL names them, once each; none where names may mean other tables by
    /// then.
    #[must_use]
    pub fn tables(&self) -> Vec<String> {
        let named = self.claims.iter().filter(|claim| matches!(claim.on, LockOn::Itself | LockOn::Tree));
        let mut names: Vec<String> = named.map(|claim| claim.object.to_string()).collect();
        names.dedup();
        if self.loose { Vec::new() } else { names }
    }
}

/// Looks at a part. `limits` are those of the run.
///
/// A part of which every statement is known, and known to keep neither reads nor writes of others waiting (validating a
/// constraint, changing rows), may wait for its locks as long as the whole step may: nobody queues up behind it.
#[must_use]
pub fn case(script: &Script, part: &Part, limits: Limits) -> Case {
    let limits = limits.of(&script.header);
    let text: &str = &script.text;
    let mut context = Context::default();
    let mut case = Case {
        claims: Vec::new(),
        first: Vec::new(),
        loose: false,
        limits,
        lock_timeout: limits.lock_timeout,
        recipe: None,
        reach: Reach::NewOnly,
    };
    let mut harmless = script.header.lock_timeout.is_none();
    let mut brief = true;
    for statement in script.statements_of(part) {
        let facts = classify(text, statement, &context);
        learn(&mut context, text, statement);
        harmless &= facts.classified && facts.blocks() == Blocks::None;
        brief &= facts.classified && facts.locks.iter().all(|lock| lock.mode != LockMode::RowExclusive);
        if !(facts.classified && facts.locks.is_empty() && makes_something_empty(text, statement)) {
            case.reach = Reach::Anything;
        }
        let blocking = facts.locks.iter().filter(|lock| lock.mode.blocks() != Blocks::None);
        case.claims.extend(blocking.cloned());
        let finding = facts.findings.iter().find(|found| !found.safe_form.is_empty());
        case.recipe = case.recipe.or(finding.map(|found| found.safe_form.clone()));
    }
    case.loose = script.statements.iter().take(HEAD).any(|statement| {
        let mut tokens = statement.significant(text);
        let sets = tokens.next().is_some_and(|token| token.is_word(text, "SET"));
        sets && tokens.take(2).any(|token| {
            token.is_word(text, "SEARCH_PATH") || token.is_word(text, "SCHEMA") || token.kind == TokenKind::QuotedIdent
        })
    });
    if harmless {
        case.lock_timeout = limits.wait.max(limits.lock_timeout);
    }
    case.claims.sort();
    case.claims.dedup();
    if brief && !case.loose {
        case.first = first(&case.claims);
    }
    case
}

/// The strongest lock on each of several tables; nothing for a single one, whose first statement takes it anyway.
///
/// A script that also changes rows, or that is not understood as a whole, gets none: it would hold its strongest locks
/// from its beginning instead of from where it needs them. Names in a script that changes `search_path` may mean other
/// tables by the time they are used.
fn first(claims: &[ObjectLock]) -> Vec<ObjectLock> {
    let mut strongest: Vec<ObjectLock> = Vec::new();
    for claim in claims.iter().filter(|claim| matches!(claim.on, LockOn::Itself | LockOn::Tree)) {
        match strongest.iter_mut().find(|known| known.object == claim.object) {
            Some(known) => (known.mode, known.on) = (known.mode.max(claim.mode), known.on.max(claim.on)),
            None => strongest.push(claim.clone()),
        }
    }
    if strongest.len() > 1 { strongest } else { Vec::new() }
}

/// Whether a statement makes a table, an index, a type or the like, without reading or running anything for it. An extension
/// is none of these, because its script may do what it likes.
fn makes_something_empty(text: &str, statement: &Statement) -> bool {
    let mut tokens = statement.significant(text);
    if !tokens.next().is_some_and(|token| token.is_word(text, "CREATE")) {
        return false;
    }
    const BEFORE: [&str; 6] = ["UNIQUE", "UNLOGGED", "TEMP", "TEMPORARY", "OR", "REPLACE"];
    const KINDS: [&str; 6] = ["TABLE", "INDEX", "TYPE", "DOMAIN", "SEQUENCE", "FUNCTION"];
    let mut tokens = tokens.skip_while(|token| BEFORE.iter().any(|word| token.is_word(text, word)));
    let Some(kind) = tokens.next().filter(|token| KINDS.iter().any(|word| token.is_word(text, word))) else {
        return false;
    };
    let mut depth = 0_i32;
    // A table made AS a query is full; inside of parentheses the word stands for columns that are computed.
    !kind.is_word(text, "TABLE")
        || !tokens.any(|token| {
            match token.span.of(text) {
                "(" => depth += 1,
                ")" => depth -= 1,
                _ => {}
            }
            depth == 0 && token.is_word(text, "AS")
        })
}

/// How many statements to search for a change of `search_path`. Scripts set it at their beginning.
const HEAD: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::parse_script;

    fn of(text: &str) -> Case {
        let script = parse_script("001_a.sql", text.as_bytes()).0.unwrap();
        case(&script, &script.parts[0], Limits::default())
    }

    #[test]
    fn claims_are_the_locks_that_hinder_others_on_tables_that_were_there() {
        let check = |text: &str, expected: &[&str]| {
            let claims: Vec<String> = of(text).claims.iter().map(|claim| claim.object.to_string()).collect();
            assert_eq!(claims, expected, "{text}");
        };
        check("ALTER TABLE users ADD COLUMN a int", &["users"]);
        check("alter table only app.\"Users\" add a int", &["app.\"Users\""]);
        check("CREATE INDEX i ON users (a)", &["users"]);
        check("CREATE TABLE t (a int); ALTER TABLE t ADD b int; CREATE INDEX ON t (a)", &[]);
        check("UPDATE users SET a = 1 WHERE b = 2", &[]);
        check("ALTER TABLE users VALIDATE CONSTRAINT c", &[]);
        check("TRUNCATE a; LOCK TABLE b", &["a", "b"]);
    }

    #[test]
    fn several_tables_are_locked_first_and_only_where_that_lengthens_nothing() {
        let check = |text: &str, expected: &[&str]| {
            let first = of(text).first;
            let first: Vec<String> =
                first.iter().map(|claim| format!("{} {}", claim.object, claim.mode.as_sql())).collect();
            assert_eq!(first, expected, "{text}");
        };
        check("ALTER TABLE b ADD x int; ALTER TABLE a ADD x int", &["a ACCESS EXCLUSIVE", "b ACCESS EXCLUSIVE"]);
        check("CREATE INDEX ON a (x); CREATE INDEX ON b (x); DROP TABLE b", &["a SHARE", "b ACCESS EXCLUSIVE"]);
        check("ALTER TABLE a ADD x int; ALTER TABLE a ADD y int", &[]);
        check("CREATE TABLE a (x int); ALTER TABLE a ADD y int; ALTER TABLE b ADD x int", &[]);
        check("UPDATE a SET x = 1; ALTER TABLE a ADD y int; ALTER TABLE b ADD x int", &[]);
        check("DO $$ BEGIN END $$; ALTER TABLE a ADD y int; ALTER TABLE b ADD x int", &[]);
        check("SET search_path = app; ALTER TABLE a ADD y int; ALTER TABLE b ADD x int", &[]);
    }

    #[test]
    fn only_what_hinders_nobody_may_wait_long() {
        let long = Limits::default().wait;
        let short = Limits::default().lock_timeout;
        for (text, expected) in [
            ("ALTER TABLE users VALIDATE CONSTRAINT c", long),
            ("UPDATE users SET a = 1 WHERE b = 2", long),
            ("CREATE TABLE t (a int)", long),
            ("ALTER TABLE users ADD COLUMN a int", short),
            ("UPDATE users SET a = 1; ALTER TABLE users ADD COLUMN a int", short),
            ("DO $$ BEGIN EXECUTE 'DROP TABLE users'; END $$", short),
            ("FROBNICATE users", short),
            ("-- Lock-timeout: 2s\n\nUPDATE users SET a = 1 WHERE b = 2", Duration::from_secs(2)),
        ] {
            assert_eq!(of(text).lock_timeout, expected, "{text}");
        }
    }

    #[test]
    fn only_what_makes_something_empty_reaches_nothing_else() {
        let check = |text: &str, expected: Reach| assert_eq!(of(text).reach, expected, "{text}");
        for text in [
            "CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY, b int GENERATED ALWAYS AS (a + 1) STORED); CREATE INDEX ON t (a)",
            "CREATE UNLOGGED TABLE t (a int); CREATE UNIQUE INDEX i ON t (a)",
            "CREATE TYPE mood AS ENUM ('a'); CREATE TABLE t (a mood)",
            "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        ] {
            check(text, Reach::NewOnly);
        }
        for text in [
            "CREATE TABLE t AS SELECT * FROM users",
            "CREATE TABLE t (a) AS VALUES (1)",
            "CREATE TABLE t (a int REFERENCES users)",
            "CREATE TABLE t PARTITION OF users FOR VALUES FROM (1) TO (2)",
            "CREATE TABLE t AS EXECUTE q",
            "CREATE INDEX ON users (a)",
            "CREATE TABLE t (a int); SET search_path = app",
            "CREATE TABLE t (a int); SELECT set_config('role', 'x', false)",
            "CREATE TABLE t (a int); INSERT INTO t VALUES (1)",
            "CREATE EXTENSION citext",
            "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()",
            "CREATE MATERIALIZED VIEW v AS SELECT * FROM users",
            "DO $$ BEGIN END $$",
            "ALTER TABLE users ADD COLUMN a int",
        ] {
            check(text, Reach::Anything);
        }
    }

    #[test]
    fn a_changed_search_path_is_noticed() {
        assert!(of("SET search_path = app; ALTER TABLE t ADD a int").loose);
        assert!(of("SET LOCAL search_path TO app; ALTER TABLE t ADD a int").loose);
        assert!(!of("ALTER TABLE t ADD search_path int").loose);
    }

    #[test]
    fn the_header_wins() {
        let limits = of("-- Lock-budget: 1s\n-- Lock-wait: 3s\n\nALTER TABLE t ADD a int").limits;
        assert_eq!((limits.budget, limits.wait), (Duration::from_secs(1), Duration::from_secs(3)));
        assert_eq!(limits.lock_timeout, Limits::default().lock_timeout);
    }
}
