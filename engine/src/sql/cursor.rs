//! A walk over the significant tokens of one statement, with as much look-ahead as anyone wants: cloning is free.

use super::lexer::Lexer;
use super::name::{QualifiedName, ident_value};
use super::token::{Token, TokenKind};

/// Reads a statement from left to right.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'t> {
    lexer: Lexer<'t>,
}

impl<'t> Cursor<'t> {
    pub(crate) fn new(lexer: Lexer<'t>) -> Self {
        Self { lexer }
    }

    pub(crate) fn text(&self) -> &'t str {
        self.lexer.text()
    }

    pub(crate) fn next(&mut self) -> Option<Token> {
        self.lexer.by_ref().find(|token| !token.kind.is_trivia())
    }

    pub(crate) fn peek(&self) -> Option<Token> {
        self.clone().next()
    }

    /// Takes these words (in upper case) if they all come next, one after the other.
    pub(crate) fn eat(&mut self, words: &[&str]) -> bool {
        let mut ahead = self.clone();
        let all = words.iter().all(|word| ahead.next().is_some_and(|token| token.is_word(self.text(), word)));
        if all {
            *self = ahead;
        }
        all
    }

    /// Takes one of these words, and says which.
    pub(crate) fn eat_any<'w>(&mut self, words: &[&'w str]) -> Option<&'w str> {
        let token = self.peek()?;
        let found = words.iter().find(|word| token.is_word(self.text(), word))?;
        self.next();
        Some(found)
    }

    /// Takes a token of this kind.
    pub(crate) fn eat_kind(&mut self, kind: TokenKind) -> Option<Token> {
        let token = self.peek().filter(|token| token.kind == kind)?;
        self.next();
        Some(token)
    }

    /// Takes `a`, `a.b` or `a.b.c`, the last two parts of which count.
    pub(crate) fn name(&mut self) -> Option<QualifiedName> {
        let mut name = QualifiedName { schema: None, name: self.ident()? };
        while self.eat_kind(TokenKind::Dot).is_some() {
            name = QualifiedName { schema: Some(name.name), name: self.ident()? };
        }
        Some(name)
    }

    /// Takes `a, b.c, …`.
    pub(crate) fn names(&mut self) -> Vec<QualifiedName> {
        let mut names = Vec::new();
        while let Some(name) = self.name() {
            names.push(name);
            if self.eat_kind(TokenKind::Comma).is_none() {
                break;
            }
        }
        names
    }

    fn ident(&mut self) -> Option<String> {
        let token = self.peek()?;
        let mut ahead = self.clone();
        ahead.next();
        // `U&"…" UESCAPE '!'` names its own escape character.
        let mut escape = '\\';
        if token.kind == TokenKind::UnicodeIdent && ahead.eat(&["UESCAPE"]) {
            let constant = ahead.next()?.span.of(self.text());
            escape = constant.trim_matches('\'').chars().next()?;
        }
        let name = ident_value(token, self.text(), escape)?;
        *self = ahead;
        Some(name)
    }

    /// Takes a list in parentheses, nested ones included, and returns its words and values flat, in upper case. The
    /// option lists that this reads are short.
    pub(crate) fn parenthesized(&mut self) -> Option<Vec<String>> {
        self.eat_kind(TokenKind::LParen)?;
        let mut depth = 1_usize;
        let mut words = Vec::new();
        while depth > 0 {
            let token = self.next()?;
            match token.kind {
                TokenKind::LParen => depth += 1,
                TokenKind::RParen => depth -= 1,
                _ => words.push(token.span.of(self.text()).to_ascii_uppercase()),
            }
        }
        Some(words)
    }

    /// The rest of the statement as written.
    pub(crate) fn rest(&self) -> &'t str {
        let Some(token) = self.peek() else { return "" };
        let mut last = token.span;
        let mut ahead = self.clone();
        while let Some(token) = ahead.next() {
            last = token.span;
        }
        self.text().get(token.span.range().start..last.range().end).unwrap_or_default()
    }
}
