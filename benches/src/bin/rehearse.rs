//! How long a rehearsal of small migrations takes, forward, back and forward again, and how long when nothing changed.
//!
//! `rehearse [COUNT] [ROUNDS]`: prints each round, the best and the limits, and ends with 1 where a limit is missed.

use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use migengine_benches::sets;

/// The limits for 200 migrations on a quiet machine.
const WORK: Duration = Duration::from_secs(15);
const NOTHING: Duration = Duration::from_secs(1);

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().map_or(Ok(200), |text| text.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let root = std::env::current_dir()?;
    let program = root.join("target/release/migengine");
    let project = tempfile::Builder::new().prefix("me-rehearse-").tempdir_in("/tmp")?;
    // The server runs as another user where this runs as root.
    std::fs::set_permissions(project.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    sets::small(&project.path().join("migrations"), count)?;
    let first = timed(&program, project.path(), &["--all"])?;
    println!("{count} migrations, with making the private server: {first:.2?}");
    let (mut work, mut nothing) = (Duration::MAX, Duration::MAX);
    for round in 1..=rounds {
        let all = timed(&program, project.path(), &["--all"])?;
        let again = timed(&program, project.path(), &[])?;
        println!("round {round}: forward, back and forward again {all:.2?}; nothing changed {again:.2?}");
        work = work.min(all);
        nothing = nothing.min(again);
    }
    println!("best: {work:.2?} (limit {WORK:?}), nothing changed: {nothing:.2?} (limit {NOTHING:?})");
    Ok(if work < WORK && nothing < NOTHING { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One rehearsal on a private server inside of the project; it must prove everything.
fn timed(program: &Path, project: &Path, more: &[&str]) -> Result<Duration, Box<dyn Error>> {
    let embedded = format!("--embedded={}", project.join("server").display());
    let began = Instant::now();
    let output =
        Command::new(program).args([embedded.as_str(), "-q", "rehearse"]).args(more).current_dir(project).output()?;
    let took = began.elapsed();
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(took)
}
