//! Did a statement that ran outside a transaction take effect? Decided from what the catalogs showed before it and
//! show now. Pure: the shell only looks ([`Observed`]) and sweeps ([`Remedy`]).

use serde::{Deserialize, Serialize};

use super::recovery::Evidence;
use crate::sql::{Effect, QualifiedName, ReindexTarget};

/// One index, as `pg_index` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexFact {
    /// Its OID.
    pub oid: u32,
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Valid, ready and live.
    pub usable: bool,
}

/// Whether a partition hangs on its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attachment {
    /// Attached.
    Attached,
    /// `DETACH … CONCURRENTLY` was begun and not finished (`inhdetachpending`).
    Pending,
    /// Not attached.
    Detached,
}

/// What the catalogs show of the objects a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Observed {
    /// Indexes of the table meant; for a `REINDEX` of more than one table, unusable leavings only.
    pub indexes: Vec<IndexFact>,
    /// OIDs of the named objects that exist, in the statement's order; 0 for one that does not.
    pub named: Vec<u32>,
    /// For a partition.
    pub attachment: Option<Attachment>,
    /// What the author's own `-- verify:` query says.
    pub author: Option<bool>,
}

/// What must be done before the statement may run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// Drop an index that an interrupted build left.
    DropIndex(QualifiedName),
    /// Finish the detach instead of running the statement.
    FinalizeDetach {
        /// Parent.
        parent: QualifiedName,
        /// Partition.
        child: QualifiedName,
    },
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The answer.
    pub evidence: Evidence,
    /// What to do first. Also for a statement that is done: leavings are swept all the same.
    pub remedies: Vec<Remedy>,
}

const fn finding(evidence: Evidence) -> Finding {
    Finding { evidence, remedies: Vec::new() }
}

/// Decides. `before` is what was observed right before the statement was first sent.
#[must_use]
pub fn judge(effect: &Effect, before: &Observed, now: &Observed) -> Finding {
    if let Some(done) = now.author {
        return finding(if done { Evidence::Done } else { Evidence::NotDone });
    }
    match effect {
        Effect::IndexBuilt { name, if_not_exists, .. } => index_built(name.as_ref(), *if_not_exists, before, now),
        Effect::IndexDropped { .. }
        | Effect::DatabaseDropped { .. }
        | Effect::TablespaceDropped { .. }
        | Effect::SubscriptionDropped { .. } => done_if(now.named.iter().all(|oid| *oid == 0)),
        Effect::DatabaseCreated { .. } | Effect::TablespaceCreated { .. } | Effect::SubscriptionCreated { .. } => {
            let mut pairs = now.named.iter().zip(before.named.iter().chain(std::iter::repeat(&0)));
            done_if(!now.named.is_empty() && pairs.all(|(now, before)| *now != 0 && now != before))
        }
        Effect::Reindexed { target, .. } => reindexed(target, before, now),
        Effect::PartitionDetached { parent, child, .. } => match now.attachment {
            Some(Attachment::Attached) => finding(Evidence::NotDone),
            Some(Attachment::Pending) => Finding {
                evidence: Evidence::NotDone,
                remedies: vec![Remedy::FinalizeDetach { parent: parent.clone(), child: child.clone() }],
            },
            Some(Attachment::Detached) | None => finding(Evidence::Done),
        },
        Effect::Repeatable => finding(Evidence::NotDone),
        Effect::Unknown => finding(Evidence::Unknown),
    }
}

fn done_if(done: bool) -> Finding {
    finding(if done { Evidence::Done } else { Evidence::NotDone })
}

fn drop_of(index: &IndexFact) -> Remedy {
    Remedy::DropIndex(QualifiedName { schema: Some(index.schema.clone()), name: index.name.clone() })
}

/// `CREATE INDEX CONCURRENTLY`: done when there is a usable index that was not there before. An unusable one with the
/// name meant is a carcass: `IF NOT EXISTS` would take it for the index, so it goes first. Carcasses of other names are
/// somebody else's.
fn index_built(name: Option<&QualifiedName>, if_not_exists: bool, before: &Observed, now: &Observed) -> Finding {
    let is_meant = |index: &&IndexFact| name.is_none_or(|name| name.name == index.name);
    let is_new = |index: &&IndexFact| !before.indexes.iter().any(|old| old.oid == index.oid);
    let meant: Vec<&IndexFact> = now.indexes.iter().filter(is_meant).collect();
    let built = meant.iter().any(|index| index.usable && (is_new(index) || (if_not_exists && name.is_some())));
    let carcass = |index: &&&IndexFact| !index.usable && (is_new(index) || (if_not_exists && name.is_some()));
    Finding {
        evidence: if built { Evidence::Done } else { Evidence::NotDone },
        remedies: meant.iter().filter(carcass).map(|index| drop_of(index)).collect(),
    }
}

/// `REINDEX … CONCURRENTLY`: a rebuilt index has a new OID. Leavings are named `…_ccnew` (build unfinished) or
/// `…_ccold` (swap done, old one not dropped yet); both are dropped, and repeating the statement is always harmless.
fn reindexed(target: &ReindexTarget, before: &Observed, now: &Observed) -> Finding {
    let is_new = |index: &IndexFact| !before.indexes.iter().any(|old| old.oid == index.oid);
    let left = |index: &&IndexFact| {
        let base = index.name.trim_end_matches(|c: char| c.is_ascii_digit());
        !index.usable
            && (is_new(index) || base.ends_with("_ccold"))
            && (base.ends_with("_ccnew") || base.ends_with("_ccold"))
    };
    let leavings: Vec<&IndexFact> = now.indexes.iter().filter(left).collect();
    let unfinished = leavings.iter().any(|index| index.name.contains("_ccnew"));
    let renewed = match target {
        ReindexTarget::Index(_) => {
            !now.named.is_empty() && now.named.iter().zip(&before.named).all(|(now, before)| *now != 0 && now != before)
        }
        _ => false,
    };
    Finding {
        evidence: if renewed && !unfinished { Evidence::Done } else { Evidence::NotDone },
        remedies: leavings.into_iter().map(drop_of).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(oid: u32, name: &str, usable: bool) -> IndexFact {
        IndexFact { oid, schema: "public".into(), name: name.into(), usable }
    }

    fn name(name: &str) -> QualifiedName {
        QualifiedName { schema: None, name: name.into() }
    }

    fn build(named: Option<&str>, if_not_exists: bool) -> Effect {
        Effect::IndexBuilt { name: named.map(name), table: name("t"), if_not_exists, unique: false }
    }

    fn indexes(indexes: &[IndexFact]) -> Observed {
        Observed { indexes: indexes.to_vec(), ..Observed::default() }
    }

    #[test]
    fn an_index_is_built_when_a_usable_one_is_new() {
        let pkey = index(1, "t_pkey", true);
        for (effect, before, now, evidence, drops) in [
            (build(Some("i"), false), vec![], vec![], Evidence::NotDone, 0),
            (build(Some("i"), false), vec![], vec![index(9, "i", true)], Evidence::Done, 0),
            (build(Some("i"), false), vec![], vec![index(9, "i", false)], Evidence::NotDone, 1),
            (build(Some("i"), false), vec![index(9, "i", true)], vec![index(9, "i", true)], Evidence::NotDone, 0),
            (build(Some("i"), true), vec![index(9, "i", true)], vec![index(9, "i", true)], Evidence::Done, 0),
            (build(Some("i"), true), vec![index(9, "i", false)], vec![index(9, "i", false)], Evidence::NotDone, 1),
            (build(Some("i"), false), vec![], vec![index(8, "other", false)], Evidence::NotDone, 0),
            (build(None, false), vec![], vec![index(9, "t_x_idx", true)], Evidence::Done, 0),
            (build(None, false), vec![], vec![index(9, "t_x_idx", false)], Evidence::NotDone, 1),
        ] {
            let with = |facts: Vec<IndexFact>| indexes(&[vec![pkey.clone()], facts].concat());
            let found = judge(&effect, &with(before.clone()), &with(now.clone()));
            assert_eq!((found.evidence, found.remedies.len()), (evidence, drops), "{effect:?} {before:?} {now:?}");
        }
    }

    #[test]
    fn a_pending_detach_is_finished_and_not_repeated() {
        let effect = Effect::PartitionDetached { parent: name("p"), child: name("c"), finalize: false };
        let at = |attachment| Observed { attachment: Some(attachment), ..Observed::default() };
        let before = at(Attachment::Attached);
        assert_eq!(judge(&effect, &before, &at(Attachment::Attached)), finding(Evidence::NotDone));
        assert_eq!(judge(&effect, &before, &at(Attachment::Detached)), finding(Evidence::Done));
        assert!(matches!(
            judge(&effect, &before, &at(Attachment::Pending)).remedies[..],
            [Remedy::FinalizeDetach { .. }]
        ));
    }

    #[test]
    fn a_reindex_is_done_when_the_index_is_another_and_nothing_is_left() {
        let effect = Effect::Reindexed { target: ReindexTarget::Index(name("i")), concurrently: true };
        let observed =
            |oid, more: &[IndexFact]| Observed { named: vec![oid], indexes: more.to_vec(), ..Observed::default() };
        let before = observed(5, &[index(5, "i", true)]);
        for (now, evidence, drops) in [
            (observed(5, &[index(5, "i", true)]), Evidence::NotDone, 0),
            (observed(5, &[index(5, "i", true), index(6, "i_ccnew", false)]), Evidence::NotDone, 1),
            (observed(6, &[index(6, "i", true), index(5, "i_ccold", false)]), Evidence::Done, 1),
            (observed(6, &[index(6, "i", true)]), Evidence::Done, 0),
        ] {
            let found = judge(&effect, &before, &now);
            assert_eq!((found.evidence, found.remedies.len()), (evidence, drops), "{now:?}");
        }
    }

    #[test]
    fn the_authors_own_query_decides_where_there_is_one() {
        let says = |author| Observed { author: Some(author), ..Observed::default() };
        assert_eq!(judge(&Effect::Unknown, &says(false), &says(true)).evidence, Evidence::Done);
        assert_eq!(judge(&Effect::Unknown, &says(false), &says(false)).evidence, Evidence::NotDone);
        assert_eq!(judge(&Effect::Unknown, &Observed::default(), &Observed::default()).evidence, Evidence::Unknown);
    }
}
