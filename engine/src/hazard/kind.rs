//! Types as they are written, and which changes between them leave the table alone.

use crate::sql::{Cursor, QualifiedName, TokenKind};

/// A type as written, spellings made one: `character varying(10)` and `varchar(10)` are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeName {
    /// `varchar`, `int8`, or the name of a type of the user's.
    pub(crate) base: String,
    /// The schema, where one was written.
    pub(crate) schema: Option<String>,
    /// What stands in parentheses.
    pub(crate) modifiers: Vec<u32>,
    /// `[]` or `ARRAY`.
    pub(crate) array: bool,
}

impl TypeName {
    /// As a name, to look a domain up.
    pub(crate) fn name(&self) -> QualifiedName {
        QualifiedName { schema: self.schema.clone(), name: self.base.clone() }
    }

    fn is(&self, base: &str) -> bool {
        self.base == base && !self.array
    }

    fn first(&self) -> Option<u32> {
        self.modifiers.first().copied()
    }
}

/// Reads a type from where the cursor stands.
pub(crate) fn type_name(at: &mut Cursor<'_>) -> Option<TypeName> {
    at.eat(&["SETOF"]);
    let name = at.name()?;
    let plain = name.schema.as_deref().is_none_or(|schema| schema == "pg_catalog");
    let mut base = name.name;
    if plain {
        base = spelled(&base, at);
    }
    let modifiers = modifiers(at);
    if matches!(base.as_str(), "timestamp" | "time") && plain {
        if at.eat(&["WITH", "TIME", "ZONE"]) {
            base.push_str("tz");
        } else {
            at.eat(&["WITHOUT", "TIME", "ZONE"]);
        }
    }
    let array = at.eat(&["ARRAY"]) || at.peek().is_some_and(|token| token.kind == TokenKind::LBracket);
    while at.peek().is_some_and(|token| matches!(token.kind, TokenKind::LBracket | TokenKind::RBracket)) {
        at.next();
        at.eat_kind(TokenKind::Number);
    }
    Some(TypeName { base, schema: name.schema.filter(|_| !plain), modifiers, array })
}

fn spelled(base: &str, at: &mut Cursor<'_>) -> String {
    match base {
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "boolean" => "bool",
        "real" => "float4",
        "float" => "float8",
        "decimal" | "dec" => "numeric",
        "serial4" => "serial",
        "serial8" => "bigserial",
        "serial2" => "smallserial",
        "double" => {
            at.eat(&["PRECISION"]);
            "float8"
        }
        "character" | "char" | "nchar" if at.eat(&["VARYING"]) => "varchar",
        "character" | "char" | "nchar" => "bpchar",
        "bit" if at.eat(&["VARYING"]) => "varbit",
        other => other,
    }
    .to_owned()
}

fn modifiers(at: &mut Cursor<'_>) -> Vec<u32> {
    if at.peek().is_none_or(|token| token.kind != TokenKind::LParen) {
        return Vec::new();
    }
    at.parenthesized().unwrap_or_default().iter().filter_map(|word| word.parse().ok()).collect()
}

/// What becomes of a table when a column's type changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing but the catalog.
    Free,
    /// Nothing where the session's time zone is UTC, a rewrite elsewhere.
    FreeAtUtc,
    /// Mostly free, as far as the new type tells; the old one is not known.
    Likely,
    /// It is written anew.
    Rewrite,
}

/// Judges a change without `USING`. The rules are those of `ATColumnChangeRequiresRewrite` and of the length coercions
/// that the planner removes (`varchar_support`, `numeric_support`, `timestamp_support`).
pub(crate) fn change(from: Option<&TypeName>, to: &TypeName) -> Change {
    let Some(from) = from else {
        // Without the old type: these are mostly reached from their own like, and then free.
        let open = to.modifiers.is_empty() && (to.is("text") || to.is("numeric") || to.is("varbit"));
        return if open || to.is("varchar") { Change::Likely } else { Change::Rewrite };
    };
    if from == to {
        return Change::Free;
    }
    let wider = |default: u32| match (from.first(), to.first()) {
        (_, None) => true,
        (None, Some(new)) => new >= default,
        (Some(old), Some(new)) => new >= old,
    };
    if from.array != to.array {
        return Change::Rewrite;
    }
    match (from.base.as_str(), to.base.as_str()) {
        ("varchar" | "text", "text") => Change::Free,
        ("text", "varchar") if to.modifiers.is_empty() => Change::Free,
        ("varchar", "varchar") | ("varbit", "varbit") if from.first().is_some() && wider(0) => Change::Free,
        ("numeric", "numeric") if to.modifiers.is_empty() => Change::Free,
        ("numeric", "numeric") => {
            let scale = |of: &TypeName| of.modifiers.get(1).copied().unwrap_or(0);
            let free = from.first().is_some() && wider(0) && scale(from) == scale(to);
            if free { Change::Free } else { Change::Rewrite }
        }
        ("timestamp", "timestamptz") | ("timestamptz", "timestamp") if from.modifiers == to.modifiers => {
            Change::FreeAtUtc
        }
        (old, new) if old == new && matches!(old, "timestamp" | "timestamptz" | "time" | "timetz") && wider(6) => {
            Change::Free
        }
        ("cidr", "inet") | ("citext", "text") => Change::Free,
        _ => Change::Rewrite,
    }
}

/// Whether a default's expression gives each row a value of its own, so that adding the column writes every row.
/// The name is that of the first function at fault; a function of the user's is volatile unless declared otherwise.
pub(crate) fn volatile_call(at: &Cursor<'_>) -> Option<(String, bool)> {
    let mut at = at.clone();
    let mut behind_cast = false;
    while let Some(token) = at.peek() {
        let start = at.clone();
        if let Some(name) = at.name() {
            let call = at.peek().is_some_and(|next| next.kind == TokenKind::LParen) && !behind_cast;
            if call && VOLATILE.contains(&name.name.as_str()) {
                return Some((name.to_string(), true));
            }
            let keyword = start.clone().next().is_some_and(|first| first.kind == TokenKind::Word)
                && NOT_FUNCTIONS.contains(&name.name.as_str());
            if call && !keyword && !STEADY.contains(&name.name.as_str()) {
                return Some((name.to_string(), false));
            }
            behind_cast = name.name == "character" || name.name == "bit";
            continue;
        }
        at = start;
        at.next();
        behind_cast = token.span.of(at.text()) == "::";
    }
    None
}

/// Volatile functions that defaults use.
const VOLATILE: &[&str] = &[
    "clock_timestamp",
    "timeofday",
    "random",
    "random_normal",
    "gen_random_uuid",
    "uuidv4",
    "uuidv7",
    "nextval",
    "currval",
    "setval",
    "gen_random_bytes",
    "uuid_generate_v1",
    "uuid_generate_v1mc",
    "uuid_generate_v4",
    "txid_current_if_assigned",
    "pg_sleep",
    "lastval",
];

/// Words before a parenthesis that call nothing volatile.
const NOT_FUNCTIONS: &[&str] = &[
    "cast",
    "row",
    "array",
    "varchar",
    "char",
    "character",
    "varying",
    "numeric",
    "decimal",
    "bit",
    "timestamp",
    "time",
    "interval",
    "in",
    "and",
    "or",
    "not",
    "when",
    "then",
    "else",
    "case",
    "as",
    "between",
    "default",
    "check",
    "references",
    "using",
    "any",
    "all",
    "is",
    "float",
    "null",
    "key",
    "unique",
    "collate",
    "with",
    "include",
];

/// Stable and immutable functions: all rows get one value, kept in the catalog since PostgreSQL 11.
const STEADY: &[&str] = &[
    "now",
    "transaction_timestamp",
    "statement_timestamp",
    "current_setting",
    "current_timestamp",
    "localtimestamp",
    "current_time",
    "localtime",
    "to_timestamp",
    "to_date",
    "to_char",
    "to_number",
    "to_tsvector",
    "to_tsquery",
    "date_trunc",
    "date_part",
    "date_bin",
    "extract",
    "age",
    "lower",
    "upper",
    "initcap",
    "trim",
    "btrim",
    "ltrim",
    "rtrim",
    "coalesce",
    "nullif",
    "greatest",
    "least",
    "concat",
    "concat_ws",
    "format",
    "replace",
    "substring",
    "substr",
    "left",
    "right",
    "length",
    "char_length",
    "octet_length",
    "md5",
    "sha256",
    "encode",
    "decode",
    "abs",
    "round",
    "floor",
    "ceil",
    "ceiling",
    "trunc",
    "mod",
    "power",
    "sqrt",
    "make_date",
    "make_time",
    "make_timestamp",
    "make_timestamptz",
    "make_interval",
    "timezone",
    "jsonb_build_object",
    "jsonb_build_array",
    "json_build_object",
    "json_build_array",
    "to_json",
    "to_jsonb",
    "array_append",
    "array_cat",
    "string_to_array",
    "array_to_string",
    "int4range",
    "int8range",
    "numrange",
    "tsrange",
    "tstzrange",
    "daterange",
    "point",
    "inet",
    "text",
    "date",
    "current_schema",
    "uuid_nil",
    "repeat",
    "lpad",
    "rpad",
    "quote_ident",
    "quote_literal",
    "regexp_replace",
    "split_part",
    "justify_hours",
    "justify_days",
    "pg_current_xact_id",
    "txid_current",
    "bigint",
    "int",
    "integer",
    "boolean",
    "jsonb",
    "json",
    "uuid",
    "hstore",
];
