//! One statement of a script.

use super::lexer::Lexer;
use super::token::{Span, Token};
use crate::diag::Position;

/// Where one statement stands in its file. It holds no text: about 50 bytes each, whatever its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// Everything from the end of the piece before to the end of this one: comments above, `;`, COPY data with `\.`.
    pub piece: Span,
    /// What the server gets: from the first token to the last, without the `;`.
    pub text: Span,
    /// From the first of the comment lines directly above up to the statement, if there are any.
    pub comments: Option<Span>,
    /// The data lines of `COPY … FROM stdin`, without the closing `\.`.
    pub copy_data: Option<Span>,
    /// Where [`text`](Self::text) begins.
    pub position: Position,
    /// Whether a backslash in `'…'` is an ordinary character for this statement.
    pub standard_strings: bool,
}

impl Statement {
    /// The SQL as the server gets it. `text` is the whole file.
    #[must_use]
    pub fn sql<'t>(&self, text: &'t str) -> &'t str {
        self.text.of(text)
    }

    /// All tokens of the SQL, white space and comments too. Lexed again at each call.
    #[must_use]
    pub fn tokens<'t>(&self, text: &'t str) -> Lexer<'t> {
        Lexer::within(text, self.text, self.standard_strings)
    }

    /// The tokens that mean something.
    pub fn significant<'t>(&self, text: &'t str) -> impl Iterator<Item = Token> + use<'t> {
        self.tokens(text).filter(|token| !token.kind.is_trivia())
    }

    /// The line comments directly above, without their dashes, trimmed, each with the offset of its first dash.
    pub fn comment_lines<'t>(&self, text: &'t str) -> impl Iterator<Item = (usize, &'t str)> + use<'t> {
        let span = self.comments.unwrap_or(Span::new(0, 0));
        Lexer::within(text, span, true)
            .filter(|token| token.kind == super::token::TokenKind::LineComment)
            .map(move |token| (token.span.range().start, token.span.of(text).trim_start_matches('-').trim()))
    }
}
