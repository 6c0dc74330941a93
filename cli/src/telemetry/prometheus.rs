//! The state of the last run as a file in Prometheus' text format, for node_exporter's textfile collector. Written beside
//! the old one and renamed, because the collector may read at any time.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;

use super::Exporter;
use super::trace::{End, OUTCOMES, Trace};
use crate::context::now;

/// The collector is another user's process, so the file may be read by everybody. It holds no secrets.
const MODE: u32 = 0o644;

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
        self.write(&text(trace)).map_err(|error| format!("{} cannot be written: {error}", self.path.display()))
    }
}

/// The file's text. The names are documented in docs/telemetry.md and may not change.
#[must_use]
pub fn text(trace: &Trace) -> String {
    let environment = trace.environment.as_deref().unwrap_or_default();
    let labels = format!(
        "database=\"{}\",environment=\"{}\",kind=\"{}\"",
        escaped(&trace.database),
        escaped(environment),
        trace.kind.name()
    );
    let mut out = String::new();
    let mut metric = |name: &str, help: &str, samples: &[(String, f64)]| {
        out.push_str(&format!("# HELP migengine_{name} {help}\n# TYPE migengine_{name} gauge\n"));
        for (more, value) in samples {
            out.push_str(&format!("migengine_{name}{{{labels}{more}}} {value}\n"));
        }
    };
    let one = |value: f64| vec![(String::new(), value)];
    let flag = |set: bool| f64::from(u8::from(set));
    metric("run_in_progress", "1 while a run is under way.", &one(flag(trace.ended.is_none())));
    metric("last_run_started_timestamp_seconds", "When the last run began or was taken up.", &one(unix(trace.began)));
    if let Some(ended) = trace.ended {
        metric("last_run_ended_timestamp_seconds", "When it was over or came to rest.", &one(unix(ended)));
        metric("last_run_duration_seconds", "How long that took.", &one(trace.seconds(now())));
    }
    let outcomes: Vec<_> =
        OUTCOMES.iter().map(|name| (format!(",outcome=\"{name}\""), flag(trace.outcome() == *name))).collect();
    metric("last_run_outcome", "1 for how the last run ended or why it rests.", &outcomes);
    let ends = [End::Applied, End::Reversed, End::Failed, End::InDoubt];
    let steps: Vec<_> = ends.iter().map(|end| (format!(",outcome=\"{}\"", end.name()), count(trace, *end))).collect();
    metric("last_run_steps", "Steps of the last run by what came of them.", &steps);
    metric("last_run_lock_retries", "Tries that were taken back to let others pass.", &one(count(trace, End::Cleared)));
    out
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
