//! Row 8: several runners at once. One works, the others are refused or find nothing left to do.

use super::kinds::{KINDS, Kind};
use super::lab::{Lab, Rng, command, run};
use super::oracle;
use super::table::Table;
use crate::support::Project;
use crate::support::project::collect;

struct Case {
    seed: u64,
}

/// Between two and eight runners, each on a machine (with a journal) of its own, some of them waiting for the lock.
fn test(lab: &Lab, case: &Case) -> Result<(), String> {
    let mut rng = Rng(case.seed);
    let builds: Vec<&Kind> = KINDS.iter().filter(|kind| kind.name.ends_with("concurrently")).collect();
    let kind = builds[usize::try_from(rng.below(builds.len() as u64)).unwrap()];
    let db = lab.copy("base");
    let count = 2 + rng.below(7);
    let projects: Vec<Project> = (0..count).map(|_| db.project()).collect();
    let mut runners = Vec::new();
    for project in &projects {
        kind.write(project);
        let waits = ["apply", "--yes", "--lock-wait-runner", "20s"];
        let args = if rng.below(2) == 0 { &waits[..] } else { &waits[..2] };
        std::thread::sleep(std::time::Duration::from_millis(rng.below(40)));
        runners.push(command(project, args, &[]).spawn().unwrap());
    }
    let outputs: Vec<_> = runners.into_iter().map(collect).collect();
    let mut log: String = outputs.iter().map(|output| format!("{output}\n")).collect();
    let check = || {
        if let Some(odd) = outputs.iter().find(|output| !matches!(output.code, Some(0 | 4))) {
            return Err(format!("a runner ended with {:?}", odd.code));
        }
        let done = outputs.iter().filter(|output| output.stderr.contains("committed (3 steps)")).count();
        oracle::same("runners that committed", &done.to_string(), "1")?;
        let tags: Vec<String> = kind.all_tags().iter().map(ToString::to_string).collect();
        oracle::all_once(&db, &tags)?;
        oracle::same("schema and data", &oracle::shape(&db), &lab.expected(kind))
    };
    let raced = check();
    // Whoever lost can go on afterwards, and finds nothing to do.
    for project in &projects {
        let after = run(project, &["apply", "--yes"], &[]);
        if after.code != Some(0) {
            log += &format!("afterwards {after}\n");
            return Err(format!("afterwards a runner ended with {:?}\n{log}", after.code));
        }
    }
    raced.map_err(|error| format!("{error}\n{log}"))
}

/// So many races.
pub fn races(table: &Table, rounds: u64, seed: u64) {
    let cases: Vec<Case> = (seed..seed.saturating_add(rounds)).map(|seed| Case { seed }).collect();
    let describe = |case: &Case| format!("replay with SEED={} ROUNDS=1 ONLY=8", case.seed);
    table.all("8 races of two to eight runners", &cases, Lab::start, test, describe);
}
