//! Extensions that scripts ask for, where they come from, and roles that scripts make.

use std::collections::{BTreeMap, BTreeSet};

use crate::migration::Script;

/// The extensions that scripts create, with the file and line of the first `CREATE EXTENSION` for each.
#[must_use]
pub fn created_extensions<'a>(scripts: impl IntoIterator<Item = &'a Script>) -> BTreeMap<String, (String, u32)> {
    let mut found = BTreeMap::new();
    for script in scripts {
        for statement in &script.statements {
            let words: Vec<&str> =
                statement.significant(&script.text).take(6).map(|token| token.span.of(&script.text)).collect();
            let is = |at: usize, word: &str| words.get(at).is_some_and(|found| found.eq_ignore_ascii_case(word));
            if !is(0, "create") || !is(1, "extension") {
                continue;
            }
            let name = if is(2, "if") && is(3, "not") && is(4, "exists") { words.get(5) } else { words.get(2) };
            if let Some(name) = name {
                let name = match name.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) {
                    Some(inner) => inner.replace("\"\"", "\""),
                    None => name.to_lowercase(),
                };
                found.entry(name).or_insert_with(|| (script.file.clone(), statement.position.line));
            }
        }
    }
    found
}

/// The roles that scripts may create, also inside `DO`: every name behind `CREATE ROLE`, `USER` or `GROUP`.
#[must_use]
pub fn created_roles<'a>(scripts: impl IntoIterator<Item = &'a Script>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for script in scripts {
        let words: Vec<&str> = script.text.split_whitespace().collect();
        for window in words.windows(3) {
            let [create, kind, name] = window else { continue };
            let kinds = ["role", "user", "group"];
            if create.to_lowercase().ends_with("create") && kinds.iter().any(|word| kind.eq_ignore_ascii_case(word)) {
                let name = name.trim_end_matches([';', '\'', ')']);
                let quoted = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
                found.insert(quoted.map_or_else(|| name.to_lowercase(), str::to_owned));
            }
        }
    }
    found
}

/// Whether a script may drop PL/pgSQL, which the event triggers of a rehearsal are written in.
#[must_use]
pub fn drops_plpgsql<'a>(scripts: impl IntoIterator<Item = &'a Script>) -> bool {
    let may = |script: &Script| {
        let text = script.text.to_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        let drops = words.windows(2).any(|pair| {
            pair.first().is_some_and(|word| word.ends_with("drop"))
                && pair.get(1).is_some_and(|word| matches!(*word, "extension" | "language" | "procedural" | "owned"))
        });
        drops && (text.contains("plpgsql") || text.contains("owned"))
    };
    scripts.into_iter().any(may)
}

/// Extensions whose Debian package is not called after them: `postgresql-NN-` and this.
const PACKAGES: &[(&str, &str)] = &[
    ("vector", "pgvector"),
    ("postgis", "postgis-3"),
    ("postgis_raster", "postgis-3"),
    ("postgis_sfcgal", "postgis-3"),
    ("postgis_topology", "postgis-3"),
    ("postgis_tiger_geocoder", "postgis-3"),
    ("pg_cron", "cron"),
    ("pg_partman", "partman"),
    ("pg_repack", "repack"),
    ("pg_hint_plan", "pg-hint-plan"),
    ("pg_squeeze", "squeeze"),
    ("timescaledb", "timescaledb"),
];

/// The Debian and Ubuntu package (from apt.postgresql.org) that most probably holds an extension.
#[must_use]
pub fn package_of(extension: &str, major: u32) -> String {
    if let Some((_, package)) = PACKAGES.iter().find(|(name, _)| *name == extension) {
        return format!("postgresql-{major}-{package}");
    }
    let language = ["plpython3", "plperl", "pltcl"].iter().find(|language| extension.contains(**language));
    match language {
        Some(language) => format!("postgresql-{language}-{major}"),
        None => format!("postgresql-{major}-{}", extension.replace('_', "-")),
    }
}
