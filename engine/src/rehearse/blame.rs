//! Which line of a script a difference is about.

use super::verdict::Found;
use crate::migration::Script;
use crate::schema::Change;

/// The statement that names the object of a difference: in the first of the scripts that has one, the last such
/// statement. Without any: the first statement of the first script.
#[must_use]
pub fn blame(change: &Change, scripts: &[&Script]) -> Option<(String, u32)> {
    let name = innermost(&change.object);
    let named = scripts.iter().find_map(|script| {
        let mut statements = script.statements.iter().rev();
        let hit = statements.find(|statement| mentions(statement.sql(&script.text), &name))?;
        Some((script.file.clone(), hit.position.line))
    });
    named.or_else(|| {
        let script = scripts.first()?;
        let line = script.statements.first().map_or(1, |statement| statement.position.line);
        Some((script.file.clone(), line))
    })
}

/// Every difference with its line.
#[must_use]
pub fn blame_all(changes: Vec<Change>, scripts: &[&Script]) -> Vec<Found> {
    let find = |change: Change| Found { at: blame(&change, scripts), change };
    changes.into_iter().map(find).collect()
}

/// The last part of the name people read: `age` of `column users.age`, `users_pkey` of `constraint users_pkey on users`,
/// `f` of `function f(integer)`.
fn innermost(object: &str) -> String {
    let name = object.split(" on ").next().unwrap_or(object);
    let name = name.split('(').next().unwrap_or(name);
    let name = name.rsplit([' ', '.']).next().unwrap_or(name);
    name.trim_matches('"').to_lowercase()
}

/// Whether a text holds a name as a whole word, in any case.
fn mentions(sql: &str, name: &str) -> bool {
    let sql = sql.to_lowercase();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    !name.is_empty()
        && sql.match_indices(name).any(|(at, _)| {
            let before = sql.get(..at).and_then(|text| text.chars().next_back());
            let after = sql.get(at + name.len()..).and_then(|text| text.chars().next());
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
}
