//! Reads the two forms of a connection string into parameters, in the order they stand. Nothing here quotes a value
//! in an error: any of them may be a piece of a password that was not escaped.

use super::TargetError;

/// One parameter, `("host", "db1")`. The same key may come more than once; the last one holds, as in libpq.
pub(super) type Pair = (String, String);

/// Reads `postgres://…`, `postgresql://…` or `key=value …`.
pub(super) fn pairs(text: &str) -> Result<Vec<Pair>, TargetError> {
    let text = text.trim();
    for scheme in ["postgres://", "postgresql://"] {
        if let Some(rest) = text.strip_prefix(scheme) {
            return url(rest);
        }
    }
    if text.split(['=', ' ']).next().is_some_and(|first| first.contains("://")) {
        return Err(syntax("the database URL starts with neither postgres:// nor postgresql://"));
    }
    conninfo(text)
}

fn syntax(message: impl Into<String>) -> TargetError {
    TargetError::Syntax { message: message.into() }
}

/// `user:password@host1:port1,host2:port2/dbname?key=value&…`, every part optional.
fn url(rest: &str) -> Result<Vec<Pair>, TargetError> {
    let (before_query, query) = split_once_or(rest, '?');
    let (authority, path) = split_once_or(before_query, '/');
    // The last `@`, where libpq takes the first: a forgotten escape in a password must not turn it into a host name.
    let (credentials, hosts) = match authority.rsplit_once('@') {
        Some((credentials, hosts)) => (Some(credentials), hosts),
        None if path.is_some_and(|path| path.contains('@')) || query.is_some_and(raw_at_before_equals) => {
            return Err(syntax(
                "the database URL has an `@` after its first `/` or `?`; in a password write `/` as %2F, `?` as %3F",
            ));
        }
        None => (None, authority),
    };
    let mut pairs = Vec::new();
    if let Some(credentials) = credentials {
        let (user, password) = split_once_or(credentials, ':');
        push_unless_empty(&mut pairs, "user", decode(user, "user")?);
        if let Some(password) = password {
            pairs.push(("password".to_owned(), decode(password, "password")?));
        }
    }
    push_hosts(&mut pairs, hosts)?;
    if let Some(path) = path {
        push_unless_empty(&mut pairs, "dbname", decode(path, "database")?);
    }
    for parameter in query.unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty()) {
        let Some((key, value)) = parameter.split_once('=') else {
            return Err(syntax("a parameter after the `?` of the database URL has no `=`"));
        };
        let key = decode(key, "parameter name")?;
        let value = decode(value, "parameter value")?;
        // JDBC's spelling, which libpq accepts too.
        if key == "ssl" && value == "true" {
            pairs.push(("sslmode".to_owned(), "require".to_owned()));
        } else {
            pairs.push((key, value));
        }
    }
    Ok(pairs)
}

/// Whether the query looks like the tail of a password: `…?ss@host/db`.
fn raw_at_before_equals(query: &str) -> bool {
    query.find('@').is_some_and(|at| query.find('=').is_none_or(|equals| at < equals))
}

fn split_once_or(text: &str, separator: char) -> (&str, Option<&str>) {
    text.split_once(separator).map_or((text, None), |(head, tail)| (head, Some(tail)))
}

fn push_unless_empty(pairs: &mut Vec<Pair>, key: &str, value: String) {
    if !value.is_empty() {
        pairs.push((key.to_owned(), value));
    }
}

/// `db1:5433,[::1]:5434,%2Ftmp%2Fx` as one `host` and one `port` list.
fn push_hosts(pairs: &mut Vec<Pair>, hosts: &str) -> Result<(), TargetError> {
    if hosts.is_empty() {
        return Ok(());
    }
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = if let Some(bracketed) = host.strip_prefix('[') {
            let Some((address, rest)) = bracketed.split_once(']') else {
                return Err(syntax("an IPv6 address in the database URL has no closing `]`"));
            };
            match rest.strip_prefix(':') {
                Some(port) => (address, port),
                None if rest.is_empty() => (address, ""),
                None => return Err(syntax("text follows the `]` of an IPv6 address in the database URL")),
            }
        } else {
            host.split_once(':').unwrap_or((host, ""))
        };
        names.push(decode(name, "host")?);
        ports.push(decode(port, "port")?);
    }
    if names.iter().any(|name| !name.is_empty()) {
        pairs.push(("host".to_owned(), names.join(",")));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        pairs.push(("port".to_owned(), ports.join(",")));
    }
    Ok(())
}

/// Undoes percent-encoding. `what` names the part in the error.
fn decode(text: &str, what: &str) -> Result<String, TargetError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).map(|digit| digit as u8);
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) if (high, low) != (0, 0) => bytes.push(high * 16 + low),
            _ => {
                return Err(syntax(format!(
                    "the {what} in the database URL has a `%` that is not followed by two hexadecimal digits; \
                     write a literal `%` as %25"
                )));
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| syntax(format!("the {what} in the database URL is not valid UTF-8")))
}

/// `host=db1 password='it''s \'quoted\''`, libpq's key/value form.
fn conninfo(text: &str) -> Result<Vec<Pair>, TargetError> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let number = pairs.len() + 1;
        let Some(end) = rest.find(|c: char| c == '=' || c.is_whitespace()) else {
            return Err(syntax(format!("parameter {number} of the connection string has no `=`")));
        };
        let (key, tail) = rest.split_at(end);
        let Some(tail) = tail.trim_start().strip_prefix('=') else {
            return Err(syntax(format!("parameter {number} of the connection string has no `=`")));
        };
        let (value, tail) = conninfo_value(tail.trim_start())
            .ok_or_else(|| syntax(format!("the quote of parameter {number} in the connection string is not closed")))?;
        pairs.push((key.to_owned(), value));
        rest = tail.trim_start();
    }
    Ok(pairs)
}

/// The value at the start of `text` and what follows it; `None` when a quote is not closed.
fn conninfo_value(text: &str) -> Option<(String, &str)> {
    let (quoted, body) = text.strip_prefix('\'').map_or((false, text), |body| (true, body));
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Some((value, characters.as_str())),
            c if !quoted && c.is_whitespace() => return Some((value, body.get(at..).unwrap_or_default())),
            c => value.push(c),
        }
    }
    (!quoted).then_some((value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let shown = match pairs(text) {
            Ok(pairs) => pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("|"),
            Err(error) => format!("error: {error}"),
        };
        if let Some(part) = expect.strip_prefix("error: ") {
            assert!(shown.starts_with("error: ") && shown.contains(part), "{text}\n  gave {shown}\n  not  {expect}");
            assert!(!shown.contains("s3cret"), "{text} leaked its password: {shown}");
        } else {
            assert_eq!(shown, expect, "{text}");
        }
    }

    #[test]
    fn urls_are_read() {
        check("postgres://", "");
        check("postgresql://u:p@h:5433/d", "user=u|password=p|host=h|port=5433|dbname=d");
        check("postgres://u%40x:p%2F%3A%25@h/d%20e", "user=u@x|password=p/:%|host=h|dbname=d e");
        check("postgres://u:p@ss@h/d", "user=u|password=p@ss|host=h|dbname=d");
        check("postgres://u:@h", "user=u|password=|host=h");
        check("postgres://a,b:5433/d", "host=a,b|port=,5433|dbname=d");
        check("postgres://[::1]:5433,[2001:db8::1]/d", "host=::1,2001:db8::1|port=5433,|dbname=d");
        check("postgresql:///d?host=/tmp/x&port=5499", "dbname=d|host=/tmp/x|port=5499");
        check("postgresql://%2Ftmp%2Fx/d", "host=/tmp/x|dbname=d");
        check("postgresql://%2Ftmp%2Fx:5499/d", "host=/tmp/x|port=5499|dbname=d");
        check("postgres://h?sslmode=require", "host=h|sslmode=require");
        check("postgres://h/d?ssl=true", "host=h|dbname=d|sslmode=require");
        check("postgres://h/d?user=a%26b&options=-c%20x%3D1", "host=h|dbname=d|user=a&b|options=-c x=1");
        check("postgresql:///d?user=me@corp", "dbname=d|user=me@corp");
    }

    #[test]
    fn conninfo_strings_are_read() {
        check("", "");
        check("host=h dbname=d", "host=h|dbname=d");
        check("  host = h\tport= 5433 ", "host=h|port=5433");
        check(r"password='a b\'c\\d' user=x", r"password=a b'c\d|user=x");
        check(r"password=a\ b user=''", "password=a b|user=");
        check("password= user=x", "password=user=x");
    }

    #[test]
    fn broken_strings_are_refused_without_showing_a_password() {
        check("mysql://u:s3cret@h/d", "error: neither postgres://");
        check("postgres://u:s3cret%zz@h", "error: password in the database URL has a `%`");
        check("postgres://u:s3cret%00@h", "error: has a `%`");
        check("postgres://u:%ffs3cret@h", "error: not valid UTF-8");
        check("postgres://u:12/s3cret@h/d", "error: `@` after its first `/`");
        check("postgres://u:12?s3cret@h/d", "error: `@` after its first `/`");
        check("postgres://[::1/d", "error: no closing `]`");
        check("postgres://[::1]5432/d", "error: follows the `]`");
        check("postgres://h/d?s3cret", "error: has no `=`");
        check("password=s3cret s3cret2", "error: parameter 2");
        check("password='s3cret", "error: quote of parameter 1");
    }
}
