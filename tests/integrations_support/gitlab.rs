//! Runs a GitLab pipeline: stage after stage, each job on a machine of its own, which gets nothing of the jobs before it
//! but the variables of their dotenv reports.

use std::fs;

use serde_norway::Value;

use super::{Env, Machine, Shop, list, text, variables};
use crate::support::Output;

/// Runs the jobs whose rules let them into the pipeline. Gives their names with what they wrote, in order, and tells
/// `prepare` of each machine before its job begins.
pub fn run(pipeline: &Value, shop: &Shop, predefined: &Env, prepare: &dyn Fn(&Machine)) -> Vec<(String, Output)> {
    let mut handed = Env::new();
    let (mut failed, mut ran) = (false, Vec::new());
    let jobs: Vec<(&str, &Value)> = pipeline
        .as_mapping()
        .unwrap()
        .iter()
        .map(|(name, job)| (name.as_str().unwrap(), job))
        .filter(|(_, job)| !job["stage"].is_null())
        .collect();
    for stage in list(pipeline, "stages") {
        let failed_before = failed;
        for (name, job) in jobs.iter().filter(|(_, job)| job["stage"] == *stage) {
            let Some(when) = admitted(job, predefined) else { continue };
            if (when == "on_failure") != failed_before {
                continue;
            }
            let machine = Machine::new(shop);
            prepare(&machine);
            let mut env = predefined.clone();
            env.extend(handed.clone());
            env.extend(variables(job, "variables").into_iter().map(|(key, value)| (key, expanded(&value, predefined))));
            let script: Vec<&str> = list(job, "script").iter().map(|line| line.as_str().unwrap()).collect();
            let output = machine.run(&["bash", "-eo", "pipefail"], &script.join("\n"), &env);
            failed |= output.code != Some(0);
            if let (Some(file), Some(0)) = (job["artifacts"]["reports"]["dotenv"].as_str(), output.code) {
                let text = fs::read_to_string(machine.at("work").join(file)).unwrap();
                handed.extend(
                    text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())),
                );
            }
            for file in job["artifacts"]["paths"].as_sequence().into_iter().flatten() {
                let file = machine.at("work").join(file.as_str().unwrap());
                assert!(output.code != Some(0) || file.is_file(), "{name} promises {}", file.display());
            }
            ran.push(((*name).to_owned(), output));
        }
    }
    ran
}

/// When a job is run, if it is part of this pipeline.
fn admitted<'a>(job: &'a Value, env: &Env) -> Option<&'a str> {
    let rule = list(job, "rules").iter().find(|rule| holds(text(rule, "if"), env))?;
    Some(rule["when"].as_str().unwrap_or("on_success"))
}

fn holds(condition: &str, env: &Env) -> bool {
    let (left, right) = condition.split_once(" == ").unwrap_or_else(|| panic!("{condition}: an unknown condition"));
    expanded(left, env) == expanded(right, env)
}

fn expanded(word: &str, env: &Env) -> String {
    match word.strip_prefix('$') {
        Some(name) => env.get(name).cloned().unwrap_or_default(),
        None => word.trim_matches('"').to_owned(),
    }
}
