//! Counts the statements of a script that is being read, and leaves in the file what only repeats: of a run of `INSERT`s that
//! differ in nothing but their literals the first one is kept.

use std::ops::Range;

use super::text::{Block, Holds};
use crate::id::Digest;
use crate::sql::{
    Hasher, InsertFrame, Span, Statement, Strings, TokensHasher, data_digest, insert_frame, split_between,
};

#[derive(Debug)]
pub(super) struct Tally {
    /// Statements of the held SQL are counted up to here.
    upto: usize,
    /// How quotes are read there.
    strings: Strings,
    tokens: TokensHasher,
    /// What the last statement that was counted puts into a table, if it does nothing else.
    last: Option<InsertFrame>,
    /// What was left behind that statement, where more may follow.
    open: Option<Open>,
}

/// A block that may go on.
#[derive(Debug)]
struct Open {
    at: usize,
    start: u64,
    len: u64,
    lines: u32,
    hasher: Hasher,
}

impl Open {
    fn close(self) -> Block {
        let Self { at, start, len, lines, hasher } = self;
        Block { holds: Holds::Inserts, at, start, len, lines, digest: hasher.finish() }
    }
}

/// A run of statements that are alike, not counted so far.
#[derive(Debug, Default)]
struct Run {
    pieces: Range<usize>,
    statements: Vec<(Statement, Strings)>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { upto: 0, strings: Strings::START, tokens: TokensHasher::default(), last: None, open: None }
    }

    /// Whether something was left, and more may follow it.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Counts what is complete, up to `settled`, and takes runs of at least `long` bytes out of the SQL, whose end is the byte
    /// `end` of the file. Returns how many bytes that were.
    pub(super) fn count(
        &mut self,
        held: &mut String,
        settled: usize,
        end: u64,
        long: usize,
        left: &mut Vec<Block>,
    ) -> usize {
        let found = split_between(held, Span::new(self.upto, settled), self.strings);
        let mut cuts: Vec<Range<usize>> = Vec::new();
        let mut run = Run { pieces: self.upto..self.upto, statements: Vec::new() };
        for (statement, strings) in found {
            let piece = statement.piece.range();
            let frame = insert_frame(held, &statement);
            let behind = held.get(piece.end..).unwrap_or_default();
            if frame.is_some() && frame == self.last {
                // Whole lines only, so that places behind them can be told.
                if behind.is_empty() || behind == "\r" {
                    break;
                }
                if behind.starts_with('\n') || behind.starts_with("\r\n") {
                    run.pieces.end = piece.end;
                    run.statements.push((statement, strings));
                    continue;
                }
            }
            self.end_run(held, &mut run, end, long, (left.as_slice(), &mut cuts));
            left.extend(self.open.take().map(Open::close));
            self.take(held, &statement, strings, left);
            self.last = frame;
            run.pieces = piece.end..piece.end;
        }
        // One that is short so far is looked at again when more was read.
        if self.open.is_some() || run.pieces.len() >= long {
            self.end_run(held, &mut run, end, long, (left.as_slice(), &mut cuts));
        }
        let mut taken = 0;
        for cut in cuts.into_iter().rev() {
            taken += cut.len();
            held.drain(cut);
        }
        self.upto -= taken;
        taken
    }

    /// Leaves a run in the file, where it is long or goes on with what was left.
    fn end_run(
        &mut self,
        held: &str,
        run: &mut Run,
        end: u64,
        long: usize,
        (left, cuts): (&[Block], &mut Vec<Range<usize>>),
    ) {
        let pieces = run.pieces.clone();
        for (statement, strings) in run.statements.drain(..) {
            self.take(held, &statement, strings, left);
        }
        if pieces.is_empty() || self.open.is_none() && pieces.len() < long {
            return;
        }
        let gone: usize = cuts.iter().map(Range::len).sum();
        let open = self.open.get_or_insert_with(|| Open {
            at: pieces.start - gone,
            start: end.saturating_sub((held.len() - pieces.start) as u64),
            len: 0,
            lines: 0,
            hasher: Hasher::default(),
        });
        let bytes = held.as_bytes().get(pieces.clone()).unwrap_or_default();
        let lines = memchr::memchr_iter(b'\n', bytes).count();
        open.len += bytes.len() as u64;
        open.lines = open.lines.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        open.hasher.take(bytes);
        cuts.push(pieces);
    }

    fn take(&mut self, held: &str, statement: &Statement, strings: Strings, left: &[Block]) {
        self.tokens.take(held, statement, |span| {
            let block = left.iter().rev().find(|block| block.holds == Holds::Data && block.at == span.range().start);
            block.map_or_else(|| data_digest(span.of(held)), |block| block.digest)
        });
        self.upto = statement.piece.range().end;
        self.strings = strings;
    }

    /// What comes next is something else.
    pub(super) fn close(&mut self, left: &mut Vec<Block>) {
        left.extend(self.open.take().map(Open::close));
    }

    /// Counts the rest. Returns the checksum over the significant tokens of all statements, those that were left among them.
    pub(super) fn finish(mut self, held: &str, left: &mut Vec<Block>) -> Digest {
        self.close(left);
        for (statement, strings) in split_between(held, Span::new(self.upto, held.len()), self.strings) {
            self.take(held, &statement, strings, left);
        }
        self.tokens.finish()
    }
}
