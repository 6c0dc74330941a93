//! Rows for a table, made up from its types, keys and checks: one `INSERT` that the server evaluates.
//!
//! Each column has a few candidate values: one that its type and the row's number `i` give, and the literals that the
//! checks on it name. Rows try the candidates in all combinations, the checks themselves filter them, and what a unique
//! constraint refuses is left out. That finds `status IN ('new', 'paid')`, `age BETWEEN 18 AND 65` or `length(code) = 3`
//! without understanding any of them.

use crate::sql::{Lexer, TokenKind, string_value};

/// A type, as far as values of it can be made up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// A type of the server's, or one whose name is known; with its length or precision and scale.
    Plain {
        /// `int4`, `varchar`.
        name: String,
        /// What stands in parentheses.
        modifiers: Vec<u32>,
    },
    /// The labels of an enum.
    Enum(Vec<String>),
    /// Elements.
    Array(Box<Shape>, String),
    /// The subtype of a range type, and how SQL names that.
    Range(Box<Shape>, String),
    /// The range type of a multirange, and how SQL names that.
    Multirange(Box<Shape>, String),
    /// The fields of a composite type, with their types' names.
    Composite(Vec<(Shape, String)>),
    /// The base type with its name, and the domain's checks, written about `VALUE`.
    Domain(Box<Shape>, String, Vec<String>),
}

/// Where a foreign key points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The other table, as SQL names it.
    pub table: String,
    /// Column here, column there, both as SQL names them.
    pub columns: Vec<(String, String)>,
    /// The table itself.
    pub own: bool,
}

/// A column that a value has to be made up for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedColumn {
    /// As SQL names it.
    pub name: String,
    /// Its type, as SQL names it.
    pub type_name: String,
    /// What values it takes.
    pub shape: Shape,
    /// NULL will do.
    pub nullable: bool,
    /// It has a default.
    pub filled: bool,
    /// Its default counts: values of ours would stand in the way of the next ones.
    pub counted: bool,
}

/// A table that takes rows. Generated and identity columns are left out: they fill themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedTable {
    /// As SQL names it.
    pub name: String,
    /// In order.
    pub columns: Vec<SeedColumn>,
    /// Conditions that every row meets: checks, and the bounds of a partition.
    pub checks: Vec<String>,
    /// Foreign keys.
    pub references: Vec<Reference>,
}

/// How many combinations are tried for each row that is asked for.
const TRIES: u64 = 64;

impl SeedTable {
    /// The statement that makes up to `rows` rows, from row number `first` on: other numbers give other rows.
    #[must_use]
    pub fn insert(&self, first: u32, rows: u32) -> String {
        let mut names = Vec::new();
        let mut values = Vec::new();
        let mut joins = String::new();
        for (number, reference) in self.references.iter().enumerate().filter(|(_, reference)| !reference.own) {
            let there: Vec<&str> = reference.columns.iter().map(|(_, there)| there.as_str()).collect();
            let wanted: Vec<String> = there.iter().map(|name| format!("{name} IS NOT NULL")).collect();
            joins.push_str(&format!(
                " LEFT JOIN (SELECT row_number() OVER () AS n, count(*) OVER () AS all_of, {} FROM {} WHERE {}) r{number} \
                 ON r{number}.n = 1 + (i - 1) % r{number}.all_of",
                there.join(", "),
                reference.table,
                wanted.join(" AND "),
            ));
        }
        for column in &self.columns {
            let value = match self.referenced(column) {
                Some(value) => value,
                None if column.counted => continue,
                None => match self.candidates(column) {
                    list if list.is_empty() && (column.filled || column.nullable) => continue,
                    list => chosen(&list, column, &self.alone(column), names.len()),
                },
            };
            names.push(column.name.clone());
            values.push(format!("CAST({value} AS {}) AS {}", column.type_name, column.name));
        }
        if names.is_empty() {
            return format!("INSERT INTO {} SELECT FROM generate_series(1, {rows}) ON CONFLICT DO NOTHING", self.name);
        }
        // A check on a column that fills itself cannot be asked beforehand; the server will.
        let mentioned = |check: &&String| {
            !self.columns.iter().any(|column| !names.contains(&column.name) && mentions(check, &column.name))
        };
        let checks: Vec<String> =
            self.checks.iter().filter(mentioned).map(|check| format!("({check}) IS NOT FALSE")).collect();
        let filter = if checks.is_empty() { String::new() } else { format!(" WHERE {}", checks.join(" AND ")) };
        let (first, rows) = (u64::from(first), u64::from(rows));
        let tries = if checks.is_empty() { rows } else { rows.saturating_mul(TRIES) };
        let last = first + tries - 1;
        format!(
            "INSERT INTO {table} ({names}) SELECT * FROM (SELECT {values} FROM generate_series({first}, {last}) i{joins}) made\
             {filter} LIMIT {rows} ON CONFLICT DO NOTHING",
            table = self.name,
            names = names.join(", "),
            values = values.join(", "),
        )
    }

    /// The value of a column in a foreign key.
    fn referenced(&self, column: &SeedColumn) -> Option<String> {
        let own = |reference: &Reference| {
            let (_, there) = reference.columns.iter().find(|(here, _)| *here == column.name)?;
            if column.nullable {
                return Some("NULL".to_owned());
            }
            // A row may point at itself.
            let there = self.columns.iter().find(|other| other.name == *there && other.name != column.name)?;
            self.candidates(there).into_iter().next()
        };
        for (number, reference) in self.references.iter().enumerate() {
            if let Some((_, there)) = reference.columns.iter().find(|(here, _)| *here == column.name) {
                return if reference.own { own(reference) } else { Some(format!("r{number}.{there}")) };
            }
        }
        None
    }

    /// Checks that speak of this column only.
    fn alone(&self, column: &SeedColumn) -> Vec<&String> {
        let others =
            |check: &String| self.columns.iter().any(|other| other.name != column.name && mentions(check, &other.name));
        self.checks.iter().filter(|check| mentions(check, &column.name) && !others(check)).collect()
    }

    /// SQL expressions over `i`, the plain one first.
    fn candidates(&self, column: &SeedColumn) -> Vec<String> {
        let mut list: Vec<String> = column.shape.value("i").into_iter().collect();
        for check in self.checks.iter().filter(|check| mentions(check, &column.name)) {
            list.extend(column.shape.suggested_by(check));
        }
        if list.is_empty() && !column.nullable && !column.filled {
            // A type that nothing is known of: some read a number, and the error of the others names them.
            list.push("(i)::text".to_owned());
        }
        list.dedup();
        list.truncate(24);
        list
    }
}

/// The candidates that meet the checks on the column alone, in turn; `salt` keeps columns from turning in step.
fn chosen(list: &[String], column: &SeedColumn, checks: &[&String], salt: usize) -> String {
    if let ([one], []) = (list, checks) {
        return one.clone();
    }
    let rows: Vec<String> = list
        .iter()
        .enumerate()
        .map(|(number, value)| format!("({number}, CAST({value} AS {}))", column.type_name))
        .collect();
    let checks: Vec<String> =
        checks.iter().map(|check| format!(" AND ({}) IS NOT FALSE", replaced(check, &column.name, "v.x"))).collect();
    format!(
        "(SELECT v.x FROM (VALUES {}) v(n, x) WHERE true{} ORDER BY hashint8(i * 31 + v.n * 7 + {salt}) LIMIT 1)",
        rows.join(", "),
        checks.concat()
    )
}

impl Shape {
    /// A value for the row number that `i` stands for; none for a type that nothing is known of.
    #[must_use]
    pub fn value(&self, i: &str) -> Option<String> {
        Some(match self {
            Self::Plain { name, modifiers } => plain_value(name, modifiers, i)?,
            Self::Enum(labels) if labels.is_empty() => return None,
            Self::Enum(labels) => {
                let labels: Vec<String> = labels.iter().map(|label| literal(label)).collect();
                format!("(ARRAY[{}])[1 + ({i})::int % {}]", labels.join(", "), labels.len())
            }
            Self::Array(element, name) => format!("ARRAY[CAST({} AS {name})]", element.value(i)?),
            Self::Range(subtype, name) => {
                let (low, high) = (subtype.value(&format!("(2 * {i})"))?, subtype.value(&format!("(2 * {i} + 1)"))?);
                format!("{name}({low}, {high})")
            }
            Self::Multirange(range, name) => format!("{name}({})", range.value(i)?),
            Self::Composite(fields) => {
                let fields: Option<Vec<String>> = fields
                    .iter()
                    .map(|(shape, name)| shape.value(i).map(|value| format!("CAST({value} AS {name})")))
                    .collect();
                format!("ROW({})", fields?.join(", "))
            }
            Self::Domain(base, name, checks) if checks.is_empty() => format!("CAST({} AS {name})", base.value(i)?),
            Self::Domain(base, name, checks) => {
                let mut list: Vec<String> = base.value(i).into_iter().collect();
                list.extend(checks.iter().flat_map(|check| base.suggested_by(check)));
                let tried: Vec<String> = list.iter().map(|value| format!("(CAST({value} AS {name}))")).collect();
                let checks: Vec<String> =
                    checks.iter().map(|check| format!("({}) IS NOT FALSE", replaced(check, "VALUE", "v.x"))).collect();
                format!("(SELECT v.x FROM (VALUES {}) v(x) WHERE {} LIMIT 1)", tried.join(", "), checks.join(" AND "))
            }
        })
    }

    /// Values that the literals of a condition suggest: themselves, their neighbours, texts of such a length.
    fn suggested_by(&self, condition: &str) -> Vec<String> {
        let (text, number) = match self {
            Self::Plain { name, .. } => (is_text(name), is_number(name)),
            Self::Domain(base, ..) => return base.suggested_by(condition),
            _ => (false, false),
        };
        let mut found = Vec::new();
        for token in Lexer::new(condition) {
            let word = token.span.of(condition);
            match token.kind {
                TokenKind::Number if number => {
                    found.extend(["", " + 1", " - 1", " + i"].map(|more| format!("{word}{more}")));
                }
                TokenKind::Number if text => found.push(format!("repeat('x', least(({word})::int, 1000))")),
                _ => {
                    let value = string_value(token, condition);
                    if let Some(value) = value.filter(|value| !number || value.parse::<f64>().is_ok()) {
                        found.push(literal(&value));
                    }
                }
            }
        }
        if text {
            found.extend(["'abc'", "'ABC'", "'a@example.org'", "'https://example.org/'", "''"].map(str::to_owned));
        }
        if number {
            found.extend(["0", "-1"].map(str::to_owned));
        }
        found
    }
}

fn is_text(name: &str) -> bool {
    matches!(name, "text" | "varchar" | "bpchar" | "citext" | "name")
}

fn is_number(name: &str) -> bool {
    matches!(name, "int2" | "int4" | "int8" | "numeric" | "float4" | "float8" | "money")
}

fn plain_value(name: &str, modifiers: &[u32], i: &str) -> Option<String> {
    let first = modifiers.first().copied();
    Some(match name {
        "int2" => format!("(({i}) % 32767)"),
        "int4" | "oid" => format!("(({i}) % 2147483647)::int"),
        "int8" => format!("({i})::bigint"),
        "numeric" => match (first, modifiers.get(1)) {
            (Some(precision), scale) => {
                let digits = precision.min(15);
                format!(
                    "((({i})::numeric % power(10, {digits})::numeric) / power(10, {})::numeric)",
                    scale.unwrap_or(&0)
                )
            }
            (None, _) => format!("(({i}) + 0.5)"),
        },
        "float4" | "float8" => format!("(({i}) + 0.5)"),
        "money" => format!("(({i}) % 1000000)::int::money"),
        "bool" => format!("(({i}) % 2 = 0)"),
        "text" | "varchar" | "citext" | "name" | "bpchar" => match first {
            Some(1) => format!("chr(65 + ({i})::int % 26)"),
            Some(length) => format!("right('value ' || ({i}), {length})"),
            None if name == "bpchar" => format!("chr(65 + ({i})::int % 26)"),
            None => format!("'value ' || ({i})"),
        },
        "char" => format!("chr(65 + ({i})::int % 26)"),
        "bytea" => format!("decode(md5(({i})::text), 'hex')"),
        "uuid" => format!("md5(({i})::text)::uuid"),
        "json" => format!("json_build_object('n', {i})"),
        "jsonb" => format!("jsonb_build_object('n', {i})"),
        "xml" => format!("('<n>' || ({i}) || '</n>')::xml"),
        "date" => format!("(date '2020-01-01' + ({i})::int)"),
        "timestamp" => format!("(timestamp '2020-01-01' + ({i}) * interval '1 minute')"),
        "timestamptz" => format!("(timestamptz '2020-01-01 00:00:00Z' + ({i}) * interval '1 minute')"),
        "time" => format!("(time '00:00' + ({i}) * interval '1 second')"),
        "timetz" => format!("(timetz '00:00Z' + ({i}) * interval '1 second')"),
        "interval" => format!("(({i}) * interval '1 second')"),
        "inet" => format!("(inet '10.0.0.0' + ({i}))"),
        "cidr" => format!("(host(inet '10.0.0.0' + ({i})) || '/32')::cidr"),
        "macaddr" => format!("lpad(to_hex({i}), 12, '0')::macaddr"),
        "macaddr8" => format!("lpad(to_hex({i}), 16, '0')::macaddr8"),
        "bit" | "varbit" => {
            let length = first.unwrap_or(1);
            format!("lpad(right(({i})::bigint::bit(64)::text, {length}), {length}, '0')::bit({length})")
        }
        "tsvector" => format!("to_tsvector('simple', 'word' || ({i}))"),
        "tsquery" => format!("to_tsquery('simple', 'word' || ({i}))"),
        "ltree" => format!("('n' || ({i}))::ltree"),
        "hstore" => format!("('n=>' || ({i}))::hstore"),
        "vector" => {
            let length = first.unwrap_or(3);
            format!("('[' || array_to_string(array_fill(({i})::float8, ARRAY[{length}]), ',') || ']')::vector")
        }
        _ => return geometry(name, i),
    })
}

fn geometry(name: &str, i: &str) -> Option<String> {
    Some(match name {
        "point" => format!("point({i}, {i})"),
        "box" => format!("box(point(0, 0), point({i}, {i}))"),
        "lseg" => format!("lseg(point(0, 0), point({i}, {i}))"),
        "line" => format!("line(point(0, 0), point(1, {i}))"),
        "path" => format!("path(polygon(box(point(0, 0), point({i}, {i}))))"),
        "polygon" => format!("polygon(box(point(0, 0), point({i}, {i})))"),
        "circle" => format!("circle(point(0, 0), {i})"),
        _ => return None,
    })
}

fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// Whether a condition speaks of a column.
fn mentions(condition: &str, column: &str) -> bool {
    Lexer::new(condition).any(|token| {
        matches!(token.kind, TokenKind::Word | TokenKind::QuotedIdent) && token.span.of(condition) == column
    })
}

/// A condition about something else than a name in it.
fn replaced(condition: &str, name: &str, with: &str) -> String {
    let mut text = String::new();
    let mut end = 0;
    let words = Lexer::new(condition).filter(|token| matches!(token.kind, TokenKind::Word | TokenKind::QuotedIdent));
    for token in words.filter(|token| token.span.of(condition) == name) {
        text.push_str(condition.get(end..token.span.range().start).unwrap_or_default());
        text.push_str(with);
        end = token.span.range().end;
    }
    text.push_str(condition.get(end..).unwrap_or_default());
    text
}
