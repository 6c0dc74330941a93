//! The two checksums that tell whether a script is still the one that ran.

use sha2::{Digest as _, Sha256};

use super::statement::Statement;
use crate::id::Digest;

/// Checksum over the bytes, with CRLF counted as LF and without a byte order mark: a checkout on another system is the
/// same script.
#[must_use]
pub fn content_digest(text: &str) -> Digest {
    let mut hasher = Sha256::new();
    normalised(text.strip_prefix('\u{feff}').unwrap_or(text), |bytes| hasher.update(bytes));
    Digest::from_bytes(hasher.finalize().into())
}

/// Checksum over what the server is made to do: the significant tokens of each statement and its COPY data. Comments,
/// white space and empty statements do not count; nor does a `;` behind the last statement.
#[must_use]
pub fn tokens_digest(text: &str, statements: &[Statement]) -> Digest {
    let mut hasher = Sha256::new();
    let mut piece = |written: &str| {
        let mut len = 0_u64;
        normalised(written, |bytes| len += bytes.len() as u64);
        hasher.update(len.to_le_bytes());
        normalised(written, |bytes| hasher.update(bytes));
    };
    for statement in statements {
        for token in statement.significant(text) {
            piece(token.span.of(text));
        }
        piece(";");
        if let Some(data) = statement.copy_data {
            piece(data.of(text));
        }
    }
    Digest::from_bytes(hasher.finalize().into())
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
