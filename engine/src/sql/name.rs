//! Names as the catalog stores them.

use std::fmt;

use super::token::{Token, TokenKind};

/// The length at which PostgreSQL cuts a name, in bytes (`NAMEDATALEN - 1`).
const MAX_NAME_LEN: usize = 63;

/// A name with or without its schema, each as the catalog stores it: unquoted parts in lower case, quotes and `U&`
/// escapes resolved, cut at 63 bytes. Displayed with quotes where they are needed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedName {
    /// The schema, where one was written.
    pub schema: Option<String>,
    /// The object.
    pub name: String,
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", quote_ident(schema))?;
        }
        f.write_str(&quote_ident(&self.name))
    }
}

/// A name as it must be written in SQL. Quotes whatever is not plainly lower case; also a few words that are reserved
/// in every server version, since quoting one too many does no harm.
#[must_use]
pub fn quote_ident(name: &str) -> String {
    let plain = name.bytes().enumerate().all(|(index, byte)| {
        byte.is_ascii_lowercase() || byte == b'_' || (index > 0 && (byte.is_ascii_digit() || byte == b'$'))
    });
    if plain && !name.is_empty() && !RESERVED.contains(&name) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// Reserved key words, PostgreSQL 18, appendix C, those that cannot be a table name.
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
];

/// What an identifier token names; nothing for other tokens. `escape` is the character of a `UESCAPE` clause.
#[must_use]
pub fn ident_value(token: Token, text: &str, escape: char) -> Option<String> {
    let written = token.span.of(text);
    let name = match token.kind {
        TokenKind::Word => written.to_ascii_lowercase(),
        TokenKind::QuotedIdent => unquote(written, '"')?,
        TokenKind::UnicodeIdent => decode_unicode(&unquote(written.get(2..)?, '"')?, escape)?,
        _ => return None,
    };
    Some(truncate(name))
}

/// What a string constant says, with its escapes resolved; nothing for other tokens and for malformed escapes.
#[must_use]
pub fn string_value(token: Token, text: &str) -> Option<String> {
    let written = token.span.of(text);
    match token.kind {
        TokenKind::String => unquote(written, '\''),
        TokenKind::NationalString => unquote(written.get(1..)?, '\''),
        TokenKind::UnicodeString => decode_unicode(&unquote(written.get(2..)?, '\'')?, '\\'),
        TokenKind::EscapeString => Some(decode_escapes(written.trim_start_matches(['e', 'E', 'n', 'N']))),
        TokenKind::DollarString => {
            let tag = written.get(..written.get(1..)?.find('$')? + 2)?;
            Some(written.strip_prefix(tag)?.strip_suffix(tag)?.to_owned())
        }
        _ => None,
    }
}

fn unquote(written: &str, quote: char) -> Option<String> {
    let inner = written.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut doubled = String::from(quote);
    doubled.push(quote);
    Some(inner.replace(&doubled, quote.encode_utf8(&mut [0; 4])))
}

/// `\0061` and `\+000061`, with surrogate pairs.
fn decode_unicode(inner: &str, escape: char) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        if c != escape {
            units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
            continue;
        }
        let after = rest.as_str();
        if after.starts_with(escape) {
            units.extend_from_slice(escape.encode_utf16(&mut [0; 2]));
            rest.next();
            continue;
        }
        let (skip, digits) = if after.starts_with('+') { (7, after.get(1..7)?) } else { (4, after.get(..4)?) };
        let code = u32::from_str_radix(digits, 16).ok()?;
        match u16::try_from(code) {
            Ok(unit) => units.push(unit),
            Err(_) => units.extend_from_slice(char::from_u32(code)?.encode_utf16(&mut [0; 2])),
        }
        rest = after.get(skip..)?.chars();
    }
    String::from_utf16(&units).ok()
}

/// The escapes of `E'…'` that labels of an enum could hold: the letters, octal and hexadecimal bytes below 128, `\u`.
fn decode_escapes(written: &str) -> String {
    let inner = written.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(written);
    let mut value = String::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        match c {
            '\'' => {
                rest.next();
                value.push('\'');
            }
            '\\' => match rest.next() {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('r') => value.push('\r'),
                Some('b') => value.push('\u{8}'),
                Some('f') => value.push('\u{c}'),
                Some(kind @ ('u' | 'U' | 'x')) => {
                    let most = match kind {
                        'x' => 2,
                        'u' => 4,
                        _ => 8,
                    };
                    let digits = rest.as_str().bytes().take(most).take_while(u8::is_ascii_hexdigit).count();
                    let code = rest.as_str().get(..digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
                    value.extend(code.and_then(char::from_u32));
                    rest = rest.as_str().get(digits..).unwrap_or_default().chars();
                }
                Some(other) => value.push(other),
                None => {}
            },
            _ => value.push(c),
        }
    }
    value
}

fn truncate(mut name: String) -> String {
    if name.len() > MAX_NAME_LEN {
        let mut end = MAX_NAME_LEN;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
    }
    name
}
