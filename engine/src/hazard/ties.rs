//! Migrations that touch what another one created, without depending on it: as far as the files tell.

use std::collections::{BTreeMap, BTreeSet};

use super::context::{Context, canonical};
use super::script::look;
use crate::diag::Diagnostic;
use crate::id::MigrationId;
use crate::migration::Script;
use crate::sql::QualifiedName;

/// A migration in the order of the plan.
pub struct Tied<'s> {
    /// Its id.
    pub id: &'s MigrationId,
    /// What it requires directly.
    pub requires: &'s [MigrationId],
    /// Its forward script.
    pub up: &'s Script,
}

/// A warning for each object that a migration touches although it was created by one that need not come before it.
#[must_use]
pub fn untied(migrations: &[Tied<'_>]) -> Vec<Diagnostic> {
    let mut context = Context::new(None);
    let mut makers: BTreeMap<QualifiedName, &MigrationId> = BTreeMap::new();
    let mut before: BTreeMap<&MigrationId, BTreeSet<&MigrationId>> = BTreeMap::new();
    let mut found = Vec::new();
    for migration in migrations {
        let mut ancestors = BTreeSet::new();
        for required in migration.requires {
            ancestors.insert(required);
            ancestors.extend(before.get(required).into_iter().flatten().copied());
        }
        let facts = look(migration.up, &mut context);
        let mut told = BTreeSet::new();
        for (statement, facts) in migration.up.statements.iter().zip(&facts.statements) {
            for lock in &facts.locks {
                let object = canonical(&lock.object);
                let Some(maker) = makers.get(&object).filter(|maker| !ancestors.contains(*maker)) else { continue };
                if *maker != migration.id && told.insert(object.clone()) {
                    let message = format!("{object} comes from {maker}, which this migration does not depend on");
                    let warning = Diagnostic::warning("ME626", migration.up.file.clone(), message);
                    let place = statement.text.range().start;
                    found.push(migration.up.text.point(warning, place).help(format!("-- Requires: {maker}")));
                }
            }
        }
        for object in std::mem::take(&mut context.created) {
            makers.insert(object, migration.id);
        }
        before.insert(migration.id, ancestors);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::parse_script;

    #[test]
    fn what_another_migration_made_has_to_be_required() {
        let files = [
            ("001_a", "CREATE TABLE a (id int)", vec![]),
            ("002_b", "CREATE TABLE public.b (id int)", vec![]),
            ("003_c", "SELECT 1;\nALTER TABLE b ADD c int; ALTER TABLE a ADD c int", vec!["001_a"]),
            ("004_d", "DROP TABLE b", vec!["003_c", "002_b"]),
            ("005_e", "ALTER TABLE a ADD e int", vec!["004_d"]),
        ];
        let id = |text: &str| MigrationId::new(text).unwrap();
        let parsed: Vec<_> = files
            .iter()
            .map(|(name, sql, requires)| {
                let script = parse_script(&format!("m/{name}.sql"), sql.as_bytes()).0.unwrap();
                (id(name), requires.iter().map(|one| id(one)).collect::<Vec<_>>(), script)
            })
            .collect();
        let tied: Vec<Tied<'_>> = parsed.iter().map(|(id, requires, up)| Tied { id, requires, up }).collect();
        let told: Vec<String> = untied(&tied).iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("m/003_c.sql:2:1: warning[ME626]: b comes from 002_b"), "{told:?}");
    }
}
