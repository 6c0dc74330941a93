//! Runs jobs of a GitHub workflow: the steps' own commands, with a shell, on a machine of their own. Knows the few
//! expressions that the workflow uses, and refuses every other.

use std::collections::BTreeMap;
use std::fs;

use serde_norway::Value;

use super::{Env, Machine, list, text, variables};
use crate::support::Output;

/// Actions of others, which only move files. They are not run.
const ACTIONS: [&str; 2] = ["actions/checkout@v4", "actions/upload-artifact@v4"];

/// How a job went.
pub struct Job {
    /// Whether a step failed.
    pub failed: bool,
    /// The names of the steps that were run, with what they wrote.
    pub ran: Vec<(String, Output)>,
}

impl Job {
    /// Whether a step was run.
    pub fn ran(&self, name: &str) -> bool {
        self.ran.iter().any(|(step, _)| step == name)
    }

    /// Everything that was written.
    pub fn log(&self) -> String {
        self.ran.iter().map(|(name, output)| format!("== {name}\n{output}\n")).collect()
    }
}

/// Runs a job on a machine. `context` holds the values of expressions such as `secrets.DATABASE_URL`.
pub fn run(workflow: &Value, job: &str, machine: &Machine, context: &BTreeMap<&str, String>) -> Job {
    let job = &workflow["jobs"][job];
    let mut context: BTreeMap<String, String> = context.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    assert!(holds(text(job, "if"), &context, false), "the job is not for this event");
    let files = ["GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"].map(|name| {
        let file = machine.at(name);
        fs::write(&file, "").unwrap();
        (name.to_owned(), file.display().to_string())
    });
    fs::create_dir_all(machine.at("temp")).unwrap();
    let mut env = resolved(&variables(job, "env"), &context);
    env.extend(files);
    env.insert("RUNNER_TEMP".to_owned(), machine.at("temp").display().to_string());
    let mut result = Job { failed: false, ran: Vec::new() };
    for step in list(job, "steps") {
        if let Some(action) = step["uses"].as_str() {
            assert!(ACTIONS.contains(&action), "{action}: an action that this test does not know");
            continue;
        }
        let (name, condition) = (text(step, "name"), step["if"].as_str().unwrap_or("success()"));
        if !holds(condition, &context, result.failed) {
            continue;
        }
        let mut env = env.clone();
        env.extend(resolved(&variables(step, "env"), &context));
        let added = fs::read_to_string(machine.at("GITHUB_PATH")).unwrap();
        let added: Vec<&str> = added.lines().collect();
        if !added.is_empty() {
            env.insert("PATH".to_owned(), added.join(":"));
        }
        let script = text(step, "run");
        assert!(!script.contains("${{"), "{name}: expressions belong into `env`, where no shell reads them");
        let output = machine.run(&["bash", "-e"], script, &env);
        let failed = output.code != Some(0);
        if let Some(id) = step["id"].as_str() {
            context.insert(format!("steps.{id}.outcome"), if failed { "failure" } else { "success" }.to_owned());
            for line in fs::read_to_string(machine.at("GITHUB_OUTPUT")).unwrap().lines() {
                let (key, value) = line.split_once('=').unwrap();
                context.insert(format!("steps.{id}.outputs.{key}"), value.to_owned());
            }
            fs::write(machine.at("GITHUB_OUTPUT"), "").unwrap();
        }
        result.failed |= failed;
        result.ran.push((name.to_owned(), output));
    }
    result
}

fn resolved(env: &Env, context: &BTreeMap<String, String>) -> Env {
    let value = |text: &String| match text.strip_prefix("${{ ").and_then(|rest| rest.strip_suffix(" }}")) {
        Some(name) => context.get(name).unwrap_or_else(|| panic!("{name}: an unknown expression")).clone(),
        None => text.clone(),
    };
    env.iter().map(|(key, text)| (key.clone(), value(text))).collect()
}

/// Terms between `&&`. A step without a status function in its condition is run only while nothing failed.
fn holds(condition: &str, context: &BTreeMap<String, String>, failed: bool) -> bool {
    let operand = |text: &str| match text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        Some(text) => text.to_owned(),
        None => context.get(text).cloned().unwrap_or_default(),
    };
    let holds = |term: &str| match (term, term.split_once(" == "), term.split_once(" != ")) {
        ("always()", ..) => true,
        ("failure()", ..) => failed,
        ("success()", ..) => !failed,
        (_, Some((left, right)), _) => operand(left) == operand(right),
        (_, _, Some((left, right))) => operand(left) != operand(right),
        _ => panic!("{term}: a condition that this test does not know"),
    };
    let status = ["always()", "failure()", "success()"].iter().any(|function| condition.contains(function));
    (status || !failed) && condition.split(" && ").all(holds)
}
