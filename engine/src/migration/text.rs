//! The text of a script, of which the data of COPY, and `INSERT`s that are all alike, may have stayed in the file.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use crate::diag::{Diagnostic, Position};
use crate::id::Digest;
use crate::sql::{Span, Statement};

/// What is in memory of a script, without a byte order mark. All spans refer to it, and it is what `Deref` gives: all of it
/// but the blocks that stayed in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// All of it.
    Held(Arc<String>),
    /// Without the blocks that are named in [`Source::left`].
    Streamed {
        /// The rest of the file.
        sql: Arc<String>,
        /// Where they are.
        source: Arc<Source>,
    },
}

/// A file that was read once and will be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file, to be opened again.
    pub path: PathBuf,
    /// Behind its byte order mark, if it has one: a byte of the file.
    pub begin: u64,
    /// Behind its last byte.
    pub end: u64,
    /// Checksum over the LF-normalised bytes between the two.
    pub content: Digest,
    /// Checksum over the significant tokens of all its statements, those among them that are not in memory.
    pub tokens: Digest,
    /// What is not in memory, in order.
    pub left: Vec<Block>,
}

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// The data of one COPY, whole lines.
    Data,
    /// Statements, each with its `;`, that differ from the one in front of them in nothing but their literals. A line ends behind
    /// the last one.
    Inserts,
}

/// A stretch of a script that stayed in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What it is.
    pub holds: Holds,
    /// Where it would stand in the text: the byte behind the statement that it belongs to, or where that one's data begins.
    pub at: usize,
    /// Its first byte in the file.
    pub start: u64,
    /// Its length in bytes. Never 0.
    pub len: u64,
    /// How many line ends it holds.
    pub lines: u32,
    /// Checksum over its LF-normalised bytes.
    pub digest: Digest,
}

/// The data of a COPY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data<'t> {
    /// Here it is.
    Held(&'t str),
    /// It has to be read.
    Left(&'t Source, &'t Block),
}

impl Text {
    /// What a script that stayed partly in its file was read from.
    #[must_use]
    pub fn source(&self) -> Option<&Arc<Source>> {
        match self {
            Self::Held(_) => None,
            Self::Streamed { source, .. } => Some(source),
        }
    }

    fn left(&self) -> &[Block] {
        self.source().map_or(&[], |source| &source.left)
    }

    fn block(&self, holds: Holds, at: usize) -> Option<(&Source, &Block)> {
        let source = self.source()?;
        let found = source.left.binary_search_by_key(&at, |block| block.at).ok()?;
        source.left.get(found).filter(|block| block.holds == holds).map(|block| (&**source, block))
    }

    /// The data that stands, or would stand, at a place of the text.
    #[must_use]
    pub fn data(&self, span: Span) -> Data<'_> {
        match self.block(Holds::Data, span.range().start) {
            Some((source, block)) => Data::Left(source, block),
            None => Data::Held(span.of(self)),
        }
    }

    /// The statements like this one that follow it and stayed in the file.
    #[must_use]
    pub fn inserts_behind(&self, statement: &Statement) -> Option<(&Source, &Block)> {
        self.block(Holds::Inserts, statement.piece.range().end)
    }

    /// Line and column in the file of a byte of the text.
    #[must_use]
    pub fn position(&self, offset: usize) -> Position {
        let here = Position::of(self, offset);
        Position { line: here.line.saturating_add(self.lines_before(offset)), ..here }
    }

    /// How many lines stand before a byte of the text in the file, and not in the text.
    pub(super) fn lines_before(&self, offset: usize) -> u32 {
        self.left().iter().take_while(|block| block.at <= offset).fold(0, |sum, block| sum.saturating_add(block.lines))
    }

    /// Adds to a finding the place of a byte of the text, and the line that stands there.
    #[must_use]
    pub fn point(&self, finding: Diagnostic, offset: usize) -> Diagnostic {
        let finding = finding.at(self, offset);
        Diagnostic { position: Some(self.position(offset)), ..finding }
    }

    /// What the file begins with, as far as it is in memory.
    #[must_use]
    pub fn beginning(&self) -> &str {
        let end = self.left().first().map_or(self.len(), |block| block.at);
        self.get(..end).unwrap_or_default()
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Held(text) | Self::Streamed { sql: text, .. } => text,
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::Held(Arc::default())
    }
}
