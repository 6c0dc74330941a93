//! `cargo run --release -p migengine-benches --bin compare [-- MIGRATIONS ROUND_TRIP_MS RUNS [SVG]]`
//!
//! Applies a set of small migrations with each peer in turn, several times, to a fresh database of a private server, and
//! then once more, where there is nothing to do. Prints the medians and their ratio to psql. Everything goes through a
//! proxy on the loopback address, which delays it by half a round trip in each direction; `local` instead of a number
//! leaves the proxy out, and with it the tools that cannot speak to a Unix socket.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use migengine_benches::peers::{ALL, Peer};
use migengine_benches::{median, plot, proxy};
use migengine_cli::embedded::{Durability, start_with};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// What was measured of one peer, in seconds.
struct Measured {
    peer: &'static Peer,
    apply: Vec<f64>,
    nothing: Vec<f64>,
    failed: Option<String>,
}

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |at: usize, default: &str| arguments.get(at).map_or(default.to_owned(), Clone::clone);
    let (count, line, runs) = (argument(0, "1000").parse()?, argument(1, "local"), argument(2, "3").parse::<u32>()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let scratch = tempfile::Builder::new().prefix("migengine-bench").tempdir()?;
    open_to_all(scratch.path())?;
    let server = start_with(Some(&scratch.path().join("server")), Durability::On)?;
    let proxy = match line.as_str() {
        "local" => None,
        ms => Some(runtime.block_on(proxy::start(socket_of(server.url()), Duration::from_millis(ms.parse()?)))?),
    };
    let usable = |peer: &&Peer| peer.is_here() && (proxy.is_some() || peer.installer.is_none());
    let mut all: Vec<Measured> = Vec::new();
    for peer in ALL.iter().filter(usable) {
        (peer.prepare)(&folder(scratch.path(), peer), count)?;
        all.push(Measured { peer, apply: Vec::new(), nothing: Vec::new(), failed: None });
    }
    for round in 0..runs {
        for (number, measured) in all.iter_mut().enumerate().filter(|(_, measured)| measured.failed.is_none()) {
            let name = format!("bench_{round}_{number}");
            admin(server.url(), &format!("CREATE DATABASE {name}"))?;
            let url = match proxy {
                None => server.url().replace("/app?", &format!("/{name}?")),
                Some(address) => format!("postgresql://postgres@{address}/{name}?sslmode=disable"),
            };
            let dir = folder(scratch.path(), measured.peer);
            drop(std::fs::remove_dir_all(dir.with_extension("journal")));
            match run(&mut measured.peer.command(&dir, &url)) {
                Ok(seconds) => measured.apply.push(seconds),
                Err(error) => measured.failed = Some(error.to_string()),
            }
            // psql knows no "nothing to do".
            if measured.failed.is_none() && !measured.peer.name.starts_with("psql") {
                measured.nothing.push(run(&mut measured.peer.command(&dir, &url))?);
            }
            admin(server.url(), &format!("DROP DATABASE {name} WITH (FORCE)"))?;
        }
    }
    report(&all, count, &line, runs, arguments.get(3))?;
    server.stop()?;
    Ok(())
}

fn folder(scratch: &Path, peer: &Peer) -> PathBuf {
    scratch.join(peer.name.replace([' ', ',', '-'], "_"))
}

fn report(all: &[Measured], count: usize, line: &str, runs: u32, svg: Option<&String>) -> Fallible<()> {
    let base = all.first().map_or(f64::NAN, |first| median(first.apply.clone()));
    let line = if line == "local" { "local".to_owned() } else { format!("round trip {line} ms") };
    let title = format!("{count} small migrations, {line}, medians of {runs}");
    println!("{title}\n\n| | version | seconds | of psql | nothing to do, s |\n|---|---|---|---|---|");
    let mut rows = Vec::new();
    for measured in all {
        let Measured { peer, apply, nothing, failed } = measured;
        if let Some(why) = failed {
            println!("| {} | {} | failed: {why} | | |", peer.name, version(peer));
            continue;
        }
        let (apply, nothing) = (median(apply.clone()), median(nothing.clone()));
        let nothing = if nothing.is_nan() { String::new() } else { format!("{nothing:.3}") };
        println!("| {} | {} | {apply:.2} | {:.2} | {nothing} |", peer.name, version(peer), apply / base);
        rows.push((peer.name.to_owned(), apply));
    }
    for peer in ALL.iter().filter(|peer| !all.iter().any(|measured| measured.peer.name == peer.name)) {
        println!("\nnot measured: {}", peer.name);
    }
    if let Some(path) = svg {
        std::fs::write(path, plot::bars(&title, "s", &rows))?;
    }
    Ok(())
}

fn version(peer: &Peer) -> String {
    let file = peer.installer.map(|name| format!("target/peers/{name}/version"));
    file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default().trim().to_owned()
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
    command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
    let began = Instant::now();
    let status = command.status()?;
    let seconds = began.elapsed().as_secs_f64();
    if status.success() {
        Ok(seconds)
    } else {
        Err(format!("{} ended with {status}", command.get_program().display()).into())
    }
}
