//! Publications and subscriptions.

use super::sql::{Dialect, not_in_extension, row, sorted, yes};

pub(super) fn statements(dialect: &Dialect<'_>) -> Vec<String> {
    let mut all = vec![publications(dialect), publication_tables(dialect)];
    if dialect.version >= 15 {
        all.push(publication_schemas(dialect));
    }
    all.push(subscriptions(dialect));
    all
}

fn publications(dialect: &Dialect<'_>) -> String {
    let operations = "concat_ws(', ', CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END, \
                      CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END)";
    format!(
        "SELECT {row}, p.pubowner::regrole AS owner, {all} AS \"all tables\", {operations} AS operations, \
         {root} AS \"via partition root\", {generated} AS \"generated columns\" FROM pg_publication p WHERE {own}",
        row = row("'publication'", "NULL", "quote_ident(p.pubname)", "pg_publication", "p.oid"),
        all = yes("p.puballtables"),
        root = yes("p.pubviaroot"),
        generated = dialect.since(18, &yes("p.pubgencols = 's'")),
        own = not_in_extension("pg_publication", "p.oid"),
    )
}

fn publication_tables(dialect: &Dialect<'_>) -> String {
    format!(
        "SELECT {row}, {columns} AS columns, {filter} AS \"where\" FROM pg_publication_rel r \
         JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_class c ON c.oid = r.prrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {user}",
        row = row("'publication table'", "quote_ident(p.pubname)", "c.oid::regclass", "pg_publication_rel", "r.oid"),
        columns = dialect.since(
            15,
            "(SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname COLLATE \"C\") FROM pg_attribute a \
             WHERE a.attrelid = c.oid AND a.attnum = ANY (r.prattrs::int2[]))"
        ),
        filter = dialect.since(15, "pg_get_expr(r.prqual, r.prrelid)"),
        user = dialect.user_schema(),
    )
}

fn publication_schemas(dialect: &Dialect<'_>) -> String {
    format!(
        "SELECT {row} FROM pg_publication_namespace r JOIN pg_publication p ON p.oid = r.pnpubid \
         JOIN pg_namespace n ON n.oid = r.pnnspid WHERE {user}",
        row = row(
            "'publication schema'",
            "quote_ident(p.pubname)",
            "quote_ident(n.nspname)",
            "pg_publication_namespace",
            "r.oid"
        ),
        user = dialect.user_schema(),
    )
}

/// Only the columns that everyone may read: the connection string is a secret. What changes by itself (whether two-phase
/// commit is pending or enabled) is told as what was asked for. Version 18 streams in parallel unless told otherwise.
fn subscriptions(dialect: &Dialect<'_>) -> String {
    let streaming = match dialect.version {
        ..=15 => "CASE WHEN s.substream THEN 'on' END",
        16 | 17 => "CASE s.substream WHEN 't' THEN 'on' WHEN 'p' THEN 'parallel' END",
        _ => "CASE s.substream WHEN 't' THEN 'on' WHEN 'f' THEN 'off' END",
    };
    format!(
        "SELECT {row}, s.subowner::regrole AS owner, CASE WHEN NOT s.subenabled THEN 'no' END AS enabled, \
         {publications} AS publications, s.subslotname AS slot, NULLIF(s.subsynccommit, 'off') AS \
         \"synchronous commit\", {binary} AS binary, {streaming} AS streaming, {two_phase} AS \"two-phase commit\", \
         {disable} AS \"disabled on error\", {origin} AS origin, {password} AS \"password required\", \
         {as_owner} AS \"runs as owner\", {failover} AS failover FROM pg_subscription s \
         WHERE s.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())",
        row = row("'subscription'", "NULL", "quote_ident(s.subname)", "pg_subscription", "s.oid"),
        publications = sorted("s.subpublications"),
        binary = yes("s.subbinary"),
        two_phase = dialect.since(15, &yes("s.subtwophasestate <> 'd'")),
        disable = dialect.since(15, &yes("s.subdisableonerr")),
        origin = dialect.since(16, "NULLIF(s.suborigin, 'any')"),
        password = dialect.since(16, "CASE WHEN NOT s.subpasswordrequired THEN 'no' END"),
        as_owner = dialect.since(16, &yes("s.subrunasowner")),
        failover = dialect.since(17, &yes("s.subfailover")),
    )
}
