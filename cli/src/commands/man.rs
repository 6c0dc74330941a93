//! `migengine man`: the manual, made of what `--help` says.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use serde_json::json;

use crate::args::{Cli, Format};
use crate::context::Look;
use crate::error::{CommandError, Exit};
use crate::render;

/// Options of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write a page for each command into this folder, which is made where it is missing. Without it the main page goes
    /// to stdout: migengine man | man -l -
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// What each exit code means, for the section EXIT STATUS.
const EXITS: [(Exit, &str); 8] = [
    (Exit::Done, "Done, or nothing to do."),
    (Exit::RolledBack, "Failed, and everything this run did was reversed or never took effect."),
    (Exit::Usage, "Usage or configuration."),
    (Exit::Differs, "Check mode: something is pending, changed or drifted."),
    (Exit::Busy, "Another runner holds the lock."),
    (Exit::Refused, "Refused before any change."),
    (Exit::Person, "A person must decide: in doubt with the database unreachable, diverged, stuck."),
    (Exit::Stopped, "Stopped part-way; apply --resume or rollback --run last goes on."),
];

/// A page of the manual.
struct Page {
    /// Such as `migengine-apply.1`.
    file: String,
    /// In roff.
    text: Vec<u8>,
}

/// Runs the command. It reads no configuration: packages are built where there is none.
///
/// # Errors
/// A page cannot be written.
pub fn run(look: Look, args: &ManArgs) -> Result<Exit, CommandError> {
    let pages = pages().map_err(|error| unwritable(&format!("the manual cannot be made: {error}")))?;
    let Some(dir) = &args.out else {
        // The program's own page comes first.
        let text = pages.first().map(|page| String::from_utf8_lossy(&page.text).into_owned()).unwrap_or_default();
        match look.format {
            Format::Text => render::data(text.trim_end()),
            Format::Json => render::data(&json!({ "files": [], "text": text }).to_string()),
        }
        return Ok(Exit::Done);
    };
    let files = write(dir, &pages)?;
    match look.format {
        Format::Text => render::data(&files.join("\n")),
        Format::Json => render::data(&json!({ "files": files }).to_string()),
    }
    Ok(Exit::Done)
}

fn write(dir: &Path, pages: &[Page]) -> Result<Vec<String>, CommandError> {
    std::fs::create_dir_all(dir)
        .map_err(|error| unwritable(&format!("the folder {} cannot be made: {error}", dir.display())))?;
    let write_one = |page: &Page| {
        let file = dir.join(&page.file);
        std::fs::write(&file, &page.text)
            .map(|()| file.display().to_string())
            .map_err(|error| unwritable(&format!("{} cannot be written: {error}", file.display())))
    };
    pages.iter().map(write_one).collect()
}

fn unwritable(what: &str) -> CommandError {
    CommandError::refused("ME763", what)
        .state("No database was touched. Pages that were written before stay.")
        .next("migengine man --out DIR, with a folder that can be written")
}

/// The page of the program, then one for each command and each command below it.
fn pages() -> std::io::Result<Vec<Page>> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    add(&root, &mut pages)?;
    Ok(pages)
}

fn add(command: &clap::Command, pages: &mut Vec<Page>) -> std::io::Result<()> {
    let man = Man::new(command.clone()).manual("migengine");
    let mut text = Vec::new();
    man.render(&mut text)?;
    exit_status().to_writer(&mut text)?;
    pages.push(Page { file: man.get_filename(), text });
    command.get_subcommands().filter(|inner| !inner.is_hide_set()).try_for_each(|inner| add(inner, pages))
}

fn exit_status() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (exit, meaning) in EXITS {
        roff.control("TP", []);
        roff.text([bold((exit as u8).to_string())]);
        roff.text([roman(meaning)]);
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_exit_code_has_its_meaning_in_the_manual_in_order() {
        for (number, (exit, _)) in EXITS.iter().enumerate() {
            assert_eq!(*exit as usize, number);
        }
    }

    #[test]
    fn each_command_has_a_page_and_no_two_have_the_same() {
        let pages = pages().unwrap();
        let mut files: Vec<&str> = pages.iter().map(|page| page.file.as_str()).collect();
        assert_eq!(files[0], "migengine.1");
        for command in Cli::command().get_subcommands() {
            assert!(files.contains(&format!("migengine-{}.1", command.get_name()).as_str()), "{files:?}");
        }
        files.sort_unstable();
        let count = files.len();
        files.dedup();
        assert_eq!(files.len(), count);
    }
}
