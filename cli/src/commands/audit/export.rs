//! `audit export`.

use clap::Args;
use serde_json::Value;

use super::{Log, object};
use crate::args::AskedFormat;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::render;

/// Options of `audit export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Only entries behind this one, for whoever fetches them regularly.
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub after: i64,
}

/// The columns, in the order of the table.
const COLUMNS: [&str; 15] = [
    "seq",
    "at",
    "action",
    "run_id",
    "migration",
    "epoch",
    "role",
    "address",
    "application",
    "origin",
    "content",
    "tokens",
    "sql",
    "detail",
    "hash",
];

/// Runs the command.
///
/// # Errors
/// The log cannot be read.
pub(super) async fn run(context: &Context, args: &ExportArgs) -> Result<Exit, CommandError> {
    let csv = context.asked_format() == Some(AskedFormat::Csv);
    let mut log = Log::open(context).await?;
    log.after = args.after;
    if csv {
        render::data(&COLUMNS.join(","));
    }
    loop {
        let entries = log.next().await?;
        if entries.is_empty() {
            return Ok(Exit::Done);
        }
        for entry in &entries {
            let object = object(entry);
            render::data(&if csv { csv_line(&object) } else { object.to_string() });
        }
    }
}

fn csv_line(object: &Value) -> String {
    let cells = COLUMNS.map(|column| match object.get(column) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => quoted(text),
        Some(other) => quoted(&other.to_string()),
    });
    cells.join(",")
}

/// RFC 4180: quotes where a comma, a quote or a line break is inside. An empty text is quoted, a null is not.
fn quoted(text: &str) -> String {
    if !text.is_empty() && !text.contains(['"', ',', '\n', '\r']) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let object =
            serde_json::json!({ "seq": 1, "action": "applied", "sql": "SELECT \"a\",\n1", "detail": "", "hash": null });
        assert_eq!(csv_line(&object), "1,,applied,,,,,,,,,,\"SELECT \"\"a\"\",\n1\",\"\",");
    }
}
