//! The read-only questions that tell, before any lock is taken, which rows would break a pending constraint.
//!
//! Expressions of the files stand in them as they were written: they are run in a transaction that is read-only, as a
//! single statement, under a time limit. Names are quoted; there are no values.

use super::asks::{Ask, Condition};
use super::facts::Facts;
use super::{Check, Verdict, some};

/// Offending keys that are shown.
const SHOWN: usize = 5;

/// A question: its answer is one row with a count of offending rows and some of their keys as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What would fail, for people: `t.a SET NOT NULL`.
    pub what: String,
    /// Where that stands.
    pub place: String,
    /// The query.
    pub sql: String,
    /// Bytes that it reads, at most.
    pub reads: i64,
    /// An earlier statement may change the rows.
    pub hint: bool,
    /// Where the question is whether evaluating fails, so that an error of the data's is the answer: the block that
    /// tries each row by itself, and raises what it found with [`EACH`].
    pub each: Option<String>,
}

/// SQLSTATE with which a block tells what it found: a JSON object with `rows` and `keys`.
pub const EACH: &str = "MEROW";

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// So many rows are in the way; some of their keys.
    Rows(i64, Vec<String>),
    /// The server could not evaluate it for some row: SQLSTATE and words.
    Error(String, String),
    /// The same, and for so many rows; some of their keys, and the server's words on one of them.
    Values(i64, Vec<String>, String),
    /// Not asked, and why.
    Skipped(String),
}

/// The question behind an ask; nothing where the table is not there yet.
#[must_use]
pub fn question(ask: &Ask, facts: &Facts) -> Option<Question> {
    let table = ask.table.to_string();
    let known = facts.tables.get(&table)?;
    let key = if known.key.is_empty() { "ctid".to_owned() } else { format!("ROW({})", known.key.join(", ")) };
    let mut reads = known.size;
    let rows = |condition: &str| {
        format!(
            "SELECT count(*), coalesce(array_agg(key) FILTER (WHERE number <= {SHOWN}), '{{}}') \
             FROM (SELECT {key}::text AS key, row_number() OVER () AS number FROM {table} WHERE {condition}) AS broken"
        )
    };
    let mut each = None;
    let (what, sql) = match &ask.condition {
        Condition::Check { expression } => {
            (format!("CHECK ({})", one_line(expression)), rows(&format!("NOT ({expression}\n)")))
        }
        Condition::NotNull { column } => (format!("{column} NOT NULL"), rows(&format!("{column} IS NULL"))),
        Condition::Empty { column } => {
            (format!("the new column {column}, NOT NULL and without a default"), rows("true"))
        }
        Condition::Unique { items, predicate, nulls_alike } => (
            format!("UNIQUE ({})", one_line(&items.join(", "))),
            duplicates(&table, items, predicate.as_deref(), *nulls_alike),
        ),
        Condition::ForeignKey { columns, parent, parent_columns } => {
            let other = facts.tables.get(&parent.to_string())?;
            reads += other.size;
            let theirs = parent_columns.as_ref().unwrap_or(&other.key);
            if theirs.len() != columns.len() {
                return None;
            }
            let there: Vec<String> = columns.iter().map(|column| format!("{column} IS NOT NULL")).collect();
            // Qualified on both sides: a column of the same name in the other table would capture a plain one.
            let equal = columns.iter().zip(theirs).map(|(mine, their)| format!("parent.{their} = {table}.{mine}"));
            let equal = equal.collect::<Vec<_>>().join(" AND ");
            let missing =
                format!("{} AND NOT EXISTS (SELECT 1 FROM {parent} AS parent WHERE {equal})", there.join(" AND "));
            (format!("FOREIGN KEY ({}) REFERENCES {parent}", columns.join(", ")), rows(&missing))
        }
        Condition::Type { column, to, using } => {
            let what = format!("{column} TYPE {}", one_line(to));
            match (characters(to), using) {
                // An assignment refuses what is too long, except for blanks at the end; a cast would cut it.
                (Some(limit), None) => (what, rows(&format!("char_length(rtrim({column}::text, ' ')) > {limit}"))),
                _ => {
                    let value = using.as_deref().unwrap_or(column);
                    each = Some(row_by_row(&table, &key, &format!("({value}\n)::{to}")));
                    (what, format!("SELECT count(({value}\n)::{to}) * 0, '{{}}'::text[] FROM {table}"))
                }
            }
        }
    };
    let place = format!("{}:{}:{}", ask.file, ask.position.line, ask.position.column);
    Some(Question { what: format!("{table}: {what}"), place, sql, reads, hint: ask.hint, each })
}

/// A block that evaluates `value` for each row by itself. It stands in a transaction that is taken back, where a block can
/// end nothing, and it is run only when the server has evaluated the same expression in a single statement before.
fn row_by_row(table: &str, key: &str, value: &str) -> String {
    let body = format!(
        "#variable_conflict use_column\n\
         DECLARE migengine_row record; migengine_rows bigint := 0; migengine_keys text[] := '{{}}';\n\
         BEGIN\n\
         FOR migengine_row IN SELECT tableoid AS part, ctid AS place, {key}::text AS key FROM {table} LOOP\n\
         BEGIN PERFORM {value} FROM {table} WHERE tableoid = migengine_row.part AND ctid = migengine_row.place;\n\
         EXCEPTION WHEN data_exception THEN\n\
         migengine_rows := migengine_rows + 1;\n\
         IF migengine_rows <= {SHOWN} THEN migengine_keys := migengine_keys || left(migengine_row.key, 200); END IF;\n\
         END;\n\
         END LOOP;\n\
         RAISE EXCEPTION USING ERRCODE = '{EACH}', \
         MESSAGE = json_build_object('rows', migengine_rows, 'keys', migengine_keys)::text;\n\
         END"
    );
    format!("DO {}", dollar_quoted(&body))
}

/// The text between dollar quotes that do not occur in it.
fn dollar_quoted(text: &str) -> String {
    let quote = (0..).map(|number| format!("$m{number}$")).find(|quote| !text.contains(quote.as_str()));
    let quote = quote.unwrap_or_default();
    format!("{quote}{text}{quote}")
}

/// What a block of [`Question::each`] raised; nothing where it is something else.
#[must_use]
pub fn each_found(message: &str) -> Option<(i64, Vec<String>)> {
    let value: serde_json::Value = serde_json::from_str(message).ok()?;
    let keys = value.get("keys")?.as_array()?.iter().filter_map(|key| key.as_str().map(str::to_owned)).collect();
    Some((value.get("rows")?.as_i64()?, keys))
}

fn duplicates(table: &str, items: &[String], predicate: Option<&str>, nulls_alike: bool) -> String {
    let named: Vec<String> = (1..).zip(items).map(|(number, item)| format!("{item} AS i{number}")).collect();
    let names: Vec<String> = (1..=items.len()).map(|number| format!("i{number}")).collect();
    let filter = predicate.map_or_else(String::new, |predicate| format!(" WHERE ({predicate}\n)"));
    let nulls = match nulls_alike {
        true => String::new(),
        false => format!(
            " WHERE {}",
            names.iter().map(|name| format!("{name} IS NOT NULL")).collect::<Vec<_>>().join(" AND ")
        ),
    };
    let names = names.join(", ");
    format!(
        "SELECT coalesce(sum(times), 0)::bigint, coalesce(array_agg(key) FILTER (WHERE number <= {SHOWN}), '{{}}') \
         FROM (SELECT ROW({names})::text AS key, count(*) AS times, row_number() OVER () AS number \
         FROM (SELECT {} FROM {table}{filter}) AS item{nulls} GROUP BY {names} HAVING count(*) > 1) AS broken",
        named.join(", ")
    )
}

/// The limit of `varchar(n)` or `char(n)`.
fn characters(to: &str) -> Option<u32> {
    let (base, rest) = to.split_once('(')?;
    let base = base.trim().to_ascii_lowercase();
    let limited = ["varchar", "character varying", "char", "character", "bpchar"].contains(&base.as_str());
    if limited { rest.trim_end().strip_suffix(')')?.trim().parse().ok() } else { None }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The check for all questions and their answers. `unread` constraints are of a shape that nobody asks for.
#[must_use]
pub fn judge(answers: &[(Question, Answer)], unread: u32) -> Check {
    let mut broken = Vec::new();
    let mut hints = Vec::new();
    let (mut passed, mut skipped) = (0, Vec::new());
    for (question, answer) in answers {
        let words = match answer {
            Answer::Rows(0, _) => {
                passed += 1;
                continue;
            }
            Answer::Rows(count, keys) => in_the_way(question, *count, keys),
            Answer::Values(count, keys, words) => {
                format!("{}; one of them: {words}", in_the_way(question, *count, keys))
            }
            // Class 22 is the data's fault. Anything else says that the question was not fit to be asked yet.
            Answer::Error(state, words) if question.each.is_some() && state.starts_with("22") => {
                format!("a value is in the way of {} ({}): {words}", question.what, question.place)
            }
            Answer::Error(_, words) | Answer::Skipped(words) => {
                skipped.push(format!("{} ({words})", question.what));
                continue;
            }
        };
        if question.hint { hints.push(words) } else { broken.push(words) }
    }
    let aside = aside(&skipped, unread);
    let (verdict, says, next) = match (broken.is_empty(), hints.is_empty()) {
        (false, _) => {
            (Verdict::Fail, broken.join("; "), Some("mend the rows, or the migration; then run the command again"))
        }
        (true, false) => (
            Verdict::Warn,
            hints.join("; "),
            Some("an earlier statement of the plan may mend them: look at the rows if you are not sure"),
        ),
        (true, true) if passed == 0 => (Verdict::Skipped, "no pending constraint could be asked for".to_owned(), None),
        (true, true) => (Verdict::Ok, format!("no row is in the way of {passed} pending constraints"), None),
    };
    Check { name: "data", verdict, says: format!("{says}{aside}"), next: next.map(str::to_owned), took_us: 0 }
}

fn in_the_way(question: &Question, count: i64, keys: &[String]) -> String {
    let more = if keys.len() < usize::try_from(count).unwrap_or(usize::MAX) { ", …" } else { "" };
    let rows = if count == 1 { "1 row is".to_owned() } else { format!("{count} rows are") };
    format!("{rows} in the way of {} ({}): {}{more}", question.what, question.place, keys.join(", "))
}

fn aside(skipped: &[String], unread: u32) -> String {
    let mut text = String::new();
    if !skipped.is_empty() {
        text.push_str(&format!("; not looked at: {}", some(skipped)));
    }
    if unread > 0 {
        text.push_str(&format!("; {unread} of a shape that is not looked at"));
    }
    text
}
