//! libpq's password file: `host:port:database:user:password` lines, `*` matches anything, `\` escapes `:` and `\`.
//! See <https://www.postgresql.org/docs/current/libpq-pgpass.html>.

use crate::pg::secret::Secret;

/// What a line must match.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) dbname: &'a str,
    pub(super) user: &'a str,
}

/// The password of the first line that matches. An empty password counts as none, as in libpq.
pub(super) fn lookup(text: &str, wanted: Wanted<'_>) -> Option<Secret> {
    let port = wanted.port.to_string();
    let expected = [wanted.host, port.as_str(), wanted.dbname, wanted.user];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut rest = line.trim_end_matches('\r');
        for value in expected {
            let (field, tail) = field(rest);
            if field.raw != "*" && field.text != value {
                return None;
            }
            rest = tail?;
        }
        let password = field(rest).0.text;
        (!password.is_empty()).then(|| Secret::new(password))
    })
}

struct Field<'a> {
    raw: &'a str,
    text: String,
}

/// The field at the start, and what follows its `:` if there is one.
fn field(line: &str) -> (Field<'_>, Option<&str>) {
    let mut text = String::new();
    let mut characters = line.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some((_, escaped)) => text.push(escaped),
                None => text.push('\\'),
            },
            ':' => return (Field { raw: line.get(..at).unwrap_or_default(), text }, Some(characters.as_str())),
            c => text.push(c),
        }
    }
    (Field { raw: line, text }, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, expect: Option<&str>) {
        let wanted = Wanted { host: "db.example", port: 5433, dbname: "a:b", user: "me" };
        let found = lookup(file, wanted);
        assert_eq!(found.as_ref().map(Secret::expose), expect, "{file}");
    }

    #[test]
    fn the_first_matching_line_gives_the_password() {
        check("", None);
        check(r"db.example:5433:a\:b:me:pw", Some("pw"));
        check("*:*:*:*:pw", Some("pw"));
        check("*:*:*:*:pw\r\n", Some("pw"));
        check("other:*:*:*:no\n*:5433:*:me:yes\n*:*:*:*:late", Some("yes"));
        check("#db.example:5433:*:me:comment\n*:*:*:me:pw", Some("pw"));
        check(r"*:*:*:*:a\:b\\c", Some(r"a:b\c"));
        check("*:*:*:*:pw:trailing", Some("pw"));
        check(r"\*:*:*:*:escaped star is no wildcard", None);
        check("*:5432:*:*:other port", None);
        check("*:*:*:*:", None);
        check("*:*:*:*", None);
        check("garbage", None);
    }
}
