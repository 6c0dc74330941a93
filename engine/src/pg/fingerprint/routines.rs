//! Functions, procedures, aggregates.

use super::sql::{Dialect, FIRST_USER_OID, acl, function, not_in_extension, row, yes};

pub(super) fn statements(dialect: &Dialect<'_>) -> Vec<String> {
    vec![functions(dialect), aggregates(dialect)]
}

/// What initdb made is in none of the user's schemas; to say so lets the server use the index.
fn functions(dialect: &Dialect<'_>) -> String {
    format!(
        "SELECT {row}, p.proowner::regrole AS owner, pg_get_functiondef(p.oid) AS definition, {acl} \
         FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
         WHERE p.oid >= {FIRST_USER_OID} AND p.prokind <> 'a' AND {user} AND {own}",
        row = row(
            "CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END",
            "NULL",
            "p.oid::regprocedure",
            "pg_proc",
            "p.oid"
        ),
        acl = acl("'f'", "p.proacl", "p.proowner"),
        user = dialect.user_schema(),
        own = not_in_extension("pg_proc", "p.oid"),
    )
}

fn aggregates(dialect: &Dialect<'_>) -> String {
    let modify = |column: &str| {
        format!("CASE {column} WHEN 'r' THEN 'read only' WHEN 's' THEN 'shareable' ELSE 'read write' END")
    };
    format!(
        "SELECT {row}, p.proowner::regrole AS owner, pg_get_function_arguments(p.oid) AS arguments, \
         CASE a.aggkind WHEN 'o' THEN 'ordered set' WHEN 'h' THEN 'hypothetical set' END AS form, \
         CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' END AS parallel, \
         {transition} AS transition, a.aggtranstype::regtype AS state, NULLIF(a.aggtransspace, 0) AS \"state size\", \
         a.agginitval AS \"initial value\", {final} AS final, {finalextra} AS \"final extra\", \
         {finalmodify} AS \"final modifies\", {combine} AS combine, {serial} AS serialize, \
         {deserial} AS deserialize, {moving} AS \"moving transition\", {inverse} AS \"moving inverse\", \
         NULLIF(a.aggmtranstype, 0)::regtype AS \"moving state\", NULLIF(a.aggmtransspace, 0) AS \"moving state size\", \
         a.aggminitval AS \"moving initial value\", {mfinal} AS \"moving final\", \
         {mfinalextra} AS \"moving final extra\", \
         CASE WHEN a.aggmtransfn <> 0 THEN {mfinalmodify} END AS \"moving final modifies\", \
         NULLIF(a.aggsortop::regoperator::text, '0') AS \"sort operator\", {acl} \
         FROM pg_proc p JOIN pg_aggregate a ON a.aggfnoid = p.oid JOIN pg_namespace n ON n.oid = p.pronamespace \
         WHERE p.oid >= {FIRST_USER_OID} AND p.prokind = 'a' AND {user} AND {own}",
        row = row("'aggregate'", "NULL", "p.oid::regprocedure", "pg_proc", "p.oid"),
        transition = function("a.aggtransfn"),
        r#final = function("a.aggfinalfn"),
        finalextra = yes("a.aggfinalextra"),
        finalmodify = modify("a.aggfinalmodify"),
        combine = function("a.aggcombinefn"),
        serial = function("a.aggserialfn"),
        deserial = function("a.aggdeserialfn"),
        moving = function("a.aggmtransfn"),
        inverse = function("a.aggminvtransfn"),
        mfinal = function("a.aggmfinalfn"),
        mfinalextra = yes("a.aggmfinalextra"),
        mfinalmodify = modify("a.aggmfinalmodify"),
        acl = acl("'f'", "p.proacl", "p.proowner"),
        user = dialect.user_schema(),
        own = not_in_extension("pg_proc", "p.oid"),
    )
}
