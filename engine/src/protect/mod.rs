//! Databases whose changes need a person's word: why one is protected, what was said, and what follows from both.
//!
//! A database is protected by the configuration (`protected = true`) or by a mark inside of it (`migengine protect`).
//! The mark wins over any local file: nothing in a file takes it off.

pub mod hosted;
pub mod window;

use crate::id::Timestamp;

/// The mark inside the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Who set it, `user@host`.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// Why changes to a database need a person's word; nothing of it: they do not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Protection {
    /// Where the configuration says so: `[env.production]`, or the file's name.
    pub configured: Option<String>,
    /// The mark inside the database.
    pub mark: Option<Mark>,
}

impl Protection {
    /// Whether the database is protected.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.configured.is_some() || self.mark.is_some()
    }

    /// Why, as the end of a sentence; empty where it is not.
    #[must_use]
    pub fn why(&self) -> String {
        let mark = self.mark.as_ref().map(|mark| format!("the mark that {} left in it", mark.by));
        let reasons: Vec<String> = mark.into_iter().chain(self.configured.clone()).collect();
        reasons.join(" and ")
    }
}

/// What was said beforehand, and whether anybody can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Consent {
    /// `--yes`: do not ask.
    pub yes: bool,
    /// `--confirm NAME`.
    pub confirm: Option<String>,
    /// Somebody sits at a terminal.
    pub terminal: bool,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Go ahead: the database is not protected.
    Free,
    /// Go ahead: the database was named beforehand.
    Named,
    /// Show what would happen, and ask for the database's name.
    Ask,
    /// Nobody gave their word.
    Unconfirmed,
    /// Another database was named.
    OtherName(String),
}

/// Decides on a change to `database`.
#[must_use]
pub fn admission(protection: &Protection, consent: &Consent, database: &str) -> Admission {
    match (&consent.confirm, consent.yes, consent.terminal) {
        // A name that is not this database's is a slip wherever it is made: the script was meant for another one.
        (Some(name), ..) if name != database => Admission::OtherName(name.clone()),
        _ if !protection.is_on() => Admission::Free,
        (Some(_), true, _) => Admission::Named,
        (_, false, true) => Admission::Ask,
        _ => Admission::Unconfirmed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked() -> Protection {
        Protection { mark: Some(Mark { by: "ann@ops".to_owned(), at: Timestamp(0) }), configured: None }
    }

    fn said(yes: bool, confirm: Option<&str>, terminal: bool) -> Consent {
        Consent { yes, confirm: confirm.map(str::to_owned), terminal }
    }

    #[test]
    fn only_the_databases_own_name_opens_a_protected_one() {
        let configured = Protection { configured: Some("[env.production]".to_owned()), mark: None };
        for protection in [marked(), configured] {
            let decide = |consent| admission(&protection, &consent, "shop");
            assert_eq!(decide(said(true, Some("shop"), false)), Admission::Named);
            assert_eq!(decide(said(true, Some("shop"), true)), Admission::Named);
            assert_eq!(decide(said(true, None, true)), Admission::Unconfirmed, "--yes alone is no confirmation");
            assert_eq!(decide(said(true, None, false)), Admission::Unconfirmed);
            assert_eq!(decide(said(false, Some("shop"), false)), Admission::Unconfirmed);
            assert_eq!(decide(said(false, None, false)), Admission::Unconfirmed);
            assert_eq!(decide(said(false, None, true)), Admission::Ask);
            assert_eq!(decide(said(false, Some("shop"), true)), Admission::Ask);
            assert_eq!(decide(said(true, Some("Shop"), true)), Admission::OtherName("Shop".to_owned()));
        }
    }

    #[test]
    fn others_are_free_unless_another_one_was_named() {
        let free = Protection::default();
        assert_eq!(admission(&free, &said(false, None, false), "shop"), Admission::Free);
        assert_eq!(admission(&free, &said(true, Some("shop"), false), "shop"), Admission::Free);
        let slip = admission(&free, &said(true, Some("shop_prod"), false), "shop");
        assert_eq!(slip, Admission::OtherName("shop_prod".to_owned()));
    }

    #[test]
    fn the_reason_names_the_mark_first() {
        let both = Protection { configured: Some("[env.production]".to_owned()), ..marked() };
        assert_eq!(both.why(), "the mark that ann@ops left in it and [env.production]");
    }
}
