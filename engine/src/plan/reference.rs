//! From what a person typed to a migration: an id, a unique number, or a path to one of its files.

use std::collections::BTreeMap;

use crate::id::MigrationId;

/// Which of a migration's files a reference names. An id or a number names the forward script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// `003_x`, `3`, `003_x.sql`.
    Forward,
    /// `003_x_rollback.sql`.
    Rollback,
    /// `003_x_verify.sql`.
    Verify,
}

/// A reference that names exactly one migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// The migration.
    pub id: &'a MigrationId,
    /// The file meant.
    pub role: Role,
}

/// A reference that does not name exactly one migration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing has that name.
    #[error("there is no migration `{text}`")]
    Unknown {
        /// As written.
        text: String,
    },
    /// Several migrations share the number.
    #[error("`{text}` could be any of {}", listed(candidates))]
    Ambiguous {
        /// As written.
        text: String,
        /// All that share it, in (number, id) order.
        candidates: Vec<MigrationId>,
    },
}

/// The names that exist. Building it is one sort; a look-up is logarithmic.
#[derive(Debug, Clone)]
pub struct Resolver<'a> {
    /// In (number, id) order, so that equal numbers stand together.
    ids: Vec<&'a MigrationId>,
    by_text: BTreeMap<&'a str, usize>,
}

impl<'a> Resolver<'a> {
    /// Over any ids, in any order; duplicates count once.
    #[must_use]
    pub fn new(ids: impl IntoIterator<Item = &'a MigrationId>) -> Self {
        let mut ids: Vec<_> = ids.into_iter().collect();
        ids.sort();
        ids.dedup();
        let by_text = ids.iter().enumerate().map(|(index, id)| (id.as_str(), index)).collect();
        Self { ids, by_text }
    }

    /// Finds the migration that a text names: the whole id first, then a file name, then a number.
    ///
    /// Of a path only the last component counts: which folder it lies in is for the caller to check, who can see it.
    ///
    /// # Errors
    /// Nothing has that name, or several share the number.
    pub fn resolve(&self, text: &str) -> Result<Resolved<'a>, ReferenceError> {
        self.position(text)
            .and_then(|(index, role)| self.ids.get(index).map(|id| Resolved { id, role }).ok_or_else(|| unknown(text)))
    }

    /// Like [`Self::resolve`], giving the position in (number, id) order.
    pub(super) fn position(&self, text: &str) -> Result<(usize, Role), ReferenceError> {
        let text = text.trim();
        if let Some(index) = self.by_text.get(text) {
            return Ok((*index, Role::Forward));
        }
        let name = text.rsplit(['/', '\\']).next().unwrap_or(text);
        let extension = name.len().checked_sub(4).and_then(|at| name.split_at_checked(at));
        let stem = extension.filter(|(_, end)| end.eq_ignore_ascii_case(".sql")).map(|(stem, _)| stem);
        if stem.is_none() && name.len() == text.len() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.by_number(text);
        }
        let stem = stem.unwrap_or(name);
        for (suffix, role) in [("", Role::Forward), ("_rollback", Role::Rollback), ("_verify", Role::Verify)] {
            if let Some(index) = stem.strip_suffix(suffix).and_then(|id| self.by_text.get(id)) {
                return Ok((*index, role));
            }
        }
        Err(unknown(text))
    }

    fn by_number(&self, text: &str) -> Result<(usize, Role), ReferenceError> {
        let number = text.trim_start_matches('0');
        let key = |id: &MigrationId| {
            let other = id.number();
            other.len().cmp(&number.len()).then_with(|| other.cmp(number))
        };
        let from = self.ids.partition_point(|id| key(id).is_lt());
        let mut same = self.ids.iter().skip(from).take_while(|id| key(id).is_eq());
        match (same.next(), same.next()) {
            (Some(_), None) if !text.is_empty() => Ok((from, Role::Forward)),
            (Some(first), Some(second)) if !text.is_empty() => {
                let candidates = [*first, *second].into_iter().chain(same.copied()).cloned().collect();
                Err(ReferenceError::Ambiguous { text: text.to_owned(), candidates })
            }
            _ => Err(unknown(text)),
        }
    }

    /// Up to three ids that a text may have meant, best first. Linear in the number of ids.
    #[must_use]
    pub fn nearest(&self, text: &str) -> Vec<&'a MigrationId> {
        let name = text.trim().rsplit(['/', '\\']).next().unwrap_or(text);
        let name = name.strip_suffix(".sql").unwrap_or(name);
        let wanted = words(name);
        let mut scored: Vec<_> = self.ids.iter().map(|id| (likeness(name, wanted, id), *id)).collect();
        scored.retain(|(score, _)| *score >= 0.6);
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        let best = scored.first().map_or(0.0, |(score, _)| *score);
        scored.into_iter().take_while(|(score, _)| *score > best - 0.15).take(3).map(|(_, id)| id).collect()
    }

    /// What to say under an error about a reference.
    #[must_use]
    pub fn help(&self, text: &str) -> String {
        let nearest = self.nearest(text);
        if !nearest.is_empty() {
            return format!("did you mean {}?", alternatives(nearest.into_iter()));
        }
        match (self.ids.first(), self.ids.last()) {
            (Some(first), Some(last)) if first != last => format!("known are `{first}` to `{last}`"),
            (Some(only), _) => format!("the only migration known is `{only}`"),
            _ => "no migration is known".to_owned(),
        }
    }
}

fn unknown(text: &str) -> ReferenceError {
    ReferenceError::Unknown { text: text.to_owned() }
}

/// The part after the number: `003_add_prices` gives `add_prices`. People mistype numbers more than words.
fn words(stem: &str) -> &str {
    stem.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(['_', '-', ' ', '.'])
}

fn likeness(name: &str, wanted: &str, id: &MigrationId) -> f64 {
    let whole = strsim::normalized_damerau_levenshtein(name, id.as_str());
    let theirs = words(id.as_str());
    if wanted.is_empty() || theirs.is_empty() {
        return whole;
    }
    // Slightly less than the same likeness of the whole, so that a matching number decides between equal words.
    whole.max(0.95 * strsim::normalized_damerau_levenshtein(wanted, theirs))
}

/// "`a`, `b` and `c`", cut after ten.
pub(super) fn listed<'i>(ids: impl IntoIterator<Item = &'i MigrationId>) -> String {
    joined(ids.into_iter(), "and")
}

/// "`a`, `b` or `c`".
pub(super) fn alternatives<'i>(ids: impl Iterator<Item = &'i MigrationId>) -> String {
    joined(ids, "or")
}

fn joined<'i>(ids: impl Iterator<Item = &'i MigrationId>, word: &str) -> String {
    const SHOWN: usize = 10;
    let mut names: Vec<String> = Vec::new();
    let mut more = 0usize;
    for id in ids {
        if names.len() < SHOWN { names.push(format!("`{id}`")) } else { more += 1 }
    }
    let last = if more > 0 { Some(format!("{more} more")) } else { names.pop() };
    match last {
        Some(last) if names.is_empty() => last,
        Some(last) => format!("{} {word} {last}", names.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Vec<MigrationId> {
        ["001_users", "002_orders", "003_prices", "003_stock", "7", "07_b", "010_x_rollback", "20240101_a", "000_zero"]
            .map(|stem| MigrationId::new(stem).unwrap())
            .to_vec()
    }

    #[test]
    fn a_text_names_an_id_a_number_or_a_file() {
        let rows = [
            ("001_users", "001_users Forward"),
            (" 002_orders ", "002_orders Forward"),
            ("1", "001_users Forward"),
            ("001", "001_users Forward"),
            ("0000002", "002_orders Forward"),
            ("0", "000_zero Forward"),
            ("000", "000_zero Forward"),
            ("20240101", "20240101_a Forward"),
            ("migrations/002_orders.sql", "002_orders Forward"),
            ("./002_orders.SQL", "002_orders Forward"),
            ("C:\\m\\002_orders_rollback.sql", "002_orders Rollback"),
            ("002_orders_rollback", "002_orders Rollback"),
            ("/m/001_users_verify.sql", "001_users Verify"),
            // An id of the whole text comes before a number or a suffix.
            ("7", "7 Forward"),
            ("7.sql", "7 Forward"),
            ("010_x_rollback", "010_x_rollback Forward"),
            ("10", "010_x_rollback Forward"),
            ("3", "ambiguous 003_prices 003_stock"),
            ("003", "ambiguous 003_prices 003_stock"),
            ("07", "ambiguous 07_b 7"),
            ("", "unknown"),
            ("4", "unknown"),
            ("m/1", "unknown"),
            ("1.sql", "unknown"),
            ("users", "unknown"),
            ("001_user", "unknown"),
            (".sql", "unknown"),
            ("\u{e9}\u{e9}\u{e9}", "unknown"),
            ("99999999999999999999999999999999999999999", "unknown"),
        ];
        let ids = ids();
        let resolver = Resolver::new(&ids);
        for (text, expected) in rows {
            let found = match resolver.resolve(text) {
                Ok(found) => format!("{} {:?}", found.id, found.role),
                Err(ReferenceError::Unknown { .. }) => "unknown".to_owned(),
                Err(ReferenceError::Ambiguous { candidates, .. }) => {
                    candidates.iter().fold("ambiguous".to_owned(), |text, id| format!("{text} {id}"))
                }
            };
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn help_names_what_was_probably_meant() {
        let ids = ids();
        let resolver = Resolver::new(&ids);
        let rows = [
            ("001_user", "did you mean `001_users`?"),
            ("004_prices", "did you mean `003_prices`?"),
            ("m/002_odrers.sql", "did you mean `002_orders`?"),
            ("completely_else", "known are `000_zero` to `20240101_a`"),
        ];
        for (text, expected) in rows {
            assert_eq!(resolver.help(text), expected, "{text}");
        }
        assert_eq!(Resolver::new([]).help("1"), "no migration is known");
    }

    #[test]
    fn long_lists_are_cut() {
        let ids: Vec<_> = (1..=12).map(|n| MigrationId::new(n.to_string()).unwrap()).collect();
        assert_eq!(listed(&ids[..1]), "`1`");
        assert_eq!(listed(&ids[..2]), "`1` and `2`");
        assert!(listed(&ids).ends_with("`9`, `10` and 2 more"), "{}", listed(&ids));
        assert_eq!(listed(&ids[..0]), "");
    }
}
