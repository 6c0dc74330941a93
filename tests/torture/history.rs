//! Row 7: the database went back in time, by a restored backup or by a failover that lost commits. Nothing may run on
//! the journal's word then, nor on the database's.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::kinds::{KINDS, Kind};
use super::lab::{Lab, Scratch, run};
use super::matrix::copy_dir;
use super::oracle;
use super::table::Table;
use crate::support::process::{signal, wait_until};
use crate::support::standby::{self, follow};
use crate::support::{Output, Project};

const PATIENCE: Duration = Duration::from_secs(60);

/// Commands that must not do anything to a database that went back.
const REFUSED: &[&[&str]] = &[
    &["apply", "--yes"],
    &["apply", "--resume", "--yes"],
    &["rollback", "--last", "1", "--yes"],
    &["rollback", "--run", "last", "--yes"],
];

fn refused(db: &Scratch<'_>, project: &Project) -> Result<(), String> {
    let fingerprint = || (oracle::shape(db), oracle::counted(db), db.sql("SELECT epoch FROM migengine.lease"));
    let before = fingerprint();
    for args in REFUSED {
        let output: Output = run(project, args, &[]);
        if output.code != Some(6) {
            return Err(format!("{args:?} was not refused with exit 6: {output}"));
        }
        if !output.stderr.contains("epoch") {
            return Err(format!("{args:?} does not show both heads: {output}"));
        }
        if fingerprint() != before {
            return Err(format!("{args:?} changed something: {output}"));
        }
    }
    Ok(())
}

/// A backup is taken, the rest is applied (or reversed), the backup is put back.
fn restored(lab: &Lab, case: &(usize, bool)) -> Result<(), String> {
    let (kind, forward): (&Kind, bool) = (&KINDS[case.0], case.1);
    let db = lab.copy("base");
    let project = db.project();
    kind.write(&project);
    let (first, then): (&[&str], &[&str]) = if forward {
        (&["apply", "1_first", "--yes"], &["apply", "--yes"])
    } else {
        (&["apply", "--yes"], &["rollback", "--last", "2", "--yes"])
    };
    run(&project, first, &[]).expect(0);
    let backup = lab.copy(&db.name);
    run(&project, then, &[]).expect(0);
    let name = db.name.clone();
    db.remove();
    lab.sql("postgres", &format!("ALTER DATABASE {} RENAME TO {name}", backup.name));
    std::mem::forget(backup);
    let db = Scratch { lab, name };
    refused(&db, &project)
}

/// Backups put back.
pub fn restores(table: &Table, rounds: usize) {
    let cases: Vec<(usize, bool)> = (0..rounds).map(|n| (n / 2 % KINDS.len(), n % 2 == 0)).collect();
    let describe = |case: &(usize, bool)| format!("{} {}", KINDS[case.0].name, if case.1 { "forward" } else { "back" });
    table.all("7 restored backup: refused", &cases, Lab::start, restored, describe);
}

/// The port of the standby, beside the primary's in the same folder.
const STANDBY: u16 = 6543;

/// A standby that did not get the last commits is promoted, and takes the place of its primary: another timeline, an
/// older state.
fn failed_over(lab: &Lab, round: &usize) -> Result<(), String> {
    let kind = &KINDS[round % KINDS.len()];
    let db = lab.copy("base");
    let project = db.project();
    kind.write(&project);
    run(&project, &["apply", "1_first", "--yes"], &[]).expect(0);
    let (data, standby) = (lab.cluster.dir().join("data"), lab.cluster.dir().join("standby"));
    let mut follower = follow(&lab.cluster, &standby, STANDBY)?;
    let said = |sql: &str| lab.sql_at(STANDBY, sql).unwrap_or_default();
    wait_until("the standby streams", PATIENCE, || {
        said("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "1"
    });
    let now = lab.sql("postgres", "SELECT pg_current_wal_lsn()");
    wait_until("the standby has everything so far", PATIENCE, || {
        said(&format!("SELECT pg_last_wal_replay_lsn() >= '{now}'")) == "t"
    });
    // The line breaks.
    said("ALTER SYSTEM SET primary_conninfo = ''");
    said("SELECT pg_reload_conf()");
    wait_until("the line is broken", PATIENCE, || said("SELECT count(*) FROM pg_stat_wal_receiver") == "0");
    let lost = run(&project, &["apply", "--yes"], &[]);
    lab.cluster.kill_nine();
    let promoted = said("SELECT pg_promote(true, 60)");
    let timeline = said("SELECT pg_is_in_recovery()");
    signal(i32::try_from(follower.id()).unwrap(), Signal::SIGINT);
    follower.wait().map_err(|error| error.to_string())?;
    let old = lab.cluster.dir().join(format!("old{round}"));
    std::fs::rename(&data, &old).map_err(|error| error.to_string())?;
    std::fs::rename(&standby, &data).map_err(|error| error.to_string())?;
    lab.cluster.restart();
    std::fs::remove_dir_all(&old).ok();
    oracle::same("the promotion", &format!("{promoted} {timeline}"), "t f")?;
    lost.expect(0);
    refused(&db, &project)
}

/// Failovers.
pub fn failovers(table: &Table, rounds: usize) {
    let cases: Vec<usize> = (0..rounds).collect();
    let lab = || Lab::start_with(standby::options());
    table.all("7 standby promoted without commits: refused", &cases, lab, failed_over, |round| format!("{round}"));
}

/// The journal's folder of an older day comes back (a machine restored from a snapshot): the database knows more.
fn old_journal(lab: &Lab, kind: &Kind) -> Result<(), String> {
    let db = lab.copy("base");
    let project = db.project();
    kind.write(&project);
    run(&project, &["apply", "1_first", "--yes"], &[]).expect(0);
    let kept = project.path().join("kept");
    copy_dir(&project.journal(), &kept);
    run(&project, &["apply", "--yes"], &[]).expect(0);
    std::fs::remove_dir_all(project.journal()).map_err(|error| error.to_string())?;
    std::fs::rename(&kept, project.journal()).map_err(|error| error.to_string())?;
    let output = run(&project, &["apply", "--yes"], &[]);
    oracle::same("exit code", &format!("{:?}", output.code), "Some(0)")?;
    let tags: Vec<String> = kind.all_tags().iter().map(ToString::to_string).collect();
    oracle::all_once(&db, &tags)?;
    let back = run(&project, &["rollback", "--last", "3", "--yes"], &[]);
    oracle::same("exit code", &format!("{:?}", back.code), "Some(0)")?;
    oracle::all_undone(&db)
}

/// Journals of an older day.
pub fn old_journals(table: &Table) {
    table.all("7 journal of an older day", KINDS, Lab::start, old_journal, |kind| kind.name.to_owned());
}
