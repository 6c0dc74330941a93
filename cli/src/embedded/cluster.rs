//! Making a cluster: all of it or nothing.

use super::{DATABASE, Durability, EmbeddedError, Install, ROLE, ServerUser};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The data folder under `home`, initialised if it was not. The caller holds the gate lock.
///
/// The work is done under another name and renamed at the end, so a killed `initdb` never leaves a cluster that only
/// looks whole; what it left is removed here.
pub(super) fn prepare(
    home: &Path,
    install: &Install,
    user: &ServerUser,
    durability: Durability,
) -> Result<PathBuf, EmbeddedError> {
    let data = home.join("data");
    if data.join("PG_VERSION").exists() {
        return Ok(data);
    }
    if data.exists() {
        return Err(EmbeddedError::NotACluster { path: data });
    }
    let draft = home.join("data.new");
    match fs::remove_dir_all(&draft) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(EmbeddedError::io("remove", &draft, e)),
        _ => {}
    }
    init(&draft, install, user)?;
    create_database(&draft, install, user)?;
    if durability == Durability::On {
        let mut sync = user.command(install.bin.join("initdb"));
        run(sync.arg("--sync-only").arg("-D").arg(&draft))?;
    }
    fs::rename(&draft, &data).map_err(|e| EmbeddedError::io("rename", &draft, e))?;
    let folder = File::open(home).map_err(|e| EmbeddedError::io("open", home, e))?;
    folder.sync_all().map_err(|e| EmbeddedError::io("sync", home, e))?;
    Ok(data)
}

/// Runs `initdb` in a new folder `draft`. Authentication is `trust`: the closed socket folder is the access control.
fn init(draft: &Path, install: &Install, user: &ServerUser) -> Result<(), EmbeddedError> {
    // C.UTF-8 knows the letters of all languages and sorts the same everywhere; not every system has it.
    let mut last = None;
    for locale in ["C.UTF-8", "C"] {
        if draft.exists() {
            fs::remove_dir_all(draft).map_err(|e| EmbeddedError::io("remove", draft, e))?;
        }
        user.make_private_dir(draft)?;
        let mut initdb = user.command(install.bin.join("initdb"));
        initdb.args(["-U", ROLE, "-A", "trust", "-E", "UTF8", "--no-sync", "--locale", locale]).arg("-D").arg(draft);
        match run(&mut initdb) {
            Ok(()) => return Ok(()),
            Err(e) => last = Some(e),
        }
    }
    // Half a cluster is worth nothing.
    fs::remove_dir_all(draft).ok();
    last.map_or(Ok(()), Err)
}

/// Creates the first database in single-user mode, which needs neither socket nor waiting.
fn create_database(draft: &Path, install: &Install, user: &ServerUser) -> Result<(), EmbeddedError> {
    let mut postgres = user.command(install.bin.join("postgres"));
    // -j: a statement ends at an empty line; without it, each line is one.
    postgres.args(["--single", "-c", "exit_on_error=on", "-D"]).arg(draft).arg("postgres");
    let program = name(&postgres);
    let io = |e| EmbeddedError::io("run", Path::new(&program), e);
    let mut child = postgres.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(io)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A server that has already died is reported below, with its own words.
        writeln!(stdin, "CREATE DATABASE {DATABASE};").ok();
    }
    report(&program, &child.wait_with_output().map_err(io)?)
}

fn run(command: &mut Command) -> Result<(), EmbeddedError> {
    let program = name(command);
    let output = command.output().map_err(|e| EmbeddedError::io("run", Path::new(&program), e))?;
    report(&program, &output)
}

fn report(program: &str, output: &std::process::Output) -> Result<(), EmbeddedError> {
    if output.status.success() {
        return Ok(());
    }
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let output = format!("{}\n({})", String::from_utf8_lossy(&text).trim_end(), output.status);
    Err(EmbeddedError::Init { program: program.to_owned(), output })
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}
