//! Schemas, extensions, languages, access methods, collations, conversions, privileges, comments and labels.

use super::sql::{
    Dialect, FIRST_USER_OID, acl, acl_json, extension_members, function, not_in_extension, qualified, row, sorted, yes,
};

pub(super) fn statements(dialect: &Dialect<'_>) -> Vec<String> {
    vec![
        schemas(dialect),
        extensions(),
        languages(),
        access_methods(),
        collations(dialect),
        conversions(dialect),
        event_triggers(dialect),
        default_privileges(dialect),
        changed_privileges(),
    ]
}

/// `public` is as initdb made it unless somebody changed it; what that is differs by version.
fn schemas(dialect: &Dialect<'_>) -> String {
    let untouched = if dialect.version >= 15 { "n.nspowner = 'pg_database_owner'::regrole" } else { "n.nspowner = 10" };
    let base = "COALESCE(i.initprivs, acldefault('n', n.nspowner))";
    let actual = "COALESCE(n.nspacl, acldefault('n', n.nspowner))";
    format!(
        "SELECT {row}, CASE WHEN n.nspname = 'public' AND {untouched} THEN NULL ELSE n.nspowner::regrole END AS owner, \
         CASE WHEN n.nspacl IS DISTINCT FROM i.initprivs THEN {privileges} END AS privileges \
         FROM pg_namespace n LEFT JOIN pg_init_privs i ON i.classoid = 'pg_namespace'::regclass \
         AND i.objoid = n.oid AND i.objsubid = 0 WHERE {user} AND {own}",
        row = row("'schema'", "NULL", "quote_ident(n.nspname)", "pg_namespace", "n.oid"),
        privileges = acl_json("'n'", actual, base, "n.nspowner"),
        user = dialect.user_schema(),
        own = not_in_extension("pg_namespace", "n.oid"),
    )
}

/// Without the version, which `pg_dump` leaves out too: servers carry different ones.
fn extensions() -> String {
    format!(
        "SELECT {row}, n.nspname AS schema FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace",
        row = row("'extension'", "NULL", "quote_ident(e.extname)", "pg_extension", "e.oid"),
    )
}

fn languages() -> String {
    format!(
        "SELECT {row}, l.lanowner::regrole AS owner, {trusted} AS trusted, {handler} AS handler, \
         {inline} AS inline, {validator} AS validator, {acl} \
         FROM pg_language l WHERE l.oid >= {FIRST_USER_OID} AND {own}",
        row = row("'language'", "NULL", "quote_ident(l.lanname)", "pg_language", "l.oid"),
        trusted = yes("l.lanpltrusted"),
        handler = function("l.lanplcallfoid"),
        inline = function("l.laninline"),
        validator = function("l.lanvalidator"),
        acl = acl("'l'", "l.lanacl", "l.lanowner"),
        own = not_in_extension("pg_language", "l.oid"),
    )
}

fn access_methods() -> String {
    format!(
        "SELECT {row}, a.amtype AS type, {handler} AS handler FROM pg_am a WHERE a.oid >= {FIRST_USER_OID} AND {own}",
        row = row("'access method'", "NULL", "quote_ident(a.amname)", "pg_am", "a.oid"),
        handler = function("a.amhandler"),
        own = not_in_extension("pg_am", "a.oid"),
    )
}

/// The locale of an ICU collation was in `collcollate` up to 14, in `colliculocale` up to 16, since then in
/// `colllocale`. The version of the provider belongs to the machine, not to the schema.
fn collations(dialect: &Dialect<'_>) -> String {
    let locale = match dialect.version {
        ..=14 => "CASE WHEN c.collprovider = 'i' THEN c.collcollate END",
        15 | 16 => "c.colliculocale",
        _ => "c.colllocale",
    };
    let libc_only = |column: &str| format!("CASE WHEN c.collprovider IN ('c', 'd') THEN {column} END");
    format!(
        "SELECT {row}, c.collowner::regrole AS owner, CASE c.collprovider WHEN 'i' THEN 'icu' WHEN 'c' THEN 'libc' \
         WHEN 'b' THEN 'builtin' ELSE c.collprovider::text END AS provider, {collate} AS \"lc_collate\", \
         {ctype} AS \"lc_ctype\", {locale} AS locale, {rules} AS rules, \
         CASE WHEN NOT c.collisdeterministic THEN 'no' END AS deterministic \
         FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace WHERE c.oid >= {FIRST_USER_OID} AND {user} AND {own}",
        row = row("'collation'", "NULL", &qualified("c.collname"), "pg_collation", "c.oid"),
        collate = libc_only("c.collcollate"),
        ctype = libc_only("c.collctype"),
        rules = dialect.since(16, "c.collicurules"),
        user = dialect.user_schema(),
        own = not_in_extension("pg_collation", "c.oid"),
    )
}

fn conversions(dialect: &Dialect<'_>) -> String {
    format!(
        "SELECT {row}, c.conowner::regrole AS owner, pg_encoding_to_char(c.conforencoding) AS \"from\", \
         pg_encoding_to_char(c.contoencoding) AS \"to\", {function} AS function, {default} AS \"default\" \
         FROM pg_conversion c JOIN pg_namespace n ON n.oid = c.connamespace WHERE {user} AND {own}",
        row = row("'conversion'", "NULL", &qualified("c.conname"), "pg_conversion", "c.oid"),
        function = function("c.conproc"),
        default = yes("c.condefault"),
        user = dialect.user_schema(),
        own = not_in_extension("pg_conversion", "c.oid"),
    )
}

/// One that calls a function of an excluded schema belongs to that schema.
fn event_triggers(dialect: &Dialect<'_>) -> String {
    format!(
        "SELECT {row}, t.evtowner::regrole AS owner, t.evtevent AS event, {tags} AS tags, {function} AS function, \
         CASE t.evtenabled WHEN 'O' THEN NULL WHEN 'D' THEN 'no' WHEN 'R' THEN 'replica' ELSE 'always' END AS enabled \
         FROM pg_event_trigger t JOIN pg_proc f ON f.oid = t.evtfoid JOIN pg_namespace n ON n.oid = f.pronamespace \
         WHERE {not_excluded} AND {own}",
        not_excluded = dialect.not_excluded(),
        row = row("'event trigger'", "NULL", "quote_ident(t.evtname)", "pg_event_trigger", "t.oid"),
        tags = sorted("t.evttags"),
        function = function("t.evtfoid"),
        own = not_in_extension("pg_event_trigger", "t.oid"),
    )
}

/// Those for all schemas replace what is built in, those of one schema add to it.
fn default_privileges(dialect: &Dialect<'_>) -> String {
    let object_type = "CASE d.defaclobjtype WHEN 'S' THEN 's' ELSE d.defaclobjtype END::\"char\"";
    // NULL explodes to nothing; an empty array literal has no dimension, which aclexplode refuses.
    let base = format!("CASE WHEN d.defaclnamespace = 0 THEN acldefault({object_type}, d.defaclrole) END");
    let name = "'of ' || d.defaclrole::regrole::text || ' for ' || CASE d.defaclobjtype WHEN 'r' THEN 'tables' \
                WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' \
                WHEN 'L' THEN 'large objects' ELSE d.defaclobjtype::text END \
                || COALESCE(' in schema ' || quote_ident(n.nspname), '')";
    format!(
        "SELECT {row}, {privileges} AS privileges FROM pg_default_acl d \
         LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace WHERE n.oid IS NULL OR ({user})",
        row = row("'default privileges'", "NULL", name, "pg_default_acl", "d.oid"),
        privileges = acl_json(object_type, "d.defaclacl", &base, "d.defaclrole"),
        user = dialect.user_schema(),
    )
}

/// Privileges changed on what the server or an extension brought along; `pg_dump` tells them apart by the same list.
/// Not in `information_schema`, for which initdb keeps no such list and which a dump leaves out too.
fn changed_privileges() -> String {
    let one = |class: &str, alias: &str, acl: &str, owner: &str, namespace: &str, object_type: &str, more: &str| {
        let actual = format!("COALESCE({acl}, acldefault({object_type}, {owner}))");
        let base = format!("COALESCE(i.initprivs, acldefault({object_type}, {owner}))");
        let name = format!(
            "(SELECT d.type || ' ' || d.identity FROM pg_identify_object('{class}'::regclass, {alias}.oid, 0) d)"
        );
        let given = format!("{alias}.oid IN {}", extension_members(class));
        // What has no privileges of its own on either side is the same; it is told first, without a join.
        let listed = format!(
            "({acl} IS NOT NULL OR {alias}.oid IN (SELECT i.objoid FROM pg_init_privs i \
             WHERE i.classoid = '{class}'::regclass AND i.objsubid = 0))"
        );
        format!(
            "SELECT 'privileges' AS kind, NULL AS parent, {name} AS name, {privileges} AS privileges \
             FROM {class} {alias} LEFT JOIN pg_init_privs i ON i.classoid = '{class}'::regclass \
             AND i.objoid = {alias}.oid AND i.objsubid = 0 WHERE {listed} AND {acl} IS DISTINCT FROM i.initprivs \
             AND {more} AND ({namespace} = 'pg_catalog'::regnamespace OR {given})",
            privileges = acl_json(object_type, &actual, &base, owner),
        )
    };
    let relation_type = "CASE r.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\"";
    [
        one("pg_proc", "p", "p.proacl", "p.proowner", "p.pronamespace", "'f'", "true"),
        one(
            "pg_class",
            "r",
            "r.relacl",
            "r.relowner",
            "r.relnamespace",
            relation_type,
            "r.relkind IN ('r', 'v', 'm', 'S', 'f', 'p')",
        ),
        one("pg_type", "t", "t.typacl", "t.typowner", "t.typnamespace", "'T'", "true"),
        one("pg_language", "l", "l.lanacl", "l.lanowner", "11", "'l'", "l.oid < 16384"),
        one("pg_namespace", "s", "s.nspacl", "s.nspowner", "s.oid", "'n'", "true"),
    ]
    .join(";\n")
}

/// Comments and security labels, which go to the object at their address. A comment that initdb wrote upon `public`
/// is told apart by its text, as `pg_dump` does.
pub(super) fn notes() -> Vec<String> {
    vec![
        // Three statements in one: each finds its rows by an index, among thousands of comments of the server's own.
        format!(
            "SELECT 'note' AS kind, d.classoid AS class, d.objoid AS oid, d.objsubid AS sub, d.description AS comment \
             FROM pg_description d WHERE d.objoid >= {FIRST_USER_OID} \
             UNION ALL SELECT 'note', d.classoid, d.objoid, d.objsubid, d.description FROM pg_extension e \
             JOIN pg_description d ON d.objoid = e.oid AND d.classoid = 'pg_extension'::regclass \
             WHERE e.oid < {FIRST_USER_OID} \
             UNION ALL SELECT 'note', d.classoid, d.objoid, d.objsubid, d.description FROM pg_description d \
             WHERE d.objoid = 2200 AND d.classoid = 'pg_namespace'::regclass \
             AND d.description <> 'standard public schema'"
        ),
        "SELECT 'note' AS kind, l.classoid AS class, l.objoid AS oid, l.objsubid AS sub, \
         'security label of ' || l.provider AS attribute, l.label AS value FROM pg_seclabel l"
            .to_owned(),
    ]
}
