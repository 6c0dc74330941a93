//! SARIF 2.1.0 (OASIS), the format that code scanning services read.

use serde_json::{Value, json};

use super::report::{Entry, Report};
use crate::diag::Severity;

impl Report {
    /// One SARIF log with one run.
    #[must_use]
    pub fn sarif(&self) -> String {
        let found: Vec<&Entry> = self.entries.iter().filter(|entry| entry.code.is_some()).collect();
        let mut codes: Vec<&str> = found.iter().filter_map(|entry| entry.code).collect();
        codes.sort_unstable();
        codes.dedup();
        let rules: Vec<Value> = codes.iter().map(|code| rule(code)).collect();
        let results: Vec<Value> = found.iter().map(|entry| result(entry, &codes)).collect();
        let driver = json!({ "name": "migengine", "version": env!("CARGO_PKG_VERSION"), "rules": rules });
        let log = json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{ "tool": { "driver": driver }, "columnKind": "unicodeCodePoints", "results": results }],
        });
        format!("{log:#}\n")
    }
}

fn rule(code: &str) -> Value {
    match super::RULES.iter().find(|rule| rule.code == code) {
        Some(rule) => json!({ "id": code, "name": rule.hazard, "shortDescription": { "text": rule.title } }),
        None => json!({ "id": code }),
    }
}

fn result(entry: &Entry, codes: &[&str]) -> Value {
    let level = match entry.severity {
        Some(Severity::Error) => "error",
        Some(Severity::Warning) => "warning",
        _ => "note",
    };
    let text = match &entry.safe_form {
        Some(safe) => format!("{}. Instead: {safe}", entry.message),
        None => entry.message.clone(),
    };
    // A place is given even where none is meant: services drop results without one.
    let region = json!({ "startLine": entry.line.max(1), "startColumn": entry.column.max(1) });
    json!({
        "ruleId": entry.code,
        "ruleIndex": codes.iter().position(|code| Some(*code) == entry.code),
        "level": level,
        "message": { "text": text },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": uri(&entry.file) },
            "region": region,
        } }],
        "properties": {
            "hazard": entry.hazard, "object": entry.object, "lock": entry.lock, "blocks": entry.blocks.as_str(),
            "rewrite": entry.rewrite, "scan": entry.scan, "data_loss": entry.data_loss,
        },
    })
}

/// A relative reference: everything but what may stand in a path is written as `%XX`.
fn uri(file: &str) -> String {
    let mut uri = String::with_capacity(file.len());
    for byte in file.bytes() {
        match byte {
            b'\\' => uri.push('/'),
            b'/' | b'-' | b'_' | b'.' | b'~' => uri.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(byte)),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}
