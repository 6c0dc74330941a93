//! A row per kind of object: how to add one, ways to change it and take the change back, and how to remove it.

#[path = "kinds_apart.rs"]
mod apart;
#[path = "kinds_relations.rs"]
mod relations;

use migengine_engine::schema::Kind;

/// The first server version that knows it, the change, and the way back.
pub(crate) type Change = (u32, &'static str, &'static str);

/// One kind.
pub(crate) struct Subject {
    /// The first server version that has such objects.
    pub(crate) since: u32,
    pub(crate) kind: Kind,
    /// What such an object needs.
    pub(crate) ground: &'static str,
    pub(crate) add: &'static str,
    pub(crate) changes: &'static [Change],
    pub(crate) remove: &'static str,
}

pub(crate) const fn subject(
    kind: Kind,
    ground: &'static str,
    add: &'static str,
    changes: &'static [Change],
    remove: &'static str,
) -> Subject {
    Subject { since: 14, kind, ground, add, changes, remove }
}

pub(crate) const SERVER: &str = "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w";

/// All kinds there are.
pub(crate) fn subjects() -> impl Iterator<Item = &'static Subject> {
    apart::SUBJECTS.iter().chain(relations::SUBJECTS)
}
