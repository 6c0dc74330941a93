//! Runs the commands of a systemd unit as systemd does: no shell, the unit's variables, and one after the other.

use std::process::Child;

use super::{Env, Machine};
use crate::support::{Output, project::collect};

/// The values of a key in the unit, in order.
pub fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let pairs = unit.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    pairs.filter(|(found, _)| *found == key).map(|(_, value)| value).collect()
}

/// Starts a command line of the unit. `secret` is what its environment file holds; `/var/lib` leads to the machine's
/// folder.
pub fn spawn(unit: &str, line: &str, machine: &Machine, secret: &Env) -> Child {
    let mut env = secret.clone();
    for variable in values(unit, "Environment") {
        let (name, value) = variable.split_once('=').unwrap();
        env.insert(name.to_owned(), value.replace("/var/lib", &machine.at("lib").display().to_string()));
    }
    std::fs::create_dir_all(machine.at("lib").join(values(unit, "StateDirectory")[0])).unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[0], "/usr/bin/migengine");
    machine.command("migengine", &words[1..], &env).spawn().unwrap()
}

/// Starts the unit: its commands one after the other, until one fails.
pub fn start(unit: &str, machine: &Machine, secret: &Env) -> Vec<Output> {
    let mut outputs: Vec<Output> = Vec::new();
    for line in values(unit, "ExecStartPre").into_iter().chain(values(unit, "ExecStart")) {
        if outputs.iter().all(|output| output.code == Some(0)) {
            outputs.push(collect(spawn(unit, line, machine, secret)));
        }
    }
    outputs
}
