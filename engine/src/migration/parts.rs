//! Divides a script into the parts that take effect as one: a transaction, or a single statement outside of any.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::check::Report;
use super::chunk::Chunk;
use super::header::TransactionMode;
use crate::sql::{Class, Command, Effect, QualifiedName, Statement, TokenKind, TxRule, string_value};

/// Statements that take effect together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// How they are run.
    pub kind: PartKind,
    /// Which of the script's statements. The author's own `BEGIN`, `COMMIT` and leading `SET TRANSACTION` belong to no
    /// part. May be empty.
    pub statements: Range<usize>,
}

/// How a part is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartKind {
    /// In one transaction of the engine's, together with the history row.
    Transaction {
        /// What the author asked of the transaction, `ISOLATION LEVEL SERIALIZABLE`: the options of their own `BEGIN`
        /// and of a `SET TRANSACTION` right behind it, fit to be written behind `BEGIN`.
        begin: Option<String>,
    },
    /// A single statement, outside of any transaction block.
    Alone {
        /// What it leaves behind.
        effect: Effect,
    },
    /// A statement that is run in pieces is about to begin: its key is chosen, and its place in it kept, in one
    /// transaction with the record of this part. From here on some of its rows may have been changed.
    Opening(Box<Chunk>),
    /// The pieces of the statement, each in one transaction with the place reached; exactly-once by that.
    Chunked(Box<Chunk>),
}

/// The author's own transaction.
struct Block {
    /// Index of `BEGIN`, or of the `COMMIT AND CHAIN` that began it.
    begin: usize,
    /// Behind its last statement.
    end: usize,
    /// The first statement behind it.
    next: usize,
    options: String,
}

/// What one pass over the statements finds.
#[derive(Default)]
struct Survey {
    blocks: Vec<Block>,
    open: Option<(usize, String)>,
    /// The first statement outside of the author's transactions that cannot run in one.
    loner: Option<usize>,
    savepoint_outside: Option<usize>,
    created_enums: BTreeSet<QualifiedName>,
    /// Labels added to enums that this script did not create, with the index of the statement that adds.
    labels: Vec<(usize, String)>,
    /// The first statement that is to run in pieces.
    chunked: Option<usize>,
}

/// Divides. Errors go to the report; what is returned beside them is a best effort.
pub(super) fn divide(
    text: &str,
    statements: &[Statement],
    mode: TransactionMode,
    report: &mut Report<'_>,
) -> Vec<Part> {
    let mut survey = Survey::default();
    let mut chunks = BTreeMap::new();
    for (index, statement) in statements.iter().enumerate() {
        survey.take(index, statement.text.start, statement.class(text), report);
        if let Some(chunk) = super::chunk::read(text, statement, report) {
            survey.chunk(index, statement.text.start, report);
            chunks.insert(index, chunk);
        }
    }
    if let Some((begin, _)) = survey.open.take()
        && let Some(statement) = statements.get(begin)
    {
        report.error(
            "ME150",
            statement.text.start,
            "the transaction that begins here is never committed",
            Some("end it with `COMMIT;`, or leave `BEGIN` out: the engine opens a transaction of its own"),
        );
    }
    let dividing = Dividing { text, statements, mode, chunks };
    if survey.blocks.is_empty() {
        let piecemeal = matches!(mode, TransactionMode::Off | TransactionMode::PerStatement)
            || survey.loner.is_some()
            || survey.chunked.is_some()
            || survey.labels.iter().any(|(index, label)| dividing.uses_label(*index, label));
        dividing.reject_contradictions(&survey, piecemeal, report);
        if piecemeal {
            return (0..statements.len()).flat_map(|index| dividing.single(index)).collect();
        }
        return vec![dividing.transaction(0..statements.len(), "")];
    }
    dividing.around(&survey.blocks)
}

impl Survey {
    fn take(&mut self, index: usize, at: u32, class: Class, report: &mut Report<'_>) {
        match class.command {
            Command::Begin { options } => {
                if self.open.is_some() {
                    report.error("ME152", at, "this `BEGIN` stands inside a transaction that is still open", None);
                } else {
                    self.open = Some((index, options));
                }
            }
            Command::Commit { chain } => self.commit(index, at, chain, report),
            // It is sent with the statements before it, so that the server's error is the step's.
            Command::OddCommit => {
                if let Some((begin, options)) = self.open.take() {
                    self.blocks.push(Block { begin, end: index + 1, next: index + 1, options });
                }
            }
            Command::Rollback => report.error(
                "ME153",
                at,
                "this takes back the whole transaction, so the migration would have no effect",
                Some("remove it; `ROLLBACK TO` a savepoint is fine"),
            ),
            Command::PrepareTransaction => report.error(
                "ME154",
                at,
                "a migration cannot leave its transaction prepared: nobody could tell whether it took effect",
                None,
            ),
            Command::DiscardAll => report.error(
                "ME160",
                at,
                "this takes the engine's own prepared statements and the runner lock along",
                Some("every step begins with a session that was reset; name what is to go: `DISCARD TEMP`, `DEALLOCATE name`"),
            ),
            Command::Savepoint if self.open.is_none() => {
                self.savepoint_outside.get_or_insert(index);
            }
            Command::CreateEnum { enum_type } => {
                self.created_enums.insert(enum_type);
            }
            Command::AddEnumValue { enum_type, label } if !self.created_enums.contains(&enum_type) => {
                self.labels.push((index, label));
            }
            _ => {}
        }
        match (class.tx, self.open.is_some()) {
            (TxRule::NotInBlock, true) => report.error(
                "ME155",
                at,
                "this statement cannot run inside a transaction, and stands between `BEGIN` and `COMMIT`",
                Some("move it behind the `COMMIT`, or into a migration of its own"),
            ),
            (TxRule::NotInBlock | TxRule::Depends, false) => {
                self.loner.get_or_insert(index);
            }
            _ => {}
        }
    }

    /// A statement that is to run in pieces commits after each of them.
    fn chunk(&mut self, index: usize, at: u32, report: &mut Report<'_>) {
        if self.open.is_some() {
            report.error(
                "ME436",
                at,
                "a statement that is run in pieces commits after each of them, and this one stands between `BEGIN` and `COMMIT`",
                Some("move it behind the `COMMIT`, or into a migration of its own"),
            );
        }
        self.chunked.get_or_insert(index);
    }

    fn commit(&mut self, index: usize, at: u32, chain: bool, report: &mut Report<'_>) {
        let Some((begin, options)) = self.open.take() else {
            return report.error(
                "ME151",
                at,
                "no transaction is open that this could end",
                Some("put `BEGIN;` before"),
            );
        };
        if chain {
            self.open = Some((index, options.clone()));
        }
        self.blocks.push(Block { begin, end: index, next: index + 1, options });
    }
}

struct Dividing<'t> {
    text: &'t str,
    statements: &'t [Statement],
    mode: TransactionMode,
    chunks: BTreeMap<usize, Chunk>,
}

impl Dividing<'_> {
    fn reject_contradictions(&self, survey: &Survey, piecemeal: bool, report: &mut Report<'_>) {
        let at = |index: usize| self.statements.get(index).map_or(0, |statement| statement.text.start);
        if let (TransactionMode::Whole, Some(loner)) = (self.mode, survey.loner) {
            report.error(
                "ME156",
                at(loner),
                "this statement cannot run inside a transaction, but the header says `Transaction: true`",
                Some("write `-- Transaction: false`, or move the statement into a migration of its own"),
            );
        }
        if let (TransactionMode::Whole, Some(chunked)) = (self.mode, survey.chunked) {
            report.error(
                "ME436",
                at(chunked),
                "a statement that is run in pieces commits after each of them, but the header says `Transaction: true`",
                Some("write `-- Transaction: false`, or move the statement into a migration of its own"),
            );
        }
        if let (true, Some(savepoint)) = (piecemeal, survey.savepoint_outside) {
            report.error(
                "ME157",
                at(savepoint),
                "a savepoint outside of a transaction: this script runs statement by statement",
                Some("put `BEGIN;` and `COMMIT;` around the statements that belong together"),
            );
        }
    }

    /// The author's transactions, and one part for each statement between them.
    fn around(&self, blocks: &[Block]) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut next = 0;
        for block in blocks {
            parts.extend((next..block.begin).flat_map(|index| self.single(index)));
            parts.push(self.transaction(block.begin + 1..block.end, &block.options));
            next = block.next;
        }
        parts.extend((next..self.statements.len()).flat_map(|index| self.single(index)));
        parts
    }

    /// One transaction. `SET TRANSACTION` must come before any query, and the engine's own come first, so its options
    /// move into `BEGIN`.
    fn transaction(&self, mut range: Range<usize>, options: &str) -> Part {
        let mut options: Vec<String> = Some(options.to_owned()).filter(|text| !text.is_empty()).into_iter().collect();
        while let Some(first) = self.statements.get(range.start).filter(|_| !range.is_empty()) {
            match first.command(self.text) {
                Command::SetTransaction { options: more } if !starts_with_word(&more, "SNAPSHOT") => options.push(more),
                _ => break,
            }
            range.start += 1;
        }
        let begin = Some(options.join(", ")).filter(|text| !text.is_empty());
        Part { kind: PartKind::Transaction { begin }, statements: range }
    }

    /// A statement by itself.
    fn single(&self, index: usize) -> Vec<Part> {
        let Some(chunk) = self.chunks.get(&index) else { return vec![self.undivided(index)] };
        let part = |kind| Part { kind, statements: index..index + 1 };
        vec![part(PartKind::Opening(Box::new(chunk.clone()))), part(PartKind::Chunked(Box::new(chunk.clone())))]
    }

    /// In a transaction where that is certain to work, because then its outcome is never in doubt.
    fn undivided(&self, index: usize) -> Part {
        let statements = index..index + 1;
        let Some(statement) = self.statements.get(index) else {
            return Part { kind: PartKind::Transaction { begin: None }, statements };
        };
        let class = statement.class(self.text);
        let alone = class.tx != TxRule::Anywhere
            || match class.command {
                Command::Call => self.mode != TransactionMode::PerStatement,
                Command::Do => match self.mode {
                    TransactionMode::Off => true,
                    TransactionMode::PerStatement => false,
                    TransactionMode::Inferred | TransactionMode::Whole => {
                        controls_transactions(statement.sql(self.text))
                    }
                },
                _ => false,
            };
        let kind = if alone { PartKind::Alone { effect: class.effect } } else { PartKind::Transaction { begin: None } };
        Part { kind, statements }
    }

    /// Whether a statement behind `index` holds this enum label as a constant. The server refuses to use a value in the
    /// transaction that added it (SQLSTATE 55P04). `ALTER TYPE … ADD VALUE … AFTER 'label'` is no use.
    fn uses_label(&self, index: usize, label: &str) -> bool {
        let quoted = format!("'{}'", label.replace('\'', "''"));
        self.statements.iter().skip(index + 1).any(|statement| {
            let alters_type = matches!(
                statement.command(self.text),
                Command::AddEnumValue { .. } | Command::AlterType | Command::CreateEnum { .. }
            );
            !alters_type
                && statement.significant(self.text).filter(|token| token.kind.is_string()).any(|token| {
                    let inside = token.kind == TokenKind::DollarString && token.span.of(self.text).contains(&quoted);
                    inside || string_value(token, self.text).is_some_and(|value| value == label)
                })
        })
    }
}

/// Whether the body of a `DO` may end transactions, which it can do only outside of a block.
fn controls_transactions(sql: &str) -> bool {
    sql.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|word| ["COMMIT", "ROLLBACK", "CALL"].iter().any(|control| word.eq_ignore_ascii_case(control)))
}

fn starts_with_word(text: &str, word: &str) -> bool {
    text.split_whitespace().next().is_some_and(|first| first.eq_ignore_ascii_case(word))
}
