//! Foreign-data wrappers, servers, user mappings.

use super::sql::{Dialect, acl, function, not_in_extension, options, row};

pub(super) fn statements(_dialect: &Dialect<'_>) -> Vec<String> {
    let wrappers = format!(
        "SELECT {row}, w.fdwowner::regrole AS owner, {handler} AS handler, {validator} AS validator, \
         {options} AS options, {acl} FROM pg_foreign_data_wrapper w WHERE {own}",
        row = row("'foreign data wrapper'", "NULL", "quote_ident(w.fdwname)", "pg_foreign_data_wrapper", "w.oid"),
        handler = function("w.fdwhandler"),
        validator = function("w.fdwvalidator"),
        options = options("w.fdwoptions"),
        acl = acl("'F'", "w.fdwacl", "w.fdwowner"),
        own = not_in_extension("pg_foreign_data_wrapper", "w.oid"),
    );
    let servers = format!(
        "SELECT {row}, s.srvowner::regrole AS owner, quote_ident(w.fdwname) AS wrapper, s.srvtype AS type, \
         s.srvversion AS version, {options} AS options, {acl} \
         FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw WHERE {own}",
        row = row("'server'", "NULL", "quote_ident(s.srvname)", "pg_foreign_server", "s.oid"),
        options = options("s.srvoptions"),
        acl = acl("'S'", "s.srvacl", "s.srvowner"),
        own = not_in_extension("pg_foreign_server", "s.oid"),
    );
    // Through the view, which gives the options only to those who may see them. Of those only the remote name is told.
    let name = "'of ' || CASE WHEN m.umuser = 0 THEN 'PUBLIC' ELSE m.umuser::regrole::text END || ' on ' \
                || quote_ident(m.srvname)";
    let mappings = format!(
        "SELECT {row}, (SELECT string_agg(quote_ident(x.option_name) || ' ' || CASE x.option_name WHEN 'user' \
         THEN quote_literal(x.option_value) ELSE '(hidden)' END, ', ' ORDER BY x.option_name COLLATE \"C\") \
         FROM pg_options_to_table(m.umoptions) x) AS options FROM pg_user_mappings m",
        row = row("'user mapping'", "NULL", name, "pg_user_mapping", "m.umid"),
    );
    vec![wrappers, servers, mappings]
}
