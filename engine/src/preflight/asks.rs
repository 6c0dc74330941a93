//! What the statements of a plan ask of the database as it is now: tables that the role must own, schemas in which it
//! must be able to create, and what must be true of the rows. Read from the tokens; what is not understood is counted.

use std::collections::{BTreeMap, BTreeSet};

use crate::diag::Position;
use crate::hazard::read::Read;
use crate::hazard::{Context, StatementFacts, classify, learn};
use crate::migration::Script;
use crate::sql::{Cursor, QualifiedName, TokenKind, quote_ident};

/// What must be true of the rows of a table. Expressions are as written in the file; names are quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// `CHECK (expression)`.
    Check {
        /// As written.
        expression: String,
    },
    /// No nulls in a column.
    NotNull {
        /// Quoted.
        column: String,
    },
    /// No two rows alike.
    Unique {
        /// Columns, quoted, or expressions as written.
        items: Vec<String>,
        /// The predicate of a partial index, as written.
        predicate: Option<String>,
        /// Nulls count as alike.
        nulls_alike: bool,
    },
    /// Every row has its counterpart.
    ForeignKey {
        /// Quoted.
        columns: Vec<String>,
        /// The other table.
        parent: QualifiedName,
        /// Quoted; absent: its primary key.
        parent_columns: Option<Vec<String>>,
    },
    /// Every value can become one of another type.
    Type {
        /// Quoted.
        column: String,
        /// As written.
        to: String,
        /// As written.
        using: Option<String>,
    },
    /// No rows at all: a new column without a default is `NOT NULL`.
    Empty {
        /// The new column, quoted.
        column: String,
    },
}

/// What must be true of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The file.
    pub file: String,
    /// Where in it.
    pub position: Position,
    /// The table.
    pub table: QualifiedName,
    /// What.
    pub condition: Condition,
    /// An earlier statement of the plan may change the rows, so that the answer of today is only a hint.
    pub hint: bool,
}

/// Everything that a plan asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asks {
    /// Tables that are altered or indexed, with where that is first so.
    pub owned: BTreeMap<QualifiedName, (String, Position)>,
    /// Schemas in which something is created; none: in the first one of the search path.
    pub creates_in: BTreeSet<Option<String>>,
    /// Tables that are read, locked or changed.
    pub tables: BTreeSet<QualifiedName>,
    /// Tables that are written anew, or get an index.
    pub written: BTreeSet<QualifiedName>,
    /// What must be true of rows.
    pub rows: Vec<Ask>,
    /// Constraints that are of a shape nobody looks at here.
    pub unread: u32,
    /// The plan changes the role or the search path, so that neither rights nor plain names can be judged.
    pub elsewhere: bool,
}

/// Reads the scripts of a plan, in the order in which they run.
#[must_use]
pub fn asks<'s>(scripts: impl IntoIterator<Item = &'s Script>, major: Option<u32>) -> Asks {
    let mut reader = Reader { context: Context::new(major), ..Reader::default() };
    for script in scripts {
        for statement in &script.statements {
            let facts = classify(&script.text, statement, &reader.context);
            let at = Cursor::new(statement.tokens(&script.text));
            reader.statement(script, at, &facts);
            learn(&mut reader.context, &script.text, statement);
        }
    }
    reader.asks
}

#[derive(Default)]
struct Reader {
    context: Context,
    asks: Asks,
    /// Tables whose rows an earlier statement may have changed.
    changed: BTreeSet<QualifiedName>,
    /// An earlier statement may have changed anything.
    anything: bool,
    /// Constraints added without looking at the rows, until they are validated.
    deferred: BTreeMap<(QualifiedName, String), Condition>,
}

impl Reader {
    fn statement(&mut self, script: &Script, mut at: Cursor<'_>, facts: &StatementFacts) {
        for lock in &facts.locks {
            self.asks.tables.insert(lock.object.clone());
            if facts.rewrite {
                self.asks.written.insert(lock.object.clone());
            }
        }
        match at.eat_any(&[
            "ALTER", "CREATE", "UPDATE", "DELETE", "INSERT", "MERGE", "COPY", "TRUNCATE", "SET", "COMMENT", "GRANT",
            "REVOKE", "DROP", "ANALYZE", "VACUUM", "BEGIN", "COMMIT", "START", "END", "LOCK", "REINDEX",
        ]) {
            Some("ALTER") if at.eat(&["TABLE"]) => self.alter_table(script, at),
            Some("CREATE") => self.create(script, at),
            Some("UPDATE") => self.writes(&mut at, &["ONLY"]),
            Some("DELETE") => self.writes(&mut at, &["FROM", "ONLY"]),
            Some("INSERT" | "MERGE") => self.writes(&mut at, &["INTO", "ONLY"]),
            Some("COPY") => self.writes(&mut at, &[]),
            Some("TRUNCATE") => self.writes(&mut at, &["TABLE", "ONLY"]),
            Some("SET") => {
                at.eat_any(&["LOCAL", "SESSION"]);
                self.asks.elsewhere |= at.eat_any(&["ROLE", "AUTHORIZATION", "search_path"]).is_some()
                    || at.rest().to_ascii_lowercase().starts_with("search_path");
            }
            Some(_) => {}
            // DO, CALL, SELECT of a function, WITH …: it may do anything.
            None => self.anything = true,
        }
    }

    fn writes(&mut self, at: &mut Cursor<'_>, before: &[&str]) {
        for word in before {
            at.eat(&[word]);
        }
        if let Some(table) = at.name() {
            self.changed.insert(table.clone());
            self.asks.tables.insert(table);
        }
    }

    fn ask(&mut self, script: &Script, offset: usize, table: &QualifiedName, condition: Condition) {
        if self.context.is_fresh(table) {
            return;
        }
        if let Condition::ForeignKey { parent, .. } = &condition {
            self.asks.tables.insert(parent.clone());
        }
        self.asks.tables.insert(table.clone());
        self.asks.rows.push(Ask {
            file: script.file.clone(),
            position: script.text.position(offset),
            table: table.clone(),
            hint: self.anything || self.changed.contains(table),
            condition,
        });
    }

    fn create(&mut self, script: &Script, mut at: Cursor<'_>) {
        let offset = at.offset();
        at.eat(&["OR", "REPLACE"]);
        let temporary = at.eat_any(&["TEMPORARY", "TEMP"]).is_some();
        at.eat_any(&["UNLOGGED", "MATERIALIZED", "RECURSIVE"]);
        let unique = at.eat(&["UNIQUE"]);
        let kind = at.eat_any(&["TABLE", "VIEW", "SEQUENCE", "TYPE", "DOMAIN", "FUNCTION", "PROCEDURE", "INDEX"]);
        match kind {
            Some("INDEX") => self.index(script, at, offset, unique),
            Some(_) if !temporary => {
                at.eat(&["IF", "NOT", "EXISTS"]);
                if let Some(name) = at.name() {
                    self.asks.creates_in.insert(name.schema);
                }
            }
            _ => {}
        }
    }

    fn index(&mut self, script: &Script, mut at: Cursor<'_>, offset: usize, unique: bool) {
        at.eat(&["CONCURRENTLY"]);
        at.eat(&["IF", "NOT", "EXISTS"]);
        if !at.find(&["ON"]) {
            return;
        }
        at.eat(&["ONLY"]);
        let Some(table) = at.name() else { return };
        self.owns(script, offset, &table);
        self.asks.written.insert(table.clone());
        if !unique {
            return;
        }
        if at.eat(&["USING"]) {
            at.next();
        }
        let Some(items) = at.paren_items() else { return };
        let items: Option<Vec<String>> = items.into_iter().map(index_item).collect();
        let Some(items) = items else {
            self.asks.unread += 1;
            return;
        };
        let nulls_alike = at.has(&["NULLS", "NOT", "DISTINCT"]);
        let predicate = if at.find(&["WHERE"]) { Some(at.rest().to_owned()) } else { None };
        self.ask(script, offset, &table, Condition::Unique { items, predicate, nulls_alike });
    }

    fn owns(&mut self, script: &Script, offset: usize, table: &QualifiedName) {
        if !self.context.is_fresh(table) {
            self.asks.tables.insert(table.clone());
            let place = (script.file.clone(), script.text.position(offset));
            self.asks.owned.entry(table.clone()).or_insert(place);
        }
    }

    fn alter_table(&mut self, script: &Script, mut at: Cursor<'_>) {
        if at.eat(&["ALL", "IN", "TABLESPACE"]) {
            return;
        }
        at.eat(&["IF", "EXISTS"]);
        at.eat(&["ONLY"]);
        let offset = at.offset();
        let Some(table) = at.name() else { return };
        self.owns(script, offset, &table);
        for action in at.items() {
            self.action(script, action, &table);
        }
    }

    fn action(&mut self, script: &Script, mut at: Cursor<'_>, table: &QualifiedName) {
        let offset = at.offset();
        match at.eat_any(&["ADD", "ALTER", "VALIDATE", "RENAME", "ATTACH", "INHERIT"]) {
            Some("ADD") => self.add(script, at, table, offset),
            Some("ALTER") => self.alter_column(script, at, table, offset),
            Some("VALIDATE") => {
                at.eat(&["CONSTRAINT"]);
                let name = at.column().unwrap_or_default();
                match self.deferred.remove(&(table.clone(), name)) {
                    Some(condition) => self.ask(script, offset, table, condition),
                    None => self.asks.unread += 1,
                }
            }
            // Another column may bear the name from now on.
            Some("RENAME") => {
                self.changed.insert(table.clone());
            }
            Some("ATTACH" | "INHERIT") => self.asks.unread += 1,
            _ => {}
        }
    }

    fn add(&mut self, script: &Script, mut at: Cursor<'_>, table: &QualifiedName, offset: usize) {
        let start = at.clone();
        let name = if at.eat(&["CONSTRAINT"]) { at.column() } else { None };
        let later = at.has(&["NOT", "VALID"]);
        let kind = at.eat_any(&["CHECK", "FOREIGN", "UNIQUE", "PRIMARY", "EXCLUDE", "COLUMN", "NOT"]);
        let mut conditions = Vec::new();
        match kind {
            Some("CHECK") => {
                conditions.extend(at.paren_text().map(|text| Condition::Check { expression: text.to_owned() }))
            }
            Some("FOREIGN") => {
                at.eat(&["KEY"]);
                conditions.extend(foreign_key(&mut at));
            }
            Some("UNIQUE" | "PRIMARY") if !at.has(&["USING", "INDEX"]) || at.has(&["USING", "INDEX", "TABLESPACE"]) => {
                at.eat(&["KEY"]);
                let nulls_alike = at.eat(&["NULLS", "NOT", "DISTINCT"]);
                let columns: Vec<String> =
                    at.paren_items().unwrap_or_default().into_iter().filter_map(column).collect();
                if kind == Some("PRIMARY") {
                    conditions.extend(columns.iter().map(|column| Condition::NotNull { column: column.clone() }));
                }
                conditions.push(Condition::Unique { items: columns, predicate: None, nulls_alike });
            }
            Some("UNIQUE" | "PRIMARY") => {}
            Some("NOT") if at.eat(&["NULL"]) => {
                conditions.extend(column(at).map(|column| Condition::NotNull { column }))
            }
            Some("EXCLUDE" | "NOT") => self.asks.unread += 1,
            _ => conditions.extend(new_column(start)),
        }
        for condition in conditions {
            match (&name, later) {
                (Some(name), true) => {
                    self.deferred.insert((table.clone(), name.clone()), condition);
                }
                (None, true) => {}
                (_, false) => self.ask(script, offset, table, condition),
            }
        }
    }

    fn alter_column(&mut self, script: &Script, mut at: Cursor<'_>, table: &QualifiedName, offset: usize) {
        at.eat(&["COLUMN"]);
        let Some(name) = at.column() else { return };
        let column = quote_ident(&name);
        if at.eat(&["SET", "NOT", "NULL"]) {
            self.ask(script, offset, table, Condition::NotNull { column });
            return;
        }
        at.eat(&["SET", "DATA"]);
        if at.eat(&["TYPE"]) {
            let to = at.until(&["USING", "COLLATE"]).rest().to_owned();
            let using = if at.find(&["USING"]) { Some(at.rest().to_owned()) } else { None };
            self.ask(script, offset, table, Condition::Type { column, to, using });
            self.changed.insert(table.clone());
        }
    }
}

/// A column's name alone.
fn column(mut at: Cursor<'_>) -> Option<String> {
    let name = at.column()?;
    at.peek().is_none().then(|| quote_ident(&name))
}

/// The key of an index without its collation, operator class and order.
fn index_item(mut at: Cursor<'_>) -> Option<String> {
    if at.peek().is_some_and(|token| token.kind == TokenKind::LParen) {
        return at.paren_text().map(|text| format!("({text}\n)"));
    }
    let start = at.offset();
    let name = at.name()?;
    if at.peek().is_none_or(|token| token.kind != TokenKind::LParen) {
        return name.schema.is_none().then(|| quote_ident(&name.name));
    }
    let arguments = at.paren_text()?;
    let called = at.text().get(start..)?.split('(').next()?.trim();
    Some(format!("{called}({arguments}\n)"))
}

/// Behind `FOREIGN KEY`.
fn foreign_key(at: &mut Cursor<'_>) -> Option<Condition> {
    let columns: Option<Vec<String>> = at.paren_items()?.into_iter().map(column).collect();
    if !at.eat(&["REFERENCES"]) {
        return None;
    }
    let parent = at.name()?;
    let parent_columns = at.paren_items().map(|items| items.into_iter().filter_map(column).collect());
    Some(Condition::ForeignKey { columns: columns?, parent, parent_columns })
}

/// A new column that is `NOT NULL` and has nothing to put there.
fn new_column(mut at: Cursor<'_>) -> Option<Condition> {
    at.eat(&["COLUMN"]);
    if at.eat(&["IF", "NOT", "EXISTS"]) {
        return None;
    }
    let name = at.column()?;
    let word = at.peek().map(|token| token.span.of(at.text()).to_ascii_lowercase()).unwrap_or_default();
    let counts = word.ends_with("serial") || word.ends_with("serial4") || word.ends_with("serial8");
    let filled = counts || at.has(&["DEFAULT"]) || at.has(&["GENERATED"]);
    let needs = at.has(&["NOT", "NULL"]) || at.has(&["PRIMARY", "KEY"]);
    (needs && !filled).then(|| Condition::Empty { column: quote_ident(&name) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::parse_script;

    fn read(texts: &[&str]) -> Asks {
        let scripts: Vec<Script> =
            texts.iter().map(|text| parse_script("001_a.sql", text.as_bytes()).0.unwrap()).collect();
        asks(&scripts, Some(15))
    }

    fn one(text: &str) -> (Condition, bool) {
        let asks = read(&[text]);
        assert_eq!((asks.rows.len(), asks.unread), (1, 0), "{text}: {asks:?}");
        (asks.rows[0].condition.clone(), asks.rows[0].hint)
    }

    #[test]
    fn conditions_are_read_from_the_statement_that_would_meet_them() {
        let check = |expression: &str| Condition::Check { expression: expression.to_owned() };
        assert_eq!(one("ALTER TABLE t ADD CHECK (a > 0)").0, check("a > 0"));
        assert_eq!(one("ALTER TABLE s.t ADD CONSTRAINT c CHECK (a IN (1, 2)) NO INHERIT").0, check("a IN (1, 2)"));
        let null = |column: &str| Condition::NotNull { column: column.to_owned() };
        assert_eq!(one("ALTER TABLE t ALTER COLUMN \"A b\" SET NOT NULL").0, null("\"A b\""));
        let unique = |items: &[&str], predicate: Option<&str>| Condition::Unique {
            items: items.iter().map(|item| (*item).to_owned()).collect(),
            predicate: predicate.map(str::to_owned),
            nulls_alike: false,
        };
        assert_eq!(one("ALTER TABLE t ADD UNIQUE (a, b)").0, unique(&["a", "b"], None));
        assert_eq!(
            one("CREATE UNIQUE INDEX CONCURRENTLY i ON t USING btree (lower(a) text_pattern_ops DESC, b) WHERE b > 1")
                .0,
            unique(&["lower(a\n)", "b"], Some("b > 1"))
        );
        assert_eq!(
            one("ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES p (id) ON DELETE CASCADE").0,
            Condition::ForeignKey {
                columns: vec!["a".to_owned()],
                parent: QualifiedName { schema: None, name: "p".to_owned() },
                parent_columns: Some(vec!["id".to_owned()]),
            }
        );
        assert_eq!(
            one("ALTER TABLE t ALTER a TYPE numeric(10, 2) USING a::numeric").0,
            Condition::Type {
                column: "a".to_owned(),
                to: "numeric(10, 2)".to_owned(),
                using: Some("a::numeric".to_owned())
            }
        );
        assert_eq!(one("ALTER TABLE t ADD COLUMN b int NOT NULL").0, Condition::Empty { column: "b".to_owned() });
        let both = read(&["ALTER TABLE t ADD CONSTRAINT k PRIMARY KEY (a)"]);
        assert_eq!(both.rows.len(), 2, "{both:?}");
    }

    #[test]
    fn a_constraint_that_is_not_validated_asks_when_it_is() {
        let added = "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID;";
        assert!(read(&[added]).rows.is_empty());
        let both = read(&[added, "ALTER TABLE t VALIDATE CONSTRAINT c;"]);
        assert_eq!((both.rows.len(), both.unread), (1, 0), "{both:?}");
        assert_eq!(read(&["ALTER TABLE t VALIDATE CONSTRAINT c;"]).unread, 1);
    }

    #[test]
    fn nothing_is_asked_of_a_table_that_the_plan_makes() {
        let asks = read(&["CREATE TABLE t (a int);", "ALTER TABLE t ALTER a SET NOT NULL; CREATE INDEX ON t (a);"]);
        assert!(asks.rows.is_empty() && asks.owned.is_empty(), "{asks:?}");
        assert_eq!(asks.creates_in, [None].into());
    }

    #[test]
    fn rows_that_are_changed_first_make_it_a_hint() {
        let hint = |first: &str| one(&format!("{first}; ALTER TABLE t ALTER a SET NOT NULL")).1;
        assert!(hint("UPDATE t SET a = 0 WHERE a IS NULL"));
        assert!(hint("DELETE FROM ONLY t WHERE a IS NULL"));
        assert!(hint("DO $$ BEGIN PERFORM 1; END $$"));
        assert!(hint("SELECT backfill()"));
        assert!(hint("WITH x AS (UPDATE t SET a = 1 RETURNING 1) SELECT 1"));
        assert!(!hint("UPDATE u SET a = 0"));
        assert!(!hint("ALTER TABLE t ADD b int"));
    }

    #[test]
    fn shapes_that_nobody_reads_are_counted() {
        for text in
            ["ALTER TABLE t ADD EXCLUDE USING gist (a WITH &&)", "ALTER TABLE t ATTACH PARTITION u FOR VALUES IN (1)"]
        {
            assert_eq!(read(&[text]).unread, 1, "{text}");
        }
        assert!(read(&["SET search_path = x; CREATE TABLE t (a int)"]).elsewhere);
        assert!(read(&["SET LOCAL ROLE owner"]).elsewhere);
        assert!(!read(&["SET lock_timeout = 1"]).elsewhere);
    }
}
