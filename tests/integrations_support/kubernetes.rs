//! Runs the containers of a pod as a kubelet does: one init container after the other, then the others; with their
//! arguments, their variables and their volumes.

use std::process::Child;

use serde_norway::Value;

use super::{Env, Machine, list, text};
use crate::support::{Output, project::collect};

/// The specification of the pod in a manifest.
pub fn pod(manifest: &Value) -> &Value {
    &manifest["spec"]["template"]["spec"]
}

/// A container of the pod, by its name.
pub fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let all = list(pod, "initContainers").iter().chain(list(pod, "containers"));
    all.into_iter().find(|container| text(container, "name") == name).unwrap()
}

/// Starts a container of ours. `secrets` holds values by `name/key`; paths below a mount lead to the machine's folder.
pub fn start(pod: &Value, name: &str, machine: &Machine, secrets: &Env) -> Child {
    let container = container(pod, name);
    assert!(container["command"].is_null(), "the image has an entry point and no shell");
    let mut env = Env::new();
    for variable in list(container, "env") {
        let value = match variable["value"].as_str() {
            Some(value) => mounted(container, value, machine),
            None => {
                let key = &variable["valueFrom"]["secretKeyRef"];
                secrets[&format!("{}/{}", text(key, "name"), text(key, "key"))].clone()
            }
        };
        env.insert(text(variable, "name").to_owned(), value);
    }
    for volume in list(pod, "volumes") {
        std::fs::create_dir_all(machine.at(text(volume, "name"))).unwrap();
    }
    let args: Vec<&str> = list(container, "args").iter().map(|arg| arg.as_str().unwrap()).collect();
    machine.command("migengine", &args, &env).spawn().unwrap()
}

/// Runs our containers of a pod, one after the other, until one fails: what each left.
pub fn run(pod: &Value, machine: &Machine, secrets: &Env) -> Vec<Output> {
    let mut outputs: Vec<Output> = Vec::new();
    for name in ["resume", "migrate"] {
        if outputs.iter().all(|output| output.code == Some(0)) {
            outputs.push(collect(start(pod, name, machine, secrets)));
        }
    }
    outputs
}

/// What Kubernetes would refuse at night, or an auditor by day.
pub fn check(pod: &Value) {
    let volumes: Vec<&str> = list(pod, "volumes").iter().map(|volume| text(volume, "name")).collect();
    for name in ["resume", "migrate"] {
        let container = container(pod, name);
        let security = &container["securityContext"];
        let user = [&security["runAsUser"], &pod["securityContext"]["runAsUser"]];
        assert!(user.iter().any(|user| user.as_u64().is_some_and(|user| user > 0)), "{name} runs as root");
        assert_eq!(
            (&security["readOnlyRootFilesystem"], &security["allowPrivilegeEscalation"]),
            (&true.into(), &false.into())
        );
        for mount in list(container, "volumeMounts") {
            assert!(volumes.contains(&text(mount, "name")), "{name} mounts what is no volume");
        }
    }
}

fn mounted(container: &Value, value: &str, machine: &Machine) -> String {
    let mounts = list(container, "volumeMounts").iter();
    let mounted = mounts.filter_map(|mount| value.strip_prefix(text(mount, "mountPath")).map(|rest| (mount, rest)));
    let folder = mounted.map(|(mount, rest)| machine.at(text(mount, "name")).join(rest.trim_start_matches('/'))).next();
    folder.map_or_else(|| value.to_owned(), |folder| folder.display().to_string())
}
