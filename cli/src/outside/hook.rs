//! Hooks: programs that are run at moments of a run. Argument lists, no shell; the run as JSON on standard input; a time
//! limit. Whatever they do, the run goes on.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use super::moment::Moment;
use super::post::{Happening, Receiver, Remark};
use super::process;
use super::settings::Hooks;

/// How long a hook may take where the configuration does not say.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// All hooks of a run. They are run one after the other, in the order of the moments.
pub struct HookRunner {
    hooks: Hooks,
    timeout: Duration,
    /// Hooks that had to be killed are not run again in this run.
    hung: BTreeSet<Moment>,
}

impl HookRunner {
    /// From the configuration.
    #[must_use]
    pub fn new(hooks: Hooks, timeout: Duration) -> Self {
        Self { hooks, timeout, hung: BTreeSet::new() }
    }
}

impl Receiver for HookRunner {
    fn wants(&self) -> BTreeSet<Moment> {
        self.hooks.keys().copied().collect()
    }

    /// Each hook can hang once.
    fn patience(&self) -> Duration {
        self.timeout.saturating_mul(u32::try_from(self.hooks.len()).unwrap_or(u32::MAX)) + Duration::from_secs(5)
    }

    fn deliver(&mut self, happening: &Happening) -> Vec<Remark> {
        let moment = happening.moment;
        let Some([program, args @ ..]) = self.hooks.get(&moment).map(Vec::as_slice) else { return Vec::new() };
        if self.hung.contains(&moment) {
            return Vec::new();
        }
        let mut command = Command::new(program);
        command.args(args).env("MIGENGINE_EVENT", moment.name());
        let run = happening.object.get("run_id").and_then(serde_json::Value::as_str);
        command.env("MIGENGINE_RUN", run.unwrap_or_default());
        command.env("MIGENGINE_STEP", happening.step.as_deref().unwrap_or_default());
        let name = moment.name();
        let remark = |trouble: bool, message: String| vec![Remark { topic: "hook", message, trouble }];
        match process::run(command, happening.object.to_string().as_bytes(), self.timeout, process::KEPT) {
            Ok(done) if done.success => remark(false, format!("{name}: {program} succeeded")),
            Ok(done) => {
                if done.timed_out {
                    self.hung.insert(moment);
                }
                let said = last_line(&done.stderr).or_else(|| last_line(&String::from_utf8_lossy(&done.stdout)));
                let said = said.map(|line| format!(": {line}")).unwrap_or_default();
                remark(true, format!("[ME754] the hook {name} ({program}) failed, {}{said}", done.verdict))
            }
            Err(error) => remark(true, format!("[ME754] the hook {name} ({program}) cannot be run: {error}")),
        }
    }
}

/// The last line that says something, cut where it is long.
#[must_use]
pub fn last_line(text: &str) -> Option<String> {
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().filter(|c| !c.is_control()).take(300).collect())
}
