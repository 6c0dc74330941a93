//! Whether the programs that the configuration names are there: nobody wants to learn at the end of a run that nobody was
//! told of it.

use std::path::{Path, PathBuf};

use migengine_engine::preflight::Check;

use crate::config::Section;
use crate::embedded::find::is_program;
use crate::pg_dump;

/// A key of the configuration, and the program that it names.
type Named<'s> = (String, &'s str);

/// Looks for those that are told of a run, and with the `server`'s major version also for those without which a run is
/// refused or exports nothing: asking a pg_dump for its version takes some milliseconds, and a run finds out by itself.
#[must_use]
pub fn check(section: &Section, server: Option<u32>) -> Check {
    let next = "install it, or mend the configuration";
    let told = told(section);
    let missing = |named: &[Named<'_>]| {
        let missing = named.iter().filter(|(_, word)| !found(word));
        missing.map(|(key, word)| format!("there is no program {key} = \"{word}\"")).collect::<Vec<_>>()
    };
    let mut odd = missing(&told);
    if let Some(major) = server {
        let wanted = section.backup.as_ref().filter(|backup| backup.dump);
        let keeps = wanted.and_then(|backup| first("backup.dump_command", backup.dump_command.as_deref()));
        let unfit = |key: &str, path| pg_dump::find(major, path).err().map(|why| format!("{key}: {why}"));
        let mut fatal = missing(&Vec::from_iter(keeps));
        fatal.extend(wanted.and_then(|_| unfit("backup.dump", None)));
        if !fatal.is_empty() {
            return Check::fail("programs", fatal.join("; "), next);
        }
        let export = section.export.as_ref().filter(|export| export.file.is_some());
        odd.extend(export.and_then(|export| unfit("export.file", export.pg_dump.as_deref())));
    }
    if odd.is_empty() {
        return Check::ok("programs", "what the configuration names is there");
    }
    Check::warn("programs", odd.join("; "), next)
}

/// Hooks and notifications. Programs that prove a backup are asked by their own check.
fn told(section: &Section) -> Vec<Named<'_>> {
    let hooks = section.hooks.iter();
    let hooks = hooks.filter_map(|(moment, words)| first(&format!("hooks.{}", moment.name()), Some(words.as_slice())));
    let notify = section.notify.iter().flatten();
    hooks.chain(notify.filter_map(|notify| first("notify.command", notify.command.as_deref()))).collect()
}

fn first<'s>(key: &str, words: Option<&'s [String]>) -> Option<Named<'s>> {
    Some((key.to_owned(), words?.first()?.as_str()))
}

/// As the system looks for it: a path is a path, a plain name is looked for in `PATH`.
fn found(word: &str) -> bool {
    if word.contains('/') {
        return is_program(Path::new(word));
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder: PathBuf| is_program(&folder.join(word)))
}
