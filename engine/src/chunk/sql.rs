//! The SQL of a batch. Keys travel as text parameters that are cast to the types of the key: any ordered type, any
//! number of columns, by row comparison.

use super::key::Key;
use crate::migration::{Chunk, Place};
use crate::sql::{Statement, quote_ident};

/// Which parameters bound a range: keys above the first and up to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// From the beginning: `$1 …` is the upper end.
    UpTo,
    /// `$1 …` is the lower end, those behind it the upper one.
    Between,
}

/// The columns, each behind `qualifier`.
fn columns(key: &Key, qualifier: &str) -> String {
    let names = key.columns.iter().map(|column| match qualifier {
        "" => quote_ident(column),
        qualifier => format!("{qualifier}.{}", quote_ident(column)),
    });
    names.collect::<Vec<_>>().join(", ")
}

/// The parameters from `$first` on.
fn parameters(key: &Key, first: usize) -> String {
    let casts = (first..).zip(&key.types).map(|(number, kind)| format!("CAST(${number} AS {kind})"));
    casts.collect::<Vec<_>>().join(", ")
}

fn range(key: &Key, qualifier: &str, range: Range) -> String {
    let names = columns(key, qualifier);
    match range {
        Range::UpTo => format!("({names}) <= ({})", parameters(key, 1)),
        Range::Between => {
            let upper = parameters(key, 1 + key.columns.len());
            format!("({names}) > ({}) AND ({names}) <= ({upper})", parameters(key, 1))
        }
    }
}

/// The query for the end of the next batch: the number of keys in it, then the last one's columns as text. No row when
/// there are no more. `relation` is ready for SQL; the parameters are the place reached, if any (`from`), then how many
/// keys there may be, as `int8`.
#[must_use]
pub fn boundary(relation: &str, key: &Key, from: bool) -> String {
    let names = columns(key, "");
    let behind = if from { format!(" WHERE ({names}) > ({})", parameters(key, 1)) } else { String::new() };
    let size = if from { key.columns.len() + 1 } else { 1 };
    let last = key.columns.iter().map(|column| format!("{} DESC", quote_ident(column))).collect::<Vec<_>>().join(", ");
    let texts =
        key.columns.iter().map(|column| format!("{}::text", quote_ident(column))).collect::<Vec<_>>().join(", ");
    // One key only becomes text.
    format!(
        "SELECT migengine_keys, ARRAY[{texts}] FROM (SELECT count(*) OVER () AS migengine_keys, k.* FROM \
         (SELECT {names} FROM {relation}{behind} ORDER BY {names} LIMIT ${size}) AS k ORDER BY {last} LIMIT 1) AS last"
    )
}

/// A statement with the range of a batch in it, and the way back to the places of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// What is sent.
    pub sql: String,
    /// Stretches that come from the file: where in `sql`, where in the file, how long; all in bytes.
    stretches: Vec<(usize, usize, usize)>,
}

impl Rewritten {
    /// Where in the file a character of the statement as sent stands (from 1, as the server counts); nothing for what
    /// was added.
    #[must_use]
    pub fn place(&self, character: u32) -> Option<usize> {
        let (at, _) = self.sql.char_indices().nth(character.saturating_sub(1) as usize)?;
        let (sql, file, _) = self.stretches.iter().find(|(sql, _, len)| (*sql..sql + len).contains(&at))?;
        Some(file + at - sql)
    }

    fn copy(&mut self, text: &str, from: usize, to: usize) {
        self.stretches.push((self.sql.len(), from, to.saturating_sub(from)));
        self.sql.push_str(text.get(from..to).unwrap_or_default());
    }
}

/// The statement of a batch.
#[must_use]
pub fn rewrite(text: &str, statement: &Statement, chunk: &Chunk, key: &Key, bounds: Range) -> Rewritten {
    let condition = range(key, &chunk.qualifier, bounds);
    let (start, end) = (statement.text.start as usize, statement.text.end as usize);
    let mut rewritten = Rewritten { sql: String::new(), stretches: Vec::new() };
    match chunk.place {
        Place::Mark(span) => {
            rewritten.copy(text, start, span.range().start);
            rewritten.sql.push_str(&format!("({condition})"));
            rewritten.copy(text, span.range().end, end);
        }
        Place::Beside { after, end: behind } => {
            rewritten.copy(text, start, after as usize);
            rewritten.sql.push_str(&format!(" ({condition}) AND ("));
            rewritten.copy(text, after as usize, behind as usize);
            rewritten.sql.push(')');
            rewritten.copy(text, behind as usize, end);
        }
        Place::Append(at) => {
            rewritten.copy(text, start, at as usize);
            rewritten.sql.push_str(&format!(" WHERE ({condition})"));
            rewritten.copy(text, at as usize, end);
        }
    }
    rewritten
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::{PartKind, parse_script};

    fn written(text: &str) -> (String, Rewritten) {
        let (script, found) = parse_script("001_a.sql", text.as_bytes());
        let script = script.unwrap_or_else(|| panic!("{found:?}"));
        let (chunk, part) = script
            .parts
            .iter()
            .find_map(|part| match &part.kind {
                PartKind::Chunked(chunk) => Some((chunk, part)),
                _ => None,
            })
            .unwrap();
        let key = Key { columns: vec!["id".into()], types: vec!["bigint".into()] };
        let statement = &script.statements_of(part)[0];
        (script.text.to_string(), rewrite(&script.text, statement, chunk, &key, Range::UpTo))
    }

    #[test]
    fn the_range_goes_where_it_binds_everything_the_author_wrote() {
        for (text, expected) in [
            ("-- chunk: t by id\nUPDATE t SET a = 1", "UPDATE t SET a = 1 WHERE ((t.id) <= (CAST($1 AS bigint)))"),
            (
                "-- chunk: t by id\nUPDATE t SET a = 1 WHERE a = 2 OR b -- why\n;",
                "UPDATE t SET a = 1 WHERE ((t.id) <= (CAST($1 AS bigint))) AND ( a = 2 OR b)",
            ),
            (
                "-- chunk: s.t by id\nDELETE FROM s.t AS x USING u WHERE x.a = u.a RETURNING x.id",
                "DELETE FROM s.t AS x USING u WHERE ((x.id) <= (CAST($1 AS bigint))) AND ( x.a = u.a) RETURNING x.id",
            ),
            (
                "-- chunk: t by id\nUPDATE t SET a = (SELECT b FROM u WHERE u.id = t.id LIMIT 1) RETURNING 1",
                "UPDATE t SET a = (SELECT b FROM u WHERE u.id = t.id LIMIT 1) WHERE ((t.id) <= (CAST($1 AS bigint))) RETURNING 1",
            ),
            (
                "-- chunk: t by id\nINSERT INTO u SELECT x.a FROM t x WHERE x.b AND true /*chunk*/ ON CONFLICT DO NOTHING",
                "INSERT INTO u SELECT x.a FROM t x WHERE x.b AND ((x.id) <= (CAST($1 AS bigint))) /*chunk*/ ON CONFLICT DO NOTHING",
            ),
        ] {
            assert_eq!(written(text).1.sql, expected);
        }
    }

    #[test]
    fn a_place_in_what_is_sent_leads_back_to_the_file() {
        let (text, sent) = written("-- chunk: t by id\nUPDATE t SET ä = 1 WHERE wrong = 2 RETURNING bad");
        for word in ["UPDATE", "wrong", "bad"] {
            let character = sent.sql.chars().count() - sent.sql[sent.sql.find(word).unwrap()..].chars().count() + 1;
            let place = sent.place(u32::try_from(character).unwrap()).unwrap();
            assert!(text[place..].starts_with(word), "{word}: {}", &text[place..]);
        }
        let added = sent.sql.find("CAST").unwrap();
        assert_eq!(sent.place(u32::try_from(added).unwrap()), None);
    }

    #[test]
    fn composite_keys_are_compared_as_rows() {
        let key = Key { columns: vec!["a".into(), "B".into()], types: vec!["uuid".into(), "integer".into()] };
        assert_eq!(
            boundary("public.t", &key, true),
            "SELECT migengine_keys, ARRAY[a::text, \"B\"::text] FROM (SELECT count(*) OVER () AS migengine_keys, k.* FROM \
             (SELECT a, \"B\" FROM public.t WHERE (a, \"B\") > (CAST($1 AS uuid), CAST($2 AS integer)) \
             ORDER BY a, \"B\" LIMIT $3) AS k ORDER BY a DESC, \"B\" DESC LIMIT 1) AS last"
        );
        assert_eq!(
            range(&key, "x", Range::Between),
            "(x.a, x.\"B\") > (CAST($1 AS uuid), CAST($2 AS integer)) AND (x.a, x.\"B\") <= (CAST($3 AS uuid), CAST($4 AS integer))"
        );
    }
}
