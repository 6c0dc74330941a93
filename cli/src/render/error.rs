//! Errors as text: what happened, the line meant, the state of the database now, the next command.

use std::fmt::Write as _;

use migengine_engine::diag::{Diagnostic, Severity};
use migengine_engine::pg::sqlstate::advice;
use migengine_engine::run::failure::Failure;

use crate::error::CommandError;

/// Paints, or does not.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// The whole message.
#[must_use]
pub fn error_text(error: &CommandError, color: bool) -> String {
    let paint = Paint(color);
    let mut text = String::new();
    for found in &error.diagnostics {
        text.push_str(&diagnostic(found, paint));
    }
    // The findings above carry their own codes; this line only counts them.
    let label = if error.diagnostics.is_empty() { format!("error[{}]", error.code) } else { "error".to_owned() };
    let _ = writeln!(text, "{}: {}", paint.with("1;31", &label), error.what);
    if let Some(failure) = &error.failure {
        text.push_str(&server_words(failure, paint));
    }
    let _ = writeln!(text, "{} {}", paint.with("1", "state:"), error.state);
    for (index, next) in error.next.iter().enumerate() {
        let _ = writeln!(text, "{} {next}", if index == 0 { paint.with("1", "next: ") } else { "      ".to_owned() });
    }
    text
}

/// Findings alone, for warnings.
#[must_use]
pub fn diagnostics_text(found: &[Diagnostic], color: bool) -> String {
    found.iter().map(|found| diagnostic(found, Paint(color))).collect()
}

fn diagnostic(found: &Diagnostic, paint: Paint) -> String {
    let (word, color) = match found.severity {
        Severity::Note => ("note", "1;36"),
        Severity::Warning => ("warning", "1;33"),
        Severity::Error => ("error", "1;31"),
    };
    let mut text = format!("{}: {}\n", paint.with(color, &format!("{word}[{}]", found.code)), found.message);
    let place = found.position.map(|at| (at.line, at.column));
    text.push_str(&excerpt(&found.file, place, found.line_text.as_deref(), paint));
    if let Some(help) = &found.help {
        let _ = writeln!(text, "   = {} {help}", paint.with("1", "help:"));
    }
    text
}

/// `--> file:line:column`, the line, and a caret under the column.
fn excerpt(file: &str, place: Option<(u32, u32)>, line_text: Option<&str>, paint: Paint) -> String {
    let mut text = String::new();
    if file.is_empty() {
        return text;
    }
    let Some((line, column)) = place else {
        let _ = writeln!(text, "  --> {file}");
        return text;
    };
    let _ = writeln!(text, "  --> {file}:{line}:{column}");
    if let Some(line_text) = line_text {
        // A line that was never meant for people (a dump in one line) is cut around the place.
        let column = column.saturating_sub(1) as usize;
        let skip = column.saturating_sub(80);
        let shown: String = line_text.chars().skip(skip).take(160).collect();
        let margin: String =
            line_text.chars().skip(skip).take(column - skip).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let width = line.to_string().len();
        let _ = writeln!(text, "{:width$} |", "");
        let _ = writeln!(text, "{line} | {shown}");
        let _ = writeln!(text, "{:width$} | {margin}{}", "", paint.with("1;31", "^"));
    }
    text
}

fn server_words(failure: &Failure, paint: Paint) -> String {
    let mut text = String::new();
    if let Some(file) = &failure.file {
        let place = failure.line.zip(failure.column);
        let line_text = place.and_then(|(line, _)| line_of(failure, file, line));
        text.push_str(&excerpt(file, place, line_text.as_deref(), paint));
        if line_text.is_none()
            && let Some(first) = failure.statement.as_deref().and_then(|statement| statement.lines().next())
        {
            let _ = writeln!(text, "   | {}", first.chars().take(160).collect::<String>());
        }
    }
    for (word, said) in [("detail", &failure.detail), ("hint", &failure.hint), ("where", &failure.context)] {
        if let Some(said) = said {
            let _ = writeln!(text, "   = {word}: {}", said.replace('\n', "\n     "));
        }
    }
    for line in advice(failure) {
        let _ = writeln!(text, "   = advice: {line}");
    }
    text
}

/// The line meant, from the file, if that still holds the statement. The history's scripts have no file.
fn line_of(failure: &Failure, file: &str, line: u32) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let found = text.lines().nth(line.checked_sub(1)? as usize)?.trim_end().to_owned();
    let statement = failure.statement.as_deref()?;
    let holds = |part: &str| !part.is_empty() && (statement.contains(part) || part.contains(statement));
    holds(found.trim().trim_end_matches(';')).then_some(found)
}
