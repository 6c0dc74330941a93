//! What machines are told of a run: a textfile for Prometheus, traces and metrics by OTLP, Sentry. The receivers are real
//! listeners of these tests; one that is not there changes nothing about the run.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde_json::Value;
use support::http::{OK, Request, header, server};
use support::project::collect;
use support::{Output, Scene, kill_nine, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

fn run(scene: &Scene, config: &str, variables: &[(&str, &str)], args: &[&str]) -> Output {
    std::fs::write(scene.project.path().join("migengine.toml"), config).unwrap();
    let mut command = scene.project.command(&[args, &["--format", "json"]].concat());
    collect(command.envs(variables.iter().copied()).spawn().unwrap())
}

/// A step that takes effect and one that fails.
fn failing() -> Scene {
    let scene = Scene::with_steps(1);
    scene.project.pair("002_m", "SELECT 1/0;\n", "SELECT 1;\n");
    scene
}

fn next(requests: &Receiver<Request>) -> (Vec<String>, String) {
    requests.recv_timeout(PATIENCE).unwrap()
}

/// Attributes as a map.
fn attributes(object: &Value) -> BTreeMap<String, String> {
    let pairs = object["attributes"].as_array().unwrap().iter().map(|pair| {
        let value = pair["value"].as_object().unwrap().values().next().unwrap();
        (pair["key"].as_str().unwrap().to_owned(), value.as_str().unwrap().to_owned())
    });
    pairs.collect()
}

#[test]
fn the_textfile_tells_the_last_run_and_is_replaced_at_once() {
    let scene = failing();
    std::fs::create_dir(scene.project.path().join("prom")).unwrap();
    let config = "[env.production.metrics]\ntextfile = \"prom/migengine.prom\"\n";
    let file = scene.project.path().join("prom/migengine.prom");
    let sample = |name: &str, labels: &str| {
        let text = std::fs::read_to_string(&file).unwrap();
        let begins = format!("migengine_{name}{{database=\"{}\",environment=\"production\",server=", scene.db.name());
        let ends = format!("kind=\"apply\"{labels}}} ");
        let found = text.lines().find_map(|line| line.strip_prefix(&begins)?.split_once(&ends));
        found.unwrap_or_else(|| panic!("no {name}{labels} in {text}")).1.parse::<f64>().unwrap()
    };
    run(&scene, config, &[], &["--env", "production", "apply"]).expect(7);
    assert_eq!(sample("run_in_progress", ""), 0.0);
    assert_eq!(sample("last_run_outcome", ",outcome=\"failed\""), 1.0);
    assert_eq!(sample("last_run_outcome", ",outcome=\"committed\""), 0.0);
    assert_eq!(
        (sample("last_run_steps", ",outcome=\"applied\""), sample("last_run_steps", ",outcome=\"failed\"")),
        (1.0, 1.0)
    );
    let (began, ended) =
        (sample("last_run_started_timestamp_seconds", ""), sample("last_run_ended_timestamp_seconds", ""));
    assert!(began > 1.6e9 && ended >= began, "{began} {ended}");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o644, "the collector is somebody else");
    assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");

    scene.project.pair("002_m", "CREATE TABLE t002 ();\n", "DROP TABLE t002;\n");
    let output = run(&scene, config, &[], &["--env", "production", "apply", "--resume"]).expect(0);
    assert_eq!(
        (sample("last_run_outcome", ",outcome=\"committed\""), &output.json()["remarks"]),
        (1.0, &serde_json::json!([]))
    );

    // Whoever looks while a run lasts sees that it does, also when it was killed.
    scene.project.pair("003_m", "SELECT pg_sleep(600);\n", "SELECT 1;\n");
    let child = scene.project.spawn(&["--env", "production", "apply"]);
    wait_until("the file tells of the run", PATIENCE, || sample("run_in_progress", "") == 1.0);
    kill_nine(child);
    assert_eq!(sample("run_in_progress", ""), 1.0);
    scene.db.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep(600)%' \
         AND pid <> pg_backend_pid()",
    );

    run(&scene, config, &[], &["--env", "production", "rollback", "--run", "last"]).expect(0);
    let told = std::fs::read_to_string(&file).unwrap();
    assert!(told.contains("outcome=\"rolled_back\"} 1"), "{told}");

    // Another database in the same file takes nothing from the first.
    let other = Scene::with_steps(1);
    let config = format!("[metrics]\ntextfile = \"{}\"\n", file.display());
    let folder = file.parent().unwrap().to_str().unwrap();
    run(&other, &config, &[("MIGENGINE_ALLOWED_PATHS", folder)], &["apply"]).expect(0);
    let both = std::fs::read_to_string(&file).unwrap();
    let of = |text: &str, name: &str| {
        let label = format!("database=\"{name}\",");
        text.lines().filter(|line| line.contains(&label)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of(&both, scene.db.name()), of(&told, scene.db.name()));
    assert!(of(&both, other.db.name()).len() > 10, "{both}");
}

#[test]
fn a_trace_with_the_steps_and_the_metrics_arrive_by_otlp() {
    let (url, requests) = server(&[OK]);
    let scene = failing();
    let config = format!("[otlp]\nendpoint = \"{url}\"\nheaders_env = \"OTLP_HEADERS\"\n");
    let variables = [("OTLP_HEADERS", "Authorization=Bearer t0ken-of-otlp,X-Tenant=shop")];
    let output = run(&scene, &config, &variables, &["apply"]).expect(7);
    let (head, body) = next(&requests);
    assert!(head[0].starts_with("POST /path-token/v1/traces "), "{head:?}");
    assert_eq!(header(&head, "authorization").as_deref(), Some("Bearer t0ken-of-otlp"));
    assert_eq!(header(&head, "content-type").as_deref(), Some("application/json"));
    let body: Value = serde_json::from_str(&body).unwrap();
    let resource = attributes(&body["resourceSpans"][0]["resource"]);
    assert_eq!((resource["service.name"].as_str(), resource["db.namespace"].as_str()), ("migengine", scene.db.name()));
    let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    let (root, steps) = spans.split_first().unwrap();
    let of_root = attributes(root);
    assert_eq!((root["name"].as_str(), root["status"]["code"].as_u64()), (Some("migengine.apply"), Some(2)), "{root}");
    assert_eq!(
        (of_root["migengine.outcome"].as_str(), of_root["db.response.status_code"].as_str()),
        ("failed", "22012")
    );
    assert_eq!(output.json()["run_id"], of_root["migengine.run"]);
    let told: Vec<_> =
        steps.iter().map(|step| (step["name"].as_str().unwrap(), step["status"]["code"].as_u64())).collect();
    assert_eq!(told, [("001_m", Some(1)), ("002_m", Some(2))]);
    for step in steps {
        assert_eq!((&step["traceId"], &step["parentSpanId"]), (&root["traceId"], &root["spanId"]), "{step}");
        let nanos = |key: &str, of: &Value| of[key].as_str().unwrap().parse::<u64>().unwrap();
        let (begin, end) = (nanos("startTimeUnixNano", step), nanos("endTimeUnixNano", step));
        assert!(
            nanos("startTimeUnixNano", root) <= begin && begin <= end && end <= nanos("endTimeUnixNano", root),
            "{spans:?}"
        );
    }
    let (head, body) = next(&requests);
    assert!(head[0].starts_with("POST /path-token/v1/metrics "), "{head:?}");
    let body: Value = serde_json::from_str(&body).unwrap();
    let metrics = body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap();
    let names: Vec<&str> = metrics.iter().map(|metric| metric["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["migengine.runs", "migengine.lock.retries", "migengine.run.duration", "migengine.step.duration"]
    );
    assert_eq!(metrics[0]["sum"]["dataPoints"][0]["asInt"], "1");
    assert_eq!(attributes(&metrics[0]["sum"]["dataPoints"][0])["migengine.outcome"], "failed");
    for text in [&output.stdout, &output.stderr] {
        assert!(!text.contains("t0ken-of-otlp") && !text.contains("path-token"), "{text}");
    }
}

/// The items of an envelope: their headers and their bodies.
fn items(envelope: &str) -> Vec<(Value, Value)> {
    let lines: Vec<Value> = envelope.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

#[test]
fn sentry_is_told_of_a_failure_with_its_tags_and_of_the_run_as_a_transaction() {
    let (url, requests) = server(&[OK]);
    let dsn = url.replace("http://", "http://k3y0of0sentry@").replace("/path-token", "/42");
    let scene = failing();
    let config = "[env.staging.sentry]\ndsn_env = \"SHOP_DSN\"\n";
    let output = run(&scene, config, &[("SHOP_DSN", &dsn)], &["--env", "staging", "apply"]).expect(7);
    let (head, body) = next(&requests);
    assert!(head[0].starts_with("POST /api/42/envelope/ "), "{head:?}");
    assert!(header(&head, "x-sentry-auth").unwrap().contains("sentry_key=k3y0of0sentry"), "{head:?}");
    let (kind, event) = items(&body).remove(0);
    assert_eq!((&kind["type"], &event["level"].as_str().unwrap_or("error")), (&"event".into(), &"error"), "{event}");
    let expected = [
        ("run", output.json()["run_id"].as_str().unwrap().to_owned()),
        ("migration", "002_m".to_owned()),
        ("sqlstate", "22012".to_owned()),
        ("outcome", "failed".to_owned()),
    ];
    for (tag, value) in expected {
        assert_eq!(event["tags"][tag], value, "{event}");
    }
    assert_eq!((&event["environment"], &event["exception"]["values"][0]["type"]), (&"staging".into(), &"22012".into()));
    assert_eq!(event["exception"]["values"][0]["value"], "division by zero");
    let (kind, transaction) = items(&next(&requests).1).remove(0);
    assert_eq!((&kind["type"], &transaction["transaction"]), (&"transaction".into(), &"migengine.apply".into()));
    let spans = transaction["spans"].as_array().unwrap();
    let told: Vec<_> =
        spans.iter().map(|span| (span["description"].as_str().unwrap(), span["status"].as_str().unwrap())).collect();
    assert_eq!(told, [("001_m", "ok"), ("002_m", "internal_error")]);
    assert_eq!(spans[0]["trace_id"], transaction["contexts"]["trace"]["trace_id"]);

    // A run that goes well is a transaction, and no event.
    scene.project.pair("002_m", "SELECT 1;\n", "SELECT 1;\n");
    run(&scene, "", &[("SENTRY_DSN", &dsn)], &["apply", "--resume"]).expect(0);
    let (kind, again) = items(&next(&requests).1).remove(0);
    assert_eq!(
        (&kind["type"], &again["contexts"]["trace"]["status"]),
        (&"transaction".into(), &"ok".into()),
        "{again}"
    );
    assert_eq!(again["contexts"]["trace"]["trace_id"], spans[0]["trace_id"], "the same run is the same trace");
    assert!(requests.recv_timeout(Duration::from_millis(200)).is_err());
}

#[test]
fn receivers_that_are_silent_or_gone_neither_fail_a_run_nor_hold_it_up() {
    let (silent, _requests) = server(&[""]);
    let dsn = silent.replace("http://", "http://k3y@").replace("/path-token", "/42");
    let scene = Scene::with_steps(1);
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", silent.as_str()), ("SENTRY_DSN", dsn.as_str())];
    let config = "[metrics]\ntextfile = \"no-such-folder/x.prom\"\n";
    let output = run(&scene, config, &variables, &["apply"]).expect(0);
    assert_eq!((&output.json()["state"], scene.effects().as_str()), (&"Committed".into(), "+001"));
    let remarks = output.json()["remarks"].to_string();
    assert_eq!(remarks.matches("ME718").count(), 3, "{remarks}");
    assert!(remarks.contains("no-such-folder/x.prom cannot be written"), "{remarks}");
    let journal = scene.run(&["journal", "show", "last"]).expect(0).stdout;
    assert!(journal.contains("telemetry: [ME718] Sentry was not told"), "{journal}");
    // All of them together, and not one after the other: the journal's times tell how long the end took.
    let events = scene.run_logged(&["journal", "show", "last"], 0).json()["runs"][0]["events"].clone();
    let at = |kind: &str, topic: Option<&str>| {
        let matches = |event: &&Value| event["kind"] == kind && topic.is_none_or(|topic| event["topic"] == topic);
        let at = events.as_array().unwrap().iter().find(matches).unwrap()["at"].as_str().unwrap().to_owned();
        at.parse::<jiff::Timestamp>().unwrap()
    };
    let took = at("noted", Some("telemetry")).duration_since(at("run_committed", None));
    assert!(took.as_secs() < 8, "{took:?}");
    let gone = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"), ("SENTRY_DSN", "http://k@127.0.0.1:1/1")];
    scene.step(2);
    let output = run(&scene, "", &gone, &["apply"]).expect(0);
    assert_eq!(output.json()["remarks"].to_string().matches("ME718").count(), 2, "{output}");
}

#[test]
fn mistakes_are_refused_before_anything_happens() {
    let scene = Scene::with_steps(1);
    for (config, variables, expected) in [
        ("[otlp]\nendpoint = \"localhost:4318\"\n", [("X", "y")], "ME719"),
        ("[otlp]\nendpoint = \"http://x\"\nheaders_env = \"NOT_SET\"\n", [("X", "y")], "ME761"),
        ("[otlp]\nendpoint = \"http://x\"\nheaders_env = \"H\"\n", [("H", "s3cret-header")], "ME719"),
        ("[sentry]\ndsn_env = \"D\"\n", [("D", "https://s3cret@nowhere")], "ME719]: D is no DSN"),
        ("[sentry]\ndsn = \"https://k@h/1\"\n", [("X", "y")], "migengine.toml:2:1: unknown field `dsn`"),
        ("[metrics]\ntextfile = \"../out.prom\"\n", [("X", "y")], "ME720]: migengine.toml:2: metrics.textfile"),
    ] {
        let output = run(&scene, config, &variables, &["apply"]).expect(2);
        assert!(output.stderr.contains(expected) && !output.stderr.contains("s3cret"), "{config}{output}");
        assert_eq!(scene.effects(), "");
    }
}
