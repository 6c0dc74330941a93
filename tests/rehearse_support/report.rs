//! Rehearsals beside an empty database of the test server, and what their reports say.
#![allow(dead_code)] // each test program uses some of it

use serde_json::Value;

use crate::support::{Database, Project};

/// Rehearses, expects the exit code, and reads the report.
#[track_caller]
pub(crate) fn rehearse(project: &Project, ground: &Database<'_>, more: &[&str], code: i32) -> Value {
    let url = ground.url();
    project.run_json(&[&["rehearse", "--against", url.as_str()], more].concat(), code)
}

/// One migration of a report.
#[track_caller]
pub(crate) fn of(report: &Value, id: &str) -> Value {
    let list = report["migrations"].as_array().unwrap();
    list.iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("{id} is missing: {report:#}")).clone()
}

/// `id apply rollback reapply`, one for each migration.
pub(crate) fn verdicts(report: &Value) -> Vec<String> {
    let words = |one: &Value| ["id", "apply", "rollback", "reapply"].map(|name| one[name].as_str().unwrap().to_owned());
    report["migrations"].as_array().unwrap().iter().map(|one| words(one).join(" ")).collect()
}

/// The statement of a report, by migration and place.
#[track_caller]
pub(crate) fn statement(report: &Value, id: &str, list: &str, at: usize) -> Value {
    of(report, id)[list][at].clone()
}
