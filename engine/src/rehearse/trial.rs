//! What a rehearsal with rows in the tables shows.

use std::collections::BTreeMap;

use crate::run::failure::Failure;

/// How far a script came with rows in the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// It went through.
    Ok,
    /// It raised an error.
    Failed,
    /// There is none, or it was not reached.
    Skipped,
}

impl Tried {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    /// The value a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Ok, Self::Failed, Self::Skipped].into_iter().find(|one| one.as_str() == word)
    }
}

/// Rows, or values of a column, that a rollback throws away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lost {
    /// The table.
    pub table: String,
    /// The column, where the rows themselves stay.
    pub column: Option<String>,
    /// How many of the rows that were made up.
    pub rows: u64,
}

/// Rows by table, and values that are not NULL by column.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// By table: its rows, and by column its values.
    pub tables: BTreeMap<String, (u64, BTreeMap<String, u64>)>,
}

/// The rehearsal of one migration with rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Rows that were made up, by table.
    pub seeded: Vec<(String, u64)>,
    /// Tables that got none, and why.
    pub unseeded: Vec<(String, String)>,
    /// Forward.
    pub apply: Tried,
    /// Back.
    pub rollback: Tried,
    /// The error of either.
    pub error: Option<Failure>,
    /// What is gone after forward and back.
    pub lost: Vec<Lost>,
}

impl Trial {
    /// Whether rows of any value make the scripts fail: for want of a value (`NOT NULL` without a default), or because
    /// values do not fit a type. What depends on the values themselves, such as a new unique index, is told, and may be
    /// different with real ones.
    #[must_use]
    pub fn fails_for_any_rows(&self) -> bool {
        let state = self.error.as_ref().and_then(|error| error.sqlstate.as_deref()).unwrap_or_default();
        state == "23502" || state.starts_with("22")
    }
}

/// What a way forward and back threw away: of what was there before it, and of what came in between.
#[must_use]
pub fn lost(before: &Contents, between: &Contents, after: &Contents) -> Vec<Lost> {
    let mut found: BTreeMap<(String, Option<String>), u64> = BTreeMap::new();
    for then in [before, between] {
        for (table, (rows, columns)) in &then.tables {
            let now = after.tables.get(table);
            let kept = now.map_or(0, |(rows, _)| *rows);
            let gone = rows.saturating_sub(kept);
            let mut note = |column: Option<String>, count: u64| {
                let known = found.entry((table.clone(), column)).or_default();
                *known = count.max(*known);
            };
            if gone > 0 {
                note(None, gone);
            }
            for (column, values) in now.map(|_| columns).into_iter().flatten() {
                let kept = now.and_then(|(_, columns)| columns.get(column)).copied().unwrap_or_default();
                // Values that went with their rows are not told twice.
                let gone_alone = values.saturating_sub(kept).saturating_sub(gone);
                if gone_alone > 0 {
                    note(Some(column.clone()), gone_alone);
                }
            }
        }
    }
    found.into_iter().map(|((table, column), rows)| Lost { table, column, rows }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Table<'a> = (&'a str, u64, &'a [(&'a str, u64)]);

    fn contents(list: &[Table<'_>]) -> Contents {
        let columns = |list: &[(&str, u64)]| list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let tables = list.iter().map(|(name, rows, list)| ((*name).to_owned(), (*rows, columns(list)))).collect();
        Contents { tables }
    }

    #[test]
    fn rows_and_values_that_went_are_told_once() {
        let before = contents(&[("t", 10, &[("id", 10), ("a", 10)]), ("u", 5, &[("id", 5)])]);
        let between =
            contents(&[("t", 20, &[("id", 20), ("b", 10)]), ("u", 5, &[("id", 5)]), ("new", 7, &[("id", 7)])]);
        let after = contents(&[("t", 20, &[("id", 20), ("a", 0)]), ("u", 3, &[("id", 3)])]);
        let told: Vec<(String, Option<String>, u64)> =
            lost(&before, &between, &after).into_iter().map(|one| (one.table, one.column, one.rows)).collect();
        let one = |table: &str, column: Option<&str>, rows| (table.to_owned(), column.map(str::to_owned), rows);
        let expected = [one("new", None, 7), one("t", Some("a"), 10), one("t", Some("b"), 10), one("u", None, 2)];
        assert_eq!(told, expected);
    }
}
