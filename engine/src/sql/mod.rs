//! PostgreSQL's surface syntax, as far as it can be known without a server: tokens, statements, and what kind each is.
//!
//! Reading is tolerant by design. A server knows grammar that this module does not, so only what no version accepts is
//! a [`Problem`], and a statement of no known kind is simply [`Command::Other`].

mod classify;
mod command;
mod cursor;
mod digest;
mod effect;
mod inserts;
mod inside;
mod lexer;
mod name;
mod problem;
mod split;
mod statement;
mod token;

#[cfg(test)]
mod classify_tests;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod tests;

pub use classify::{Class, TxRule, classify};
pub use command::Command;
pub(crate) use cursor::Cursor;
pub(crate) use digest::TokensHasher;
pub use digest::{Hasher, content_digest, data_digest, tokens_digest, tokens_digest_with};
pub use effect::{Effect, ReindexTarget};
pub(crate) use inserts::{InsertFrame, insert_frame};
pub use inside::INSIDE;
pub use lexer::Lexer;
pub use name::{QualifiedName, ident_value, quote_ident, string_value};
pub use problem::{Problem, ProblemKind};
pub(crate) use split::{Settled, Strings, settle, split_between};
pub use split::{Split, split, split_with};
pub use statement::Statement;
pub use token::{Invalid, MAX_FILE_LEN, Span, Token, TokenKind};
