//! The name that was probably meant where the server found none, and the migration that would create it.

use migengine_engine::hazard::{Context as Knowledge, learn};
use migengine_engine::pg::sqlstate::{missing_name, nearest};
use migengine_engine::run::failure::Failure;

use crate::context::Context;
use crate::project;

/// One sentence, if a migration of the folder creates something of that name or nearly so.
#[must_use]
pub fn meant(context: &Context, failure: &Failure) -> Option<String> {
    let wanted = missing_name(failure)?;
    let project = project::load(&context.dir).ok()?;
    let mut created: Vec<(String, String)> = Vec::new();
    for migration in &project.migrations {
        let mut knowledge = Knowledge::default();
        for statement in &migration.up.statements {
            learn(&mut knowledge, &migration.up.text, statement);
        }
        created.extend(knowledge.created.into_iter().map(|name| (name.name, migration.id.to_string())));
    }
    let found = nearest(&wanted, created.iter().map(|(name, _)| name.as_str()))?;
    let (_, id) = created.iter().find(|(name, _)| name == found)?;
    Some(if found == wanted {
        format!("{id} creates {found}: is `Requires: {id}` missing, or a schema before the name?")
    } else {
        format!("{found} is meant? {id} creates it")
    })
}
