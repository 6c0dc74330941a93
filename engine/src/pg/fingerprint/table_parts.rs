//! What stands upon tables: constraints, indexes, statistics, rules, triggers, policies.

use super::sql::{Dialect, FIRST_USER_OID, not_in_extension, row, sorted, yes};

pub(super) fn statements(dialect: &Dialect<'_>) -> Vec<String> {
    vec![
        constraints(dialect),
        indexes(dialect),
        statistics(dialect),
        rules(dialect),
        triggers(dialect),
        policies(dialect),
    ]
}

/// Attributes of the index `i`, whose relation is `x`; they may be all NULL. Only expressions in an index can have
/// statistics targets, and only a partition of an index is attached to one: all others are spared the look.
fn index_attributes() -> String {
    format!(
        "CASE WHEN NOT i.indisvalid THEN 'no' END AS valid, {clustered} AS clustered, \
         {replica} AS \"replica identity\", CASE WHEN x.reltablespace <> 0 THEN \
         (SELECT s.spcname FROM pg_tablespace s WHERE s.oid = x.reltablespace) END AS tablespace, \
         CASE WHEN i.indexprs IS NOT NULL \
         THEN (SELECT string_agg(quote_ident(a.attname) || ' ' || a.attstattarget, ', ' ORDER BY a.attnum) \
         FROM pg_attribute a WHERE a.attrelid = x.oid AND a.attstattarget >= 0) END AS \"statistics targets\", \
         CASE WHEN x.relispartition THEN (SELECT h.inhparent::regclass FROM pg_inherits h WHERE h.inhrelid = x.oid) \
         END AS \"attached to\"",
        clustered = yes("i.indisclustered"),
        replica = yes("i.indisreplident"),
    )
}

/// An index that belongs to a constraint is told with it. Foreign keys that partitions have from their parent come
/// with the parent.
fn constraints(dialect: &Dialect<'_>) -> String {
    format!(
        "SELECT {row}, pg_get_constraintdef(k.oid) AS definition, \
         CASE WHEN NOT k.conislocal AND NOT c.relispartition THEN 'yes' \
         WHEN k.coninhcount > 0 AND k.conislocal THEN 'and local' END AS inherited, \
         {index}, {options} AS \"index options\", \
         (SELECT d.description FROM pg_description d WHERE d.classoid = 'pg_class'::regclass AND d.objoid = x.oid \
         AND d.objsubid = 0) AS \"comment on the index\" \
         FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_index i ON i.indexrelid = k.conindid AND k.contype IN ('p', 'u', 'x') \
         LEFT JOIN pg_class x ON x.oid = i.indexrelid \
         WHERE (k.contype IN ('c', 'p', 'u', 'x') OR (k.contype = 'f' AND k.conparentid = 0)) AND {user} AND {own}",
        row = row("'constraint'", "c.oid::regclass", "quote_ident(k.conname)", "pg_constraint", "k.oid"),
        index = index_attributes(),
        options = sorted("x.reloptions"),
        user = dialect.user_schema(),
        own = not_in_extension("pg_class", "c.oid"),
    )
}

fn indexes(dialect: &Dialect<'_>) -> String {
    format!(
        "SELECT {row}, pg_get_indexdef(x.oid) AS definition, {index} \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_index i ON i.indrelid = c.oid \
         JOIN pg_class x ON x.oid = i.indexrelid WHERE c.relkind IN ('r', 'p', 'm') \
         AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = x.oid AND k.conrelid = c.oid \
         AND k.contype IN ('p', 'u', 'x')) AND {user} AND {own}",
        row = row("'index'", "c.oid::regclass", "x.oid::regclass", "pg_class", "x.oid"),
        index = index_attributes(),
        user = dialect.user_schema(),
        own = not_in_extension("pg_class", "c.oid"),
    )
}

/// By parts instead of `pg_get_statisticsobjdef`, which prints the columns in the order of the table: a column that
/// was dropped and added again would seem to change the statistics.
fn statistics(dialect: &Dialect<'_>) -> String {
    format!(
        "SELECT {row}, s.stxowner::regrole AS owner, {kinds} AS kinds, {columns} AS columns, {expressions} AS \
         expressions, CASE WHEN s.stxstattarget >= 0 THEN s.stxstattarget END AS \"statistics target\" \
         FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE {user} AND {own}",
        row = row(
            "'statistics'",
            "s.stxrelid::regclass",
            "quote_ident(n.nspname) || '.' || quote_ident(s.stxname)",
            "pg_statistic_ext",
            "s.oid"
        ),
        kinds = "(SELECT string_agg(CASE x WHEN 'd' THEN 'ndistinct' WHEN 'f' THEN 'dependencies' WHEN 'm' THEN 'mcv' \
                 END, ', ' ORDER BY x) FROM unnest(s.stxkind) x WHERE x <> 'e')",
        columns = "(SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname COLLATE \"C\") \
                   FROM pg_attribute a WHERE a.attrelid = s.stxrelid AND a.attnum = ANY (s.stxkeys::int2[]))",
        expressions = sorted("pg_get_statisticsobjdef_expressions(s.oid)"),
        user = dialect.user_schema(),
        own = not_in_extension("pg_statistic_ext", "s.oid"),
    )
}

fn enabled(column: &str) -> String {
    format!("CASE {column} WHEN 'D' THEN 'no' WHEN 'R' THEN 'replica' WHEN 'A' THEN 'always' END AS enabled")
}

fn rules(dialect: &Dialect<'_>) -> String {
    format!(
        "SELECT {row}, pg_get_ruledef(r.oid) AS definition, {enabled} \
         FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE r.oid >= {FIRST_USER_OID} AND NOT (r.ev_type = '1' AND c.relkind IN ('v', 'm')) AND {user} AND {own}",
        row = row("'rule'", "c.oid::regclass", "quote_ident(r.rulename)", "pg_rewrite", "r.oid"),
        enabled = enabled("r.ev_enabled"),
        user = dialect.user_schema(),
        own = not_in_extension("pg_rewrite", "r.oid"),
    )
}

/// What a partition has from its parent is told only where it was switched differently.
fn triggers(dialect: &Dialect<'_>) -> String {
    format!(
        "SELECT {row}, pg_get_triggerdef(t.oid) AS definition, \
         CASE WHEN t.tgparentid <> 0 AND t.tgenabled = 'O' THEN 'yes' ELSE e.enabled END AS enabled \
         FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         CROSS JOIN LATERAL (SELECT {enabled}) e LEFT JOIN pg_trigger u ON u.oid = t.tgparentid \
         WHERE ((t.tgparentid = 0 AND NOT t.tgisinternal) OR (u.tgenabled <> t.tgenabled AND NOT u.tgisinternal)) \
         AND {user} AND {own}",
        row = row("'trigger'", "c.oid::regclass", "quote_ident(t.tgname)", "pg_trigger", "t.oid"),
        enabled = enabled("t.tgenabled"),
        user = dialect.user_schema(),
        own = not_in_extension("pg_trigger", "t.oid"),
    )
}

/// Also those upon tables of an extension: a dump has them.
fn policies(dialect: &Dialect<'_>) -> String {
    format!(
        "SELECT {row}, CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update' \
         WHEN 'd' THEN 'delete' ELSE 'all' END AS command, \
         CASE WHEN NOT p.polpermissive THEN 'yes' END AS restrictive, \
         (SELECT string_agg(x.role, ', ' ORDER BY x.role COLLATE \"C\") FROM (SELECT CASE o WHEN 0 THEN 'PUBLIC' \
         ELSE o::regrole::text END AS role FROM unnest(p.polroles) o) x) AS roles, \
         pg_get_expr(p.polqual, p.polrelid) AS using, pg_get_expr(p.polwithcheck, p.polrelid) AS \"with check\" \
         FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE {user}",
        row = row("'policy'", "c.oid::regclass", "quote_ident(p.polname)", "pg_policy", "p.oid"),
        user = dialect.user_schema(),
    )
}
