//! What a statement leaves behind that later statements can be judged by.

use super::context::{Context, canonical};
use super::kind::type_name;
use super::read::Read;
use crate::sql::{Cursor, QualifiedName, Statement};

/// Takes in what a statement creates and changes. `text` is the whole file.
pub fn learn(context: &mut Context, text: &str, statement: &Statement) {
    let mut at = Cursor::new(statement.tokens(text));
    match at.eat_any(&["CREATE", "ALTER"]) {
        Some("CREATE") => create(context, at),
        Some(_) if at.eat(&["TABLE"]) => alter_table(context, at),
        Some(_) if at.eat(&["DOMAIN"]) => {
            if let Some(domain) = at.name()
                && (at.eat(&["ADD"]) || at.eat(&["SET", "NOT", "NULL"]))
            {
                context.checked_domains.insert(canonical(&domain));
            }
        }
        _ => {}
    }
}

fn create(context: &mut Context, mut at: Cursor<'_>) {
    if at.eat(&["OR", "REPLACE"]) {
        return; // It may have been there.
    }
    at.eat_any(&["GLOBAL", "LOCAL"]);
    at.eat_any(&["TEMPORARY", "TEMP", "UNLOGGED", "MATERIALIZED", "FOREIGN"]);
    let unique = at.eat(&["UNIQUE"]);
    let kinds = ["TABLE", "VIEW", "TYPE", "DOMAIN", "SEQUENCE", "FUNCTION", "PROCEDURE", "SCHEMA", "INDEX"];
    let Some(kind) = at.eat_any(&kinds) else { return };
    if kind == "INDEX" || unique {
        return index(context, at);
    }
    let fresh = !at.eat(&["IF", "NOT", "EXISTS"]);
    let Some(name) = at.name() else { return };
    let name = canonical(&name);
    if fresh {
        context.created.insert(name.clone());
    }
    match kind {
        "TABLE" => {
            if at.has(&["PARTITION", "BY"]) {
                context.partitioned.insert(name.clone());
            }
            for element in at.paren_items().unwrap_or_default() {
                column(context, element, &name);
            }
        }
        "DOMAIN" if at.has(&["CHECK"]) || at.has(&["NOT", "NULL"]) => {
            context.checked_domains.insert(name);
        }
        _ => {}
    }
}

/// An index is as fresh as its table.
fn index(context: &mut Context, mut at: Cursor<'_>) {
    at.eat(&["CONCURRENTLY"]);
    if at.eat(&["IF", "NOT", "EXISTS"]) || at.clone().eat(&["ON"]) {
        return;
    }
    let Some(index) = at.name() else { return };
    at.eat(&["ON"]);
    at.eat(&["ONLY"]);
    if let Some(table) = at.name()
        && context.is_fresh(&table)
    {
        context.created.insert(canonical(&QualifiedName { schema: table.schema, name: index.name }));
    }
}

/// One element of `CREATE TABLE`, or what stands behind `ADD COLUMN`.
fn column(context: &mut Context, mut at: Cursor<'_>, table: &QualifiedName) {
    let constraint = ["CONSTRAINT", "CHECK", "UNIQUE", "PRIMARY", "FOREIGN", "EXCLUDE", "LIKE"];
    if let Some(word) = at.eat_any(&constraint) {
        if word == "PRIMARY" || at.find(&["PRIMARY"]) {
            at.eat(&["KEY"]);
            for mut item in at.paren_items().unwrap_or_default() {
                if let Some(column) = item.column() {
                    context.not_null.insert((table.clone(), column));
                }
            }
        }
        return;
    }
    at.eat(&["IF", "NOT", "EXISTS"]);
    let Some(column) = at.column() else { return };
    let Some(kind) = type_name(&mut at) else { return };
    if at.has(&["NOT", "NULL"]) || at.has(&["PRIMARY", "KEY"]) {
        context.not_null.insert((table.clone(), column.clone()));
    }
    context.columns.entry(table.clone()).or_default().insert(column, kind);
}

fn alter_table(context: &mut Context, mut at: Cursor<'_>) {
    at.eat(&["IF", "EXISTS"]);
    at.eat(&["ONLY"]);
    let Some(table) = at.name() else { return };
    let table = canonical(&table);
    for mut action in at.items() {
        match action.eat_any(&["ADD", "ALTER", "VALIDATE", "RENAME", "SET", "DROP"]) {
            Some("ADD") => add(context, action, &table),
            Some("ALTER") => alter_column(context, action, &table),
            Some("VALIDATE") if action.eat(&["CONSTRAINT"]) => {
                if let Some(name) = action.column() {
                    context.validated_checks.insert(table.clone());
                    if let Some(column) = context.null_checks.get(&(table.clone(), name)) {
                        context.never_null.insert((table.clone(), column.clone()));
                    }
                }
            }
            Some("RENAME") => rename(context, action, &table),
            Some("SET") if action.eat(&["SCHEMA"]) && context.created.contains(&table) => {
                let moved = QualifiedName { schema: action.column(), name: table.name.clone() };
                context.created.insert(canonical(&moved));
            }
            Some("DROP") if action.eat(&["CONSTRAINT"]) => {
                action.eat(&["IF", "EXISTS"]);
                if let Some(name) = action.column()
                    && let Some(column) = context.null_checks.remove(&(table.clone(), name))
                {
                    context.never_null.remove(&(table.clone(), column));
                }
                context.validated_checks.remove(&table);
            }
            _ => {}
        }
    }
}

fn add(context: &mut Context, mut at: Cursor<'_>, table: &QualifiedName) {
    if !at.clone().eat(&["CONSTRAINT"]) && !at.clone().eat(&["CHECK"]) {
        at.eat(&["COLUMN"]);
        return column(context, at, table);
    }
    let name = if at.eat(&["CONSTRAINT"]) { at.column() } else { None };
    let not_valid = at.has(&["NOT", "VALID"]);
    if !at.eat(&["CHECK"]) {
        return;
    }
    let conditions = at.paren_items().unwrap_or_default();
    let [condition] = conditions.as_slice() else { return };
    let mut condition = condition.clone();
    let Some(column) = condition.column() else { return };
    if condition.eat(&["IS", "NOT", "NULL"]) && condition.peek().is_none() {
        if !not_valid {
            context.never_null.insert((table.clone(), column.clone()));
        }
        if let Some(name) = name {
            context.null_checks.insert((table.clone(), name), column);
        }
    }
}

fn alter_column(context: &mut Context, mut at: Cursor<'_>, table: &QualifiedName) {
    at.eat(&["COLUMN"]);
    let Some(column) = at.column() else { return };
    let key = (table.clone(), column);
    if at.eat(&["SET", "NOT", "NULL"]) {
        context.not_null.insert(key);
    } else if at.eat(&["DROP", "NOT", "NULL"]) {
        context.not_null.remove(&key);
    } else if (at.eat(&["TYPE"]) || at.eat(&["SET", "DATA", "TYPE"]))
        && let Some(kind) = type_name(&mut at)
    {
        context.columns.entry(key.0).or_default().insert(key.1, kind);
    }
}

fn rename(context: &mut Context, mut at: Cursor<'_>, table: &QualifiedName) {
    if at.eat(&["TO"]) {
        let Some(name) = at.column() else { return };
        let new = QualifiedName { schema: table.schema.clone(), name };
        if let Some(columns) = context.columns.remove(table) {
            context.columns.insert(new.clone(), columns);
        }
        // The old name is free now; whoever takes it is new as well.
        if context.created.remove(table) {
            context.created.insert(new);
        } else {
            context.created.remove(&new);
        }
        return;
    }
    at.eat(&["COLUMN"]);
    let (Some(old), true, Some(new)) = (at.column(), at.eat(&["TO"]), at.column()) else { return };
    if let Some(columns) = context.columns.get_mut(table)
        && let Some(kind) = columns.remove(&old)
    {
        columns.insert(new, kind);
    }
}
