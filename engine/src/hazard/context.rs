//! What the scripts before a statement tell about its objects.

use std::collections::{BTreeMap, BTreeSet};

use super::kind::TypeName;
use crate::sql::QualifiedName;

/// What is known when a statement is looked at. Fill it by [`super::learn()`] with every statement in the order in which
/// they run.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The server's major version, if known; some hazards and safe forms depend on it.
    pub server_major: Option<u32>,
    /// Tables, views, types and the like that the same run created earlier: nobody uses them yet.
    pub created: BTreeSet<QualifiedName>,
    /// Types of columns, by table, then column.
    pub(super) columns: BTreeMap<QualifiedName, BTreeMap<String, TypeName>>,
    /// Domains with a constraint.
    pub(super) checked_domains: BTreeSet<QualifiedName>,
    /// Names of `CHECK (column IS NOT NULL)` constraints by table and name, with the column.
    pub(super) null_checks: BTreeMap<(QualifiedName, String), String>,
    /// Columns that a validated check keeps free of nulls.
    pub(super) never_null: BTreeSet<(QualifiedName, String)>,
    /// Columns that are declared `NOT NULL`.
    pub(super) not_null: BTreeSet<(QualifiedName, String)>,
    /// Tables with a check that was validated after it was added.
    pub(super) validated_checks: BTreeSet<QualifiedName>,
    /// Partitioned tables.
    pub(super) partitioned: BTreeSet<QualifiedName>,
}

impl Context {
    /// For a server of this major version.
    #[must_use]
    pub fn new(server_major: Option<u32>) -> Self {
        Self { server_major, ..Self::default() }
    }

    /// Whether the same run created it. `public.t` and `t` are taken for one.
    #[must_use]
    pub fn is_fresh(&self, name: &QualifiedName) -> bool {
        self.created.contains(&canonical(name))
    }

    /// Ends the run: what it created is in use from now on, what it told of types stays known.
    pub fn applied(&mut self) {
        self.created.clear();
    }

    pub(super) fn column_type(&self, table: &QualifiedName, column: &str) -> Option<&TypeName> {
        self.columns.get(&canonical(table))?.get(column)
    }
}

/// Without the schema `public`, which is what an unqualified name mostly means.
pub(super) fn canonical(name: &QualifiedName) -> QualifiedName {
    match &name.schema {
        Some(schema) if schema == "public" => QualifiedName { schema: None, name: name.name.clone() },
        _ => name.clone(),
    }
}
