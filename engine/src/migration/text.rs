//! The text of a script, of which the data of COPY may have stayed in the file.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use crate::diag::{Diagnostic, Position};
use crate::id::Digest;
use crate::sql::Span;

/// What is in memory of a script, without a byte order mark. All spans refer to it, and it is what `Deref` gives: the
/// SQL, always all of it, and the data of COPY unless that stayed in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// All of it.
    Held(Arc<String>),
    /// Without the blocks of data that are named in [`Source::left`].
    Streamed {
        /// The rest of the file.
        sql: Arc<String>,
        /// Where the data is.
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
    /// What is not in memory, in order.
    pub left: Vec<Block>,
}

/// The data of one COPY, whole lines, which stayed in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Where it would stand in the text: a byte, the beginning of a line.
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

    /// The data that stands, or would stand, at a place of the text.
    #[must_use]
    pub fn data(&self, span: Span) -> Data<'_> {
        let start = span.range().start;
        let found = self.source().and_then(|source| {
            let at = source.left.binary_search_by_key(&start, |block| block.at).ok()?;
            Some(Data::Left(source, source.left.get(at)?))
        });
        found.unwrap_or(Data::Held(span.of(self)))
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
