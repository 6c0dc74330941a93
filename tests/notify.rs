//! Notifications, against receivers that behave and receivers that do not. The run goes on whatever they do.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use hmac::Mac as _;
use serde_json::Value;
use support::Scene;
use support::http::{BROKEN, OK, header, server};

fn apply(scene: &Scene, config: &str, variables: &[(&str, &str)]) -> support::Output {
    std::fs::write(scene.project.path().join("migengine.toml"), config).unwrap();
    let mut command = scene.project.command(&["apply", "--format", "json"]);
    command.envs(variables.iter().copied());
    support::project::collect(command.spawn().unwrap())
}

#[test]
fn a_webhook_that_answers_500_first_is_told_again_with_a_signature_that_holds() {
    let (url, requests) = server(&[BROKEN, OK]);
    let scene = Scene::with_steps(1);
    let config = "[[notify]]\nkind = \"webhook\"\non = [\"finished\"]\nurl_env = \"HOOK\"\nsecret_env = \"KEY\"\n";
    let output = apply(&scene, config, &[("HOOK", &url), ("KEY", "k3y-of-the-hook")]).expect(0);
    assert_eq!(output.json()["remarks"], serde_json::json!([]), "{output}");
    let wait = Duration::from_secs(60);
    let (first, second) = (requests.recv_timeout(wait).unwrap(), requests.recv_timeout(wait).unwrap());
    assert_eq!(first.1, second.1);
    let (head, body) = second;
    let object: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&object["event"], &object["state"]), (&"finished".into(), &"Committed".into()));
    assert_eq!(object["run_id"], output.json()["run_id"]);
    let time = header(&head, "Migengine-Timestamp").unwrap();
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(b"k3y-of-the-hook").unwrap();
    mac.update(format!("{time}.{body}").as_bytes());
    let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(header(&head, "Migengine-Signature").unwrap(), format!("v1={expected}"));
    // Neither the key nor the address, which has a token in it, is anywhere.
    let journal = scene.run(&["journal", "show", "--format", "json"]).expect(0).stdout;
    for text in [&output.stdout, &output.stderr, &journal, &body] {
        assert!(!text.contains("k3y-of-the-hook") && !text.contains("path-token"), "{text}");
    }
}

#[test]
fn receivers_that_never_answer_talk_nonsense_or_are_gone_leave_the_run_alone() {
    let (silent, _silent_requests) = server(&[""]);
    let (garbage, _garbage_requests) = server(&["SSH-2.0-OpenSSH\r\n"]);
    let (broken, _broken_requests) = server(&[BROKEN]);
    let scene = Scene::with_steps(1);
    let entry = |variable: &str| {
        format!("[[notify]]\nkind = \"webhook\"\non = [\"finished\"]\ntimeout = \"300ms\"\nurl_env = \"{variable}\"\n")
    };
    let config = [entry("SILENT"), entry("GARBAGE"), entry("BROKEN"), entry("GONE")].concat();
    let gone = "http://127.0.0.1:1/path-token";
    let receivers = [("SILENT", &*silent), ("GARBAGE", &garbage), ("BROKEN", &broken), ("GONE", gone)];
    let output = apply(&scene, &config, &receivers).expect(0);
    assert_eq!((&output.json()["state"], scene.effects().as_str()), (&"Committed".into(), "+001"));
    let remarks = output.json()["remarks"].as_array().unwrap().len();
    assert_eq!(remarks, 4, "{output}");
    assert!(output.stdout.contains("there was no answer within 0.3 s"), "{output}");
    assert!(output.stdout.contains("500"), "{output}");
    assert!(!output.stdout.contains("path-token") && !output.stderr.contains("path-token"), "{output}");
}

#[test]
fn slack_gets_text_and_a_program_gets_the_run() {
    let (url, requests) = server(&[OK]);
    let scene = Scene::new();
    scene.project.pair("001_m", "SELECT 1/0;\n", "SELECT 1;\n");
    let config = "[[notify]]\nkind = \"slack\"\non = [\"failed\"]\nurl_env = \"SLACK\"\n\
                  template = \"{kind} {event}{message}\"\n\
                  [[notify]]\nkind = \"command\"\non = [\"failed\"]\ncommand = [\"sh\", \"-c\", \"cat > told\"]\n";
    apply(&scene, config, &[("SLACK", &url)]).expect(7);
    let (_, body) = requests.recv_timeout(Duration::from_secs(60)).unwrap();
    let text: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(text["text"], "apply failed: 001_m: division by zero");
    let told: Value = serde_json::from_slice(&std::fs::read(scene.project.path().join("told")).unwrap()).unwrap();
    assert_eq!(told["rest"]["reason"], "failed", "{told}");
}

#[test]
fn mistakes_are_refused_before_anything_happens() {
    let scene = Scene::with_steps(1);
    for (config, expected) in [
        ("[[notify]]\nkind = \"webhook\"\n", "ME759]: [[notify]] of kind webhook: url_env is missing"),
        ("[[notify]]\nkind = \"webhook\"\nurl_env = \"NOT_SET\"\n", "ME761]: the environment variable NOT_SET"),
        ("[[notify]]\nkind = \"slack\"\ncommand = [\"x\"]\nurl_env = \"X\"\n", "command does not belong to it"),
        ("[[notify]]\nkind = \"command\"\ncommand = [\"x\"]\ntemplate = \"{pass}\"\n", "no field {pass}"),
        (
            "[[notify]]\nkind = \"email\"\nserver = \"x\"\nfrom = \"a@b.c\"\nto = [\"a@b.c\"]\ntls = \"none\"\n\
             user = \"u\"\npassword_env = \"PATH\"\n",
            "a password is never sent without TLS",
        ),
        ("[[notify]]\nkind = \"pigeon\"\n", "migengine.toml:2:8: unknown variant `pigeon`"),
    ] {
        let output = apply(&scene, config, &[]).expect(2);
        assert!(output.stderr.contains(expected), "{config}{output}");
        assert_eq!(scene.effects(), "");
    }
}
