//! `--suggest-requires`: the fewest requirements that the rehearsal leaves, tried in another order before they are told.

use std::collections::BTreeSet;

use migengine_engine::id::MigrationId;
use migengine_engine::pg::rehearse::{Item, Stand, schema_after};
use migengine_engine::rehearse::{Apply, Rehearsal, fewest_requires, other_order, reduce};
use migengine_engine::schema::{Schema, Verdict, compare};

use super::chain::Chain;
use crate::error::CommandError;

/// What each migration should require.
pub(super) type Requires = Vec<(MigrationId, Vec<MigrationId>)>;

/// The proposal. Where the migrations fail in another order that it allows, the one that fails is put behind the
/// migration before it, as it was, and the rest is tried again.
///
/// # Errors
/// Not every migration was rehearsed, or applies; or the server failed.
pub(super) async fn suggest(
    stand: &mut Stand,
    chain: &Chain,
    rehearsals: &[Rehearsal],
) -> Result<Requires, CommandError> {
    let whole = rehearsals.len() == chain.members.len() && rehearsals.iter().all(|one| one.apply == Apply::Ok);
    if !whole {
        let what = "requirements can only be proposed for migrations that were all rehearsed and apply";
        return Err(CommandError::refused("ME627", what).next("mend those that do not apply, then: migengine rehearse"));
    }
    let list: Vec<_> = rehearsals.iter().map(|one| (one.id.clone(), one.footprint.clone())).collect();
    let mut proposal = fewest_requires(&list);
    let last = chain.members.len().saturating_sub(1);
    let Ok(expected) = schema_after(stand, &chain.items(last, |_| false)).await? else { return Ok(proposal) };
    loop {
        let Some(culprit) = fails(stand, chain, &proposal, &expected).await? else { return Ok(proposal) };
        if !put_behind_the_one_before(&mut proposal, culprit) {
            return Ok(linear(chain));
        }
    }
}

/// The place of a migration that does not fit another order; the last one where only the outcome is another.
async fn fails(
    stand: &mut Stand,
    chain: &Chain,
    proposal: &Requires,
    expected: &Schema,
) -> Result<Option<usize>, CommandError> {
    let Some(order) = other_order(proposal) else { return Ok(None) };
    let last = chain.members.len().saturating_sub(1);
    let mut items: Vec<Option<Item<'_>>> = chain.items(last, |_| false).into_iter().map(Some).collect();
    let moved: Vec<Item<'_>> = order.iter().filter_map(|at| items.get_mut(*at).and_then(Option::take)).collect();
    let found = match schema_after(stand, &moved).await? {
        Ok(actual) if compare(expected, &actual) != Verdict::Differs => None,
        // Without a culprit nothing but the old order is certain.
        Ok(_) => Some(0),
        Err(failure) => {
            let file = failure.file.unwrap_or_default();
            Some(chain.members.iter().position(|member| member.migration.up.file == file).unwrap_or(0))
        }
    };
    Ok(found)
}

/// Whether that changes anything.
fn put_behind_the_one_before(proposal: &mut Requires, at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| proposal.get(before)).map(|(id, _)| id.clone());
    let (Some(before), Some((_, requires))) = (before, proposal.get_mut(at)) else { return false };
    if requires.contains(&before) {
        return false;
    }
    requires.push(before);
    tidy(proposal);
    true
}

fn tidy(proposal: &mut Requires) {
    let place = |id: &MigrationId| proposal.iter().position(|(own, _)| own == id);
    let direct: Vec<BTreeSet<usize>> =
        proposal.iter().map(|(_, requires)| requires.iter().filter_map(place).collect()).collect();
    let ids: Vec<MigrationId> = proposal.iter().map(|(id, _)| id.clone()).collect();
    for ((_, requires), reduced) in proposal.iter_mut().zip(reduce(&direct)) {
        *requires = reduced.into_iter().filter_map(|at| ids.get(at).cloned()).collect();
    }
}

fn linear(chain: &Chain) -> Requires {
    let ids: Vec<MigrationId> = chain.members.iter().map(|member| member.link.id.clone()).collect();
    let before = |at: usize| at.checked_sub(1).and_then(|before| ids.get(before)).cloned();
    ids.iter().enumerate().map(|(at, id)| (id.clone(), before(at).into_iter().collect())).collect()
}
