//! `cargo run --release -p migengine-benches --bin compare [-- MIGRATIONS ROUND_TRIP_MS RUNS]`
//!
//! Applies a set of small migrations with each peer in turn, several times, to a fresh database of a private server, and
//! prints the medians and their ratio to psql. With a round trip, everything goes through a line with that delay.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use migengine_benches::{median, peers, proxy, sets};
use migengine_cli::embedded::{Durability, start_with};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Fallible<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (count, round_trip, runs) = (number(1_000)?, number(0)?, number(3)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let scratch = tempfile::Builder::new().prefix("migengine-bench").tempdir()?;
    open_to_all(scratch.path())?;
    let server = start_with(Some(&scratch.path().join("server")), Durability::On)?;
    let socket = socket_of(server.url());
    let proxy = match round_trip {
        0 => None,
        ms => Some(runtime.block_on(proxy::start(socket, Duration::from_millis(ms)))?),
    };
    let migrations = scratch.path().join("migrations");
    sets::small(&migrations, usize::try_from(count)?)?;
    let mut times: Vec<Vec<f64>> = peers::all().iter().map(|_| Vec::new()).collect();
    for round in 0..runs {
        for (peer, times) in peers::all().iter().zip(&mut times) {
            let name = format!("bench_{round}_{}", times.as_ptr() as usize % 1_000_000);
            admin(server.url(), &format!("CREATE DATABASE {name}"))?;
            let url = match proxy {
                None => server.url().replace("/app?", &format!("/{name}?")),
                Some(address) => format!("postgresql://postgres@{address}/{name}?sslmode=disable"),
            };
            drop(std::fs::remove_dir_all(scratch.path().join("journal")));
            times.push(run((peer.command)(&migrations, &url))?);
            admin(server.url(), &format!("DROP DATABASE {name}"))?;
        }
    }
    let base = median(times.first().cloned().unwrap_or_default());
    println!("{count} small migrations, round trip {round_trip} ms, medians of {runs}\n");
    println!("| | seconds | of psql |\n|---|---|---|");
    for (peer, times) in peers::all().iter().zip(times) {
        let time = median(times);
        println!("| {} | {time:.2} | {:.2} |", peer.name, time / base);
    }
    server.stop()?;
    Ok(())
}

/// The server may run as another user.
fn open_to_all(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777))
}

fn socket_of(url: &str) -> PathBuf {
    let host = url.split("host=").nth(1).unwrap_or_default().split('&').next().unwrap_or_default();
    PathBuf::from(host.replace("%2F", "/")).join(".s.PGSQL.5432")
}

fn admin(url: &str, sql: &str) -> Fallible<()> {
    run(Command::new("psql").args(["-X", "-q", "-d", url, "-c", sql])).map(drop)
}

/// Seconds a command takes as a whole process.
fn run(mut command: impl std::borrow::BorrowMut<Command>) -> Fallible<f64> {
    let command = command.borrow_mut();
    command.stdout(Stdio::null()).stdin(Stdio::null());
    let began = Instant::now();
    let status = command.status()?;
    let seconds = began.elapsed().as_secs_f64();
    if status.success() { Ok(seconds) } else { Err(format!("{command:?} ended with {status}").into()) }
}
