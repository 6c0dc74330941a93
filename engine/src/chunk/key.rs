//! Which key of a table divides the work.

use crate::migration::Chunk;
use crate::sql::quote_ident;

/// One unique index of the table, as the catalogs describe it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Candidate {
    /// Its columns in order, each with its type as `CAST` wants it.
    pub columns: Vec<(String, String)>,
    /// It is the primary key.
    pub primary: bool,
    /// Every one of its columns is `NOT NULL`.
    pub not_null: bool,
}

/// The key that was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Key {
    /// Columns in the order of the index.
    pub columns: Vec<String>,
    /// Their types, as `CAST` wants them.
    pub types: Vec<String>,
}

/// Why there is none, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub help: String,
}

/// Chooses: the key that the author named, else the primary key, else any unique one without nulls. `candidates` are the
/// valid unique indexes without expressions and conditions, in a fixed order.
///
/// # Errors
/// There is no such key.
pub fn choose(chunk: &Chunk, candidates: &[Candidate]) -> Result<Key, Unusable> {
    let names =
        |candidate: &Candidate| -> Vec<String> { candidate.columns.iter().map(|(name, _)| name.clone()).collect() };
    let usable = || candidates.iter().filter(|candidate| candidate.primary || candidate.not_null);
    let table = &chunk.table;
    let chosen = match &chunk.key {
        Some(named) => usable().find(|candidate| names(candidate) == *named),
        None => usable().find(|candidate| candidate.primary).or_else(|| usable().next()),
    };
    if let Some(chosen) = chosen {
        let (columns, types) = chosen.columns.iter().cloned().unzip();
        return Ok(Key { columns, types });
    }
    let shown = |columns: &[String]| columns.iter().map(|column| quote_ident(column)).collect::<Vec<_>>().join(", ");
    let known: Vec<String> = usable().map(|candidate| format!("({})", shown(&names(candidate)))).collect();
    let help = if known.is_empty() {
        format!(
            "give it one first: CREATE UNIQUE INDEX CONCURRENTLY on columns that are NOT NULL, in a migration before, then `-- chunk: {table} by (those columns)`"
        )
    } else {
        format!("its keys are {}, in this order of columns", known.join(" and "))
    };
    let what = match &chunk.key {
        Some(named) => format!("({}) is no unique key without nulls of {table}", shown(named)),
        None => format!("{table} has no primary key and no unique key without nulls, so it cannot be divided"),
    };
    Err(Unusable { what, help })
}
