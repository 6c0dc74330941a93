//! Row 4: the power fails while journaling. The journal lies on an ext4 of its own on a loop device, which is shut down
//! without a flush (`EXT4_IOC_SHUTDOWN`, as xfstests do); the program is killed with it. Needs root, and says so.

use std::fmt::Write as _;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::disk::{Disk, obstacle};
use super::kinds::{KINDS, Kind};
use super::lab::{Lab, Rng, command, run};
use super::oracle;
use super::table::Table;
use crate::support::process::signal;
use crate::support::project::collect;

fn test(lab: &Lab, seed: &u64) -> Result<(), String> {
    let mut rng = Rng(*seed);
    let kind: &Kind = &KINDS[usize::try_from(rng.below(KINDS.len() as u64)).unwrap()];
    let db = lab.copy("base");
    let project = db.project();
    kind.write(&project);
    let disk = Disk::new(project.path().join("image"), project.journal())?;
    let mut log = String::new();
    for args in [&["apply", "--yes"][..], &["apply", "--resume", "--yes"]] {
        let child = command(&project, args, &[]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(rng.below(if args.len() == 2 { 250 } else { 120 })));
        let cut = disk.power_off();
        signal(i32::try_from(child.id()).unwrap(), Signal::SIGKILL);
        writeln!(log, "{args:?} {}", collect(child)).unwrap();
        cut?;
        disk.unmount();
        disk.mount()?;
    }
    let mut check = || {
        let resumed = run(&project, &["apply", "--resume", "--yes"], &[]);
        writeln!(log, "resume {resumed}").unwrap();
        let rest = run(&project, &["apply", "--yes"], &[]);
        writeln!(log, "apply {rest}").unwrap();
        oracle::same("exit codes", &format!("{:?} {:?}", resumed.code, rest.code), "Some(0) Some(0)")?;
        let tags: Vec<String> = kind.all_tags().iter().map(ToString::to_string).collect();
        oracle::all_once(&db, &tags)?;
        oracle::same("schema and data", &oracle::shape(&db), &lab.expected(kind))?;
        let ids = ["1_first".to_owned(), format!("2_{}", kind.name), "3_last".to_owned()];
        oracle::books(&db, &project, &ids)
    };
    let outcome = check();
    outcome.map_err(|error| format!("{error}\n{log}"))
}

/// So many power cuts; each case has two.
pub fn cuts(table: &Table, rounds: u64, seed: u64) {
    const NAME: &str = "4 power loss while journaling";
    if let Some(why) = obstacle(Disk::power_off) {
        return table.note(NAME, &why);
    }
    let seeds: Vec<u64> = (seed..seed.saturating_add(rounds)).collect();
    table.note(NAME, "each cuts the power twice");
    let describe = |seed: &u64| format!("replay with SEED={seed} ROUNDS=1 ONLY=4");
    table.all(NAME, &seeds, Lab::start, test, describe);
}
