//! What the comment lines directly above a statement ask for it.

use crate::sql::Statement;

/// The keys that stand above a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DirectiveKey {
    /// `-- chunk: users by id, target 200ms`: run in pieces.
    Chunk,
    /// `-- verify: select …`: a query that must hold after the statement.
    Verify,
    /// `-- timeout: 2h`: this statement's own limit.
    Timeout,
    /// `-- throttle: select …`: while it answers true, a statement that is run in pieces holds.
    Throttle,
}

/// One directive, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directive<'t> {
    /// Which.
    pub key: DirectiveKey,
    /// What stands behind the colon, trimmed.
    pub value: &'t str,
    /// Byte offset of the comment's first dash in the file.
    pub offset: usize,
}

impl DirectiveKey {
    pub(super) fn parse(written: &str) -> Option<Self> {
        match super::key::plain(written).as_str() {
            "chunk" => Some(Self::Chunk),
            "verify" => Some(Self::Verify),
            "timeout" => Some(Self::Timeout),
            "throttle" => Some(Self::Throttle),
            _ => None,
        }
    }
}

/// The directives above a statement, in order. `text` is the whole file.
pub(super) fn directives<'t>(statement: &Statement, text: &'t str) -> impl Iterator<Item = Directive<'t>> + use<'t> {
    statement.comment_lines(text).filter_map(|(offset, line)| {
        let (key, value) = super::header::key_and_value(line)?;
        Some(Directive { key: DirectiveKey::parse(key)?, value, offset })
    })
}
