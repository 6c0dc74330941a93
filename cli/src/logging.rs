//! The log: what the program does, for whoever looks for a fault, on stderr. Off by default; what people need to know is
//! told without it. Secrets cannot get into it, because their type prints as stars.

use clap::ValueEnum;
use serde::Deserialize;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::prelude::*;

use crate::args::Global;
use crate::config::Section;
use crate::error::CommandError;
use crate::render::screen::Stderr;

/// How lines of the log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// How much is told: a level, or pairs of target and level. Targets and levels only: regular expressions over fields are
/// not worth the megabyte they take.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLevel(Targets);

impl LogLevel {
    /// From its text.
    ///
    /// # Errors
    /// It is no level; a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = |why: &str| {
            format!("`{text}` is no log level{why}: write off, error, warn, info, debug, trace, or target=level pairs")
        };
        // A target alone would be taken for all of its levels, and so would a slip in the name of a level.
        if text.split(',').any(|piece| !piece.contains('=') && !is_level(piece)) {
            return Err(wrong(""));
        }
        ours(text).parse().map(Self).map_err(|error| wrong(&format!(" ({error})")))
    }
}

impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(input)?).map_err(serde::de::Error::custom)
    }
}

/// Starts the log. What is asked for by name wins over `-v`, and that over the configuration.
///
/// # Errors
/// A level that is none, before anything else happens.
pub fn start(global: &Global, section: &Section) -> Result<(), CommandError> {
    let asked = global.log_level.as_deref().filter(|text| !text.trim().is_empty());
    let LogLevel(filter) = match (asked, global.verbose, &section.log_level) {
        (None, 0, Some(configured)) => configured.clone(),
        (asked, verbose, _) => LogLevel::parse(asked.unwrap_or(by_verbosity(verbose)))
            .map_err(|what| CommandError::usage("ME717", what))?,
    };
    let lines = layer().with_writer(Stderr::default);
    let log = tracing_subscriber::registry().with(filter);
    // A second start, by a test in the same process, changes nothing.
    let started = match global.log_format.or(section.log_format).unwrap_or_default() {
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
    if !is_level(text) {
        return text.to_owned();
    }
    ["migengine", "migengine_cli", "migengine_engine", "migengine_journal"]
        .map(|name| format!("{name}={text}"))
        .join(",")
}

fn is_level(text: &str) -> bool {
    ["off", "error", "warn", "info", "debug", "trace"].iter().any(|level| level.eq_ignore_ascii_case(text.trim()))
}
