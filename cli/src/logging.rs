//! The log: what the program does, for whoever looks for a fault, on stderr. Off by default; what people need to know is
//! told without it. Secrets cannot get into it, because their type prints as stars.

use clap::ValueEnum;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::prelude::*;

use crate::args::Global;
use crate::error::CommandError;
use crate::render::screen::Stderr;

/// How lines of the log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Starts the log. What is asked for by name wins over `-v`.
///
/// # Errors
/// A level that is none, before anything else happens.
pub fn start(global: &Global) -> Result<(), CommandError> {
    let asked = global.log_level.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let filter = asked.map_or_else(|| ours(by_verbosity(global.verbose)), ours);
    // Targets and levels only: regular expressions over fields are not worth the megabyte they take.
    let filter: Targets = filter.parse().map_err(|error| {
        let what = format!("`{}` is no log level: {error}", asked.unwrap_or_default());
        CommandError::usage("ME717", what).next("write off, error, warn, info, debug or trace, or target=level pairs")
    })?;
    let lines = layer().with_writer(Stderr::default);
    let log = tracing_subscriber::registry().with(filter);
    // A second start, by a test in the same process, changes nothing.
    let started = match global.log_format {
        LogFormat::Human => log.with(lines.with_ansi(crate::context::Look::of(global).color)).try_init(),
        LogFormat::Json => {
            log.with(lines.json().flatten_event(true).with_current_span(false).with_span_list(false)).try_init()
        }
    };
    drop(started);
    Ok(())
}

const fn by_verbosity(verbose: u8) -> &'static str {
    match verbose {
        0 => "off",
        1 => "info",
        _ => "debug",
    }
}

/// A bare level is meant for this program, not for the libraries below it.
fn ours(text: &str) -> String {
    let bare = ["off", "error", "warn", "info", "debug", "trace"].iter().any(|level| level.eq_ignore_ascii_case(text));
    if !bare {
        return text.to_owned();
    }
    ["migengine", "migengine_cli", "migengine_engine", "migengine_journal"]
        .map(|name| format!("{name}={text}"))
        .join(",")
}
