//! Text search: parsers, templates, dictionaries, configurations.

use super::sql::{Dialect, function, not_in_extension, qualified, row};

pub(super) fn statements(dialect: &Dialect<'_>) -> Vec<String> {
    let user = dialect.user_schema();
    let parsers = format!(
        "SELECT {row}, {start} AS start, {token} AS token, {end} AS \"end\", {headline} AS headline, \
         {types} AS \"token types\" FROM pg_ts_parser p JOIN pg_namespace n ON n.oid = p.prsnamespace \
         WHERE {user} AND {own}",
        row = row("'text search parser'", "NULL", &qualified("p.prsname"), "pg_ts_parser", "p.oid"),
        start = function("p.prsstart"),
        token = function("p.prstoken"),
        end = function("p.prsend"),
        headline = function("p.prsheadline"),
        types = function("p.prslextype"),
        own = not_in_extension("pg_ts_parser", "p.oid"),
    );
    let templates = format!(
        "SELECT {row}, {init} AS init, {lexize} AS lexize FROM pg_ts_template t \
         JOIN pg_namespace n ON n.oid = t.tmplnamespace WHERE {user} AND {own}",
        row = row("'text search template'", "NULL", &qualified("t.tmplname"), "pg_ts_template", "t.oid"),
        init = function("t.tmplinit"),
        lexize = function("t.tmpllexize"),
        own = not_in_extension("pg_ts_template", "t.oid"),
    );
    let dictionaries = format!(
        "SELECT {row}, d.dictowner::regrole AS owner, quote_ident(s.nspname) || '.' || quote_ident(t.tmplname) \
         AS template, d.dictinitoption AS options FROM pg_ts_dict d JOIN pg_namespace n ON n.oid = d.dictnamespace \
         JOIN pg_ts_template t ON t.oid = d.dicttemplate JOIN pg_namespace s ON s.oid = t.tmplnamespace \
         WHERE {user} AND {own}",
        row = row("'text search dictionary'", "NULL", &qualified("d.dictname"), "pg_ts_dict", "d.oid"),
        own = not_in_extension("pg_ts_dict", "d.oid"),
    );
    let configurations = format!(
        "SELECT {row}, c.cfgowner::regrole AS owner, quote_ident(s.nspname) || '.' || quote_ident(p.prsname) \
         AS parser, (SELECT string_agg(k.alias || ' with ' || m.dicts, '; ' ORDER BY k.alias COLLATE \"C\") \
         FROM (SELECT w.maptokentype, string_agg(w.mapdict::regdictionary::text, ', ' ORDER BY w.mapseqno) AS dicts \
         FROM pg_ts_config_map w WHERE w.mapcfg = c.oid GROUP BY w.maptokentype) m \
         JOIN ts_token_type(c.cfgparser) k ON k.tokid = m.maptokentype) AS mappings \
         FROM pg_ts_config c JOIN pg_namespace n ON n.oid = c.cfgnamespace \
         JOIN pg_ts_parser p ON p.oid = c.cfgparser JOIN pg_namespace s ON s.oid = p.prsnamespace \
         WHERE {user} AND {own}",
        row = row("'text search configuration'", "NULL", &qualified("c.cfgname"), "pg_ts_config", "c.oid"),
        own = not_in_extension("pg_ts_config", "c.oid"),
    );
    vec![parsers, templates, dictionaries, configurations]
}
