//! Walks over a statement that the rules share.

use crate::sql::{Cursor, Lexer, Span, Token, TokenKind};

/// More ways to read with a [`Cursor`].
pub(crate) trait Read<'t>: Sized {
    /// Where the next token begins; the end of the text at the end.
    fn offset(&self) -> usize;
    /// The items of a list between commas, up to the end or a closing parenthesis, each as a cursor of its own.
    fn items(&mut self) -> Vec<Cursor<'t>>;
    /// The items in parentheses, if one opens here.
    fn paren_items(&mut self) -> Option<Vec<Cursor<'t>>>;
    /// Looks for these words one after the other, outside of parentheses, and goes behind them.
    fn find(&mut self, words: &[&str]) -> bool;
    /// Whether they stand anywhere outside of parentheses.
    fn has(&self, words: &[&str]) -> bool;
    /// What is left, cut off before the first of these words outside of parentheses.
    fn until(&self, words: &[&str]) -> Cursor<'t>;
    /// Takes a whole parenthesis, if one opens here, and gives what is inside as written.
    fn paren_text(&mut self) -> Option<&'t str>;
    /// Takes a column's name.
    fn column(&mut self) -> Option<String>;
    /// Skips everything up to and with the next token of this kind at the same depth.
    fn skip_paren(&mut self);
}

impl<'t> Read<'t> for Cursor<'t> {
    fn offset(&self) -> usize {
        self.peek().map_or(self.text().len(), |token| token.span.range().start)
    }

    fn items(&mut self) -> Vec<Cursor<'t>> {
        let mut items = Vec::new();
        let mut depth = 0_usize;
        let mut span: Option<Span> = None;
        while let Some(token) = self.peek() {
            match token.kind {
                TokenKind::RParen | TokenKind::RBracket if depth == 0 => break,
                TokenKind::Comma if depth == 0 => {
                    items.extend(span.take().map(|span| within(self, span)));
                    self.next();
                    continue;
                }
                kind => depth = deeper(depth, kind),
            }
            span = Some(Span { start: span.map_or(token.span.start, |span| span.start), end: token.span.end });
            self.next();
        }
        items.extend(span.map(|span| within(self, span)));
        items
    }

    fn paren_items(&mut self) -> Option<Vec<Cursor<'t>>> {
        self.eat_kind(TokenKind::LParen)?;
        let items = self.items();
        self.eat_kind(TokenKind::RParen);
        Some(items)
    }

    fn find(&mut self, words: &[&str]) -> bool {
        loop {
            if self.eat(words) {
                return true;
            }
            match self.peek() {
                Some(token) if token.kind == TokenKind::LParen => self.skip_paren(),
                Some(_) => {
                    self.next();
                }
                None => return false,
            }
        }
    }

    fn has(&self, words: &[&str]) -> bool {
        self.clone().find(words)
    }

    fn until(&self, words: &[&str]) -> Cursor<'t> {
        let mut ahead = self.clone();
        let start = self.offset();
        let mut end = start;
        while let Some(token) = ahead.peek() {
            if words.iter().any(|word| token.is_word(self.text(), word)) {
                break;
            }
            if token.kind == TokenKind::LParen {
                let mut inner = ahead.clone();
                inner.skip_paren();
                end = last_before(&ahead, &inner).map_or(end, |last| last.span.range().end);
                ahead = inner;
            } else {
                end = token.span.range().end;
                ahead.next();
            }
        }
        within(self, Span::new(start, end))
    }

    fn paren_text(&mut self) -> Option<&'t str> {
        let open = self.peek().filter(|token| token.kind == TokenKind::LParen)?;
        let start = self.clone();
        self.skip_paren();
        let close = last_before(&start, self)?;
        self.text().get(open.span.range().end..close.span.range().start).map(str::trim)
    }

    fn column(&mut self) -> Option<String> {
        self.name().map(|name| name.name)
    }

    fn skip_paren(&mut self) {
        let mut depth = 0_usize;
        while let Some(token) = self.next() {
            depth = deeper(depth, token.kind);
            if depth == 0 {
                break;
            }
        }
    }
}

fn deeper(depth: usize, kind: TokenKind) -> usize {
    match kind {
        TokenKind::LParen | TokenKind::LBracket => depth + 1,
        TokenKind::RParen | TokenKind::RBracket => depth.saturating_sub(1),
        _ => depth,
    }
}

fn within<'t>(at: &Cursor<'t>, span: Span) -> Cursor<'t> {
    Cursor::new(Lexer::within(at.text(), span, true))
}

/// The last token before `end`, read from `start`.
fn last_before(start: &Cursor<'_>, end: &Cursor<'_>) -> Option<Token> {
    let stop = end.peek().map(|token| token.span.start);
    let mut at = start.clone();
    let mut last = None;
    while let Some(token) = at.next() {
        if stop.is_some_and(|stop| token.span.start >= stop) {
            break;
        }
        last = Some(token);
    }
    last
}
