//! How people and headers name a migration.

use std::fmt;

use strsim::damerau_levenshtein;

use super::discover::ScriptKind;
use crate::id::MigrationId;

/// A migration as someone wrote it: `003`, `3`, `003_add_prices`, or a path to one of its files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MigrationRef {
    written: String,
    stem: String,
    kind: ScriptKind,
}

/// Why a reference names no single migration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Nothing is called so.
    #[error("there is no migration `{written}`{}", .nearest.as_ref().map_or(String::new(), |id| format!("; did you mean `{id}`?")))]
    Unknown { written: String, nearest: Option<MigrationId> },
    /// Several share the number.
    #[error("`{written}` could be any of {}; write the whole name", list(.candidates))]
    Ambiguous { written: String, candidates: Vec<MigrationId> },
}

fn list(candidates: &[MigrationId]) -> String {
    candidates.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ")
}

impl MigrationRef {
    /// Reads a reference. Anything is one; whether it means something shows when it is resolved.
    #[must_use]
    pub fn parse(written: &str) -> Self {
        let written = written.trim();
        let name = written.rsplit(['/', '\\']).next().unwrap_or(written);
        let (stem, kind) = match name.strip_suffix(".sql") {
            Some(stem) => ScriptKind::of_stem(stem),
            None => (name, ScriptKind::Forward),
        };
        Self { written: written.to_owned(), stem: stem.to_owned(), kind }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Which script a path named: `apply 003_x_rollback.sql` means the reverse of `003_x`. Forward for all else.
    #[must_use]
    pub fn kind(&self) -> ScriptKind {
        self.kind
    }

    /// Whether it was written as a path to a file, rather than as an id or a number.
    #[must_use]
    pub fn is_path(&self) -> bool {
        self.written.ends_with(".sql")
    }

    /// Finds the one migration meant: that of this very id, else the only one of this number. `ids` in any order.
    ///
    /// # Errors
    /// None is called so, or several share the number.
    pub fn resolve(&self, ids: &[MigrationId]) -> Result<MigrationId, ResolveError> {
        if let Some(id) = ids.iter().find(|id| id.as_str() == self.stem) {
            return Ok(id.clone());
        }
        let mut candidates: Vec<MigrationId> = match self.number() {
            Some(number) => ids.iter().filter(|id| id.number() == number).cloned().collect(),
            None => Vec::new(),
        };
        candidates.sort();
        match candidates.as_slice() {
            [] => Err(ResolveError::Unknown { written: self.written.clone(), nearest: self.nearest(ids) }),
            [only] => Ok(only.clone()),
            _ => Err(ResolveError::Ambiguous { written: self.written.clone(), candidates }),
        }
    }

    /// The digits without leading zeros, where the whole reference is a number.
    fn number(&self) -> Option<&str> {
        let digits = !self.stem.is_empty() && self.stem.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| self.stem.trim_start_matches('0'))
    }

    fn nearest(&self, ids: &[MigrationId]) -> Option<MigrationId> {
        let wanted = self.stem.to_lowercase();
        let distance = |id: &MigrationId| {
            let name = id.as_str().to_lowercase();
            let slug = name.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(['_', '-']);
            damerau_levenshtein(&name, &wanted).min(damerau_levenshtein(slug, &wanted))
        };
        let (distance, id) = ids.iter().map(|id| (distance(id), id)).min()?;
        (distance < wanted.chars().count().div_ceil(3)).then(|| id.clone())
    }
}

impl fmt::Display for MigrationRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Vec<MigrationId> {
        ["002_users", "003_add_prices", "010_a", "010_b", "20240101_x", "7"]
            .map(|id| MigrationId::new(id).unwrap())
            .into()
    }

    fn check(written: &str, expect: &str) {
        let found = match MigrationRef::parse(written).resolve(&ids()) {
            Ok(id) => id.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expect, "{written}");
    }

    #[test]
    fn a_reference_is_an_id_a_number_or_a_path() {
        for (written, expect) in [
            ("003_add_prices", "003_add_prices"),
            ("003", "003_add_prices"),
            (" 3 ", "003_add_prices"),
            ("000003", "003_add_prices"),
            ("7", "7"),
            ("007", "7"),
            ("20240101", "20240101_x"),
            ("migrations/003_add_prices.sql", "003_add_prices"),
            ("./migrations/003_add_prices_rollback.sql", "003_add_prices"),
            ("003_add_prices_verify.sql", "003_add_prices"),
            ("10", "`10` could be any of `010_a`, `010_b`; write the whole name"),
            ("003_add_price", "there is no migration `003_add_price`; did you mean `003_add_prices`?"),
            ("add_price", "there is no migration `add_price`; did you mean `003_add_prices`?"),
            ("999", "there is no migration `999`"),
            ("", "there is no migration ``"),
        ] {
            check(written, expect);
        }
    }

    #[test]
    fn a_path_tells_which_script_is_meant() {
        assert_eq!(MigrationRef::parse("m/003_x_rollback.sql").kind(), ScriptKind::Reverse);
        assert_eq!(MigrationRef::parse("m/003_x.sql").kind(), ScriptKind::Forward);
        assert_eq!(MigrationRef::parse("003_x_rollback").kind(), ScriptKind::Forward, "no path, so an id");
    }
}
