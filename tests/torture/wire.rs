//! Row 3: the line between program and server breaks after every single byte, in each direction, or behaves badly.

use std::path::PathBuf;
use std::time::Duration;

use super::kinds::{KINDS, Kind};
use super::lab::{Lab, Scratch, command, run};
use super::oracle;
use super::proxy::{Harm, Place, Plan, Proxy, Side};
use super::table::Table;
use crate::support::Project;
use crate::support::project::collect;

struct Case {
    kind: usize,
    plan: (Side, Place, Harm),
}

impl Case {
    fn describe(&self) -> String {
        let (side, place, harm) = self.plan;
        format!("{}: {harm:?} at {place:?} {side:?}", KINDS[self.kind].name)
    }
}

pub fn socket(lab: &Lab) -> PathBuf {
    lab.cluster.dir().join(format!(".s.PGSQL.{}", lab.cluster.port()))
}

fn through(db: &Scratch<'_>, plan: Plan, kind: &Kind) -> (Proxy, Project) {
    let proxy = Proxy::start(socket(db.lab), plan);
    let project = Project::with_url(&proxy.url(&db.name));
    kind.write(&project);
    (proxy, project)
}

/// Bytes of an undisturbed run, up and down.
fn measure(lab: &Lab, kind: &Kind) -> (u64, u64) {
    let db = lab.copy("base");
    let (proxy, project) = through(&db, None, kind);
    run(&project, &["apply", "--yes"], &[]).expect(0);
    (proxy.bytes(Side::Up), proxy.bytes(Side::Down))
}

fn test(lab: &Lab, case: &Case) -> Result<(), String> {
    let kind = &KINDS[case.kind];
    let db = lab.copy("base");
    let (_proxy, project) = through(&db, Some(case.plan), kind);
    let first = collect(command(&project, &["apply", "--yes", "--reconnect", "10s"], &[]).spawn().unwrap());
    if !matches!(first.code, Some(0..=7)) {
        return Err(format!("a bug shows: {first}"));
    }
    let mut log = format!("first {first}");
    let mut code = first.code;
    for _ in 0..4 {
        if code == Some(0) {
            break;
        }
        let resumed = run(&project, &["apply", "--resume", "--yes"], &[]);
        log += &format!("\nresume {resumed}");
        code = resumed.code;
        if code == Some(0) {
            let again = run(&project, &["apply", "--yes"], &[]);
            log += &format!("\nagain {again}");
            code = again.code;
        }
    }
    // What was not told in time is told by the next command.
    let last = run(&project, &["apply", "--yes"], &[]);
    log += &format!("\nlast {last}");
    let check = || {
        oracle::same("exit codes", &format!("{code:?} {:?}", last.code), "Some(0) Some(0)")?;
        let tags: Vec<String> = kind.all_tags().iter().map(ToString::to_string).collect();
        oracle::all_once(&db, &tags)?;
        oracle::same("schema and data", &oracle::shape(&db), &lab.expected(kind))?;
        let ids = ["1_first".to_owned(), format!("2_{}", kind.name), "3_last".to_owned()];
        oracle::books(&db, &project, &ids)
    };
    check().map_err(|error| format!("{error}\n{log}"))
}

/// Cuts after every `stride`-th byte; the other harms at a few places each.
pub fn wire(table: &Table, stride: usize) {
    let mut cuts = Vec::new();
    let mut others = Vec::new();
    {
        let lab = Lab::start();
        for (index, kind) in KINDS.iter().enumerate() {
            let (up, down) = measure(&lab, kind);
            for (side, bytes) in [(Side::Up, up), (Side::Down, down)] {
                // Each kind begins at another byte, so that a sample does not always hit the same message.
                let bytes = (0..bytes).skip(index * 7 % stride);
                cuts.extend(
                    bytes
                        .clone()
                        .step_by(stride)
                        .map(|n| Case { kind: index, plan: (side, Place::Byte(n), Harm::Cut) }),
                );
                for (place, byte) in bytes.step_by(stride * 23).enumerate() {
                    let stall = Harm::Stall(Duration::from_millis(1500));
                    let harm = [Harm::Reset, Harm::HalfClose, stall][place % 3];
                    others.push(Case { kind: index, plan: (side, Place::Byte(byte), harm) });
                }
            }
        }
    }
    let (name, others_name) =
        ("3 wire: the whole program, cut after a byte", "3 wire: the whole program, reset, half-closed, stalled");
    table.strided(name, stride, "PROGRAM_STRIDE");
    table.all(name, &cuts, Lab::start, test, Case::describe);
    table.all(others_name, &others, Lab::start, test, Case::describe);
}
