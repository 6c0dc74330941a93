//! Migrations that do not depend on each other are applied in another order too.

use migengine_engine::id::{Digest, MigrationId};
use migengine_engine::pg::rehearse::{Item, Stand, schema_after};
use migengine_engine::rehearse::{Rehearsal, Tie, missing_ties, other_order};
use migengine_engine::schema::{Verdict, compare, diff};
use serde_json::{Value, json};

use super::chain::Chain;
use crate::error::CommandError;

/// What the outcome depends on. Nothing where there is no other order.
pub(super) fn key(chain: &Chain, major: u32) -> Option<Digest> {
    other_order(&list(chain))?;
    let tip = chain.members.last()?;
    let mut pieces: Vec<Vec<u8>> = vec![b"migengine order 2".to_vec(), tip.link.chain.as_bytes().to_vec()];
    pieces.push(major.to_le_bytes().to_vec());
    for member in &chain.members {
        pieces.push(member.requires.iter().map(MigrationId::as_str).collect::<Vec<_>>().join("\n").into_bytes());
    }
    Some(Digest::of_all(pieces.iter().map(Vec::as_slice)))
}

fn list(chain: &Chain) -> Vec<(MigrationId, Vec<MigrationId>)> {
    chain.members.iter().map(|member| (member.link.id.clone(), member.requires.clone())).collect()
}

/// Applies everything in the plan's order and in the other one. `null` where the outcome is the same, otherwise
/// `{"order":[id],"message","diff":[{"object","change"}],"ties":[{"id","requires","object"}]}`. Both orders run here, so
/// that only the order is another. `rehearsals` tell which objects tie which migrations.
///
/// # Errors
/// The server failed. Scripts that fail are the outcome.
pub(super) async fn compare_orders(
    stand: &mut Stand,
    chain: &Chain,
    rehearsals: &[Rehearsal],
) -> Result<Value, CommandError> {
    let Some(order) = other_order(&list(chain)) else { return Ok(Value::Null) };
    let last = chain.members.len().saturating_sub(1);
    let Ok(expected) = schema_after(stand, &chain.items(last, |_| false)).await? else { return Ok(Value::Null) };
    let mut items: Vec<Option<Item<'_>>> = chain.items(last, |_| false).into_iter().map(Some).collect();
    let moved: Vec<Item<'_>> = order.iter().filter_map(|at| items.get_mut(*at).and_then(Option::take)).collect();
    let ids: Vec<&str> = moved.iter().map(|item| item.id.as_str()).collect();
    let outcome = match schema_after(stand, &moved).await? {
        Ok(actual) if compare(&expected, &actual) != Verdict::Differs => Value::Null,
        Ok(actual) => {
            let changes = diff(&expected, &actual);
            let objects: Vec<&str> = changes.iter().map(|change| change.object.as_str()).collect();
            let ties = ties(chain, rehearsals, |tie| objects.iter().any(|object| object.contains(&tie.object)));
            let first = objects.first().copied().unwrap_or_default();
            let what = format!("in another order that the headers allow, another schema comes out: see {first}");
            let diff = crate::commands::schema::changes_json(&changes);
            json!({"order": ids, "message": with_ties(what, &ties), "diff": diff, "ties": ties_json(&ties)})
        }
        Err(failure) => {
            let place = match (&failure.file, failure.line) {
                (Some(file), Some(line)) => format!("{file}:{line}: "),
                _ => String::new(),
            };
            let file = failure.file.as_deref().unwrap_or_default();
            let of_file = |id: &MigrationId| {
                chain.members.iter().any(|member| member.migration.up.file == file && member.link.id == *id)
            };
            let ties = ties(chain, rehearsals, |tie| of_file(&tie.id) || of_file(&tie.needs));
            let what = format!("{place}fails in another order that the headers allow: {}", failure.message);
            json!({"order": ids, "message": with_ties(what, &ties), "diff": [], "ties": ties_json(&ties)})
        }
    };
    Ok(outcome)
}

/// What ties migrations that no header ties, as far as all were rehearsed.
fn ties(chain: &Chain, rehearsals: &[Rehearsal], wanted: impl Fn(&Tie) -> bool) -> Vec<Tie> {
    let one = |rehearsal: &Rehearsal| {
        let member = chain.members.iter().find(|member| member.link.id == rehearsal.id)?;
        Some((rehearsal.id.clone(), member.requires.clone(), rehearsal.footprint.clone()))
    };
    let list: Vec<_> = rehearsals.iter().filter_map(one).collect();
    missing_ties(&list).into_iter().filter(wanted).collect()
}

/// So many ties are told in words; JSON has them all.
const MOST: usize = 3;

fn with_ties(what: String, ties: &[Tie]) -> String {
    let words = ties
        .iter()
        .take(MOST)
        .map(|tie| format!("{} uses {} as {} leaves it, and does not require that", tie.id, tie.object, tie.needs));
    let words = words.collect::<Vec<_>>().join("; ");
    if words.is_empty() { what } else { format!("{what}. {words}") }
}

fn ties_json(ties: &[Tie]) -> Vec<Value> {
    ties.iter()
        .map(|tie| json!({"id": tie.id.as_str(), "requires": tie.needs.as_str(), "object": tie.object}))
        .collect()
}
