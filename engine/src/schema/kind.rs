//! The kinds of objects a schema holds.

use std::fmt;

/// Declares the kinds once: the variant, and the word for it in texts, JSON and the catalog queries.
macro_rules! kinds {
    ($($variant:ident = $word:literal,)*) => {
        /// What an object is. The order is the one of the readable form: what others build on comes first.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $(#[doc = $word] $variant,)* }

        impl Kind {
            /// Every kind, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word for it, as people say it: `materialized view`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The kind a word stands for.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

kinds! {
    Schema = "schema",
    Extension = "extension",
    Language = "language",
    AccessMethod = "access method",
    Collation = "collation",
    Conversion = "conversion",
    Type = "type",
    Domain = "domain",
    Attribute = "attribute",
    Cast = "cast",
    Transform = "transform",
    Operator = "operator",
    OperatorFamily = "operator family",
    OperatorClass = "operator class",
    Function = "function",
    Procedure = "procedure",
    Aggregate = "aggregate",
    TextSearchParser = "text search parser",
    TextSearchTemplate = "text search template",
    TextSearchDictionary = "text search dictionary",
    TextSearchConfiguration = "text search configuration",
    ForeignDataWrapper = "foreign data wrapper",
    Server = "server",
    UserMapping = "user mapping",
    Sequence = "sequence",
    Table = "table",
    ForeignTable = "foreign table",
    View = "view",
    MaterializedView = "materialized view",
    Column = "column",
    Constraint = "constraint",
    Index = "index",
    Statistics = "statistics",
    Rule = "rule",
    Trigger = "trigger",
    Policy = "policy",
    EventTrigger = "event trigger",
    Publication = "publication",
    PublicationTable = "publication table",
    PublicationSchema = "publication schema",
    Subscription = "subscription",
    DefaultPrivileges = "default privileges",
    Privileges = "privileges",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
