//! What the statements over the catalogs have in common.
//!
//! Every statement gives the columns of [`ROW_COLUMNS`] first. Helpers return SQL expressions; all text they sort is
//! sorted bytewise, whatever the collation of the database.

/// The columns that say which object a row is about: its kind, the name of its parent, its name, its place, and where
/// comments and labels find it. `attribute` renames the value column of a note.
pub(super) const ROW_COLUMNS: &[&str] = &["kind", "parent", "name", "position", "class", "oid", "sub", "attribute"];

/// Settings that change what the server prints, pinned for the transaction. With an empty search path every name is
/// printed with its schema. The last two are for speed: planning takes longer than running here, and the joins are
/// written in a good order.
pub(super) const PINNED_SETTINGS: &str = "\
SET LOCAL search_path = '';
SET LOCAL quote_all_identifiers = off;
SET LOCAL standard_conforming_strings = on;
SET LOCAL DateStyle = 'ISO, YMD';
SET LOCAL IntervalStyle = 'postgres';
SET LOCAL TimeZone = 'UTC';
SET LOCAL extra_float_digits = 3;
SET LOCAL bytea_output = 'hex';
SET LOCAL jit = off;
SET LOCAL join_collapse_limit = 1;
";

/// The first OID that is not given out by initdb, whose objects stay in the server's own schemas. Catalogs that are full
/// of them are read from here on, by their index.
pub(super) const FIRST_USER_OID: u32 = 16384;

/// What to ask which server.
pub(super) struct Dialect<'a> {
    /// Major version, at least 14.
    pub(super) version: u32,
    /// Schemas that are not read.
    pub(super) exclude: &'a [&'a str],
}

impl Dialect<'_> {
    /// The expression where the server has it (from this version on), else NULL.
    pub(super) fn since(&self, version: u32, expression: &str) -> String {
        if self.version >= version { expression.to_owned() } else { "NULL".to_owned() }
    }

    /// Whether the namespace row `n` is none of the excluded ones; the server's own count.
    pub(super) fn not_excluded(&self) -> String {
        let names: Vec<String> = self.exclude.iter().map(|name| literal(name)).collect();
        if names.is_empty() { "true".to_owned() } else { format!("n.nspname NOT IN ({})", names.join(", ")) }
    }

    /// Whether the namespace row `n` is one of the user's.
    pub(super) fn user_schema(&self) -> String {
        let names: Vec<String> =
            ["pg_catalog", "information_schema"].iter().chain(self.exclude).map(|name| literal(name)).collect();
        format!("n.nspname NOT IN ({}) AND n.nspname !~ '^pg_(toast|temp)'", names.join(", "))
    }
}

/// The seven columns that say which object a row is about.
pub(super) fn row(kind: &str, parent: &str, name: &str, class: &str, oid: &str) -> String {
    format!(
        "{kind} AS kind, {parent} AS parent, {name} AS name, NULL AS position, \
         '{class}'::regclass::oid AS class, {oid} AS oid, 0 AS sub"
    )
}

/// A string literal, whatever `standard_conforming_strings` is when the message is parsed.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// `schema.name`, quoted where needed.
pub(super) fn qualified(name: &str) -> String {
    format!("quote_ident(n.nspname) || '.' || quote_ident({name})")
}

/// Whether an object is no member of an extension.
pub(super) fn not_in_extension(class: &str, oid: &str) -> String {
    format!("{oid} NOT IN {}", extension_members(class))
}

/// The members of all extensions that live in a catalog. They are found from the extensions' side, where there is an
/// index and few rows, once in a statement: to look at what each object depends on would take longer than the rest.
pub(super) fn extension_members(class: &str) -> String {
    format!(
        "(SELECT e.objid FROM pg_depend e WHERE e.refclassid = 'pg_extension'::regclass \
         AND e.classid = '{class}'::regclass AND e.objsubid = 0 AND e.deptype = 'e')"
    )
}

/// `yes` when the condition holds, else nothing.
pub(super) fn yes(condition: &str) -> String {
    format!("CASE WHEN {condition} THEN 'yes' END")
}

/// A text array as a sorted list; nothing for none, and not sorted then: to begin sorting costs more than to read most rows.
pub(super) fn sorted(array: &str) -> String {
    format!(
        "CASE WHEN {array} IS NOT NULL THEN (SELECT string_agg(x, ', ' ORDER BY x COLLATE \"C\") FROM unnest({array}) x) END"
    )
}

/// A function with its arguments; nothing for none.
pub(super) fn function(oid: &str) -> String {
    format!("NULLIF({oid}::oid::regprocedure::text, '-')")
}

/// The column `privileges` in the form that `acl::render` reads: owner, actual, default, all there is to grant.
pub(super) fn acl(object_type: &str, acl: &str, owner: &str) -> String {
    let default = format!("acldefault({object_type}, {owner})");
    format!("CASE WHEN {acl} IS NOT NULL THEN {} END AS privileges", acl_json(object_type, acl, &default, owner))
}

/// The same with a default of its own; the actual list must not be NULL.
pub(super) fn acl_json(object_type: &str, acl: &str, default: &str, owner: &str) -> String {
    let explode = |list: &str| {
        format!(
            "(SELECT json_agg(json_build_array(x.grantee::regrole, x.privilege_type, x.is_grantable, \
             x.grantor::regrole)) FROM aclexplode({list}) x)"
        )
    };
    // The owner of a column has nothing by default, but what a table's owner has includes it.
    let everything = format!(
        "(SELECT json_agg(DISTINCT x.privilege_type) FROM aclexplode(acldefault({object_type}, {owner})) x \
         WHERE x.grantee = {owner})"
    );
    format!(
        "json_build_array({owner}::regrole, {}, {}, COALESCE({everything}, '[]'::json))",
        explode(acl),
        explode(default)
    )
}

/// The column `options` of foreign-data objects. Values that look like secrets are not read.
pub(super) fn options(array: &str) -> String {
    format!(
        "CASE WHEN {array} IS NOT NULL THEN (SELECT string_agg(quote_ident(x.option_name) || ' ' || \
         CASE WHEN x.option_name ~* 'pass|secret|token|key|credential' THEN '(hidden)' ELSE \
         quote_literal(x.option_value) END, ', ' ORDER BY x.option_name COLLATE \"C\") \
         FROM pg_options_to_table({array}) x) END"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_hold_under_either_string_setting() {
        assert_eq!(literal("a"), "'a'");
        assert_eq!(literal("a'b"), "'a''b'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
    }
}
