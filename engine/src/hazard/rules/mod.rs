//! The rules: each with its examples beside it. [`statement`] hands a statement to the one that knows its verb.

mod add_column;
mod alter_table;
mod column_type;
mod constraint;
mod create;
mod data;
mod drop;
mod index;
mod maintenance;
mod not_null;
mod partition;
mod rename;
mod session;

use super::out::Out;
use super::rule::Rule;
use super::script;
use crate::sql::Cursor;

/// Every rule, in the order of the codes.
pub const ALL: &[&Rule] = &[
    &add_column::REWRITE,
    &column_type::REWRITE,
    &maintenance::FULL,
    &alter_table::STORAGE,
    &not_null::RULE,
    &constraint::CHECK,
    &constraint::FOREIGN_KEY,
    &constraint::INDEX,
    &index::BUILD,
    &index::REINDEX,
    &index::DROPPED,
    &drop::COLUMN,
    &drop::TABLE,
    &drop::CASCADE,
    &data::TRUNCATE,
    &rename::RULE,
    &add_column::REQUIRED,
    &partition::CREATE,
    &partition::ATTACH,
    &partition::DETACH,
    &constraint::OTHER_TABLE,
    &data::WHOLE,
    &script::BACKFILL,
    &script::SEVERAL,
    &maintenance::REFRESH,
    &create::DOMAIN,
    &session::TIMEOUT,
    &script::LOCAL,
    &index::INVALID,
    &session::DYNAMIC,
    &maintenance::LOCK,
    &add_column::JSON,
    &create::LONG_NAME,
    &constraint::DROPPED,
    &drop::OTHER,
    &script::UNUSED,
    &column_type::MAYBE,
];

/// Looks at a statement. Whether it is of a known kind.
pub(super) fn statement(mut at: Cursor<'_>, chunked: bool, out: &mut Out<'_>) -> bool {
    let whole = at.clone();
    let verbs = [
        "ALTER",
        "CREATE",
        "DROP",
        "TRUNCATE",
        "UPDATE",
        "DELETE",
        "INSERT",
        "MERGE",
        "COPY",
        "VACUUM",
        "CLUSTER",
        "REINDEX",
        "REFRESH",
        "ANALYZE",
        "ANALYSE",
        "LOCK",
        "SET",
        "RESET",
        "DO",
        "CALL",
        "COMMENT",
        "SELECT",
        "WITH",
        "VALUES",
        "TABLE",
        "SHOW",
        "BEGIN",
        "START",
        "COMMIT",
        "END",
        "ROLLBACK",
        "ABORT",
        "SAVEPOINT",
        "RELEASE",
        "GRANT",
        "REVOKE",
        "NOTIFY",
        "DISCARD",
        "SECURITY",
        "EXPLAIN",
        "CHECKPOINT",
    ];
    let Some(verb) = at.eat_any(&verbs) else { return false };
    if matches!(verb, "ALTER" | "CREATE") {
        create::long_names(&whole, out);
    }
    match verb {
        "ALTER" => alter(at, out),
        "CREATE" => create(at, out),
        "DROP" if at.eat(&["INDEX"]) => index::drop(at, out),
        "DROP" => drop::drop(at, out),
        "TRUNCATE" => data::truncate(at, out),
        "UPDATE" => data::change(at, false, chunked, out),
        "DELETE" if at.eat(&["FROM"]) => data::change(at, true, chunked, out),
        "INSERT" | "MERGE" if at.eat(&["INTO"]) => data::insert(at, out),
        "COPY" => data::copy(at, out),
        "VACUUM" => maintenance::vacuum(at, out),
        "CLUSTER" => maintenance::cluster(at, out),
        "REINDEX" => index::reindex(at, out),
        "REFRESH" if at.eat(&["MATERIALIZED", "VIEW"]) => maintenance::refresh(at, out),
        "ANALYZE" | "ANALYSE" => maintenance::analyze(at, out),
        "LOCK" => maintenance::lock_table(at, out),
        "SET" => session::set(at, false, out),
        "RESET" => session::set(at, true, out),
        "DO" | "CALL" => {
            session::dynamic(&whole, verb, out);
            false
        }
        "COMMENT" if at.eat(&["ON"]) => comment(at, out),
        "DELETE" | "INSERT" | "MERGE" | "REFRESH" | "WITH" | "EXPLAIN" => false,
        _ => true,
    }
}

fn comment(mut at: Cursor<'_>, out: &mut Out<'_>) -> bool {
    if at.eat(&["TABLE"]) || at.eat(&["VIEW"]) || at.eat(&["MATERIALIZED", "VIEW"]) {
        return create::light(at, &[], false, out);
    }
    if at.eat(&["COLUMN"]) {
        return create::light(at, &[], true, out);
    }
    true
}

fn alter(mut at: Cursor<'_>, out: &mut Out<'_>) -> bool {
    if at.eat(&["TABLE"]) || at.eat(&["MATERIALIZED", "VIEW"]) || at.eat(&["FOREIGN", "TABLE"]) {
        return alter_table::alter_table(at, out);
    }
    let kinds = [
        "INDEX",
        "VIEW",
        "TYPE",
        "DOMAIN",
        "FUNCTION",
        "PROCEDURE",
        "ROUTINE",
        "AGGREGATE",
        "SEQUENCE",
        "SCHEMA",
        "POLICY",
    ];
    match at.eat_any(&kinds) {
        Some("INDEX") => alter_table::alter_index(at, out),
        Some("VIEW") => rename::other(at, true, out),
        Some("POLICY") => create::on_table(at, &["ON"], out),
        Some("DOMAIN") => create::alter_domain(at, out),
        Some(_) => rename::other(at, false, out),
        None => {
            let harmless =
                ["ROLE", "USER", "GROUP", "DEFAULT", "EXTENSION", "DATABASE", "PUBLICATION", "STATISTICS", "SYSTEM"];
            at.eat_any(&harmless).is_some()
        }
    }
}

fn create(mut at: Cursor<'_>, out: &mut Out<'_>) -> bool {
    let replace = at.eat(&["OR", "REPLACE"]);
    at.eat_any(&["GLOBAL", "LOCAL"]);
    let temporary =
        at.eat_any(&["TEMPORARY", "TEMP", "UNLOGGED", "RECURSIVE", "CONSTRAINT", "EVENT", "MATERIALIZED", "TRUSTED"]);
    let unique = at.eat(&["UNIQUE"]);
    match at.eat_any(&["INDEX", "TABLE", "VIEW", "TRIGGER", "POLICY", "RULE", "STATISTICS", "PUBLICATION"]) {
        Some("INDEX") => index::create(at, unique, out),
        Some("TABLE") => create::table(at, out),
        Some("VIEW") => create::view(at, replace && temporary != Some("MATERIALIZED"), out),
        Some("TRIGGER") if temporary == Some("EVENT") => true,
        Some("TRIGGER") => create::trigger(at, out),
        Some("POLICY") => create::on_table(at, &["ON"], out),
        Some("RULE") => create::on_table(at, &["TO"], out),
        Some("STATISTICS") => create::light(at, &["FROM"], false, out),
        Some("PUBLICATION") => create::light(at, &["FOR", "TABLE"], false, out),
        _ => {
            let harmless = [
                "FUNCTION",
                "PROCEDURE",
                "TYPE",
                "DOMAIN",
                "SCHEMA",
                "EXTENSION",
                "SEQUENCE",
                "ROLE",
                "USER",
                "GROUP",
                "CAST",
                "OPERATOR",
                "AGGREGATE",
                "COLLATION",
                "DATABASE",
                "LANGUAGE",
                "TEXT",
                "SERVER",
                "FOREIGN",
                "TABLESPACE",
                "CONVERSION",
                "ACCESS",
                "TRANSFORM",
            ];
            at.eat_any(&harmless).is_some()
        }
    }
}
