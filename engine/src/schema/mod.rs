//! What a database's schema is: a set of objects with attributes, in one canonical form.
//!
//! The form is the same on every supported server version as far as the server's own printing of expressions allows:
//! what a newer version adds is left out while it has its default. Two schemas are equal when their digests are.

mod diff;
mod json;
mod kind;
mod text;

use std::collections::BTreeMap;
use std::fmt;

use crate::id::Digest;

pub use diff::{Change, diff};
pub use json::InvalidSchema;
pub use kind::Kind;

/// The name of an object. Names are as SQL writes them, with their schema and quoted where that is needed:
/// `public.users`, `public.f(integer)`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// What it is.
    pub kind: Kind,
    /// The object it stands in or upon: the table of a column, an index or a trigger, the domain of a constraint.
    pub parent: Option<String>,
    /// Its own name; without the parent's for what has no schema of its own (columns, constraints, triggers).
    pub name: String,
}

/// `column users.age`, `index users_email`, `constraint users_pkey on users`. The schema `public` goes without saying.
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = short(&self.name);
        match (self.kind, self.parent.as_deref().map(short)) {
            (Kind::Column | Kind::Attribute, Some(parent)) => write!(f, "{} {parent}.{name}", self.kind),
            (Kind::PublicationTable, Some(parent)) => write!(f, "table {name} in publication {parent}"),
            (Kind::PublicationSchema, Some(parent)) => write!(f, "schema {name} in publication {parent}"),
            (Kind::Constraint | Kind::Rule | Kind::Trigger | Kind::Policy, Some(parent)) => {
                write!(f, "{} {name} on {parent}", self.kind)
            }
            _ => write!(f, "{} {name}", self.kind),
        }
    }
}

fn short(name: &str) -> &str {
    name.strip_prefix("public.").unwrap_or(name)
}

/// What is known about one object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Object {
    /// Its place among the objects of its kind and parent, from 1, where places matter: columns of relations and
    /// attributes of composite types. Dropped columns do not count.
    pub position: Option<u32>,
    /// Attribute to value. What has its default is absent.
    pub attributes: BTreeMap<String, String>,
}

/// A whole schema.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schema {
    /// All objects. Iteration is in canonical order.
    pub objects: BTreeMap<ObjectKey, Object>,
}

/// How a schema relates to the one it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The same in everything.
    Exact,
    /// The same but for the places of columns in their tables, as after dropping and adding a column again.
    OrderOnly,
    /// Another schema.
    Differs,
}

impl Verdict {
    /// The word in JSON and tables: `exact`, `order`, `differs`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::OrderOnly => "order",
            Self::Differs => "differs",
        }
    }
}

impl Schema {
    /// Digest of everything. Equal digests mean equal schemas.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest_of(true)
    }

    /// Digest of everything but the places of table columns.
    #[must_use]
    pub fn digest_ignoring_column_order(&self) -> Digest {
        self.digest_of(false)
    }

    /// The encoding, version 1: for each object in order its kind, parent, name, place, number of attributes, then
    /// attributes and values. Every piece is preceded by its length (see [`Digest::of_all`]), so that no two schemas
    /// share an encoding. Changing it makes every recorded fingerprint stale.
    fn digest_of(&self, column_order: bool) -> Digest {
        let mut pieces: Vec<Vec<u8>> = vec![b"migengine schema 1".to_vec()];
        for (key, object) in &self.objects {
            let position = object.position.filter(|_| column_order || key.kind != Kind::Column);
            pieces.push(key.kind.as_str().into());
            pieces.push(key.parent.as_ref().map_or_else(Vec::new, |parent| format!("in {parent}").into_bytes()));
            pieces.push(key.name.as_bytes().to_vec());
            pieces.push(position.map_or_else(Vec::new, |position| position.to_string().into_bytes()));
            pieces.push(object.attributes.len().to_string().into_bytes());
            for (attribute, value) in &object.attributes {
                pieces.push(attribute.as_bytes().to_vec());
                pieces.push(value.as_bytes().to_vec());
            }
        }
        Digest::of_all(pieces.iter().map(Vec::as_slice))
    }

    /// The objects that stand in or upon another, by its name, in canonical order; columns by place.
    fn children(&self) -> BTreeMap<&str, Vec<(&ObjectKey, &Object)>> {
        let mut children: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (key, object) in &self.objects {
            if let Some(parent) = &key.parent {
                children.entry(parent).or_default().push((key, object));
            }
        }
        for list in children.values_mut() {
            list.sort_by_key(|(key, object)| (key.kind, object.position));
        }
        children
    }
}

/// Holds a schema against the one it should be.
#[must_use]
pub fn compare(before: &Schema, after: &Schema) -> Verdict {
    if before == after {
        Verdict::Exact
    } else if before.digest_ignoring_column_order() == after.digest_ignoring_column_order() {
        Verdict::OrderOnly
    } else {
        Verdict::Differs
    }
}

#[cfg(test)]
mod tests;
