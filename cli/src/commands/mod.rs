//! One file a command.

pub mod apply;
pub mod audit;
pub mod completions;
pub mod doctor;
pub mod drift;
pub mod explain;
pub mod export;
pub mod journal;
pub mod lint;
pub mod list;
pub mod man;
pub mod new;
pub mod pause;
pub mod plan;
pub mod protect;
pub mod rehearse;
pub mod resolve;
pub mod resume;
pub mod rollback;
pub mod schema;
pub mod status;

use serde_json::{Value, json};

use crate::args::Command;
use crate::outcome;

/// The fields of a command's JSON interface without anything in them: errors are told beside these, so that whoever
/// reads the object finds the same fields whatever happened.
#[must_use]
pub fn empty_json(command: &Command) -> Value {
    let ran = |kind: &str| json!({ "run_id": null, "kind": kind, "state": null, "rest": null, "steps": [] });
    let last = |object, events: bool| if events { outcome::as_last_line(object) } else { object };
    match command {
        Command::Plan(args) => json!({ "plan_hash": null, "direction": args.direction().name(), "steps": [] }),
        Command::Apply(args) => last(ran("apply"), args.run.events),
        Command::Rollback(args) => last(ran("rollback"), args.run.events),
        Command::Status(_) => {
            json!({ "applied": [], "pending": [], "changed": [], "missing": [], "unfinished_run": null })
        }
        Command::List(_) => json!({ "migrations": [] }),
        Command::Journal(args) => args.empty_json(),
        Command::Rehearse(_) => json!({ "migrations": [], "proven": 0, "broken": 0 }),
        Command::Lint(_) => json!({ "findings": [] }),
        Command::Schema(_) | Command::Drift(_) | Command::Explain(_) => json!({}),
        Command::Doctor(_) => json!({ "verdict": null, "checks": [] }),
        Command::Protect(_) => json!({ "database": null, "protected": null }),
        Command::Pause(_) | Command::Resume => json!({ "paused": null }),
        Command::Audit(args) => args.empty_json(),
        Command::Export(_) => json!({ "file": null, "changed": null }),
        Command::Completions(_) => json!({ "shell": null, "script": null }),
        Command::Man(_) => json!({ "files": [] }),
        Command::New(_) => json!({ "id": null, "files": [] }),
        Command::Resolve(_) => {
            json!({ "run_id": null, "step": null, "part": null, "took_effect": null, "next": null })
        }
    }
}
