//! Whether a statement can run in a transaction block, and what it leaves behind if it cannot.
//!
//! The list follows the calls of `PreventInTransactionBlock` in PostgreSQL 14 to 18 (`src/backend/tcop/utility.c`,
//! `src/backend/commands/*.c`).

use super::command::{Command, command};
use super::cursor::Cursor;
use super::effect::{self, Effect};
use super::lexer::Lexer;
use super::statement::Statement;
use super::token::{Span, TokenKind};

/// Whether the server lets a statement run between `BEGIN` and `COMMIT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TxRule {
    /// It does, or only the server can tell (SQLSTATE 25001 then).
    Anywhere,
    /// It never does.
    NotInBlock,
    /// It mostly does not, depending on the catalogs: `DROP SUBSCRIPTION` is free to once its slot is gone. Run alone,
    /// unless the author put it into a transaction.
    Depends,
}

/// What is known of a statement from its text alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// What it is.
    pub command: Command,
    /// Where it can run.
    pub tx: TxRule,
    /// What it leaves behind. [`Effect::Unknown`] for everything that can run in a transaction: that needs no asking.
    pub effect: Effect,
}

impl Statement {
    /// What is known of it. `text` is the whole file. Reads as few tokens as it takes.
    #[must_use]
    pub fn class(&self, text: &str) -> Class {
        class(&Cursor::new(self.tokens(text)))
    }

    /// Only what it is.
    #[must_use]
    pub fn command(&self, text: &str) -> Command {
        command(Cursor::new(self.tokens(text)))
    }
}

/// Classifies the text of a single statement, read with `standard_conforming_strings` on.
#[must_use]
pub fn classify(sql: &str) -> Class {
    class(&Cursor::new(Lexer::within(sql, Span::new(0, sql.len()), true)))
}

fn class(at: &Cursor<'_>) -> Class {
    let command = command(at.clone());
    let (tx, effect) = match rule(at.clone()) {
        Some(found) => found,
        None => (TxRule::Anywhere, Effect::Unknown),
    };
    Class { command, tx, effect }
}

/// The statements that do not run everywhere; nothing for all others.
fn rule(mut at: Cursor<'_>) -> Option<(TxRule, Effect)> {
    const FIRST: &[&str] =
        &["CREATE", "DROP", "ALTER", "REINDEX", "VACUUM", "CLUSTER", "REPACK", "DISCARD", "COMMIT", "ROLLBACK"];
    let never = |effect| Some((TxRule::NotInBlock, effect));
    match at.eat_any(FIRST)? {
        "CREATE" => create(at),
        "DROP" => drop(at),
        "ALTER" => alter(at),
        "REINDEX" => never(effect::reindex(at)?),
        "VACUUM" => never(Effect::Repeatable),
        "CLUSTER" => cluster(at).then_some(Effect::Repeatable).and_then(never),
        "REPACK" => repack(at).then_some(Effect::Repeatable).and_then(never),
        "DISCARD" => at.eat(&["ALL"]).then_some(Effect::Repeatable).and_then(never),
        _ => at.eat(&["PREPARED"]).then_some(Effect::Unknown).and_then(never),
    }
}

fn create(mut at: Cursor<'_>) -> Option<(TxRule, Effect)> {
    let never = |effect| Some((TxRule::NotInBlock, effect));
    match at.eat_any(&["DATABASE", "TABLESPACE", "SUBSCRIPTION"]) {
        Some("DATABASE") => never(named(at, |name| Effect::DatabaseCreated { name })),
        Some("TABLESPACE") => never(named(at, |name| Effect::TablespaceCreated { name })),
        Some(_) if creates_no_slot(at.clone()) => None,
        Some(_) => never(named(at, |name| Effect::SubscriptionCreated { name })),
        None => never(effect::create_index(at)?),
    }
}

fn drop(mut at: Cursor<'_>) -> Option<(TxRule, Effect)> {
    let kind = at.eat_any(&["INDEX", "DATABASE", "TABLESPACE", "SUBSCRIPTION"])?;
    if kind == "INDEX" {
        return Some((TxRule::NotInBlock, effect::drop_index(at)?));
    }
    at.eat(&["IF", "EXISTS"]);
    Some(match kind {
        "DATABASE" => (TxRule::NotInBlock, named(at, |name| Effect::DatabaseDropped { name })),
        "TABLESPACE" => (TxRule::NotInBlock, named(at, |name| Effect::TablespaceDropped { name })),
        _ => (TxRule::Depends, named(at, |name| Effect::SubscriptionDropped { name })),
    })
}

fn alter(mut at: Cursor<'_>) -> Option<(TxRule, Effect)> {
    match at.eat_any(&["TABLE", "SYSTEM", "DATABASE", "SUBSCRIPTION"])? {
        "TABLE" => Some((detach_rule(at.clone()), effect::detach(at)?)),
        "SYSTEM" => Some((TxRule::NotInBlock, Effect::Repeatable)),
        "DATABASE" => {
            at.name()?;
            at.eat(&["SET", "TABLESPACE"]).then_some((TxRule::NotInBlock, Effect::Repeatable))
        }
        _ => alter_subscription(at),
    }
}

/// `FINALIZE` may run in a block (utility.c checks the concurrent form only), but it waits for every transaction that
/// might still see the partition, so it is better run alone.
fn detach_rule(at: Cursor<'_>) -> TxRule {
    match effect::detach(at) {
        Some(Effect::PartitionDetached { finalize: true, .. }) => TxRule::Depends,
        _ => TxRule::NotInBlock,
    }
}

/// Refreshing talks to the publisher, and cannot be undone. It is the default of those that change the publications.
fn alter_subscription(mut at: Cursor<'_>) -> Option<(TxRule, Effect)> {
    at.name()?;
    match at.eat_any(&["REFRESH", "SET", "ADD", "DROP"])? {
        "REFRESH" => Some((TxRule::NotInBlock, Effect::Repeatable)),
        "SET" if at.peek().is_some_and(|token| token.kind == TokenKind::LParen) => {
            // Since 17 and 18 these two reach out to the publisher.
            let options = at.parenthesized()?;
            let remote = options.iter().any(|word| word == "FAILOVER" || word == "TWO_PHASE");
            remote.then_some((TxRule::Depends, Effect::Repeatable))
        }
        _ if at.eat(&["PUBLICATION"]) => {
            (!switched_off_anywhere(at, "REFRESH")).then_some((TxRule::NotInBlock, Effect::Unknown))
        }
        _ => None,
    }
}

fn creates_no_slot(at: Cursor<'_>) -> bool {
    switched_off_anywhere(at.clone(), "CREATE_SLOT") || switched_off_anywhere(at, "CONNECT")
}

/// Looks for the option in every list in parentheses.
fn switched_off_anywhere(mut at: Cursor<'_>, option: &str) -> bool {
    while let Some(token) = at.peek() {
        if token.kind == TokenKind::LParen {
            if at.parenthesized().is_some_and(|options| effect::switched_off(&options, option)) {
                return true;
            }
        } else {
            at.next();
        }
    }
    false
}

/// `CLUSTER` of all tables. Of one table it may run in a block, unless that is partitioned.
fn cluster(mut at: Cursor<'_>) -> bool {
    at.parenthesized();
    at.eat(&["VERBOSE"]);
    at.peek().is_none()
}

/// `REPACK` (PostgreSQL 19) of all tables, or concurrently.
fn repack(mut at: Cursor<'_>) -> bool {
    let concurrently = if at.peek().is_some_and(|token| token.kind == TokenKind::LParen) {
        at.parenthesized().is_some_and(|options| effect::switched_on(&options, "CONCURRENTLY"))
    } else {
        false
    };
    concurrently || at.peek().is_none()
}

fn named(mut at: Cursor<'_>, effect: impl FnOnce(String) -> Effect) -> Effect {
    at.name().map_or(Effect::Unknown, |name| effect(name.name))
}

/// What a statement does to `standard_conforming_strings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StringsSetting {
    Untouched,
    /// For the rest of the session.
    Session(bool),
    /// Until the transaction ends.
    Local(bool),
    /// `COMMIT` and the like: what was local is over.
    TransactionEnds,
}

pub(super) fn strings_setting(statement: &Statement, text: &str) -> StringsSetting {
    const SETTING: &str = "STANDARD_CONFORMING_STRINGS";
    let mut at = Cursor::new(statement.tokens(text));
    let Some(first) = at.eat_any(&["SET", "RESET", "COMMIT", "END", "ROLLBACK", "ABORT"]) else {
        return StringsSetting::Untouched;
    };
    match first {
        "RESET" if at.eat(&[SETTING]) || at.eat(&["ALL"]) => StringsSetting::Session(true),
        "RESET" => StringsSetting::Untouched,
        "SET" => {
            let local = at.eat_any(&["LOCAL", "SESSION"]) == Some("LOCAL");
            if !at.eat(&[SETTING]) {
                return StringsSetting::Untouched;
            }
            at.next();
            let value = at.next().map(|token| token.span.of(text).trim_matches('\'').to_ascii_lowercase());
            // Any unambiguous beginning of a boolean word counts (`parse_bool`).
            let off = value.is_some_and(|value| {
                value == "0"
                    || [("off", 2), ("false", 1), ("no", 1)]
                        .iter()
                        .any(|(word, least)| value.len() >= *least && word.starts_with(value.as_str()))
            });
            if local { StringsSetting::Local(!off) } else { StringsSetting::Session(!off) }
        }
        "ROLLBACK" if command(Cursor::new(statement.tokens(text))) == Command::Savepoint => StringsSetting::Untouched,
        _ => StringsSetting::TransactionEnds,
    }
}
