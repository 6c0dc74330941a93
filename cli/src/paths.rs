//! Paths of the configuration stay within the project. The file is the repository's: whoever may change a file in it must
//! not be able to have something written, or run, elsewhere on the machine. Whoever calls the program may: flags and
//! variables are not checked, and `MIGENGINE_ALLOWED_PATHS` names folders that the configuration may use.

use std::path::{Component, Path, PathBuf};

use migengine_engine::diag::Position;

use crate::config::Section;
use crate::error::CommandError;

/// The variable with folders outside of the project that the configuration may use, separated as in `PATH`.
pub const ALLOWED: &str = "MIGENGINE_ALLOWED_PATHS";

/// Refuses paths of a configuration that leave the project folder, which is the current one. `text` and `name` are the
/// file's, for its line.
///
/// # Errors
/// ME720, with the key and the line.
pub fn refuse_leaving(section: &Section, text: &str, name: &str) -> Result<(), CommandError> {
    let named = paths(section);
    if named.is_empty() {
        return Ok(());
    }
    let here = std::env::current_dir().and_then(|dir| dir.canonicalize());
    let here =
        here.map_err(|error| CommandError::usage("ME720", format!("the current folder has no path: {error}")))?;
    let allowed = std::env::var_os(ALLOWED).unwrap_or_default();
    let allowed: Vec<PathBuf> = std::env::split_paths(&allowed).filter_map(|path| path.canonicalize().ok()).collect();
    for (key, path) in named {
        let inside = |place: PathBuf| std::iter::once(&here).chain(&allowed).any(|folder| place.starts_with(folder));
        if !resolve(&here, &path).is_some_and(inside) {
            let shown = path.display().to_string();
            let line = line_of(text, &shown).map(|line| format!(":{line}")).unwrap_or_default();
            let what = format!("{name}{line}: {key} = \"{shown}\" leaves the project folder {}", here.display());
            return Err(CommandError::usage("ME720", what)
                .next(format!("name a path inside of it, or let the machine allow the folder: {ALLOWED}=FOLDER")));
        }
    }
    Ok(())
}

/// Where a path leads, through links as far as they are there; nothing through a link that leads nowhere.
fn resolve(here: &Path, path: &Path) -> Option<PathBuf> {
    let mut at = here.to_path_buf();
    for component in path.components() {
        match component {
            Component::Prefix(_) | Component::CurDir => {}
            Component::RootDir => at = PathBuf::from("/"),
            Component::ParentDir => drop(at.pop()),
            Component::Normal(name) => {
                at.push(name);
                if at.symlink_metadata().is_ok() {
                    at = at.canonicalize().ok()?;
                }
            }
        }
    }
    Some(at)
}

/// What the configuration writes to, reads from, and runs by a path of its own.
fn paths(section: &Section) -> Vec<(String, PathBuf)> {
    let backup = section.backup.as_ref();
    let files = [
        ("dir", section.dir.as_ref()),
        ("journal", section.journal.as_ref()),
        ("export.file", section.export.as_ref().and_then(|export| export.file.as_ref())),
        ("backup.dump_dir", backup.and_then(|backup| backup.dump_dir.as_ref())),
        ("metrics.textfile", section.metrics.as_ref().and_then(|metrics| metrics.textfile.as_ref())),
    ];
    let files = files.into_iter().filter_map(|(key, path)| Some((key.to_owned(), path?.clone())));
    let hooks = section.hooks.iter().map(|(moment, words)| (format!("hooks.{}", moment.name()), words.first()));
    let notify = section.notify.iter().flatten().filter_map(|notify| notify.command.as_ref());
    let notify = notify.map(|words| ("notify.command".to_owned(), words.first()));
    let backups = [
        ("backup.command", backup.and_then(|backup| backup.command.as_ref())),
        ("backup.dump_command", backup.and_then(|backup| backup.dump_command.as_ref())),
    ];
    let backups = backups.into_iter().filter_map(|(key, words)| Some((key.to_owned(), words?.first())));
    // A program's bare name is looked for in PATH, and one from the root of the machine is the machine's.
    let own = |program: &Path| program.is_relative() && program.components().count() > 1;
    let programs = hooks.chain(notify).chain(backups).filter_map(|(key, word)| Some((key, PathBuf::from(word?))));
    files.chain(programs.filter(|(_, program)| own(program))).collect()
}

/// The line on which a value stands, where it is written there as it is.
fn line_of(text: &str, value: &str) -> Option<u32> {
    let at = ['"', '\''].iter().find_map(|quote| text.find(&format!("{quote}{value}{quote}")))?;
    Some(Position::of(text, at).line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_the_system_would_take_them() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().canonicalize().unwrap();
        std::fs::create_dir(here.join("sub")).unwrap();
        std::os::unix::fs::symlink("/etc", here.join("link")).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", here.join("dangling")).unwrap();
        let to = |path: &str| resolve(&here, Path::new(path));
        assert_eq!(to("new/file"), Some(here.join("new/file")));
        assert_eq!(to("sub/../file"), Some(here.join("file")));
        assert_eq!(to("link/passwd"), Some(PathBuf::from("/etc/passwd")));
        assert_eq!(to("link/../x"), Some(PathBuf::from("/x")), "behind a link, `..` is the parent of where it leads");
        assert_eq!(to("dangling"), None);
        assert_eq!(to("/tmp/x").map(|path| path.starts_with(&here)), Some(false));
    }
}
