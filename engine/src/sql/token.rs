//! What the lexer yields: a kind and the bytes it covers. Tokens own nothing, so a file of any size costs only its
//! statements.

use std::ops::Range;

/// Bytes `start..end` of a file. Both lie on character boundaries. 32 bits, because a statement is worth 48 bytes of
/// memory in a file of a million of them; longer files are refused before they are lexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// The longest file that spans can address, in bytes.
pub const MAX_FILE_LEN: usize = u32::MAX as usize - 1;

impl Span {
    /// From byte offsets, which a file of at most [`MAX_FILE_LEN`] bytes always fits.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        let narrow = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { start: narrow(start), end: narrow(end) }
    }

    /// As a range for slicing.
    #[must_use]
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The text it covers; empty when the span belongs to another text.
    #[must_use]
    pub fn of(self, text: &str) -> &str {
        text.get(self.range()).unwrap_or_default()
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(self) -> usize {
        self.range().len()
    }

    /// Whether it covers nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

/// What a token is. Names follow PostgreSQL's own lexer (`src/backend/parser/scan.l`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Spaces, tabs, line ends; at offset 0 also a byte order mark.
    Whitespace,
    /// `-- to the end of the line`, without the line end.
    LineComment,
    /// `/* possibly /* nested */ */`.
    BlockComment,
    /// An unquoted identifier or keyword.
    Word,
    /// `"identifier"`.
    QuotedIdent,
    /// `U&"identifier"`.
    UnicodeIdent,
    /// `'text'` in which a backslash is an ordinary character.
    String,
    /// `E'text'`, or `'text'` while `standard_conforming_strings` is off.
    EscapeString,
    /// `U&'text'`.
    UnicodeString,
    /// `B'0101'`.
    BitString,
    /// `X'1F'`.
    HexString,
    /// `N'text'`.
    NationalString,
    /// `$tag$text$tag$`.
    DollarString,
    /// `1`, `1.5e3`, `0x1F`, `1_000`.
    Number,
    /// `$1`.
    Param,
    /// `+`, `<=`, `::`, `:=`, `..` and the like.
    Operator,
    /// `;`
    Semicolon,
    /// `,`
    Comma,
    /// `.`
    Dot,
    /// `(`
    LParen,
    /// `)`
    RParen,
    /// `[`
    LBracket,
    /// `]`
    RBracket,
    /// Something that no PostgreSQL accepts here.
    Invalid(Invalid),
}

/// Why bytes are no token. The reason is certain: no server version would accept them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Invalid {
    /// A string constant without its closing quote; covers the rest of the file.
    UnterminatedString,
    /// A quoted identifier without its closing quote; covers the rest of the file.
    UnterminatedIdent,
    /// A dollar quote without its closing tag; covers the rest of the file.
    UnterminatedDollar,
    /// A block comment without its end; covers the rest of the file.
    UnterminatedComment,
    /// A backslash outside of a string: a psql meta-command; covers the rest of the line.
    MetaCommand,
    /// A `#` as the first token of a statement: a comment of another language; covers the rest of the line.
    HashComment,
    /// A NUL byte.
    Nul,
    /// `""`, which names nothing.
    EmptyIdent,
    /// A character that begins no token, `{` for example.
    Character,
}

impl TokenKind {
    /// White space or a comment: never sent, never counted.
    #[must_use]
    pub fn is_trivia(self) -> bool {
        matches!(self, Self::Whitespace | Self::LineComment | Self::BlockComment)
    }

    /// A string constant of any spelling.
    #[must_use]
    pub fn is_string(self) -> bool {
        matches!(
            self,
            Self::String | Self::EscapeString | Self::UnicodeString | Self::NationalString | Self::DollarString
        )
    }
}

/// One token. The tokens of a text cover each of its bytes exactly once, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it stands, counted in bytes of the whole text.
    pub span: Span,
}

impl Token {
    /// Whether it is this unquoted word, whatever the case. `word` is given in upper case.
    #[must_use]
    pub fn is_word(&self, text: &str, word: &str) -> bool {
        self.kind == TokenKind::Word && self.span.of(text).eq_ignore_ascii_case(word)
    }
}
