//! Before anything runs: can the tables of statements that run in pieces be divided? Tables that an earlier script of
//! the same plan names are left out, because it may give them their key; so are scripts that choose their own
//! `search_path`. Those are looked at when their turn comes.

use std::collections::BTreeSet;

use migengine_engine::diag::Diagnostic;
use migengine_engine::migration::{Chunk, DirectiveKey, PartKind, Script};
use migengine_engine::pg::chunk::unusable;
use migengine_engine::pg::read::ReadError;
use migengine_engine::pg::session::Session;
use migengine_engine::sql::{Statement, ident_value};

use crate::error::CommandError;

/// Refuses a plan with a statement that cannot run in pieces.
///
/// # Errors
/// There is one, or the database could not be asked.
pub async fn refuse_indivisible(session: &Session, scripts: &[&Script]) -> Result<(), CommandError> {
    let asked = chunks(scripts);
    if asked.is_empty() {
        return Ok(());
    }
    let tables: Vec<&Chunk> = asked.iter().map(|(_, _, chunk)| *chunk).collect();
    let found = unusable(&session.client, &tables).await.map_err(ReadError::from)?;
    let refused: Vec<Diagnostic> = asked
        .iter()
        .zip(found)
        .filter_map(|((script, statement, _), unusable)| {
            let unusable = unusable?;
            let mut directives = script.directives(statement);
            let directive = directives.find(|directive| directive.key == DirectiveKey::Chunk)?;
            let found = Diagnostic::error("ME437", script.file.clone(), unusable.what);
            Some(script.text.point(found, directive.offset).help(unusable.help))
        })
        .collect();
    if refused.is_empty() { Ok(()) } else { Err(CommandError::files(refused)) }
}

/// The chunks whose tables nothing before them in the plan names.
fn chunks<'s>(scripts: &[&'s Script]) -> Vec<(&'s Script, &'s Statement, &'s Chunk)> {
    let mut named: BTreeSet<String> = BTreeSet::new();
    let mut found = Vec::new();
    let divided = |script: &&Script| script.parts.iter().any(|part| matches!(part.kind, PartKind::Opening(_)));
    let Some(last) = scripts.iter().rposition(divided) else { return found };
    for script in scripts.iter().take(last + 1) {
        for part in &script.parts {
            let statements = script.statements_of(part);
            if let (PartKind::Opening(chunk), [statement]) = (&part.kind, statements)
                && !named.contains(&chunk.table.name)
                && !named.contains("search_path")
            {
                found.push((*script, statement, &**chunk));
            }
            for statement in statements {
                let names = statement.significant(&script.text);
                named.extend(names.filter_map(|token| ident_value(token, &script.text, '\\')));
            }
        }
        named.remove("search_path");
    }
    found
}
