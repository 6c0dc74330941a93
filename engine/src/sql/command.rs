//! What a statement is, where that decides how it is run.

use super::cursor::Cursor;
use super::name::{QualifiedName, string_value};
use super::token::TokenKind;

/// The kinds of statement that the engine treats differently from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `BEGIN` or `START TRANSACTION`, with its options as written, `ISOLATION LEVEL SERIALIZABLE`; empty for none.
    Begin { options: String },
    /// `COMMIT` or `END`; with `AND CHAIN` a new transaction begins at once.
    Commit { chain: bool },
    /// `COMMIT` or `END`, and then something that does not belong there (`COMMIT:`). Only the server may refuse it.
    OddCommit,
    /// `ROLLBACK` or `ABORT` of the whole transaction.
    Rollback,
    /// `SAVEPOINT`, `RELEASE`, `ROLLBACK TO`.
    Savepoint,
    /// `PREPARE TRANSACTION`.
    PrepareTransaction,
    /// `SET TRANSACTION`, with its options as written.
    SetTransaction { options: String },
    /// `SET`, `RESET`, and the like: changes the session; `local` only until the transaction ends.
    Set { local: bool },
    /// `DISCARD ALL`, `DEALLOCATE ALL`: takes the session's prepared statements along, the first also its locks.
    DiscardAll,
    /// `CALL`.
    Call,
    /// `DO`.
    Do,
    /// `COPY`.
    Copy,
    /// `ALTER TYPE … ADD VALUE 'label'`.
    AddEnumValue { enum_type: QualifiedName, label: String },
    /// `CREATE TYPE … AS ENUM`.
    CreateEnum { enum_type: QualifiedName },
    /// Any other `ALTER TYPE`.
    AlterType,
    /// `SELECT`, `WITH`, `VALUES`, `TABLE`, `SHOW`, `EXPLAIN`: reads, as far as its first word tells.
    Query,
    /// Everything else.
    Other,
}

/// Reads the first words.
pub(super) fn command(mut at: Cursor<'_>) -> Command {
    if at.peek().is_some_and(|token| token.kind == TokenKind::LParen) {
        return Command::Query;
    }
    const FIRST: &[&str] = &[
        "BEGIN",
        "START",
        "COMMIT",
        "END",
        "ROLLBACK",
        "ABORT",
        "SAVEPOINT",
        "RELEASE",
        "PREPARE",
        "SET",
        "RESET",
        "DISCARD",
        "DEALLOCATE",
        "CALL",
        "DO",
        "COPY",
        "ALTER",
        "CREATE",
        "SELECT",
        "WITH",
        "VALUES",
        "TABLE",
        "SHOW",
        "EXPLAIN",
    ];
    match at.eat_any(FIRST).unwrap_or_default() {
        "BEGIN" => begin(at),
        "START" if at.eat(&["TRANSACTION"]) => Command::Begin { options: at.rest().to_owned() },
        "COMMIT" | "END" => end(at),
        "ROLLBACK" | "ABORT" => rollback(at),
        "SAVEPOINT" | "RELEASE" => Command::Savepoint,
        "PREPARE" if at.eat(&["TRANSACTION"]) => Command::PrepareTransaction,
        "SET" => set(at),
        "RESET" => Command::Set { local: false },
        "DISCARD" if at.eat(&["ALL"]) => Command::DiscardAll,
        "DEALLOCATE" => deallocate(at),
        "CALL" => Command::Call,
        "DO" => Command::Do,
        "COPY" => Command::Copy,
        "ALTER" if at.eat(&["TYPE"]) => alter_type(at),
        "CREATE" if at.eat(&["TYPE"]) => create_type(at),
        "SELECT" | "WITH" | "VALUES" | "TABLE" | "SHOW" | "EXPLAIN" => Command::Query,
        _ => Command::Other,
    }
}

fn begin(mut at: Cursor<'_>) -> Command {
    at.eat_any(&["WORK", "TRANSACTION"]);
    Command::Begin { options: at.rest().to_owned() }
}

fn end(mut at: Cursor<'_>) -> Command {
    if at.eat(&["PREPARED"]) {
        return Command::Other;
    }
    at.eat_any(&["WORK", "TRANSACTION"]);
    let chain = at.eat(&["AND", "CHAIN"]);
    if !chain {
        at.eat(&["AND", "NO", "CHAIN"]);
    }
    if at.rest().trim_end_matches(';').is_empty() { Command::Commit { chain } } else { Command::OddCommit }
}

fn rollback(mut at: Cursor<'_>) -> Command {
    if at.eat(&["PREPARED"]) {
        return Command::Other;
    }
    at.eat_any(&["WORK", "TRANSACTION"]);
    if at.eat(&["TO"]) { Command::Savepoint } else { Command::Rollback }
}

fn deallocate(mut at: Cursor<'_>) -> Command {
    at.eat(&["PREPARE"]);
    if at.eat(&["ALL"]) { Command::DiscardAll } else { Command::Other }
}

fn set(mut at: Cursor<'_>) -> Command {
    let scope = at.eat_any(&["LOCAL", "SESSION"]);
    if at.eat(&["TRANSACTION"]) {
        return Command::SetTransaction { options: at.rest().to_owned() };
    }
    Command::Set { local: scope == Some("LOCAL") || at.eat(&["CONSTRAINTS"]) }
}

fn alter_type(mut at: Cursor<'_>) -> Command {
    let Some(enum_type) = at.name() else { return Command::AlterType };
    if !at.eat(&["ADD", "VALUE"]) {
        return Command::AlterType;
    }
    at.eat(&["IF", "NOT", "EXISTS"]);
    match at.next().and_then(|token| string_value(token, at.text())) {
        Some(label) => Command::AddEnumValue { enum_type, label },
        None => Command::AlterType,
    }
}

fn create_type(mut at: Cursor<'_>) -> Command {
    match at.name() {
        Some(enum_type) if at.eat(&["AS", "ENUM"]) => Command::CreateEnum { enum_type },
        _ => Command::Other,
    }
}
