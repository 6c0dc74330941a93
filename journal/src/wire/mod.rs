//! The stored form of a record: an envelope that never changes its first and last fields, around a payload that is
//! frozen per format version.
//!
//! All little-endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `MGJ1` |
//! | 4 | 2 | format version of everything between |
//! | 6 | 2 | kind of event; bit 15 set: a reader that does not know it may skip it |
//! | 8 | 8 | place in the run, from 1 |
//! | 16 | 16 | run |
//! | 32 | 32 | SHA-256 of the whole previous record of the run; zero for the first |
//! | 64 | 8 | time, microseconds since 1970 |
//! | 72 | 4 | length of the payload |
//! | 76 | n | payload |
//! | 76 + n | 4 | CRC-32C of all bytes before |
//!
//! The CRC is checked before anything is decoded, because bincode reads three of four single-bit flips as another
//! valid record. An unknown format is refused, never cut away.

pub mod v1;

use migengine_engine::id::{Digest, RunId, Timestamp};
use migengine_engine::run::event::{Event, Recorded};
use migengine_engine::run::journal::{JournalError, Sealed};

/// The first bytes of every record, whatever its format.
pub const MAGIC: [u8; 4] = *b"MGJ1";
/// The newest format this version writes and reads.
pub const FORMAT: u16 = 1;
/// Largest payload in bytes. A plan of 10,000 steps takes about 2 MB.
pub const MAX_PAYLOAD: usize = 16 << 20;
/// Kinds with this bit change no state: a reader that does not know them skips them.
pub const IGNORABLE: u16 = 0x8000;

const HEADER: usize = 76;
const TRAILER: usize = 4;

/// Why bytes are not a record, or an event cannot become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes are not what was written.
    #[error("{0}")]
    Damaged(String),
    /// Whole, but of a format or kind this version does not know.
    #[error("written by a newer migengine ({found}); this one reads up to {known}")]
    Newer {
        /// What was found.
        found: String,
        /// What is known.
        known: String,
    },
    /// The event is larger than a record may be.
    #[error("an event of {bytes} bytes is larger than the {MAX_PAYLOAD} a record may hold")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
}

impl WireError {
    /// As an error of the journal at `path`.
    #[must_use]
    pub fn at(self, path: &str) -> JournalError {
        let path = path.to_owned();
        match self {
            Self::Damaged(reason) => JournalError::Damaged { path, reason },
            Self::Newer { found, known } => JournalError::Newer { found, known },
            Self::TooLarge { .. } => JournalError::Unwritable { path, reason: self.to_string() },
        }
    }
}

/// Where a record stands in its run's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The run.
    pub run: RunId,
    /// Its place, from 1.
    pub seq: u64,
    /// Hash of the record before it.
    pub prev: Digest,
}

/// Writes one event as a record.
///
/// # Errors
/// [`WireError::TooLarge`].
pub fn seal(link: Link, at: Timestamp, event: &Event) -> Result<Sealed, WireError> {
    let (kind, payload) = v1::encode(event)?;
    Ok(sealed(link.seq, frame(FORMAT, kind, link, at, &payload)))
}

fn frame(format: u16, kind: u16, link: Link, at: Timestamp, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + payload.len() + TRAILER);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&format.to_le_bytes());
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&link.seq.to_le_bytes());
    bytes.extend_from_slice(link.run.as_bytes());
    bytes.extend_from_slice(link.prev.as_bytes());
    bytes.extend_from_slice(&at.0.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(payload);
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn sealed(seq: u64, bytes: Vec<u8>) -> Sealed {
    Sealed { seq, hash: Digest::of(&bytes), bytes }
}

/// The fields of a whole envelope, payload not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Kind number, see [`v1`].
    pub kind: u16,
    /// Place in the chain.
    pub link: Link,
    /// When it was recorded.
    pub at: Timestamp,
    /// The event, encoded.
    pub payload: &'a [u8],
}

/// Takes the envelope off: magic, CRC, format and length are checked, in this order.
///
/// # Errors
/// [`WireError::Damaged`] or [`WireError::Newer`].
pub fn unwrap(bytes: &[u8]) -> Result<Envelope<'_>, WireError> {
    let damaged = |reason: &str| WireError::Damaged(reason.to_owned());
    if bytes.get(..4) != Some(&MAGIC[..]) {
        return Err(damaged("it does not begin with the mark of a record"));
    }
    let (body, crc) = bytes.split_last_chunk::<TRAILER>().ok_or_else(|| damaged("the record is cut off"))?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err(damaged("its checksum does not fit its bytes"));
    }
    let mut fields = Fields(body.get(4..).unwrap_or_default());
    let format = u16::from_le_bytes(fields.take()?);
    if format != FORMAT {
        return Err(WireError::Newer { found: format!("format {format}"), known: format!("format {FORMAT}") });
    }
    let kind = u16::from_le_bytes(fields.take()?);
    let seq = u64::from_le_bytes(fields.take()?);
    let run = RunId::from_bytes(fields.take()?);
    let prev = Digest::from_bytes(fields.take()?);
    let at = Timestamp(i64::from_le_bytes(fields.take()?));
    let length = u32::from_le_bytes(fields.take()?) as usize;
    if length != fields.0.len() || length > MAX_PAYLOAD {
        return Err(damaged("its length does not fit its bytes"));
    }
    Ok(Envelope { kind, link: Link { run, seq, prev }, at, payload: fields.0 })
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (field, rest) =
            self.0.split_first_chunk::<N>().ok_or_else(|| WireError::Damaged("the record is cut off".to_owned()))?;
        self.0 = rest;
        Ok(*field)
    }
}

/// Reads one record whole. An unknown kind that may be skipped is read as [`Event::Noted`] with the topic `unknown`;
/// its bytes and hash stay what they are.
///
/// # Errors
/// [`WireError::Damaged`] or [`WireError::Newer`].
pub fn open(bytes: &[u8]) -> Result<(Link, Recorded, Sealed), WireError> {
    let envelope = unwrap(bytes)?;
    let event = v1::decode(envelope.kind, envelope.payload)?;
    let Link { run, seq, .. } = envelope.link;
    Ok((envelope.link, Recorded { run, seq, at: envelope.at, event }, sealed(seq, bytes.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Link = Link { run: RunId::from_bytes([7; 16]), seq: 3, prev: Digest::from_bytes([9; 32]) };

    fn check(bytes: &[u8], expect: &str) {
        let error = open(bytes).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        check(&frame(2, 1, LINK, Timestamp(0), b"anything"), "format 2");
    }

    #[test]
    fn an_unknown_kind_is_refused_unless_it_may_be_skipped() {
        check(&frame(FORMAT, 999, LINK, Timestamp(0), &[]), "kind 999");
        let (_, recorded, sealed) = open(&frame(FORMAT, 999 | IGNORABLE, LINK, Timestamp(5), b"?")).unwrap();
        assert!(matches!(recorded.event, Event::Noted { topic, .. } if topic == "unknown"));
        assert_eq!((recorded.seq, recorded.at, sealed.seq), (3, Timestamp(5), 3));
    }

    #[test]
    fn bytes_that_do_not_fit_are_refused() {
        let good = seal(LINK, Timestamp(1), &Event::Reconciled).unwrap().bytes;
        assert!(open(&good).is_ok());
        check(&[], "mark of a record");
        check(b"MGJ1", "checksum");
        check(&good[..good.len() - 1], "checksum");
        check(&[&good[..], &[0]].concat(), "checksum");
        let (kind, payload) = v1::encode(&Event::Reconciled).unwrap();
        let longer = frame(FORMAT, kind, LINK, Timestamp(1), &[&payload[..], &[0]].concat());
        check(&longer, "left over");
        let mut wrong_length = good[..good.len() - 4].to_vec();
        wrong_length[72] = 1;
        wrong_length.extend(crc32c::crc32c(&wrong_length).to_le_bytes());
        check(&wrong_length, "length");
    }

    #[test]
    fn an_event_larger_than_a_record_is_refused() {
        let event = Event::UnwindStarted { reason: "x".repeat(MAX_PAYLOAD) };
        assert!(matches!(seal(LINK, Timestamp(0), &event), Err(WireError::TooLarge { .. })));
    }
}
