//! What is certainly wrong with the text of a script, before any server sees it.

use super::token::Invalid;

/// A syntax problem and where to point. Only what every PostgreSQL refuses is one: newer servers know grammar that
/// this lexer does not, so the rest is theirs to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub kind: ProblemKind,
    /// Byte offset of the cause. For something unterminated that is where it opened.
    pub at: u32,
}

/// The kinds of syntax problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProblemKind {
    /// See [`Invalid`].
    #[error("{}", invalid_message(*.0))]
    Token(Invalid),
    /// An opening parenthesis without its partner.
    #[error("this `(` is never closed in its statement")]
    UnclosedParen,
    /// A closing parenthesis without its partner.
    #[error("this `)` closes nothing")]
    UnopenedParen,
    /// `BEGIN ATOMIC` without its `END`.
    #[error("this `BEGIN ATOMIC` body has no `END`")]
    UnclosedBody,
    /// More statement text on the line of `COPY … FROM stdin;`, whose data begins on the next line.
    #[error("the data of `COPY … FROM stdin` begins on the next line: nothing may follow the `;` on this one")]
    TextAfterCopy,
}

fn invalid_message(invalid: Invalid) -> &'static str {
    match invalid {
        Invalid::UnterminatedString => "the string that opens here is never closed",
        Invalid::UnterminatedIdent => "the quoted identifier that opens here is never closed",
        Invalid::UnterminatedDollar => "the dollar quote that opens here is never closed",
        Invalid::UnterminatedComment => "the comment that opens here is never closed",
        Invalid::MetaCommand => "psql meta-commands are not SQL; the server cannot run this",
        Invalid::HashComment => "`#` begins no comment in SQL",
        Invalid::Nul => "a NUL byte; PostgreSQL text cannot hold one",
        Invalid::EmptyIdent => "a quoted identifier of length zero names nothing",
        Invalid::Character => "a character that begins nothing in SQL",
    }
}

impl ProblemKind {
    /// Its stable diagnostic code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Token(Invalid::UnterminatedString) => "ME120",
            Self::Token(Invalid::UnterminatedIdent) => "ME121",
            Self::Token(Invalid::UnterminatedDollar) => "ME122",
            Self::Token(Invalid::UnterminatedComment) => "ME123",
            Self::Token(Invalid::MetaCommand) => "ME124",
            Self::Token(Invalid::HashComment) => "ME125",
            Self::UnclosedParen => "ME126",
            Self::UnopenedParen => "ME127",
            Self::TextAfterCopy => "ME128",
            Self::Token(Invalid::EmptyIdent | Invalid::Character) => "ME129",
            Self::UnclosedBody => "ME119",
            Self::Token(Invalid::Nul) => "ME107",
        }
    }

    /// What to do about it, where that is not plain from the message.
    #[must_use]
    pub fn help(self) -> Option<&'static str> {
        match self {
            Self::Token(Invalid::HashComment) => Some("SQL comments are `-- to the end of the line` or `/* … */`"),
            Self::Token(Invalid::MetaCommand) => {
                Some("write the SQL out, or put what the command did into a migration of its own")
            }
            Self::Token(Invalid::UnterminatedString) => {
                Some("a quote inside a string is doubled: `'it''s'`; a backslash escapes only in `E'…'`")
            }
            Self::Token(Invalid::UnterminatedComment) => Some("block comments nest: each `/*` needs a `*/` of its own"),
            Self::Token(Invalid::Character) => Some("placeholders of template languages are not filled in here"),
            _ => None,
        }
    }
}
