//! What a person can do about a failure, from everything the server said of it: the table's next step, the query that
//! shows the rows in the way, the name that was probably meant. Pure.

use super::{Class, lookup_with_message};
use crate::run::failure::Failure;
use crate::sql::{Lexer, QualifiedName, TokenKind, quote_ident};

/// Rows that a query for offenders shows.
const SHOWN: &str = "LIMIT 5";

/// Advice, one sentence or query each, the most telling one first. Empty where the failure is not the server's.
#[must_use]
pub fn advice(failure: &Failure) -> Vec<String> {
    let Some(code) = failure.sqlstate.as_deref() else { return Vec::new() };
    let entry = lookup_with_message(code, &failure.message);
    let mut lines: Vec<String> =
        offenders(code, failure).map(|sql| format!("the rows in the way: {sql}")).into_iter().collect();
    if code == "2BP01" {
        lines.push(
            "do not follow the server's hint without reading the detail: CASCADE drops everything that it lists"
                .to_owned(),
        );
    }
    // The engine's own failures say what to do in their own words.
    if failure.code == "ME401" {
        lines.push(format!("{} {}.", entry.sentence, capital(entry.next)));
    }
    lines
}

/// The query for the rows that break a constraint, where the server named enough.
fn offenders(code: &str, failure: &Failure) -> Option<String> {
    let [schema, table, column, _] = &failure.objects;
    if table.is_empty() {
        return None;
    }
    let table = QualifiedName { schema: Some(schema.clone()).filter(|schema| !schema.is_empty()), name: table.clone() };
    let key = failure.detail.as_deref().and_then(key_of);
    match code {
        "23502" if !column.is_empty() => {
            Some(format!("SELECT * FROM {table} WHERE {} IS NULL {SHOWN}", quote_ident(column)))
        }
        "23505" => {
            let (columns, _) = key?;
            Some(format!("SELECT {columns}, count(*) FROM {table} GROUP BY {columns} HAVING count(*) > 1 {SHOWN}"))
        }
        "23503" => {
            let (columns, values) = key?;
            let values: Vec<String> =
                values.split(", ").map(|value| format!("'{}'", value.replace('\'', "''"))).collect();
            Some(format!("SELECT * FROM {table} WHERE ({columns}) = ({}) {SHOWN}", values.join(", ")))
        }
        "23514" => {
            let condition = failure.statement.as_deref().and_then(check_of)?;
            Some(format!("SELECT * FROM {table} WHERE NOT ({condition}) {SHOWN}"))
        }
        _ => None,
    }
}

/// `Key (a, b)=(1, 2) is duplicated.`, whatever the language around it: columns and values.
fn key_of(detail: &str) -> Option<(&str, &str)> {
    let (_, from) = detail.split_once('(')?;
    let (columns, behind) = from.split_once(")=(")?;
    let values = behind.rsplit_once(')').map_or(behind, |(values, _)| values);
    Some((columns, values))
}

/// The condition of the first `CHECK (…)` in a statement.
fn check_of(statement: &str) -> Option<&str> {
    let mut tokens = Lexer::new(statement).filter(|token| !token.kind.is_trivia());
    tokens.find(|token| token.is_word(statement, "CHECK"))?;
    let open = tokens.next().filter(|token| token.kind == TokenKind::LParen)?;
    let mut depth = 1_usize;
    for token in tokens {
        match token.kind {
            TokenKind::LParen => depth += 1,
            TokenKind::RParen => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return statement.get(open.span.range().end..token.span.range().start);
        }
    }
    None
}

/// The name that the server could not find, for failures of that class.
#[must_use]
pub fn missing_name(failure: &Failure) -> Option<String> {
    let code = failure.sqlstate.as_deref()?;
    if lookup_with_message(code, &failure.message).class != Class::Missing {
        return None;
    }
    let name = failure.message.split('"').nth(1)?;
    Some(name.rsplit('.').next().unwrap_or(name).to_owned())
}

/// The one of `names` that was probably meant: the same, or up to two slips away. Among equals, the one as long as what
/// was wanted: a wrong letter is likelier than one too many.
#[must_use]
pub fn nearest<'n>(wanted: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let limit = if wanted.chars().count() <= 4 { 1 } else { 2 };
    let distance = |name: &&str| strsim::damerau_levenshtein(wanted, name);
    names
        .into_iter()
        .filter(|name| distance(name) <= limit)
        .min_by_key(|name| (distance(name), wanted.len().abs_diff(name.len()), *name))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: &str, detail: &str, statement: &str) -> String {
        let failure = Failure {
            sqlstate: Some(code.to_owned()),
            detail: Some(detail.to_owned()),
            statement: Some(statement.to_owned()),
            objects: ["public".into(), "Users".into(), "name".into(), "c".into()],
            ..Failure::own("ME401", "no")
        };
        advice(&failure).remove(0)
    }

    #[test]
    fn the_rows_in_the_way_can_be_asked_for() {
        for (code, detail, statement, expected) in [
            ("23502", "", "", "SELECT * FROM public.\"Users\" WHERE name IS NULL LIMIT 5"),
            (
                "23505",
                "Key (a, lower(b))=(1, (x)) is duplicated.",
                "",
                "SELECT a, lower(b), count(*) FROM public.\"Users\" GROUP BY a, lower(b) HAVING count(*) > 1 LIMIT 5",
            ),
            (
                "23503",
                "Schlüssel (team)=(O'Hara) ist nicht in Tabelle »teams« vorhanden.",
                "",
                "SELECT * FROM public.\"Users\" WHERE (team) = ('O''Hara') LIMIT 5",
            ),
            (
                "23514",
                "",
                "ALTER TABLE \"Users\" ADD CONSTRAINT c CHECK (a > (1) AND b <> ')')",
                "SELECT * FROM public.\"Users\" WHERE NOT (a > (1) AND b <> ')') LIMIT 5",
            ),
        ] {
            assert_eq!(said(code, detail, statement), format!("the rows in the way: {expected}"));
        }
        assert!(said("2BP01", "", "").contains("CASCADE drops everything"));
        assert!(advice(&Failure::own("ME403", "own")).is_empty());
    }

    #[test]
    fn a_missing_name_leads_to_the_one_meant() {
        let failure = |message: &str| Failure { sqlstate: Some("42P01".to_owned()), ..Failure::own("ME401", message) };
        assert_eq!(missing_name(&failure("relation \"app.userz\" does not exist")).as_deref(), Some("userz"));
        assert_eq!(missing_name(&failure("there is none")), None);
        assert_eq!(nearest("userz", ["orders", "users", "user"]), Some("users"));
        assert_eq!(nearest("orders", ["users"]), None);
        assert_eq!(nearest("ab", ["xy"]), None);
    }
}
