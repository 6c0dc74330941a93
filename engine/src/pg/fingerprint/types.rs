//! Types, domains, and casts and transforms between types.

use super::sql::{Dialect, FIRST_USER_OID, acl, function, not_in_extension, row, yes};

pub(super) fn statements(dialect: &Dialect<'_>) -> Vec<String> {
    vec![types(dialect), base_types(dialect), attributes(dialect), domain_constraints(dialect), casts(), transforms()]
}

/// Arrays, the row types of relations and multirange types come with what they belong to.
fn types(dialect: &Dialect<'_>) -> String {
    let kind = "CASE t.typtype WHEN 'd' THEN 'domain' ELSE 'type' END";
    let form = "CASE WHEN NOT t.typisdefined THEN 'shell' WHEN t.typtype = 'c' THEN 'composite' \
                WHEN t.typtype = 'e' THEN 'enum' WHEN t.typtype = 'r' THEN 'range' END";
    let labels = "(SELECT string_agg(quote_literal(l.enumlabel), ', ' ORDER BY l.enumsortorder) FROM pg_enum l \
                  WHERE l.enumtypid = t.oid)";
    format!(
        "SELECT {row}, {form} AS form, t.typowner::regrole AS owner, \
         CASE WHEN t.typtype = 'e' THEN COALESCE({labels}, 'none') END AS labels, \
         CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END AS \"base type\", \
         CASE WHEN t.typtype = 'd' AND t.typcollation <> b.typcollation THEN t.typcollation::regcollation END \
         AS collation, \
         CASE WHEN t.typtype = 'd' THEN COALESCE(pg_get_expr(t.typdefaultbin, 0), t.typdefault) END AS \"default\", \
         CASE WHEN t.typtype = 'd' THEN CASE WHEN t.typnotnull THEN 'no' ELSE 'yes' END END AS nullable, \
         r.rngsubtype::regtype AS subtype, NULLIF(r.rngcollation, 0)::regcollation AS \"subtype collation\", \
         (SELECT quote_ident(s.nspname) || '.' || quote_ident(o.opcname) FROM pg_opclass o \
         JOIN pg_namespace s ON s.oid = o.opcnamespace WHERE o.oid = r.rngsubopc) AS \"subtype operator class\", \
         {canonical} AS canonical, {difference} AS \"subtype difference\", r.rngmultitypid::regtype AS multirange, \
         {acl} \
         FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid \
         LEFT JOIN pg_range r ON r.rngtypid = t.oid LEFT JOIN pg_type b ON b.oid = t.typbasetype \
         WHERE t.oid >= {FIRST_USER_OID} AND {user} AND (t.typtype IN ('d', 'e', 'r') OR (t.typtype = 'c' AND c.relkind = 'c') \
         OR (t.typtype = 'p' AND NOT t.typisdefined)) AND {own}",
        row = row(kind, "NULL", "t.oid::regtype", "pg_type", "t.oid"),
        canonical = function("r.rngcanonical"),
        difference = function("r.rngsubdiff"),
        acl = acl("'T'", "t.typacl", "t.typowner"),
        user = dialect.user_schema(),
        own = not_in_extension("pg_type", "t.oid"),
    )
}

fn base_types(dialect: &Dialect<'_>) -> String {
    format!(
        "SELECT {row}, 'base' AS form, t.typowner::regrole AS owner, t.typlen AS length, {by_value} AS \"by value\", \
         t.typalign AS alignment, t.typstorage AS storage, t.typcategory AS category, {preferred} AS preferred, \
         t.typdelim AS delimiter, NULLIF(t.typelem, 0)::regtype AS element, t.typdefault AS \"default\", \
         {collatable} AS collatable, {input} AS input, {output} AS output, {receive} AS receive, {send} AS send, \
         {modin} AS \"modifier input\", {modout} AS \"modifier output\", {analyze} AS analyze, \
         {subscript} AS subscript, {acl} \
         FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid >= {FIRST_USER_OID} AND {user} AND t.typtype = 'b' \
         AND NOT (t.typelem <> 0 AND (SELECT e.typarray FROM pg_type e WHERE e.oid = t.typelem) = t.oid) AND {own}",
        row = row("'type'", "NULL", "t.oid::regtype", "pg_type", "t.oid"),
        by_value = yes("t.typbyval"),
        preferred = yes("t.typispreferred"),
        collatable = yes("t.typcollation <> 0"),
        input = function("t.typinput"),
        output = function("t.typoutput"),
        receive = function("t.typreceive"),
        send = function("t.typsend"),
        modin = function("t.typmodin"),
        modout = function("t.typmodout"),
        analyze = function("t.typanalyze"),
        subscript = function("t.typsubscript"),
        acl = acl("'T'", "t.typacl", "t.typowner"),
        user = dialect.user_schema(),
        own = not_in_extension("pg_type", "t.oid"),
    )
}

/// The fields of composite types. Their comments hang on the type's relation.
fn attributes(dialect: &Dialect<'_>) -> String {
    format!(
        "SELECT 'attribute' AS kind, c.reltype::regtype AS parent, quote_ident(a.attname) AS name, \
         a.attnum AS position, 'pg_class'::regclass::oid AS class, \
         c.oid, a.attnum AS sub, format_type(a.atttypid, a.atttypmod) AS type, \
         CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation END AS collation \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid \
         JOIN pg_type t ON t.oid = a.atttypid \
         WHERE c.relkind = 'c' AND a.attnum > 0 AND NOT a.attisdropped AND {user} AND {own}",
        user = dialect.user_schema(),
        own = not_in_extension("pg_type", "c.reltype"),
    )
}

/// NOT NULL of a domain is a constraint of its own since version 17; `nullable` says it everywhere.
fn domain_constraints(dialect: &Dialect<'_>) -> String {
    format!(
        "SELECT {row}, pg_get_constraintdef(c.oid) AS definition \
         FROM pg_constraint c JOIN pg_type t ON t.oid = c.contypid JOIN pg_namespace n ON n.oid = t.typnamespace \
         WHERE c.contypid <> 0 AND c.contype = 'c' AND {user} AND {own}",
        row = row("'constraint'", "t.oid::regtype", "quote_ident(c.conname)", "pg_constraint", "c.oid"),
        user = dialect.user_schema(),
        own = not_in_extension("pg_type", "t.oid"),
    )
}

fn casts() -> String {
    let name = "'(' || format_type(c.castsource, NULL) || ' AS ' || format_type(c.casttarget, NULL) || ')'";
    format!(
        "SELECT {row}, {function} AS function, CASE c.castcontext WHEN 'a' THEN 'assignment' WHEN 'i' THEN 'implicit' \
         ELSE 'explicit' END AS context, CASE c.castmethod WHEN 'i' THEN 'in and out' WHEN 'b' THEN 'without function' \
         ELSE 'function' END AS method FROM pg_cast c WHERE c.oid >= {FIRST_USER_OID} AND {own}",
        row = row("'cast'", "NULL", name, "pg_cast", "c.oid"),
        function = function("c.castfunc"),
        own = not_in_extension("pg_cast", "c.oid"),
    )
}

fn transforms() -> String {
    let name = "'for ' || format_type(t.trftype, NULL) || ' language ' || quote_ident(l.lanname)";
    format!(
        "SELECT {row}, {from} AS \"from sql\", {to} AS \"to sql\" \
         FROM pg_transform t JOIN pg_language l ON l.oid = t.trflang WHERE {own}",
        row = row("'transform'", "NULL", name, "pg_transform", "t.oid"),
        from = function("t.trffromsql"),
        to = function("t.trftosql"),
        own = not_in_extension("pg_transform", "t.oid"),
    )
}
