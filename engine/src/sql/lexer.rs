//! PostgreSQL's lexical rules over a `&str`: one pass, no copies, no recursion, time linear in the length.
//!
//! The rules are those of `src/backend/parser/scan.l` and, for what the server never sees, of psql's
//! `src/fe_utils/psqlscan.l`. Every byte belongs to exactly one token, also in a broken file.

use super::token::{Invalid, Span, Token, TokenKind};

/// An endless supply of tokens until the end of the text.
#[derive(Debug, Clone)]
pub struct Lexer<'t> {
    text: &'t str,
    /// The bytes up to the end of what is lexed.
    bytes: &'t [u8],
    at: usize,
    standard_strings: bool,
    continuation: Continuation,
}

/// Whether the next quote would continue an `E''` string, as SQL has it for constants on successive lines:
/// `E'a\n'` line end `'b\''` is one constant with escapes in both halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Continuation {
    No,
    NeedsLineEnd,
    Open,
}

impl<'t> Lexer<'t> {
    /// Lexes a whole text that begins with `standard_conforming_strings` on.
    #[must_use]
    pub fn new(text: &'t str) -> Self {
        Self::within(text, Span::new(0, text.len()), true)
    }

    /// Lexes a part of a text. Spans count from the beginning of the text.
    #[must_use]
    pub fn within(text: &'t str, span: Span, standard_strings: bool) -> Self {
        let end = span.range().end.min(text.len());
        Self {
            text,
            bytes: text.as_bytes().get(..end).unwrap_or_default(),
            at: span.range().start.min(end),
            standard_strings,
            continuation: Continuation::No,
        }
    }

    /// Offset of the next token.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Goes on at another place, forward: after the data of a COPY.
    pub fn skip_to(&mut self, offset: usize) {
        self.at = offset.clamp(self.at, self.bytes.len());
        self.continuation = Continuation::No;
    }

    /// Goes back to the start of a token and takes the rest of its line for one [`Invalid::HashComment`].
    pub fn take_hash_comment(&mut self, token: Token) -> Token {
        self.at = token.span.range().start;
        self.skip_line();
        Token { kind: TokenKind::Invalid(Invalid::HashComment), span: Span::new(token.span.range().start, self.at) }
    }

    /// What `SET standard_conforming_strings` says from here on.
    pub fn set_standard_strings(&mut self, on: bool) {
        self.standard_strings = on;
    }

    /// Whether a backslash in `'…'` is an ordinary character here.
    #[must_use]
    pub fn standard_strings(&self) -> bool {
        self.standard_strings
    }

    /// The text being lexed.
    #[must_use]
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// The byte so many places on; zero past the end, which no caller takes for a NUL byte.
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn take_while(&mut self, accept: impl Fn(u8) -> bool) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|byte| !accept(*byte)).unwrap_or(rest.len());
    }

    fn skip_line(&mut self) {
        self.take_while(|byte| byte != b'\n' && byte != b'\r');
    }

    fn one(&mut self, kind: TokenKind) -> TokenKind {
        self.at += 1;
        kind
    }

    fn scan(&mut self, byte: u8) -> TokenKind {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => {
                self.take_while(is_space);
                TokenKind::Whitespace
            }
            0xef if self.at == 0 && self.bytes.starts_with("\u{feff}".as_bytes()) => {
                self.at = 3;
                TokenKind::Whitespace
            }
            b'-' if self.peek(1) == b'-' => {
                self.skip_line();
                TokenKind::LineComment
            }
            b'/' if self.peek(1) == b'*' => self.block_comment(),
            b'\'' => self.plain_string(0, TokenKind::String),
            b'"' => self.quoted_ident(0, TokenKind::QuotedIdent),
            b'$' => self.dollar(),
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_ascii_digit() => self.number(),
            b'.' if self.peek(1) == b'.' => {
                self.at += 2;
                TokenKind::Operator
            }
            b'.' => self.one(TokenKind::Dot),
            b';' => self.one(TokenKind::Semicolon),
            b',' => self.one(TokenKind::Comma),
            b'(' => self.one(TokenKind::LParen),
            b')' => self.one(TokenKind::RParen),
            b'[' => self.one(TokenKind::LBracket),
            b']' => self.one(TokenKind::RBracket),
            b':' => {
                self.at += if matches!(self.peek(1), b':' | b'=') { 2 } else { 1 };
                TokenKind::Operator
            }
            b'\\' => {
                self.skip_line();
                TokenKind::Invalid(Invalid::MetaCommand)
            }
            0 => self.one(TokenKind::Invalid(Invalid::Nul)),
            _ if is_ident_start(byte) => self.word_or_prefixed(byte),
            _ if is_operator(byte) => self.operator(),
            _ => self.one(TokenKind::Invalid(Invalid::Character)),
        }
    }

    /// A word, unless it is one of the letters that change the meaning of the quote right behind it.
    fn word_or_prefixed(&mut self, byte: u8) -> TokenKind {
        match (byte | 0x20, self.peek(1), self.peek(2)) {
            (b'e', b'\'', _) => self.escape_string(1),
            (b'n', b'\'', _) => self.plain_string(1, TokenKind::NationalString),
            (b'b', b'\'', _) => self.quoted(1, b'\'', TokenKind::BitString, Invalid::UnterminatedString),
            (b'x', b'\'', _) => self.quoted(1, b'\'', TokenKind::HexString, Invalid::UnterminatedString),
            (b'u', b'&', b'\'') => self.quoted(2, b'\'', TokenKind::UnicodeString, Invalid::UnterminatedString),
            (b'u', b'&', b'"') => self.quoted_ident(2, TokenKind::UnicodeIdent),
            _ => {
                self.take_while(is_ident_part);
                TokenKind::Word
            }
        }
    }

    /// `'…'` or `N'…'`, whose backslashes depend on the settings and on an `E''` string that it may continue.
    fn plain_string(&mut self, prefix: usize, kind: TokenKind) -> TokenKind {
        let continues = prefix == 0 && self.continuation == Continuation::Open;
        if continues || !self.standard_strings {
            self.escape_string(prefix)
        } else {
            self.quoted(prefix, b'\'', kind, Invalid::UnterminatedString)
        }
    }

    /// From the quote after `prefix` bytes to its partner; a doubled quote stands for one.
    fn quoted(&mut self, prefix: usize, quote: u8, kind: TokenKind, unterminated: Invalid) -> TokenKind {
        self.at += prefix + 1;
        loop {
            self.take_while(|byte| byte != quote);
            if self.at >= self.bytes.len() {
                return TokenKind::Invalid(unterminated);
            }
            self.at += 1;
            if self.peek(0) != quote {
                return kind;
            }
            self.at += 1;
        }
    }

    fn quoted_ident(&mut self, prefix: usize, kind: TokenKind) -> TokenKind {
        let start = self.at;
        let kind = self.quoted(prefix, b'"', kind, Invalid::UnterminatedIdent);
        let empty = self.at == start + prefix + 2 && !matches!(kind, TokenKind::Invalid(_));
        if empty { TokenKind::Invalid(Invalid::EmptyIdent) } else { kind }
    }

    fn escape_string(&mut self, prefix: usize) -> TokenKind {
        self.at += prefix + 1;
        loop {
            self.take_while(|byte| byte != b'\'' && byte != b'\\');
            if self.at >= self.bytes.len() {
                self.at = self.bytes.len();
                return TokenKind::Invalid(Invalid::UnterminatedString);
            }
            let doubled_or_escaped = self.peek(0) == b'\\' || self.peek(1) == b'\'';
            if !doubled_or_escaped {
                self.at += 1;
                return TokenKind::EscapeString;
            }
            self.at += 2;
        }
    }

    fn block_comment(&mut self) -> TokenKind {
        self.at += 2;
        let mut depth = 1_usize;
        loop {
            self.take_while(|byte| byte != b'*' && byte != b'/');
            if self.at >= self.bytes.len() {
                return TokenKind::Invalid(Invalid::UnterminatedComment);
            }
            match (self.peek(0), self.peek(1)) {
                (b'*', b'/') => {
                    self.at += 2;
                    depth -= 1;
                    if depth == 0 {
                        return TokenKind::BlockComment;
                    }
                }
                (b'/', b'*') => {
                    self.at += 2;
                    depth += 1;
                }
                _ => self.at += 1,
            }
        }
    }

    /// `$1`, `$$…$$`, `$tag$…$tag$`, or a lone dollar sign.
    fn dollar(&mut self) -> TokenKind {
        let start = self.at;
        self.at += 1;
        if self.peek(0).is_ascii_digit() {
            self.take_while(|byte| byte.is_ascii_digit());
            return TokenKind::Param;
        }
        if is_ident_start(self.peek(0)) {
            self.take_while(|byte| is_ident_part(byte) && byte != b'$');
        }
        if self.peek(0) != b'$' {
            self.at = start + 1;
            return TokenKind::Invalid(Invalid::Character);
        }
        self.at += 1;
        // The first later occurrence of the same tag ends the quote, whatever dollar signs stand before it: scan.l
        // puts back the last `$` of a tag that does not match, which amounts to a search for the text.
        let tag = self.text.get(start..self.at).unwrap_or_default();
        let body = self.text.get(self.at..self.bytes.len()).unwrap_or_default();
        match body.find(tag) {
            Some(found) => {
                self.at += found + tag.len();
                TokenKind::DollarString
            }
            None => {
                self.at = self.bytes.len();
                TokenKind::Invalid(Invalid::UnterminatedDollar)
            }
        }
    }

    /// Numbers as PostgreSQL 16 writes them. Letters that make no number are left to the next token, as older servers
    /// do: `1E'\''` is a number and a string.
    fn number(&mut self) -> TokenKind {
        let radix_digit: Option<fn(u8) -> bool> = match (self.peek(0), self.peek(1) | 0x20) {
            (b'0', b'x') => Some(|byte| byte.is_ascii_hexdigit()),
            (b'0', b'o') => Some(|byte| (b'0'..=b'7').contains(&byte)),
            (b'0', b'b') => Some(|byte| byte == b'0' || byte == b'1'),
            _ => None,
        };
        if let Some(accept) = radix_digit
            && accept(self.peek(2))
        {
            self.at += 2;
            self.digits(accept);
            return TokenKind::Number;
        }
        self.digits(|byte| byte.is_ascii_digit());
        if self.peek(0) == b'.' && self.peek(1) != b'.' {
            self.at += 1;
            self.digits(|byte| byte.is_ascii_digit());
        }
        if self.peek(0) | 0x20 == b'e' {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if self.peek(1 + sign).is_ascii_digit() {
                self.at += 1 + sign;
                self.digits(|byte| byte.is_ascii_digit());
            }
        }
        TokenKind::Number
    }

    /// Digits with single underscores between them.
    fn digits(&mut self, accept: impl Fn(u8) -> bool) {
        while accept(self.peek(0)) || (self.peek(0) == b'_' && accept(self.peek(1))) {
            self.at += 1;
        }
    }

    /// The longest run of operator characters that holds no start of a comment, less trailing signs: `a=-1` is
    /// three tokens, `a @-b` keeps `@-`.
    fn operator(&mut self) -> TokenKind {
        let start = self.at;
        while is_operator(self.peek(0)) && !matches!((self.peek(0), self.peek(1)), (b'-', b'-') | (b'/', b'*')) {
            self.at += 1;
        }
        let run = self.bytes.get(start..self.at).unwrap_or_default();
        if !run.iter().any(|byte| b"~!@#^&|`?%".contains(byte)) {
            let signs = run.iter().skip(1).rev().take_while(|byte| matches!(byte, b'+' | b'-')).count();
            self.at -= signs;
        }
        TokenKind::Operator
    }

    fn follow_continuation(&mut self, token: Token) {
        self.continuation = match (token.kind, self.continuation) {
            (TokenKind::EscapeString, _) => Continuation::NeedsLineEnd,
            (TokenKind::Whitespace, Continuation::NeedsLineEnd) if token.span.of(self.text).contains(['\n', '\r']) => {
                Continuation::Open
            }
            (TokenKind::Whitespace | TokenKind::LineComment, state) => state,
            _ => Continuation::No,
        };
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let start = self.at;
        let byte = *self.bytes.get(start)?;
        let kind = self.scan(byte);
        let token = Token { kind, span: Span::new(start, self.at) };
        self.follow_continuation(token);
        Some(token)
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn is_ident_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_ident_part(byte: u8) -> bool {
    is_ident_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn is_operator(byte: u8) -> bool {
    matches!(
        byte,
        b'+' | b'-'
            | b'*'
            | b'/'
            | b'<'
            | b'>'
            | b'='
            | b'~'
            | b'!'
            | b'@'
            | b'#'
            | b'%'
            | b'^'
            | b'&'
            | b'|'
            | b'`'
            | b'?'
    )
}
