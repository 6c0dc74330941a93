//! `migengine new`: a new pair of migration files with the header filled in.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use migengine_engine::id::MigrationId;
use migengine_engine::migration::{FileName, ScriptKind};
use migengine_engine::plan::Resolver;
use serde_json::json;

use crate::args::Format;
use crate::context::{Context, actor, now};
use crate::error::{CommandError, Exit};
use crate::render;

/// Digits of a number where there is none to follow.
const WIDTH: usize = 3;
/// A number of at least this many digits is a time.
const TIMESTAMP_WIDTH: usize = 12;

/// Options of `new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// What it does, in a few words: add_prices, or "Add prices".
    pub name: String,
    /// Migrations it requires, between commas, or none [default: the last one].
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub requires: Vec<String>,
    /// Number it by the time instead of the next number.
    #[arg(long)]
    pub timestamp: bool,
}

/// Runs the command.
///
/// # Errors
/// See the contract's exit codes.
pub fn run(context: &Context, args: &NewArgs) -> Result<Exit, CommandError> {
    let dir = &context.dir;
    let known = known(dir)?;
    let id = id(&known, args)?;
    let requires = requires(&known, args)?;
    let header = format!(
        "-- Description: {}\n-- Author: {}\n-- Date: {}\n",
        description(&args.name),
        author(),
        now_text().get(..10).unwrap_or_default()
    );
    let forward = format!(
        "-- Migration: {id}\n{header}-- Requires: {}\n\n-- Write the change here. It runs in one transaction, together with its history row.\n",
        if requires.is_empty() { "none".to_owned() } else { requires.join(", ") }
    );
    let reverse = format!(
        "-- Rollback: {id}\n{header}\n-- Write here what takes {id} back. Where nothing can, remove this file and say in the\n\
         -- migration why, on a line `-- Irreversible: the reason`.\n"
    );
    std::fs::create_dir_all(dir)
        .map_err(|error| unwritable(&format!("the folder {} cannot be made: {error}", dir.display())))?;
    let files = [dir.join(format!("{id}.sql")), dir.join(format!("{id}_rollback.sql"))];
    write_both(&files, [&forward, &reverse])?;
    let shown: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    if context.look.format == Format::Json {
        render::data(&json!({ "id": id.as_str(), "files": shown }).to_string());
    } else {
        render::data(&shown.join("\n"));
    }
    Ok(Exit::Done)
}

fn unwritable(what: &str) -> CommandError {
    CommandError::refused("ME015", what)
}

/// The ids of all forward scripts, also of those that hold errors. No folder: none.
fn known(dir: &Path) -> Result<Vec<MigrationId>, CommandError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(unwritable(&format!("the folder {} cannot be read: {error}", dir.display()))
                .next("name the folder with --dir"));
        }
    };
    let ids = entries.flatten().filter_map(|entry| match FileName::of(&entry.file_name().to_string_lossy()) {
        FileName::Script { id, .. } => Some(id),
        _ => None,
    });
    let mut ids: Vec<MigrationId> = ids.collect();
    ids.sort();
    ids.dedup();
    Ok(ids)
}

/// The next number in the width in use, and the name. A name that begins with a number and `_` is taken as it is.
fn id(known: &[MigrationId], args: &NewArgs) -> Result<MigrationId, CommandError> {
    let slug = slug(&args.name);
    let bad = |what: String| CommandError::usage("ME014", what);
    if slug.is_empty() {
        return Err(bad(format!("`{}` holds no letter or digit to name a file by", args.name)));
    }
    if ScriptKind::of_stem(&slug).1 != ScriptKind::Forward {
        return Err(bad(format!("`{slug}` ends like a reverse or verify script: those endings are reserved")));
    }
    let numbered = slug.split_once('_').is_some_and(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()));
    let stem = match (numbered, known.last()) {
        (true, _) => slug,
        (false, Some(last)) if !args.timestamp && last.digits().len() < TIMESTAMP_WIDTH => {
            let number = last.number().parse::<u64>().unwrap_or_default() + 1;
            format!("{number:0width$}_{slug}", width = last.digits().len())
        }
        (false, None) if !args.timestamp => format!("{:0WIDTH$}_{slug}", 1),
        (false, _) => {
            format!("{}_{slug}", now_text().replace(|c: char| !c.is_ascii_digit(), "").get(..14).unwrap_or("0"))
        }
    };
    MigrationId::new(stem).map_err(|error| bad(error.to_string()))
}

fn requires(known: &[MigrationId], args: &NewArgs) -> Result<Vec<String>, CommandError> {
    let wanted: Vec<&str> = args.requires.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect();
    if wanted.is_empty() {
        return Ok(known.last().map(ToString::to_string).into_iter().collect());
    }
    if let ["none"] = wanted.as_slice() {
        return Ok(Vec::new());
    }
    let resolver = Resolver::new(known);
    let resolve = |text: &&str| match resolver.resolve(text) {
        Ok(found) => Ok(found.id.to_string()),
        Err(error) => Err(CommandError::usage("ME140", format!("{error}: {}", resolver.help(text)))),
    };
    wanted.iter().map(resolve).collect()
}

/// Lower case, everything but letters and digits made one `_`.
fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("_")
}

/// The name as a sentence.
fn description(name: &str) -> String {
    let text = name.replace('_', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().to_owned();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Whoever git thinks is at work here, or the user.
fn author() -> String {
    let asked = std::process::Command::new("git").args(["config", "user.name"]).output();
    let name = asked.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    let name = name.map(|bytes| String::from_utf8_lossy(&bytes).split_whitespace().collect::<Vec<_>>().join(" "));
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| actor().split_once('@').map_or_else(actor, |(user, _)| user.to_owned()))
}

fn now_text() -> String {
    render::time(now())
}

/// Both files, or none; never over an existing one.
fn write_both(files: &[PathBuf; 2], texts: [&str; 2]) -> Result<(), CommandError> {
    if let Some(there) = files.iter().find(|file| file.exists()) {
        return Err(CommandError::refused("ME013", format!("{} exists already", there.display()))
            .next("choose another name, or edit that file"));
    }
    let mut written: Vec<&PathBuf> = Vec::new();
    for (file, text) in files.iter().zip(texts) {
        let result = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(file)
            .and_then(|mut open| open.write_all(text.as_bytes()).and_then(|()| open.sync_all()));
        if let Err(error) = result {
            for half in written {
                std::fs::remove_file(half).ok();
            }
            return Err(unwritable(&format!("{} cannot be written: {error}", file.display())));
        }
        written.push(file);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_those_in_use() {
        for (known, name, expect) in [
            (&[][..], "Add prices", "001_add_prices"),
            (&["001_a", "009_b"], "add-prices!", "010_add_prices"),
            (&["0001_a"], "x", "0002_x"),
            (&["999_a"], "x", "1000_x"),
            (&["1_a"], "x", "2_x"),
            (&["003_a"], "007_given", "007_given"),
            (&["003_a"], "2fa tokens", "004_2fa_tokens"),
        ] {
            let known: Vec<MigrationId> = known.iter().map(|id| MigrationId::new(*id).unwrap()).collect();
            let args = NewArgs { name: name.to_owned(), requires: Vec::new(), timestamp: false };
            assert_eq!(id(&known, &args).unwrap().as_str(), expect);
        }
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for name in ["", "!!", "drop_rollback", "users verify"] {
            let args = NewArgs { name: name.to_owned(), requires: Vec::new(), timestamp: false };
            assert_eq!(id(&[], &args).unwrap_err().code, "ME014", "{name}");
        }
    }

    #[test]
    fn names_read_as_sentences() {
        for (name, expect) in [("add_prices", "Add prices"), ("Add  Prices", "Add Prices"), ("007_x_y", "X y")] {
            assert_eq!(description(name), expect);
        }
    }
}
