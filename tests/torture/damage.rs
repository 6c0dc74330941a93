//! Row 5: damaged journals are refused, or healed from the database; never believed, and never the end of the process.

use std::path::{Path, PathBuf};

use migengine_engine::run::journal::{Journal as _, JournalError};
use migengine_journal::{SledJournal, wire};

use super::kinds::KINDS;
use super::lab::{Lab, Rng, run};
use super::matrix::{copy_dir, ids, tags};
use super::oracle;
use super::table::Table;
use crate::support::project::collect;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../journal/tests/fixtures/journal-v1")
}

/// The whole records of the golden files, with the names of the files. Bytes 72 to 75 of a record hold the length of what
/// follows its 80 bytes of envelope.
fn records() -> Vec<(String, Vec<u8>)> {
    let mut records = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "bin")) {
        let bytes = std::fs::read(path).unwrap();
        let mut rest = bytes.as_slice();
        while let Some(length) = rest.get(72..76) {
            let length = 80 + u32::from_le_bytes(length.try_into().unwrap()) as usize;
            let Some((record, more)) = rest.split_at_checked(length) else { break };
            records.push((path.file_stem().unwrap().to_string_lossy().into_owned(), record.to_vec()));
            rest = more;
        }
    }
    records
}

const FLIPS: &str = "5 every bit of every golden record, flipped";

/// Every bit and every length of one record.
fn one_record(table: &Table, (name, record): &(String, Vec<u8>)) {
    let refused = |bytes: &[u8], what: &str| match wire::open(bytes) {
        Ok(_) => Err(format!("{name}: accepted with {what}")),
        Err(_) => Ok(()),
    };
    let mut damaged = record.clone();
    for bit in 0..record.len() * 8 {
        damaged[bit / 8] ^= 1 << (bit % 8);
        table.count(FLIPS, refused(&damaged, &format!("bit {bit} flipped")));
        damaged[bit / 8] ^= 1 << (bit % 8);
    }
    for length in 0..record.len() {
        let cut = refused(&record[..length], &format!("{length} bytes left"));
        table.count("5 every golden record, cut at every length", cut);
    }
}

/// What happens to a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Flip { byte: usize, bit: u8 },
    Cut { length: usize },
}

impl Damage {
    fn inflict(self, file: &Path) {
        let mut bytes = std::fs::read(file).unwrap();
        match self {
            Self::Flip { byte, bit } => bytes[byte] ^= 1 << bit,
            Self::Cut { length } => bytes.truncate(length),
        }
        std::fs::write(file, bytes).unwrap();
    }

    /// One bit of every `stride`-th byte, and every `stride`-th length.
    fn all(bytes: usize, stride: usize) -> Vec<Self> {
        let flip = |byte: usize| Self::Flip { byte, bit: u8::try_from(byte / stride % 8).unwrap_or_default() };
        let flips = (0..bytes).step_by(stride).map(flip);
        flips.chain((0..bytes).step_by(stride).map(|length| Self::Cut { length })).collect()
    }
}

/// Everything a store serves, by run; nothing where it refuses.
fn served(folder: &Path) -> Result<Vec<Vec<Vec<u8>>>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let opened = match SledJournal::open(folder) {
        Ok(opened) => opened,
        Err(JournalError::Damaged { .. } | JournalError::Unwritable { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let mut runs = Vec::new();
    for run in runtime.block_on(opened.journal.runs()).map_err(|error| error.to_string())? {
        match runtime.block_on(opened.journal.records(run)) {
            Ok(records) => runs.push(records.into_iter().map(|(_, sealed)| sealed.bytes).collect()),
            Err(JournalError::Damaged { .. }) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(runs)
}

/// A golden store, damaged: what is served is a beginning of what was written.
fn one_store(whole: &[Vec<Vec<u8>>], damage: Damage) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    copy_dir(&golden().join("sled"), &path);
    damage.inflict(&path.join("db"));
    for run in served(&path)? {
        if !whole.iter().any(|written| written.starts_with(&run)) {
            return Err(format!("{} records that were never written are served", run.len()));
        }
    }
    Ok(())
}

/// The journal of a run that was killed, damaged; the next commands bring the run to its end with what the database has.
fn one_run(lab: &Lab, seed: u64) -> Result<(), String> {
    let mut rng = Rng(seed);
    let index = usize::try_from(rng.below(KINDS.len() as u64)).unwrap();
    let kind = &KINDS[index];
    let db = lab.copy("base");
    let project = db.project();
    kind.write(&project);
    let at = format!("journal.after:{}", 3 + rng.below(8));
    let killed = project.command(&["apply", "--yes"]).env("MIGENGINE_CRASH_AT", &at).spawn().unwrap();
    let mut log = format!("killed at {at}: {}", collect(killed));
    let file = project.journal().join("db");
    // Most of the file is empty; the records are in front.
    let bytes = std::fs::read(&file).map_err(|error| error.to_string())?;
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let place = usize::try_from(rng.below(used as u64)).unwrap();
    let damage = match rng.below(3) {
        0 => Damage::Cut { length: place },
        _ => Damage::Flip { byte: place, bit: u8::try_from(rng.below(8)).unwrap() },
    };
    damage.inflict(&file);
    let mut over = false;
    for args in [["apply", "--resume", "--yes"].as_slice(), &["apply", "--yes"], &["apply", "--resume", "--yes"]] {
        let output = run(&project, args, &[]);
        log += &format!("\n{args:?} {output}");
        over = output.code == Some(0) && oracle::all_applied(&db, &ids(kind));
        if over {
            break;
        }
        if !matches!(output.code, Some(0 | 5..=7)) {
            return Err(format!("{damage:?}: ended with {:?}\n{log}", output.code));
        }
        // Refused: the way out that the message names.
        if output.code == Some(6) {
            let rebuilt = run(&project, &["journal", "rebuild"], &[]);
            log += &format!("\nrebuild {rebuilt}");
        }
    }
    let check = || {
        oracle::same("brought to its end", &over.to_string(), "true")?;
        oracle::all_once(&db, &tags(kind))?;
        oracle::same("schema and data", &oracle::shape(&db), &lab.expected(kind))?;
        oracle::books(&db, &project, &ids(kind))
    };
    check().map_err(|error| format!("{damage:?}: {error}\n{log}"))
}

/// Everything; of the golden store every `stride`-th byte and length, and so many runs.
pub fn damage(table: &Table, stride: usize, rounds: u64, seed: u64) {
    table.many(&records(), |_| FLIPS, || (), |(), record| one_record(table, record));
    let whole = {
        let folder = tempfile::tempdir().unwrap();
        copy_dir(&golden().join("sled"), &folder.path().join("journal"));
        served(&folder.path().join("journal")).unwrap()
    };
    let size = usize::try_from(std::fs::metadata(golden().join("sled/db")).unwrap().len()).unwrap();
    let name = "5 golden store, a bit flipped, or cut at a length";
    table.strided(name, stride, "DAMAGE_STRIDE");
    let test = |(): &(), damage: &Damage| one_store(&whole, *damage);
    table.all(name, &Damage::all(size, stride), || (), test, |damage| format!("{damage:?}"));
    let seeds: Vec<u64> = (seed..seed.saturating_add(rounds)).collect();
    let describe = |seed: &u64| format!("replay with SEED={seed} ROUNDS=1 ONLY=5");
    table.all(
        "5 killed, journal damaged, healed from the database",
        &seeds,
        Lab::start,
        |lab, seed| one_run(lab, *seed),
        describe,
    );
}
