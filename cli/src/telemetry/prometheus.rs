//! The state of the last run as a file in Prometheus' text format, for node_exporter's textfile collector. Written beside
//! the old one and renamed, because the collector may read at any time. Runs in other databases may share the file: what
//! stands there of them stays.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::Exporter;
use super::trace::{End, OUTCOMES, Trace};
use crate::context::now;

/// The collector is another user's process, so the file may be read by everybody. It holds no secrets.
const MODE: u32 = 0o644;

/// A file beyond this size, in bytes, was not written here: a database takes about 3 kB.
const LONGEST: u64 = 16 << 20;

/// The file.
pub struct Textfile {
    path: PathBuf,
}

impl Textfile {
    /// At a path.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Reads the old file and writes the new one while no other run does.
    fn update(&self, trace: &Trace) -> std::io::Result<()> {
        // The folder is locked, because the file is replaced. Where the file system knows no locks, the last one wins.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new(".")))?;
        let _locked = Flock::lock(folder, FlockArg::LockExclusive);
        self.write(&text(trace, &self.old()))
    }

    /// What stands there; nothing where that is not text.
    fn old(&self) -> String {
        let mut old = String::new();
        let read = File::open(&self.path).and_then(|file| file.take(LONGEST).read_to_string(&mut old));
        if read.is_ok() { old } else { String::new() }
    }

    fn write(&self, text: &str) -> std::io::Result<()> {
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // The collector takes files that end in `.prom` only.
        let beside = self.path.with_file_name(format!(".{name}.{}", std::process::id()));
        let written =
            OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&beside).and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                // The umask may have taken bits away.
                file.set_permissions(std::fs::Permissions::from_mode(MODE))?;
                std::fs::rename(&beside, &self.path)
            });
        if written.is_err() {
            // What is left of a file that could not be written is nobody's.
            std::fs::remove_file(&beside).ok();
        }
        written
    }
}

impl Exporter for Textfile {
    fn name(&self) -> &'static str {
        "the metrics textfile"
    }

    fn early(&self) -> bool {
        true
    }

    fn export(&mut self, trace: &Trace) -> Result<(), String> {
        self.update(trace).map_err(|error| format!("{} cannot be written: {error}", self.path.display()))
    }
}

/// The file's text, with what the `old` one tells of other databases. The names are documented in docs/telemetry.md and
/// may not change.
#[must_use]
pub fn text(trace: &Trace, old: &str) -> String {
    let environment = trace.environment.as_deref().unwrap_or_default();
    let database = format!(
        "database=\"{}\",environment=\"{}\",server=\"{}\",",
        escaped(&trace.database),
        escaped(environment),
        escaped(&trace.host)
    );
    let labels = format!("{database}kind=\"{}\"", trace.kind.name());
    let others = others(old, &database);
    let mut out = String::new();
    // All samples of a name stand together: the format wants it.
    let mut metric = |name: &str, help: &str, samples: &[(String, f64)]| {
        let name = format!("migengine_{name}");
        let mut lines: Vec<String> =
            samples.iter().map(|(more, value)| format!("{name}{{{labels}{more}}} {value}\n")).collect();
        lines.extend(others.iter().filter(|(of, _)| *of == name).map(|(_, line)| format!("{line}\n")));
        if !lines.is_empty() {
            out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n{}", lines.concat()));
        }
    };
    let one = |value: f64| vec![(String::new(), value)];
    let flag = |set: bool| f64::from(u8::from(set));
    metric("run_in_progress", "1 while a run is under way.", &one(flag(trace.ended.is_none())));
    metric("last_run_started_timestamp_seconds", "When the last run began or was taken up.", &one(unix(trace.began)));
    let ended: Vec<_> = trace.ended.map(|ended| (String::new(), unix(ended))).into_iter().collect();
    metric("last_run_ended_timestamp_seconds", "When it was over or came to rest.", &ended);
    let took: Vec<_> = trace.ended.map(|_| (String::new(), trace.seconds(now()))).into_iter().collect();
    metric("last_run_duration_seconds", "How long that took.", &took);
    let outcomes: Vec<_> =
        OUTCOMES.iter().map(|name| (format!(",outcome=\"{name}\""), flag(trace.outcome() == *name))).collect();
    metric("last_run_outcome", "1 for how the last run ended or why it rests.", &outcomes);
    let ends = [End::Applied, End::Reversed, End::Failed, End::InDoubt];
    let steps: Vec<_> = ends.iter().map(|end| (format!(",outcome=\"{}\"", end.name()), count(trace, *end))).collect();
    metric("last_run_steps", "Steps of the last run by what came of them.", &steps);
    metric("last_run_lock_retries", "Tries that were taken back to let others pass.", &one(count(trace, End::Cleared)));
    out
}

/// The samples of other databases: name and line. What is no sample of this program's is not kept.
fn others<'o>(old: &'o str, database: &str) -> Vec<(&'o str, &'o str)> {
    let sample = |line: &'o str| {
        let (name, labels) = line.split_once('{')?;
        let (_, value) = labels.rsplit_once("} ")?;
        let ours = labels.starts_with(database);
        (labels.starts_with("database=\"") && !ours && value.parse::<f64>().is_ok()).then_some((name, line))
    };
    old.lines().filter_map(sample).collect()
}

fn count(trace: &Trace, end: End) -> f64 {
    let count = trace.spans.iter().filter(|span| span.end == end).count();
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn unix(at: migengine_engine::id::Timestamp) -> f64 {
    super::trace::seconds(migengine_engine::id::Timestamp(0), at)
}

/// The value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use migengine_engine::id::{RunId, Timestamp};
    use migengine_engine::run::state::{RunKind, RunState};

    use super::super::trace::SpanName;
    use super::*;

    fn trace(database: &str, host: &str, ended: Option<i64>) -> Trace {
        let run = RunId::from_bytes([7; 16]);
        Trace {
            run,
            kind: RunKind::Apply,
            environment: None,
            database: database.to_owned(),
            host: host.to_owned(),
            began: Timestamp(1_000_000),
            ended: ended.map(Timestamp),
            state: RunState::Committed,
            rest: None,
            rest_step: None,
            failure: None,
            failed_step: None,
            spans: Vec::new(),
            root: SpanName::of(run, 1),
        }
    }

    fn in_progress(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix("migengine_run_in_progress{")).collect()
    }

    #[test]
    fn what_the_file_tells_of_other_databases_stays_and_ours_is_replaced() {
        let first = text(&trace("a", "x:1", None), "");
        let second = text(&trace("a", "y:1", Some(2_000_000)), &first);
        let third = text(&trace("a", "x:1", Some(3_000_000)), &second);
        let labels = |server: &str| format!("database=\"a\",environment=\"\",server=\"{server}\",kind=\"apply\"}} 0");
        assert_eq!(in_progress(&third), [labels("x:1"), labels("y:1")]);
        for name in ["run_in_progress", "last_run_ended_timestamp_seconds", "last_run_outcome"] {
            let heads = third.matches(&format!("# TYPE migengine_{name} gauge\n")).count();
            assert_eq!(heads, 1, "samples of a name stand together: {third}");
        }
        // Ours is under way again, and the end of the other one stays.
        let fourth = text(&trace("a", "x:1", None), &third);
        assert_eq!(fourth.matches("migengine_last_run_ended_timestamp_seconds{").count(), 1, "{fourth}");
    }

    #[test]
    fn what_is_no_sample_of_ours_is_not_kept() {
        let old = "migengine_run_in_progress{database=\"a\",environment=\"\",server=\"z\",kind=\"apply\"} soon\n\
                   node_load1 0.3\nmigengine_run_in_progress{x=\"y\"} 1\ngarbage {\n";
        assert_eq!(in_progress(&text(&trace("a", "x", None), old)).len(), 1);
    }

    #[test]
    fn runs_that_write_at_once_lose_nothing_of_one_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.prom");
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let mut file = Textfile::new(path.clone());
                scope.spawn(move || {
                    for _ in 0..20 {
                        file.export(&trace(&format!("d{number}"), "x", Some(2_000_000))).unwrap();
                    }
                });
            }
        });
        assert_eq!(in_progress(&std::fs::read_to_string(&path).unwrap()).len(), 8);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
