//! Everything below `integrations/` does what it says: the very commands that stand there are run, against a real server.
//! What a build server, a kubelet or systemd would do around them is played by `integrations_support`.
#![allow(clippy::unwrap_used)]

#[path = "integrations_support/mod.rs"]
mod integrations_support;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use integrations_support::{Env, Machine, Shop, at_hand, github, gitlab, image, kubernetes, shipped, systemd, yaml};
use nix::sys::signal::Signal;
use support::http::{OK, server};
use support::process::signal;
use support::{Cluster, Options, Project, certificates, kill_nine, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

fn shop() -> Shop {
    Shop::new(Cluster::shared().database())
}

fn env(pairs: &[(&str, &str)]) -> Env {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Whether a step of the shop is at its `pg_sleep(600)`.
fn sleeps(shop: &Shop) -> bool {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
    shop.db.psql(sql) == "1"
}

/// Build servers have jq; where this machine has not, something that finds the one field that is asked for.
fn with_jq(machine: &Machine) {
    if !at_hand("jq") {
        machine.pretend("jq", r#"sed -n 's/.*"run_id":"\([^"]*\)".*/\1/p' "$3""#);
    }
}

// ---- npm

#[test]
fn npm_scripts_bring_the_database_up_and_down() {
    let shop = shop();
    let machine = Machine::new(&shop);
    let package = shipped("npm/package.json");
    fs::write(machine.at("work/package.json"), &package).unwrap();
    let package: serde_json::Value = serde_json::from_str(&package).unwrap();
    let npm = at_hand("npm");
    let env = env(&[("DATABASE_URL", &shop.db.url()), ("npm_config_update_notifier", "false")]);
    let run = |script: &str| {
        let line = package["scripts"][script].as_str().unwrap();
        let line = if npm { format!("npm run --silent {script}") } else { line.to_owned() };
        machine.run(&["sh"], &line, &env).expect(0)
    };
    assert!(run("migrate:plan").stdout.contains("1. 001_users"));
    run("migrate:up");
    assert_eq!(shop.tables(), "orders users");
    run("migrate:down");
    assert_eq!(shop.tables(), "users", "one step back");
    assert!(run("migrate:status").stdout.contains("002_orders"));
    run("migrate:resume");
    run("migrate:up");
    assert_eq!(shop.tables(), "orders users");
}

// ---- GitHub

/// A job of the workflow on a machine of its own.
fn github_job(shop: &Shop, event: &str, job: &str, machine: &Machine) -> github::Job {
    let engine = machine.without_engine();
    let install = format!(
        "[ \"$1\" = install ] || exit 9\nwhile [ $# -gt 0 ]; do [ \"$1\" = --root ] && root=$2; last=$1; shift; done\n\
         [ \"$last\" = migengine ] || exit 9\nmkdir -p \"$root/bin\" && cp -P {} \"$root/bin/migengine\"",
        engine.display()
    );
    machine.pretend("cargo", &install);
    let said = machine.at("comment").display().to_string();
    machine.pretend("gh", &format!("echo \"$@\" >> {said}\nfor last; do :; done\ncat \"$last\" >> {said}"));
    with_jq(machine);
    let context = BTreeMap::from([
        ("github.event_name", event.to_owned()),
        ("github.event.pull_request.number", "17".to_owned()),
        ("github.token", "t0ken".to_owned()),
        ("secrets.DATABASE_URL", shop.db.url()),
        ("secrets.PLAN_DATABASE_URL", shop.db.url()),
        ("vars.DATABASE_NAME", shop.db.name().to_owned()),
    ]);
    github::run(&yaml("github/migrate.yml"), job, machine, &context)
}

const TAKE_BACK: &str = "Take the migrations back";

#[test]
fn a_pull_request_on_github_gets_the_plan_as_a_comment_and_changes_nothing() {
    let shop = shop();
    let machine = Machine::new(&shop);
    let job = github_job(&shop, "pull_request", "plan", &machine);
    assert!(!job.failed, "{}", job.log());
    let comment = fs::read_to_string(machine.at("comment")).unwrap();
    assert!(comment.starts_with("pr comment 17 --edit-last --create-if-none --body-file "), "{comment}");
    assert!(comment.contains("```text\napply 2 migrations (plan ") && comment.trim_end().ends_with("```"), "{comment}");
    assert_eq!(shop.db.psql("SELECT to_regnamespace('migengine') IS NULL"), "t");

    // Files that nobody rehearsed do not get that far.
    shop.project.pair("003_late", "CREATE TABLE late (id int);\n", "DROP TABLE late;\n");
    let machine = Machine::new(&shop);
    let job = github_job(&shop, "pull_request", "plan", &machine);
    assert!(job.failed && !job.ran("Plan"), "{}", job.log());
}

#[test]
fn a_deployment_on_github_migrates_exports_the_schema_and_keeps_the_journal() {
    let shop = shop();
    let machine = Machine::new(&shop);
    let job = github_job(&shop, "push", "deploy", &machine);
    assert!(!job.failed && !job.ran(TAKE_BACK), "{}", job.log());
    assert_eq!(shop.tables(), "orders users");
    assert!(machine.at("work/deployed").exists());
    assert!(fs::read_to_string(machine.at("work/schema.sql")).unwrap().contains("CREATE TABLE public.orders"));
    assert!(fs::read_to_string(machine.at("GITHUB_STEP_SUMMARY")).unwrap().contains("Committed"), "{}", job.log());
}

#[test]
fn a_deployment_that_fails_on_github_takes_back_what_it_migrated_and_nothing_else() {
    let shop = shop();
    assert!(!github_job(&shop, "push", "deploy", &Machine::new(&shop)).failed);
    shop.migration("003_carts", "carts");
    shop.deployment("exit 1");
    let job = github_job(&shop, "push", "deploy", &Machine::new(&shop));
    assert!(job.failed && job.ran(TAKE_BACK), "{}", job.log());
    assert_eq!(shop.tables(), "orders users", "those of the deployment before stay");

    // Nothing was migrated: the run before must not be taken for this one's.
    shop.project.remove("003_carts.sql");
    shop.project.remove("003_carts_rollback.sql");
    shop.project.run(&["rehearse", "--against", &shop.db.cluster().database().url()]).expect(0);
    let job = github_job(&shop, "push", "deploy", &Machine::new(&shop));
    assert!(job.failed && !job.ran(TAKE_BACK), "{}", job.log());
    assert_eq!(shop.tables(), "orders users");
}

#[test]
fn a_step_that_fails_on_github_is_taken_back_before_anything_is_deployed() {
    let shop = shop();
    shop.project.pair("003_wrong", "SELECT 1/0;\n", "SELECT 1;\n");
    let machine = Machine::new(&shop);
    let job = github_job(&shop, "push", "deploy", &machine);
    assert!(job.failed && !job.ran("Deploy") && !job.ran(TAKE_BACK), "{}", job.log());
    assert_eq!(shop.tables(), "");
    assert!(!machine.at("work/deployed").exists());
}

#[test]
fn a_job_that_was_killed_on_github_is_finished_by_the_next_from_the_database_alone() {
    let shop = shop();
    let killed = shop.project.command(&["apply"]).env("MIGENGINE_CRASH_AT", "step.commit_answered:2").spawn().unwrap();
    assert_eq!(support::project::collect(killed).code, None);
    let job = github_job(&shop, "push", "deploy", &Machine::new(&shop));
    assert!(!job.failed, "{}", job.log());
    assert_eq!(shop.tables(), "orders users");
    assert_eq!(shop.db.psql("SELECT string_agg(state, ' ') FROM migengine.run"), "Committed", "{}", job.log());
}

// ---- GitLab

fn pipeline(shop: &Shop, source: &str, api: &str) -> Vec<(String, support::Output)> {
    let predefined = env(&[
        ("CI_PIPELINE_SOURCE", source),
        ("CI_COMMIT_BRANCH", if source == "push" { "main" } else { "" }),
        ("CI_DEFAULT_BRANCH", "main"),
        ("CI_API_V4_URL", api),
        ("CI_PROJECT_ID", "42"),
        ("CI_MERGE_REQUEST_IID", "7"),
        ("GITLAB_TOKEN", "t0ken"),
        ("DATABASE_URL", &shop.db.url()),
        ("PLAN_DATABASE_URL", &shop.db.url()),
        ("DATABASE_NAME", shop.db.name()),
    ]);
    gitlab::run(&yaml("gitlab/gitlab-ci.yml"), shop, &predefined, &with_jq)
}

fn told(ran: &[(String, support::Output)]) -> String {
    let words = ran.iter().map(|(name, output)| format!("{name}:{}", output.code.unwrap_or(-1)));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_merge_request_on_gitlab_gets_the_plan_as_a_note_and_changes_nothing() {
    if !at_hand("curl") {
        return;
    }
    let shop = shop();
    let (api, requests) = server(&[OK]);
    let ran = pipeline(&shop, "merge_request_event", &api);
    assert_eq!(told(&ran), "plan:0", "{}", ran[0].1);
    let (head, body) = requests.recv_timeout(PATIENCE).unwrap();
    assert!(head[0].starts_with("POST /path-token/projects/42/merge_requests/7/notes "), "{head:?}");
    assert!(head.iter().any(|line| line.eq_ignore_ascii_case("private-token: t0ken")), "{head:?}");
    assert!(body.starts_with("body=") && body.contains("001_users"), "{body}");
    assert_eq!(shop.db.psql("SELECT to_regnamespace('migengine') IS NULL"), "t");
}

#[test]
fn a_pipeline_on_gitlab_migrates_exports_the_schema_and_takes_a_failed_deployment_back() {
    let shop = shop();
    let ran = pipeline(&shop, "push", "");
    assert_eq!(told(&ran), "migrate:0 deploy:0 schema:0", "{}", ran[0].1);
    assert_eq!(shop.tables(), "orders users");

    shop.migration("003_carts", "carts");
    shop.deployment("exit 3");
    let ran = pipeline(&shop, "push", "");
    assert_eq!(told(&ran), "migrate:0 deploy:3 take-back:0", "{}", ran[0].1);
    assert_eq!(shop.tables(), "orders users", "those of the pipeline before stay");

    shop.project.remove("003_carts.sql");
    shop.project.remove("003_carts_rollback.sql");
    let ran = pipeline(&shop, "push", "");
    assert_eq!(told(&ran), "migrate:0 deploy:3 take-back:0", "{}", ran[0].1);
    assert!(ran[2].1.stdout.contains("nothing was migrated"), "{}", ran[2].1);
    assert_eq!(shop.tables(), "orders users");
}

#[test]
fn a_migration_that_fails_on_gitlab_is_reversed_and_nothing_is_deployed() {
    let shop = shop();
    shop.project.pair("003_wrong", "SELECT 1/0;\n", "SELECT 1;\n");
    let ran = pipeline(&shop, "push", "");
    assert_eq!(told(&ran), "migrate:1 take-back:0", "{}", ran[0].1);
    assert_eq!(shop.tables(), "");
}

// ---- Kubernetes

#[test]
fn a_job_on_kubernetes_migrates_and_a_pod_that_is_evicted_is_replaced_by_one_that_goes_on() {
    let shop = shop();
    let job = yaml("kubernetes/job.yaml");
    assert_eq!((&job["apiVersion"], &job["kind"]), (&"batch/v1".into(), &"Job".into()));
    let pod = kubernetes::pod(&job);
    kubernetes::check(pod);
    assert_eq!(pod["restartPolicy"], "Never", "a policy on exit codes wants it");
    let secrets = env(&[("shop-database/url", &shop.db.url())]);
    shop.project.pair("003_slow", "SELECT pg_sleep(600);\n", "SELECT 1;\n");

    let evicted = Machine::new(&shop);
    let child = kubernetes::start(pod, "migrate", &evicted, &secrets);
    wait_until("the slow step runs", PATIENCE, || sleeps(&shop));
    signal(i32::try_from(child.id()).unwrap(), Signal::SIGTERM);
    support::project::collect(child).expect(7);
    assert_eq!(shop.tables(), "orders users");

    shop.project.pair("003_slow", "CREATE TABLE quick (id int);\n", "DROP TABLE quick;\n");
    let outputs = kubernetes::run(pod, &Machine::new(&shop), &secrets);
    assert!(outputs.iter().all(|output| output.code == Some(0)), "{}\n{}", outputs[0], outputs.last().unwrap());
    assert_eq!(shop.tables(), "orders quick users");

    // Exit codes for which another pod is pointless end the Job; the others do not.
    for rule in job["spec"]["podFailurePolicy"]["rules"].as_sequence().unwrap().iter().skip(1) {
        let codes: Vec<u64> =
            rule["onExitCodes"]["values"].as_sequence().unwrap().iter().map(|c| c.as_u64().unwrap()).collect();
        assert_eq!((codes.as_slice(), &rule["action"]), (&[1, 2, 5, 6][..], &"FailJob".into()));
    }
}

#[test]
fn pods_of_a_deployment_that_start_at_once_migrate_once_and_all_start() {
    let shop = shop();
    shop.project.pair("003_busy", "SELECT pg_sleep(1);\nCREATE TABLE busy (id int);\n", "DROP TABLE busy;\n");
    let deployment = yaml("kubernetes/deployment.yaml");
    let pod = kubernetes::pod(&deployment);
    kubernetes::check(pod);
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], deployment["spec"]["template"]["metadata"]["labels"]);
    let secrets = env(&[("shop-database/url", &shop.db.url())]);
    let replicas = usize::try_from(deployment["spec"]["replicas"].as_u64().unwrap()).unwrap();
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let pods: Vec<_> =
            (0..replicas).map(|_| scope.spawn(|| kubernetes::run(pod, &Machine::new(&shop), &secrets))).collect();
        pods.into_iter().flat_map(|pod| pod.join().unwrap()).collect()
    });
    assert!(
        outputs.iter().all(|output| output.code == Some(0)),
        "{}",
        outputs.iter().map(ToString::to_string).collect::<String>()
    );
    assert_eq!(outputs.len(), 2 * replicas);
    assert_eq!(shop.tables(), "busy orders users");
    assert_eq!(shop.db.psql("SELECT count(*) FROM migengine.run WHERE state = 'Committed'"), "1");
}

// ---- systemd

#[test]
fn a_systemd_unit_migrates_and_goes_on_after_a_crash_of_the_machine() {
    let shop = shop();
    let unit = shipped("systemd/migengine.service");
    let secret = env(&[("DATABASE_URL", &shop.db.url())]);
    shop.project.pair("003_slow", "SELECT pg_sleep(600);\n", "SELECT 1;\n");
    let machine = Machine::new(&shop);
    let child = systemd::spawn(&unit, systemd::values(&unit, "ExecStart")[0], &machine, &secret);
    wait_until("the slow step runs", PATIENCE, || sleeps(&shop));
    kill_nine(child);

    fs::write(machine.at("work/migrations/003_slow.sql"), "CREATE TABLE quick (id int);\n").unwrap();
    let outputs = systemd::start(&unit, &machine, &secret);
    assert!(outputs.iter().all(|output| output.code == Some(0)), "{}\n{}", outputs[0], outputs.last().unwrap());
    assert_eq!(outputs.len(), 2);
    assert_eq!(shop.tables(), "orders quick users");
}

#[test]
fn systemd_accepts_the_unit() {
    if !at_hand("systemd-analyze") {
        return;
    }
    let shop = shop();
    let machine = Machine::new(&shop);
    let engine = machine.at("bin/migengine").display().to_string();
    let unit = machine.at("migengine.service");
    fs::write(&unit, shipped("systemd/migengine.service").replace("/usr/bin/migengine", &engine)).unwrap();
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("migengine.service:"), "{said}");
}

// ---- Docker

#[test]
fn the_image_holds_a_program_and_certificates_and_runs_as_nobody_special() {
    let dockerfile = shipped("docker/Dockerfile");
    let lines = dockerfile.replace("\\\n", " ");
    let lines: Vec<&str> = lines.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let last = lines.iter().rposition(|line| line.starts_with("FROM ")).unwrap();
    let (before, image) = lines.split_at(last);
    assert_eq!(image[0], "FROM scratch", "nothing but what is copied");
    assert_eq!(image.iter().filter(|line| line.starts_with("COPY --from=build ")).count(), 3, "{image:?}");
    let user = image.iter().find_map(|line| line.strip_prefix("USER ")).unwrap();
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "there is no file with names in it");
    let entry: Vec<String> =
        serde_json::from_str(image.iter().find_map(|line| line.strip_prefix("ENTRYPOINT ")).unwrap()).unwrap();
    assert_eq!(entry, ["/migengine"], "without a shell there are only lists");
    // The program that is built is the one that is copied, from a system where Rust links statically.
    assert!(before.iter().any(|line| line.starts_with("FROM rust:1-alpine AS build")));
    assert!(before.iter().any(|line| line.contains("cargo build --release --locked --package migengine")));
    assert!(image.contains(&"COPY --from=build /source/target/release/migengine /migengine"));
}

/// The server is reached by its name and by TLS, with nothing but the certificates of the image; its files stay as they are.
#[test]
fn the_image_runs_with_nothing_around_it() {
    if !image::can_be_run() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    certificates::make(folder.path());
    let file = |name: &str| (name.to_owned(), fs::read_to_string(folder.path().join(name)).unwrap());
    let cluster = Cluster::start_with(Options {
        tcp: true,
        hba: vec!["hostssl all all 127.0.0.1/32 trust".to_owned()],
        conf: vec!["ssl = on".to_owned()],
        files: vec![file("server.crt"), file("server.key")],
        ..Options::default()
    });
    let db = cluster.database();
    let project = Project::new(&db);
    let program = project.command(&["--version"]).get_program().to_owned();
    let image = image::Image::assemble(&shipped("docker/Dockerfile"), program.as_ref(), &folder.path().join("ca.crt"));
    // As Dockerfile.migrations and the runtime have it.
    fs::create_dir(image.at("/srv/migrations")).unwrap();
    fs::write(image.at("/srv/migrations/001_users.sql"), "CREATE TABLE users (id int);\n").unwrap();
    fs::write(image.at("/srv/migrations/001_users_rollback.sql"), "DROP TABLE users;\n").unwrap();
    fs::write(image.at("/etc/hosts"), "127.0.0.1 localhost\n").unwrap();
    let files = || {
        let find =
            Command::new("find").arg(image.at("/")).args(["-path", "*/journal/*", "-prune", "-o", "-print"]).output();
        String::from_utf8(find.unwrap().stdout).unwrap()
    };
    let before = files();
    let url = |host: &str| {
        let url = cluster.tcp_url(db.name()).replace("127.0.0.1", host);
        env(&[("DATABASE_URL", &format!("{url}?sslmode=verify-full&sslrootcert=system"))])
    };
    let doctor = image.run(&["doctor"], &url("localhost")).expect(0);
    assert!(doctor.stdout.contains("TLSv1."), "{doctor}");
    image.run(&["apply"], &url("localhost")).expect(0);
    image.run(&["rollback", "--last", "1"], &url("localhost")).expect(0);
    image.run(&["apply"], &url("localhost")).expect(0);
    image.run(&["status", "--exit-code"], &url("localhost")).expect(0);
    let shown = image.run(&["journal", "show", "last"], &url("localhost")).expect(0);
    assert!(shown.stdout.contains("Committed"), "{shown}");
    assert_eq!(db.psql("SELECT count(*) FROM users"), "0");
    assert!(fs::read_dir(image.at("/journal")).unwrap().count() > 0, "the journal is kept where a volume can be");
    assert_eq!(files(), before, "the rest of the image may be read-only");
    // The name is held against the certificate, which is for `localhost`.
    let refused = image.run(&["status"], &url("127.0.0.1"));
    assert!(refused.code != Some(0) && refused.stderr.contains("certificate"), "{refused}");
}
