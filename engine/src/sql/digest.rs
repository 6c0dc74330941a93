//! The two checksums that tell whether a script is still the one that ran.

use sha2::{Digest as _, Sha256};

use super::statement::Statement;
use super::token::Span;
use crate::id::Digest;

/// A checksum over text that comes in stretches, with CRLF counted as LF: a checkout on another system is the same script.
#[derive(Debug, Clone, Default)]
pub struct Hasher {
    sha: Sha256,
    /// The last stretch ended with a CR, which counts unless an LF comes next.
    cr: bool,
}

impl Hasher {
    /// Takes the next stretch. Where stretches end makes no difference.
    pub fn take(&mut self, bytes: &[u8]) {
        let Some(first) = bytes.first() else { return };
        if std::mem::take(&mut self.cr) && *first != b'\n' {
            self.sha.update(b"\r");
        }
        let mut rest = bytes;
        while let Some(at) = memchr::memchr(b'\r', rest) {
            let (before, from) = rest.split_at(at);
            self.sha.update(before);
            rest = from.get(1..).unwrap_or_default();
            match rest.first() {
                Some(b'\n') => {}
                Some(_) => self.sha.update(b"\r"),
                None => self.cr = true,
            }
        }
        self.sha.update(rest);
    }

    /// The checksum over all that was taken.
    #[must_use]
    pub fn finish(mut self) -> Digest {
        if self.cr {
            self.sha.update(b"\r");
        }
        Digest::from_bytes(self.sha.finalize().into())
    }
}

/// Checksum over the bytes, with CRLF counted as LF and without a byte order mark.
#[must_use]
pub fn content_digest(text: &str) -> Digest {
    data_digest(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The same for the data of a COPY, where a byte order mark is data.
#[must_use]
pub fn data_digest(text: &str) -> Digest {
    let mut hasher = Hasher::default();
    hasher.take(text.as_bytes());
    hasher.finish()
}

/// Checksum over what the server is made to do: the significant tokens of each statement and its COPY data. Comments,
/// white space and empty statements do not count; nor does a `;` behind the last statement.
#[must_use]
pub fn tokens_digest(text: &str, statements: &[Statement]) -> Digest {
    tokens_digest_with(text, statements, |span| data_digest(span.of(text)))
}

/// The same where data may not stand in the text: `data` says the checksum of a block, by its place in the text. A block
/// counts by its checksum, so that it never has to be held.
#[must_use]
pub fn tokens_digest_with(text: &str, statements: &[Statement], data: impl Fn(Span) -> Digest) -> Digest {
    let mut hasher = TokensHasher::default();
    for statement in statements {
        hasher.take(text, statement, &data);
    }
    hasher.finish()
}

/// The same, statement by statement.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokensHasher(Sha256);

impl TokensHasher {
    pub(crate) fn take(&mut self, text: &str, statement: &Statement, data: impl Fn(Span) -> Digest) {
        for token in statement.significant(text) {
            self.piece(token.span.of(text));
        }
        self.piece(";");
        if let Some(span) = statement.copy_data {
            self.piece(&data(span).to_string());
        }
    }

    fn piece(&mut self, written: &str) {
        let mut len = 0_u64;
        normalised(written, |bytes| len += bytes.len() as u64);
        self.0.update(len.to_le_bytes());
        normalised(written, |bytes| self.0.update(bytes));
    }

    pub(crate) fn finish(self) -> Digest {
        Digest::from_bytes(self.0.finalize().into())
    }
}

/// Passes the text on in stretches that leave out the CR of each CRLF.
fn normalised(text: &str, mut pass_on: impl FnMut(&[u8])) {
    let mut rest = text;
    while let Some(at) = rest.find("\r\n") {
        let (before, from) = rest.split_at(at);
        pass_on(before.as_bytes());
        rest = from.get(1..).unwrap_or_default();
    }
    pass_on(rest.as_bytes());
}
