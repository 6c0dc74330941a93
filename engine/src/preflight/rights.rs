//! Whether the role may do what the pending steps do.

use super::asks::Asks;
use super::facts::Facts;
use super::{Check, some};
use crate::sql::quote_ident;

/// Decides from the facts.
#[must_use]
pub fn rights(asks: &Asks, facts: &Facts) -> Check {
    let role = quote_ident(&facts.role);
    if facts.superuser {
        return Check::ok("rights", format!("{role} is a superuser"));
    }
    if asks.elsewhere {
        return Check::skipped(
            "rights",
            "the plan changes the role or the search path, so its rights are known only when it runs",
        );
    }
    let strangers: Vec<String> = asks
        .owned
        .iter()
        .filter_map(|(table, (file, at))| {
            let found = facts.tables.get(&table.to_string()).filter(|found| !found.owned)?;
            Some(format!("{table} belongs to {} ({file}:{}:{})", quote_ident(&found.owner), at.line, at.column))
        })
        .collect();
    if !strangers.is_empty() {
        let owner =
            asks.owned.keys().find_map(|table| facts.tables.get(&table.to_string()).filter(|found| !found.owned));
        let owner = owner.map(|found| quote_ident(&found.owner)).unwrap_or_default();
        return Check::fail(
            "rights",
            format!("{role} must own what it changes: {}", some(&strangers)),
            format!("GRANT {owner} TO {role}, or connect as the owner"),
        );
    }
    if asks.creates_in.contains(&None) && !facts.may_create_here {
        let place = facts.current_schema.as_deref().map(quote_ident);
        let (says, next) = match place {
            Some(place) => (
                format!("{role} may not create anything in the schema {place}"),
                format!("GRANT CREATE ON SCHEMA {place} TO {role}"),
            ),
            None => (
                "no schema of the search path exists".to_owned(),
                "name the schema in the scripts, or create it first".to_owned(),
            ),
        };
        return Check::fail("rights", says, next);
    }
    Check::ok("rights", format!("{role} may do what the pending steps do, as far as their text tells"))
}

/// Whether the engine's own schema, quoted, is there and can be written to, or can be made.
#[must_use]
pub fn own_schema(facts: &Facts, schema: &str, database: &str) -> Check {
    if facts.own_schema || facts.may_create_schemas || facts.superuser {
        return Check::ok("engine-schema", format!("{schema} is there, or can be made"));
    }
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let (role, database) = (quoted(&facts.role), quoted(database));
    Check::fail(
        "engine-schema",
        format!("the role {role} may not create the schema {schema}"),
        format!("GRANT CREATE ON DATABASE {database} TO {role}, or: CREATE SCHEMA {schema} AUTHORIZATION {role}"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::asks::asks;
    use super::super::facts::TableFacts;
    use super::*;
    use crate::migration::parse_script;

    fn judge(sql: &str, change: impl FnOnce(&mut Facts)) -> (Verdict, String) {
        let script = parse_script("001_a.sql", sql.as_bytes()).0.unwrap();
        let table = TableFacts { owner: "app".to_owned(), owned: false, ..TableFacts::default() };
        let mut facts = Facts {
            role: "migrator".to_owned(),
            own_schema: true,
            current_schema: Some("public".to_owned()),
            may_create_here: true,
            tables: [("t".to_owned(), table)].into(),
            ..Facts::default()
        };
        change(&mut facts);
        let check = rights(&asks([&script], Some(15)), &facts);
        (check.verdict, format!("{}; {}", check.says, check.next.unwrap_or_default()))
    }

    #[test]
    fn a_table_of_somebody_elses_fails_unless_one_may_become_them() {
        let (verdict, says) = judge("ALTER TABLE t ADD a int", |_| ());
        assert_eq!(verdict, Verdict::Fail);
        assert!(says.contains("t belongs to app (001_a.sql:1:13); GRANT app TO migrator"), "{says}");
        assert_eq!(judge("CREATE INDEX ON t (a)", |_| ()).0, Verdict::Fail);
        assert_eq!(judge("UPDATE t SET a = 1", |_| ()).0, Verdict::Ok);
        assert_eq!(judge("ALTER TABLE t ADD a int", |facts| facts.superuser = true).0, Verdict::Ok);
        let own = |facts: &mut Facts| facts.tables.values_mut().for_each(|table| table.owned = true);
        assert_eq!(judge("ALTER TABLE t ADD a int", own).0, Verdict::Ok);
        assert_eq!(judge("SET ROLE app; ALTER TABLE t ADD a int", |_| ()).0, Verdict::Skipped);
    }

    #[test]
    fn creating_needs_the_schema() {
        let without = |facts: &mut Facts| facts.may_create_here = false;
        let (verdict, says) = judge("CREATE TABLE u (a int)", without);
        assert_eq!(verdict, Verdict::Fail);
        assert!(says.contains("GRANT CREATE ON SCHEMA public TO migrator"), "{says}");
        assert_eq!(judge("CREATE TABLE s.u (a int)", without).0, Verdict::Ok);
        assert_eq!(judge("CREATE TEMP TABLE u (a int)", without).0, Verdict::Ok);
        let mut facts = Facts { role: "migrator".to_owned(), ..Facts::default() };
        let check = own_schema(&facts, "migengine", "Shop");
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(check.next.unwrap().starts_with("GRANT CREATE ON DATABASE \"Shop\" TO \"migrator\""));
        facts.own_schema = true;
        assert_eq!(own_schema(&facts, "migengine", "shop").verdict, Verdict::Ok);
    }
}
