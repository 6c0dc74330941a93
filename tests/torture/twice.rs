//! Row 9: every step and every reverse step is asked for twice. The second time changes nothing.

use super::kinds::{KINDS, Kind};
use super::lab::{Lab, Scratch, run};
use super::oracle;
use super::table::Table;
use crate::support::Project;

fn test(lab: &Lab, kind: &Kind) -> Result<(), String> {
    let db = lab.copy("base");
    let project = db.project();
    kind.write(&project);
    let before = oracle::shape(&db);
    let tags: Vec<String> = kind.all_tags().iter().map(ToString::to_string).collect();
    let ids = ["1_first".to_owned(), format!("2_{}", kind.name), "3_last".to_owned()];
    for id in &ids {
        twice(&db, &project, &["apply", id, "--yes"], &[0], &[0])?;
    }
    oracle::all_once(&db, &tags)?;
    let forged = forget(&db, &project, &ids[1])?;
    oracle::all_once(&db, &tags).map_err(|error| format!("after {forged}: {error}"))?;
    oracle::books(&db, &project, &ids)?;
    for id in ids.iter().rev() {
        twice(&db, &project, &["rollback", id, "--yes"], &[0], &[0, 2, 5])?;
    }
    oracle::same("schema and data", &oracle::shape(&db), &before)?;
    oracle::all_undone(&db)?;
    oracle::books(&db, &project, &[])
}

fn twice(db: &Scratch<'_>, project: &Project, args: &[&str], first: &[i32], second: &[i32]) -> Result<(), String> {
    let mut seen = None;
    for codes in [first, second] {
        let output = run(project, args, &[]);
        if !output.code.is_some_and(|code| codes.contains(&code)) {
            return Err(format!("{args:?} ended with {:?}, not one of {codes:?}: {output}", output.code));
        }
        let now = (oracle::shape(db), oracle::counted(db));
        if *seen.get_or_insert_with(|| now.clone()) != now {
            return Err(format!("{args:?} changed something the second time: {output}"));
        }
    }
    Ok(())
}

/// Another machine, which knows nothing, asks for the same.
fn forget(db: &Scratch<'_>, project: &Project, id: &str) -> Result<&'static str, String> {
    std::fs::remove_dir_all(project.journal()).map_err(|error| error.to_string())?;
    twice(db, project, &["apply", id, "--yes"], &[0], &[0])?;
    Ok("the journal was lost")
}

/// Every kind.
pub fn all(table: &Table) {
    table.all("9 every step and reverse step twice", KINDS, Lab::start, test, |kind| kind.name.to_owned());
}
