//! What each SQLSTATE means for a migration: whether the step may run again, and what a person should do.
//! The codes are those of <https://www.postgresql.org/docs/current/errcodes-appendix.html>.

mod advice;
mod server_error;
mod table;

pub use advice::{advice, missing_name, nearest};
pub use server_error::{Lost, LostKind, ServerError};
pub use table::ENTRIES;

/// What an error asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Nothing took effect and chance was to blame: the same step may run again.
    Retry,
    /// The session is gone: connect again, then find out what took effect.
    Resume,
    /// Somebody stopped it on purpose: no retry.
    Cancelled,
    /// The server may be damaged: touch nothing, call a person.
    Stop,
    /// The server lacks something (space, memory, connections); a person must provide it.
    Resource,
    /// The script is wrong, or the server cannot do what it asks.
    Script,
    /// The data in the tables do not fit the change.
    Data,
    /// Something the script names is not there.
    Missing,
    /// Something the script creates is there already.
    Exists,
    /// A right, a password or a connection rule is missing.
    Access,
    /// The migration's author raised it.
    Author,
    /// The engine made a mistake.
    Bug,
}

/// One SQLSTATE, or a whole class of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Five characters; two for a whole class; empty for the one that fits everything else.
    pub code: &'static str,
    /// PostgreSQL's condition name.
    pub name: &'static str,
    /// What the error asks for.
    pub class: Class,
    /// What happened, a full sentence.
    pub sentence: &'static str,
    /// What to do now, without a final full stop.
    pub next: &'static str,
}

/// The entry of a SQLSTATE; else that of its class (the first two characters); else the general one.
#[must_use]
pub fn lookup(code: &str) -> &'static Entry {
    let find = |wanted: &str| ENTRIES.iter().find(|entry| entry.code == wanted);
    find(code).or_else(|| code.get(..2).and_then(find)).unwrap_or(&table::OTHER)
}

/// As [`lookup`], but knows the one case where the text decides: two sessions changed the same catalog row
/// (`tuple concurrently updated`), which PostgreSQL reports as an internal error though it is a plain race. Only the
/// English text is known; a server that speaks another language gives the careful answer.
#[must_use]
pub fn lookup_with_message(code: &str, message: &str) -> &'static Entry {
    if code == "XX000" && message.starts_with("tuple concurrently ") { &table::CATALOG_RACE } else { lookup(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_falls_back_to_its_class_and_then_to_the_general_entry() {
        let check = |code: &str, entry: &str, class: Class| {
            let found = lookup(code);
            assert_eq!((found.code, found.class), (entry, class), "{code}");
        };
        check("40P01", "40P01", Class::Retry);
        check("40002", "40", Class::Script);
        check("57014", "57014", Class::Cancelled);
        check("57P01", "57P01", Class::Resume);
        check("08007", "08007", Class::Resume);
        check("08P01", "08P01", Class::Script);
        check("23505", "23505", Class::Data);
        check("23999", "23", Class::Data);
        check("42P07", "42P07", Class::Exists);
        check("P0001", "P0001", Class::Author);
        check("XX001", "XX001", Class::Stop);
        check("XX000", "XX", Class::Stop);
        check("U0001", "", Class::Script);
        check("", "", Class::Script);
        check("\u{e9}", "", Class::Script);
    }

    #[test]
    fn a_catalog_race_is_told_by_its_text() {
        assert_eq!(lookup_with_message("XX000", "tuple concurrently updated").class, Class::Retry);
        assert_eq!(lookup_with_message("XX000", "cache lookup failed").class, Class::Stop);
        assert_eq!(lookup_with_message("42601", "tuple concurrently updated").class, Class::Script);
    }

    #[test]
    fn the_table_is_well_formed() {
        for (index, entry) in ENTRIES.iter().enumerate() {
            assert!(matches!(entry.code.len(), 2 | 5), "{}", entry.code);
            assert!(ENTRIES[..index].iter().all(|earlier| earlier.code != entry.code), "{} twice", entry.code);
            assert!(entry.sentence.ends_with('.') && !entry.next.ends_with('.'), "{}", entry.code);
            assert!(!entry.name.is_empty() && !entry.next.is_empty(), "{}", entry.code);
            // The driver knows every code of PostgreSQL's list; a slip in one of ours shows as an unknown.
            if entry.code.len() == 5 {
                let known = format!("{:?}", tokio_postgres::error::SqlState::from_code(entry.code));
                assert!(!known.contains("Other") || NEWER.contains(&entry.code), "{} is no SQLSTATE", entry.code);
            }
        }
    }

    /// Codes younger than the driver's list, and our own.
    const NEWER: &[&str] = &["25P04", "57P05", "ME001"];
}
