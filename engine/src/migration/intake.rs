//! Reading a large script in stretches: the SQL is kept, the data of COPY and `INSERT`s that are all alike are measured, summed
//! up and let go.
//!
//! Where a block of data begins is found by the splitter itself, on what is known to be complete; the script that comes
//! of it is split once more as a whole, and has to show the same blocks. Whatever is out of the ordinary (bytes that are
//! no UTF-8, a NUL) makes a script that has to be held whole, so that there is one place that tells what is wrong.

use std::path::PathBuf;
use std::sync::Arc;

use super::tally::Tally;
use super::text::{Block, Holds, Source, Text};
use crate::sql::{Hasher, Settled, Strings, settle};

/// Sizes that decide what stays in the file, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// A block of at least this size is not kept.
    pub block: usize,
    /// How much more SQL has to come before it is split again.
    pub window: usize,
}

impl Bounds {
    /// Blocks of 64 KiB, windows of 256 KiB.
    pub const USUAL: Self = Self { block: 64 << 10, window: 256 << 10 };
}

/// SQL beyond this, before any block that is left, makes a script that is held whole: there is little to be gained then.
const MUCH_SQL: usize = 16 << 20;

/// A script that is being read.
#[derive(Debug)]
pub struct Intake {
    bounds: Bounds,
    /// The SQL so far.
    held: String,
    left: Vec<Block>,
    content: Hasher,
    /// The first bytes of a character whose others were not read yet.
    torn: Vec<u8>,
    /// The first byte of the file behind its byte order mark.
    begin: u64,
    /// The first byte of the file that was not passed on.
    at: u64,
    reading: Reading,
    /// The statements of `held` are complete up to here.
    settled: usize,
    strings: Strings,
    tally: Tally,
    /// How long `held` has to be before it is split again.
    next_look: usize,
    odd: bool,
}

#[derive(Debug)]
enum Reading {
    Sql,
    Data(Passing),
}

/// A block of data that is passing by.
#[derive(Debug, Default)]
struct Passing {
    start: u64,
    lines: u32,
    hasher: Hasher,
    /// A line that may turn out to be the closing one, of which the end was not read yet.
    line: Vec<u8>,
    /// What comes next continues a line of data.
    inside_line: bool,
}

const MARK: &[u8] = "\u{feff}".as_bytes();

impl Intake {
    /// Nothing read yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            held: String::new(),
            left: Vec::new(),
            content: Hasher::default(),
            torn: Vec::new(),
            begin: 0,
            at: 0,
            reading: Reading::Sql,
            settled: 0,
            strings: Strings::START,
            tally: Tally::new(),
            next_look: bounds.window,
            odd: false,
        }
    }

    /// Takes the next bytes of the file. Returns whether more are of any use: a script that has to be held whole is not
    /// read on.
    pub fn take(&mut self, bytes: &[u8]) -> bool {
        self.odd |= memchr::memchr(0, bytes).is_some();
        if self.odd {
            return false;
        }
        if self.torn.is_empty() {
            self.decode(bytes);
        } else {
            let mut joined = std::mem::take(&mut self.torn);
            joined.extend_from_slice(bytes);
            self.decode(&joined);
        }
        self.odd |= self.left.is_empty() && !self.tally.is_open() && self.held.len() > MUCH_SQL;
        !self.odd
    }

    /// The script, as [`parse_streamed`](super::parse_streamed) takes it. Nothing where it has to be held whole.
    #[must_use]
    pub fn finish(mut self, path: PathBuf) -> Option<Text> {
        if let Reading::Data(passing) = &mut self.reading {
            let line = std::mem::take(&mut passing.line);
            if closes(&line) {
                self.close(&line);
            } else {
                passing.take(&line);
                self.close(&[]);
            }
        }
        let tokens = self.tally.finish(&self.held, &mut self.left);
        if self.odd || !self.torn.is_empty() || self.left.is_empty() {
            return None;
        }
        let content = self.content.finish();
        let source = Source { path, begin: self.begin, end: self.at, content, tokens, left: self.left };
        Some(Text::Streamed { sql: Arc::new(self.held), source: Arc::new(source) })
    }

    /// Passes whole characters on.
    fn decode(&mut self, bytes: &[u8]) {
        if self.at == 0 && bytes.len() < MARK.len() {
            self.torn.extend_from_slice(bytes);
            return;
        }
        let mut bytes = bytes;
        if let Some(behind) = bytes.strip_prefix(MARK).filter(|_| self.at == 0) {
            self.begin = MARK.len() as u64;
            self.at = self.begin;
            bytes = behind;
        }
        let valid = match std::str::from_utf8(bytes) {
            Ok(_) => bytes.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => {
                self.odd = true;
                return;
            }
        };
        let (valid, torn) = bytes.split_at(valid);
        self.content.take(valid);
        self.at += valid.len() as u64;
        self.torn.extend_from_slice(torn);
        let mut next = self.pass_on(valid);
        while let Some(bytes) = next {
            next = self.pass_on(&bytes);
        }
    }

    /// Takes the last bytes that were read for SQL or data, whichever it is. Returns those for which that has changed.
    fn pass_on(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let Reading::Data(passing) = &mut self.reading else {
            self.held.push_str(std::str::from_utf8(bytes).unwrap_or_default());
            return self.look();
        };
        let joined;
        let mut all = bytes;
        if !passing.line.is_empty() {
            joined = [&std::mem::take(&mut passing.line), bytes].concat();
            all = &joined;
        }
        let rest = passing.lines_of(all)?.to_vec();
        self.close(&rest);
        let line_end = memchr::memchr(b'\n', &rest).map_or(rest.len(), |end| end + 1);
        let (line, rest) = rest.split_at(line_end);
        self.held.push_str(std::str::from_utf8(line).unwrap_or_default());
        self.settled = self.held.len();
        self.next_look = self.settled + self.bounds.window;
        Some(rest.to_vec()).filter(|rest| !rest.is_empty())
    }

    /// Splits the SQL, when enough of it is new. Returns what turns out to be a large block of data, as far as it was read.
    fn look(&mut self) -> Option<Vec<u8>> {
        if self.held.len() < self.next_look {
            return None;
        }
        let fresh = self.held.get(self.settled..).unwrap_or_default();
        let Settled { upto, strings, data } = settle(fresh, self.strings, self.bounds.block);
        let data = data.map(|start| self.settled + start);
        self.settled += upto;
        self.strings = strings;
        let start = data.filter(|start| self.held.len() - start >= self.bounds.block);
        let moved = start.map(|start| self.held.split_off(start).into_bytes());
        let end = self.at - moved.as_ref().map_or(0, Vec::len) as u64;
        self.settled -= self.tally.count(&mut self.held, self.settled, end, self.bounds.block, &mut self.left);
        // Splitting a long statement again and again must not take time beyond all proportion.
        self.next_look = self.held.len() + self.bounds.window.max(self.held.len() - self.settled);
        if moved.is_some() {
            self.tally.close(&mut self.left);
            self.reading = Reading::Data(Passing { start: end, ..Passing::default() });
        }
        moved
    }

    /// The block is over; `rest` was read and does not belong to it.
    fn close(&mut self, rest: &[u8]) {
        let Reading::Data(passing) = std::mem::replace(&mut self.reading, Reading::Sql) else { return };
        let len = self.at.saturating_sub(rest.len() as u64).saturating_sub(passing.start);
        let Passing { start, lines, hasher, .. } = passing;
        self.left.push(Block { holds: Holds::Data, at: self.held.len(), start, len, lines, digest: hasher.finish() });
    }
}

impl Passing {
    /// Takes data up to the line that closes the block, and returns that line and what is behind it.
    fn lines_of<'b>(&mut self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if !self.inside_line {
                match memchr::memchr(b'\n', rest) {
                    Some(end) if rest.get(..end).is_some_and(closes) => return Some(rest),
                    None if may_close(rest) => {
                        self.line = rest.to_vec();
                        return None;
                    }
                    _ => {}
                }
            }
            // The next line that begins with a backslash.
            let until = memchr::memmem::find(rest, b"\n\\").map_or(rest.len(), |at| at + 1);
            let (data, behind) = rest.split_at(until);
            self.take(data);
            rest = behind;
        }
        None
    }

    fn take(&mut self, data: &[u8]) {
        let Some(last) = data.last() else { return };
        self.hasher.take(data);
        self.lines =
            self.lines.saturating_add(u32::try_from(memchr::memchr_iter(b'\n', data).count()).unwrap_or(u32::MAX));
        self.inside_line = *last != b'\n';
    }
}

/// Whether a line, without its line feed, ends a block of data.
fn closes(line: &[u8]) -> bool {
    line.strip_prefix(b"\\.").is_some_and(|rest| rest.iter().all(|byte| *byte == b'\r'))
}

/// Whether a line that begins like this may.
fn may_close(begun: &[u8]) -> bool {
    begun == b"\\" || closes(begun)
}
