//! Operators, operator families and classes.

use super::sql::{Dialect, FIRST_USER_OID, function, not_in_extension, qualified, row, yes};

pub(super) fn statements(dialect: &Dialect<'_>) -> Vec<String> {
    vec![operators(dialect), families(dialect), classes(dialect)]
}

/// Shells, which another operator has only named as its commutator or negator, are left out as in a dump.
fn operators(dialect: &Dialect<'_>) -> String {
    format!(
        "SELECT {row}, o.oprowner::regrole AS owner, {function} AS function, o.oprresult::regtype AS result, \
         NULLIF(o.oprcom::regoperator::text, '0') AS commutator, NULLIF(o.oprnegate::regoperator::text, '0') AS negator, \
         {restrict} AS restrict, {join} AS \"join\", {hashes} AS hashes, {merges} AS merges \
         FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace WHERE o.oid >= {FIRST_USER_OID} \
         AND o.oprcode <> 0 AND {user} AND {own}",
        row = row("'operator'", "NULL", "o.oid::regoperator", "pg_operator", "o.oid"),
        function = function("o.oprcode"),
        restrict = function("o.oprrest"),
        join = function("o.oprjoin"),
        hashes = yes("o.oprcanhash"),
        merges = yes("o.oprcanmerge"),
        user = dialect.user_schema(),
        own = not_in_extension("pg_operator", "o.oid"),
    )
}

fn families(dialect: &Dialect<'_>) -> String {
    let name = format!("{} || ' using ' || quote_ident(m.amname)", qualified("f.opfname"));
    format!(
        "SELECT {row}, f.opfowner::regrole AS owner, \
         (SELECT string_agg(o.amopstrategy || ' ' || o.amopopr::regoperator || COALESCE(' for order by ' || \
         quote_ident(s.opfname), ''), ', ' ORDER BY o.amopstrategy, o.amopopr::regoperator::text COLLATE \"C\") \
         FROM pg_amop o LEFT JOIN pg_opfamily s ON s.oid = o.amopsortfamily WHERE o.amopfamily = f.oid) AS operators, \
         (SELECT string_agg(p.amprocnum || ' (' || p.amproclefttype::regtype || ', ' || p.amprocrighttype::regtype || \
         ') ' || p.amproc::oid::regprocedure, ', ' ORDER BY p.amprocnum, p.amproc::oid::regprocedure::text \
         COLLATE \"C\") FROM pg_amproc p WHERE p.amprocfamily = f.oid) AS functions \
         FROM pg_opfamily f JOIN pg_am m ON m.oid = f.opfmethod JOIN pg_namespace n ON n.oid = f.opfnamespace \
         WHERE f.oid >= {FIRST_USER_OID} AND {user} AND {own}",
        row = row("'operator family'", "NULL", &name, "pg_opfamily", "f.oid"),
        user = dialect.user_schema(),
        own = not_in_extension("pg_opfamily", "f.oid"),
    )
}

fn classes(dialect: &Dialect<'_>) -> String {
    let name = format!("{} || ' using ' || quote_ident(m.amname)", qualified("c.opcname"));
    format!(
        "SELECT {row}, c.opcowner::regrole AS owner, c.opcintype::regtype AS type, {default} AS \"default\", \
         NULLIF(c.opckeytype, 0)::regtype AS storage, quote_ident(s.nspname) || '.' || quote_ident(f.opfname) AS family \
         FROM pg_opclass c JOIN pg_am m ON m.oid = c.opcmethod JOIN pg_namespace n ON n.oid = c.opcnamespace \
         JOIN pg_opfamily f ON f.oid = c.opcfamily JOIN pg_namespace s ON s.oid = f.opfnamespace \
         WHERE c.oid >= {FIRST_USER_OID} AND {user} AND {own}",
        row = row("'operator class'", "NULL", &name, "pg_opclass", "c.oid"),
        default = yes("c.opcdefault"),
        user = dialect.user_schema(),
        own = not_in_extension("pg_opclass", "c.oid"),
    )
}
