//! Tables, views, materialized views, foreign tables, sequences, and their columns.

use super::sql::{Dialect, acl, not_in_extension, options, row, sorted, yes};

pub(super) fn statements(dialect: &Dialect<'_>) -> Vec<String> {
    vec![relations(dialect), columns(dialect), sequences(dialect)]
}

/// Whether a materialized view is filled is data, not schema. `heap` is left out as the default it nearly always is.
fn relations(dialect: &Dialect<'_>) -> String {
    let kind = "CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' \
                ELSE 'table' END";
    format!(
        "SELECT {row}, c.relowner::regrole AS owner, {unlogged} AS unlogged, \
         NULLIF(m.amname, 'heap') AS \"access method\", s.spcname AS tablespace, {options} AS options, \
         CASE WHEN c.reltoastrelid <> 0 THEN (SELECT {toast} FROM pg_class t WHERE t.oid = c.reltoastrelid) END \
         AS \"toast options\", CASE WHEN c.relkind IN ('v', 'f') THEN NULL \
         WHEN c.relreplident = 'n' THEN 'nothing' WHEN c.relreplident = 'f' THEN 'full' \
         WHEN c.relreplident = 'i' THEN 'index' END AS \"replica identity\", \
         CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END AS \"partition by\", \
         CASE WHEN c.relispartition THEN pg_get_expr(c.relpartbound, c.oid) END AS \"partition bound\", \
         CASE WHEN EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = c.oid) THEN \
         (SELECT string_agg(h.inhparent::regclass || CASE WHEN h.inhdetachpending THEN ' (being detached)' ELSE '' END, \
         ', ' ORDER BY h.inhseqno) FROM pg_inherits h WHERE h.inhrelid = c.oid) END AS parents, \
         {rls} AS \"row security\", {forced} AS \"row security forced\", NULLIF(c.reloftype, 0)::regtype AS \"of type\", \
         CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END AS definition, \
         quote_ident(fs.srvname) AS server, {foreign_options} AS \"foreign options\", {acl} \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_am m ON m.oid = c.relam LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace \
         LEFT JOIN pg_foreign_table ft ON ft.ftrelid = c.oid LEFT JOIN pg_foreign_server fs ON fs.oid = ft.ftserver \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {user} AND {own}",
        row = row(kind, "NULL", "c.oid::regclass", "pg_class", "c.oid"),
        unlogged = yes("c.relpersistence = 'u'"),
        options = sorted("c.reloptions"),
        toast = sorted("t.reloptions"),
        rls = yes("c.relrowsecurity"),
        forced = yes("c.relforcerowsecurity"),
        foreign_options = options("ft.ftoptions"),
        acl = acl("'r'", "c.relacl", "c.relowner"),
        user = dialect.user_schema(),
        own = not_in_extension("pg_class", "c.oid"),
    )
}

/// Since version 18 a NOT NULL is a constraint with a name of its own. The name is left out: it would make the same
/// script give another schema there. What only 18 can do (not valid, no inherit) is told.
fn columns(dialect: &Dialect<'_>) -> String {
    let not_null = |what: &str, word: &str| {
        dialect.since(
            18,
            &format!(
                "(SELECT '{word}' FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'n' \
                 AND k.conkey = ARRAY[a.attnum] AND {what})"
            ),
        )
    };
    format!(
        "SELECT 'column' AS kind, c.oid::regclass AS parent, quote_ident(a.attname) AS name, \
         a.attnum AS position, 'pg_class'::regclass::oid AS class, \
         c.oid, a.attnum AS sub, format_type(a.atttypid, a.atttypmod) AS type, \
         CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation END AS collation, \
         CASE WHEN c.relkind IN ('r', 'p', 'f') THEN CASE WHEN a.attnotnull THEN 'no' ELSE 'yes' END END AS nullable, \
         {not_valid} AS \"not null\", {no_inherit} AS \"not null of parents\", \
         CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS \"default\", \
         CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) || CASE a.attgenerated WHEN 's' \
         THEN ' stored' ELSE ' virtual' END END AS generated, \
         CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END AS identity, \
         CASE WHEN a.attstorage <> t.typstorage AND c.relkind <> 'v' THEN CASE a.attstorage WHEN 'p' THEN 'plain' \
         WHEN 'e' THEN 'external' WHEN 'm' THEN 'main' WHEN 'x' THEN 'extended' END END AS storage, \
         CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END AS compression, \
         CASE WHEN a.attstattarget >= 0 THEN a.attstattarget END AS \"statistics target\", \
         {options} AS options, {foreign_options} AS \"foreign options\", \
         CASE WHEN a.attinhcount > 0 AND NOT c.relispartition THEN CASE WHEN a.attislocal THEN 'and local' ELSE 'yes' \
         END END AS inherited, {acl} \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid \
         JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped AND {user} AND {own}",
        not_valid = not_null("NOT k.convalidated", "not valid"),
        no_inherit = not_null("k.connoinherit", "not passed on"),
        options = sorted("a.attoptions"),
        foreign_options = options("a.attfdwoptions"),
        acl = acl("'c'", "a.attacl", "c.relowner"),
        user = dialect.user_schema(),
        own = not_in_extension("pg_class", "c.oid"),
    )
}

/// Where a sequence stands (its last value) is data.
fn sequences(dialect: &Dialect<'_>) -> String {
    format!(
        "SELECT {row}, c.relowner::regrole AS owner, {unlogged} AS unlogged, s.seqtypid::regtype AS type, \
         s.seqstart AS start, s.seqincrement AS increment, s.seqmin AS minimum, s.seqmax AS maximum, \
         s.seqcache AS cache, {cycle} AS cycle, (SELECT CASE d.deptype WHEN 'i' THEN 'identity of ' ELSE '' END || \
         d.refobjid::regclass || '.' || quote_ident(a.attname) FROM pg_depend d \
         JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
         WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0 \
         AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')) AS \"owned by\", {acl} \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_sequence s ON s.seqrelid = c.oid \
         WHERE {user} AND {own}",
        row = row("'sequence'", "NULL", "c.oid::regclass", "pg_class", "c.oid"),
        unlogged = yes("c.relpersistence = 'u'"),
        cycle = yes("s.seqcycle"),
        acl = acl("'s'", "c.relacl", "c.relowner"),
        user = dialect.user_schema(),
        own = not_in_extension("pg_class", "c.oid"),
    )
}
