//! `dump = true`: a `pg_dump -Fc` before the first step, into a folder or to a program, with its checksum.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use migengine_engine::pg::read::ServerFacts;
use migengine_engine::pg::target::Target;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::restore;
use crate::config::{Backup, DumpTables};
use crate::context::now;
use crate::error::CommandError;
use crate::pg_dump;

/// How long a dump may take where the configuration does not say.
pub const TIMEOUT: Duration = Duration::from_secs(6 * 3600);

/// What was dumped, in sentences.
pub struct Dumped {
    /// For the journal: where, how much, its SHA-256.
    pub note: String,
    /// For people: how to get it back.
    pub restore: String,
}

/// Where the dump goes.
enum Sink {
    File(File, PathBuf),
    Program(Box<Child>, String),
}

/// Dumps the database, or the tables named.
///
/// # Errors
/// ME715: there is no fitting pg_dump, it failed, or what it wrote could not be kept. A part of a dump is removed.
pub async fn take(
    section: &Backup,
    limit: Duration,
    target: &Target,
    server: &ServerFacts,
    tables: &[String],
) -> Result<Dumped, CommandError> {
    let failed = |what: String| {
        CommandError::refused("ME715", what).next("mend that, or go ahead without a dump: --no-backup \"reason\"")
    };
    if section.dump_tables == DumpTables::Touched && tables.is_empty() {
        let note = "no table that is there is touched, so none was dumped".to_owned();
        return Ok(Dumped { restore: note.clone(), note });
    }
    let restore = |file: &str| match section.dump_tables {
        DumpTables::All => restore::of_database(target, file),
        DumpTables::Touched => restore::of_tables(target, file),
    };
    let work = async {
        let major = u32::try_from(server.version / 10_000).unwrap_or_default();
        let program = pg_dump::find(major, None).map_err(|unfit| unfit.to_string())?;
        let mut command = Command::new(program);
        command.args(["--format=custom", "--no-password"]);
        if section.dump_tables == DumpTables::Touched {
            command.args(tables.iter().map(|table| format!("--table={table}")));
        }
        pg_dump::connect(command.as_std_mut(), target, "migengine:dump");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut dump = command.spawn().map_err(|error| format!("pg_dump cannot be started: {error}"))?;
        let mut sink = open(section, &server.database)?;
        let result = pour(&mut dump, &mut sink).await;
        match (result, sink) {
            (Ok(done), sink) => close(done, sink, restore).await,
            (Err(why), Sink::File(_, path)) => {
                // What is half-written is worse than nothing: somebody might trust it.
                std::fs::remove_file(&path).ok();
                Err(why)
            }
            (Err(why), Sink::Program(mut child, _)) => {
                child.start_kill().ok();
                Err(why)
            }
        }
    };
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(failed(format!("the dump took longer than {limit:?}; what there is of it is not whole"))),
    }
}

fn open(section: &Backup, database: &str) -> Result<Sink, String> {
    if let Some(argv) = &section.dump_command {
        let [program, arguments @ ..] = argv.as_slice() else { return Err("dump_command names no program".to_owned()) };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))?;
        return Ok(Sink::Program(Box::new(child), program.clone()));
    }
    let dir = section.dump_dir.clone().unwrap_or_else(|| PathBuf::from(".migengine/backups"));
    let unwritable = |path: &Path, error: std::io::Error| format!("{} cannot be written: {error}", path.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|error| unwritable(&dir, error))?;
    let plain: String = database.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let path = dir.join(format!("{plain}-{}.dump", now().0));
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    Ok(Sink::File(file.map_err(|error| unwritable(&path, error))?, path))
}

/// Bytes and checksum of what went through.
async fn pour(dump: &mut Child, sink: &mut Sink) -> Result<(u64, String), String> {
    let (Some(mut out), Some(mut complaints)) = (dump.stdout.take(), dump.stderr.take()) else {
        return Err("pg_dump has no output".to_owned());
    };
    let complaints = tokio::spawn(async move {
        let mut text = Vec::new();
        complaints.read_to_end(&mut text).await.ok();
        String::from_utf8_lossy(&text).into_owned()
    });
    let (mut hasher, mut count, mut piece) = (Sha256::new(), 0_u64, vec![0; 64 * 1024]);
    loop {
        let read = out.read(&mut piece).await.map_err(|error| format!("pg_dump: {error}"))?;
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hasher.update(bytes);
        count += read as u64;
        match sink {
            Sink::File(file, path) => {
                file.write_all(bytes).map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
            }
            Sink::Program(child, name) => {
                let Some(stdin) = child.stdin.as_mut() else { return Err(format!("{name} takes no input")) };
                stdin.write_all(bytes).await.map_err(|error| format!("{name} did not take the dump: {error}"))?;
            }
        }
    }
    let status = dump.wait().await.map_err(|error| format!("pg_dump: {error}"))?;
    let said = complaints.await.unwrap_or_default();
    if !status.success() {
        let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned();
        return Err(format!("pg_dump ended with {status}: {line}"));
    }
    let mut hex = String::new();
    for byte in hasher.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok((count, hex))
}

async fn close((count, hex): (u64, String), sink: Sink, restore: impl Fn(&str) -> String) -> Result<Dumped, String> {
    match sink {
        Sink::File(file, path) => {
            file.sync_all().map_err(|error| format!("{} is not on disk: {error}", path.display()))?;
            let shown = path.display().to_string();
            let restore = restore(&shown);
            Ok(Dumped { note: format!("pg_dump wrote {count} bytes to {shown}, sha256 {hex}"), restore })
        }
        Sink::Program(mut child, name) => {
            drop(child.stdin.take());
            let status = child.wait().await.map_err(|error| format!("{name}: {error}"))?;
            if !status.success() {
                return Err(format!("{name} ended with {status}"));
            }
            Ok(Dumped {
                note: format!("pg_dump gave {count} bytes to {name}, sha256 {hex}"),
                restore: format!("get the dump back from where {name} put it. {}", restore("FILE")),
            })
        }
    }
}
