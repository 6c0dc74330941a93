//! The typed values of header keys and directives.

use std::time::Duration;

/// A hazard that the author accepts on one object, `-- Allow: rewrite(users) -- "reason"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// Name of the hazard, lower case, `drop-column`.
    pub hazard: String,
    /// The object as written, `users.email_old`.
    pub object: String,
    /// Why, without its quotes.
    pub reason: Option<String>,
    /// Where its comment line begins in the file, in bytes.
    pub offset: usize,
}

/// Reads `100ms`, `2s`, `10m` (or `10min`), `2h`, `1d`; `0` for no limit. Whole numbers only.
#[must_use]
pub fn parse_duration(written: &str) -> Option<Duration> {
    let written = written.trim();
    let digits = written.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = written.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" if number == 0 => 1,
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    // Longer than PostgreSQL's own limits take (an int of milliseconds) is a slip.
    let total = number.checked_mul(millis).filter(|total| *total <= i32::MAX as u64)?;
    Some(Duration::from_millis(total))
}

/// Cuts a remark off: `011, 012_orgs -- the accounts`.
pub(super) fn without_remark(written: &str) -> &str {
    written.split_once(" --").map_or(written, |(value, _)| value).trim()
}

/// Reads `hazard(object), hazard(object) -- "reason"`; one reason for all.
///
/// # Errors
/// What is wrong, as the end of a sentence.
pub(super) fn parse_allow(written: &str) -> Result<Vec<Allowance>, String> {
    let mut rest = written.trim();
    let mut allowed = Vec::new();
    loop {
        let open = rest.find('(').ok_or("expected `hazard(object)`")?;
        let (hazard, from) = rest.split_at(open);
        let hazard = hazard.trim().to_ascii_lowercase().replace(['_', ' '], "-");
        if hazard.is_empty() || !hazard.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(format!("`{hazard}` is not the name of a hazard"));
        }
        let close = closing_paren(from).ok_or("the parenthesis is never closed")?;
        let object = from.get(1..close).unwrap_or_default().trim();
        if object.is_empty() {
            return Err(format!("`{hazard}()` names no object"));
        }
        allowed.push(Allowance { hazard, object: object.to_owned(), reason: None, offset: 0 });
        rest = from.get(close + 1..).unwrap_or_default().trim_start();
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None => break,
        }
    }
    if !rest.is_empty() {
        let reason = rest.strip_prefix("--").ok_or_else(|| format!("did not expect `{rest}`"))?.trim();
        let reason = reason.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(reason);
        for allowance in &mut allowed {
            allowance.reason = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
        }
    }
    Ok(allowed)
}

/// The partner of the parenthesis at the start, beside quoted names and nested ones (argument lists of functions).
fn closing_paren(from: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quoted = false;
    for (at, byte) in from.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (written, millis) in [
            ("100ms", Some(100)),
            ("2s", Some(2_000)),
            ("10m", Some(600_000)),
            ("10 min", Some(600_000)),
            ("2h", Some(7_200_000)),
            ("1D", Some(86_400_000)),
            ("0", Some(0)),
            ("5", None),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("2 weeks", None),
            ("99999999999h", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(parse_duration(written), millis.map(Duration::from_millis), "{written}");
        }
    }

    #[test]
    fn allowances_name_hazard_and_object() {
        let read = |written| match parse_allow(written) {
            Ok(list) => list
                .iter()
                .map(|one| format!("{}|{}|{}", one.hazard, one.object, one.reason.as_deref().unwrap_or("-")))
                .collect::<Vec<_>>()
                .join(" "),
            Err(why) => format!("error: {why}"),
        };
        for (written, expect) in [
            ("rewrite(users)", "rewrite|users|-"),
            (
                "Rewrite(users), drop_column(users.a) -- \"tiny table\"",
                "rewrite|users|tiny table drop-column|users.a|tiny table",
            ),
            ("drop-function(f(int, text))", "drop-function|f(int, text)|-"),
            ("drop-table(\"a)b\") -- why not", "drop-table|\"a)b\"|why not"),
            ("rewrite", "error: expected `hazard(object)`"),
            ("rewrite()", "error: `rewrite()` names no object"),
            ("rewrite(users", "error: the parenthesis is never closed"),
            ("rewrite(a) drop(b)", "error: did not expect `drop(b)`"),
            ("rewrite(a),", "error: expected `hazard(object)`"),
        ] {
            assert_eq!(read(written), expect, "{written}");
        }
    }
}
