//! Keys: `run ‖ seq`, big-endian, so that the order of keys is the order of records.
//!
//! A record longer than [`CHUNK`] bytes goes on under `run ‖ seq ‖ part`, part from 1, two bytes. That keeps every
//! page of sled below the size at which it moves values out to files of their own, which it deletes and renames by
//! rules that no power-cut test has covered.

use migengine_engine::id::RunId;

/// Largest value. sled splits a leaf above 16 values and moves pages of more than 128 KiB out to files.
pub(crate) const CHUNK: usize = 4 << 10;

/// A key, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) run: RunId,
    pub(crate) seq: u64,
    /// 0 for the beginning of the record.
    pub(crate) part: u16,
}

impl Key {
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut key = [&self.run.as_bytes()[..], &self.seq.to_be_bytes()].concat();
        if self.part > 0 {
            key.extend(self.part.to_be_bytes());
        }
        key
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (run, rest) = bytes.split_first_chunk::<16>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let part = match rest {
            [] => 0,
            rest => u16::from_be_bytes(rest.try_into().ok()?),
        };
        let zero_part = part == 0 && !rest.is_empty();
        (!zero_part).then(|| Self { run: RunId::from_bytes(*run), seq: u64::from_be_bytes(*seq), part })
    }
}

/// The keys and values of one record.
pub(crate) fn chunks(run: RunId, seq: u64, record: &[u8]) -> impl Iterator<Item = (Vec<u8>, &[u8])> {
    (0u16..).zip(record.chunks(CHUNK)).map(move |(part, chunk)| (Key { run, seq, part }.bytes(), chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_and_sort_by_run_record_and_part() {
        let runs = [RunId::from_bytes([1; 16]), RunId::from_bytes([2; 16])];
        let keys: Vec<Key> = runs
            .into_iter()
            .flat_map(|run| [1, 255, 256].map(|seq| (run, seq)))
            .flat_map(|(run, seq)| [0, 1, 256].map(|part| Key { run, seq, part }))
            .collect();
        let bytes: Vec<Vec<u8>> = keys.iter().map(|key| key.bytes()).collect();
        assert!(bytes.is_sorted());
        assert_eq!(bytes.iter().filter_map(|key| Key::parse(key)).collect::<Vec<_>>(), keys);
    }

    #[test]
    fn other_keys_are_refused() {
        for length in [0, 15, 16, 23, 25, 27] {
            assert_eq!(Key::parse(&vec![1; length]), None, "{length}");
        }
        assert_eq!(Key::parse(&[0; 26]), None, "part 0 has no bytes of its own");
    }

    #[test]
    fn the_largest_record_fits_the_part_numbers() {
        assert!(crate::wire::MAX_PAYLOAD / CHUNK < usize::from(u16::MAX));
    }
}
