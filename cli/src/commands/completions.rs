//! `migengine completions SHELL`: a script that completes commands and options in a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};
use serde_json::json;

use crate::args::{Cli, Format};
use crate::context::Look;
use crate::error::Exit;
use crate::render;

/// Options of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell to write for.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Runs the command. It reads no configuration: a shell calls it when it starts, in whatever folder that is.
#[must_use]
pub fn run(look: Look, args: &CompletionsArgs) -> Exit {
    let script = script(args.shell);
    match look.format {
        Format::Text => render::data(script.trim_end()),
        Format::Json => render::data(&json!({ "shell": args.shell.to_string(), "script": script }).to_string()),
    }
    Exit::Done
}

/// The script for a shell.
#[must_use]
pub fn script(shell: Shell) -> String {
    let mut bytes = Vec::new();
    generate(shell, &mut Cli::command(), "migengine", &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
