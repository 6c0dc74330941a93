//! Identifiers. Newtypes, so that a run is never mistaken for a migration or a checksum for a hash of a plan.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// Name of a migration: the whole stem of its file, `003_add_prices`. Starts with at least one ASCII digit.
///
/// Ordered by the leading number (compared as a number of any length, so timestamps and `003` mix), then by the
/// whole text. That order is the default order of application.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MigrationId(String);

/// A stem that cannot name a migration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a migration id: it must begin with a digit and hold no control characters or slashes")]
pub struct InvalidMigrationId(pub String);

impl MigrationId {
    /// Checks the form of a stem.
    ///
    /// # Errors
    /// The stem does not begin with a digit, or holds a control character or a slash.
    pub fn new(stem: impl Into<String>) -> Result<Self, InvalidMigrationId> {
        let stem = stem.into();
        let begins_with_digit = stem.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
        let clean = !stem.chars().any(|c| c.is_control() || c == '/' || c == '\\');
        if begins_with_digit && clean { Ok(Self(stem)) } else { Err(InvalidMigrationId(stem)) }
    }

    /// The whole stem.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The leading digits as written, `003`.
    #[must_use]
    pub fn digits(&self) -> &str {
        let end = self.0.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.0.len());
        &self.0[..end]
    }

    /// The leading digits without leading zeros, `3`; empty for zero. Two ids share a number when these are equal.
    #[must_use]
    pub fn number(&self) -> &str {
        self.digits().trim_start_matches('0')
    }
}

impl Ord for MigrationId {
    fn cmp(&self, other: &Self) -> Ordering {
        let (mine, theirs) = (self.number(), other.number());
        mine.len().cmp(&theirs.len()).then_with(|| mine.cmp(theirs)).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for MigrationId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Identity of a run: 48 bits of Unix milliseconds, then 80 random bits, so that ids sort by time.
/// Its text is a ULID in lower case (26 characters of Crockford base 32, <https://github.com/ulid/spec>): short enough
/// for `application_name`, which PostgreSQL cuts at 63 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId([u8; 16]);

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl RunId {
    /// From the time of creation (Unix milliseconds; only the low 48 bits are kept) and ten random bytes.
    #[must_use]
    pub fn from_parts(unix_ms: u64, random: [u8; 10]) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&unix_ms.to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        Self(bytes)
    }

    /// From its stored form.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its stored form, big-endian.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = u128::from_be_bytes(self.0);
        for digit in (0..26u32).rev() {
            let index = usize::try_from((value >> (digit * 5)) & 31).unwrap_or(0);
            write!(f, "{}", char::from(CROCKFORD[index]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunId({self})")
    }
}

/// A text that is not the name of a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a run id (26 characters of base 32, as `migengine journal list` prints them)")]
pub struct InvalidRunId(pub String);

impl FromStr for RunId {
    type Err = InvalidRunId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidRunId(text.to_owned());
        if text.len() != 26 {
            return Err(invalid());
        }
        let mut value: u128 = 0;
        for byte in text.bytes() {
            let digit = CROCKFORD.iter().position(|c| *c == byte.to_ascii_lowercase()).ok_or_else(invalid)?;
            if value >> 123 != 0 {
                return Err(invalid());
            }
            value = (value << 5) | digit as u128;
        }
        Ok(Self(value.to_be_bytes()))
    }
}

/// A SHA-256 digest. Shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// All zero: the predecessor of the first record of a run.
    pub const ZERO: Self = Self([0; 32]);

    /// Digest of a byte string.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Digest of a sequence of byte strings, each preceded by its length, so that no two sequences collide by
    /// concatenation.
    #[must_use]
    pub fn of_all<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = Sha256::new();
        for piece in pieces {
            hasher.update((piece.len() as u64).to_le_bytes());
            hasher.update(piece);
        }
        Self(hasher.finalize().into())
    }

    /// From its stored form.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From a stored form of unknown length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// From its 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() || !text.is_ascii() {
            return None;
        }
        for (byte, at) in bytes.iter_mut().zip((0..text.len()).step_by(2)) {
            *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Its stored form.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first twelve hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

/// Fencing number of the lease row: grows by one each time a runner takes the lock, and never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A point in time: microseconds since 1970-01-01 UTC, as PostgreSQL resolves them. The shell reads the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

#[cfg(test)]
mod tests {
    use super::*;

    fn id(stem: &str) -> MigrationId {
        MigrationId::new(stem).unwrap()
    }

    #[test]
    fn ids_order_by_number_then_text() {
        let mut ids = [id("20240101_z"), id("10_a"), id("003_b"), id("3_a"), id("002_z"), id("000_zero")];
        ids.sort();
        let order: Vec<_> = ids.iter().map(MigrationId::as_str).collect();
        assert_eq!(order, ["000_zero", "002_z", "003_b", "3_a", "10_a", "20240101_z"]);
    }

    #[test]
    fn an_id_needs_a_leading_digit() {
        assert!(MigrationId::new("init").is_err());
        assert!(MigrationId::new("").is_err());
        assert!(MigrationId::new("1/2").is_err());
    }

    #[test]
    fn run_ids_survive_their_text() {
        for (ms, random) in [(0, [0; 10]), (u64::MAX, [255; 10]), (1_700_000_000_000, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])]
        {
            let run = RunId::from_parts(ms, random);
            assert_eq!(run.to_string().len(), 26);
            assert_eq!(run.to_string().parse::<RunId>().unwrap(), run);
        }
        assert!("zzzzzzzzzzzzzzzzzzzzzzzzzz".parse::<RunId>().is_err(), "over 128 bits");
    }
}
