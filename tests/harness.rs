//! The harness itself, and the private server of `--embedded`, with real servers.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use migengine_cli::embedded::{self, ServerUser};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::process::{children, is_alive, signal};
use support::{Cluster, Database, Options, Project, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn databases_are_fresh_and_compared_by_their_schema() {
    let cluster = Cluster::shared();
    let (a, b) = (cluster.database(), cluster.database());
    assert_eq!(a.dump(), b.dump());
    a.psql("CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2)");
    assert_eq!(a.psql("SELECT n, n + 1 FROM t ORDER BY n"), "1|2\n2|3");
    assert_ne!(a.dump(), b.dump());
    b.psql("CREATE SCHEMA migengine; CREATE TABLE migengine.x (n int); CREATE TABLE t (n int)");
    assert_eq!(a.dump(), b.dump(), "the engine's own schema does not count");
    let error = a.try_psql("SELECT 1/0; SELECT 2").unwrap_err();
    assert!(error.contains("22012"), "{error}");
}

#[test]
fn a_killed_server_comes_back_with_what_was_committed() {
    let cluster = Cluster::start_with(Options { fsync: true, ..Options::default() });
    let db = cluster.database();
    db.psql("CREATE TABLE t (n int); INSERT INTO t VALUES (7)");
    let before = cluster.pid().unwrap();
    let family = children(before);
    assert!(!family.is_empty());
    cluster.kill_nine();
    assert!(!is_alive(before) && !family.iter().any(|&pid| is_alive(pid)));
    assert!(db.try_psql("SELECT 1").is_err());
    cluster.restart();
    assert_eq!(db.psql("SELECT n FROM t"), "7");
    assert!(cluster.log().contains("was not properly shut down"), "it must have been a crash");
}

#[test]
fn options_reach_the_server() {
    let conf = vec!["work_mem = '3MB'".to_owned()];
    let hba = vec!["host all all 127.0.0.1/32 reject".to_owned()];
    let cluster = Cluster::start_with(Options { conf, hba, tcp: true, ..Options::default() });
    let db = cluster.database();
    assert_eq!(db.psql("SHOW work_mem"), "3MB");
    assert_eq!(db.psql("SHOW fsync"), "off");
    let output = cluster.program("psql").args(["-d", &cluster.tcp_url(db.name())]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("pg_hba.conf rejects connection"), "{error}");
}

#[test]
fn a_dropped_server_leaves_nothing() {
    let cluster = Cluster::start();
    let (dir, pid) = (cluster.dir().to_path_buf(), cluster.pid().unwrap());
    let family = children(pid);
    drop(cluster);
    assert!(!dir.exists());
    assert!(![pid].iter().chain(&family).any(|&pid| is_alive(pid)));
}

/// Started by the next test in a process of its own, and killed there.
#[test]
#[ignore = "the victim of a_killed_test_process_leaves_nothing"]
fn victim() {
    let cluster = Cluster::start();
    println!("\nCLUSTER {} {}", cluster.pid().unwrap(), cluster.dir().display());
    std::thread::sleep(PATIENCE);
}

#[test]
fn a_killed_test_process_leaves_nothing() {
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "victim", "--ignored", "--nocapture"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = test.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.map(Result::unwrap).find(|line| line.starts_with("CLUSTER ")).unwrap();
    let mut words = line.split(' ').skip(1);
    let pid: i32 = words.next().unwrap().parse().unwrap();
    let dir = PathBuf::from(words.next().unwrap());
    assert!(is_alive(pid) && dir.exists());
    support::kill_nine(child);
    wait_until("server and folder go away", PATIENCE, || !is_alive(pid) && !dir.exists());
}

#[test]
fn a_project_inherits_nothing() {
    let project = Project::without_url().with_env("DATABASE_URL", "postgresql:///a").with_env("DATABASE_URL", "b");
    let command = project.command(&["status"]);
    let set = |key: &str| command.get_envs().find(|(k, _)| *k == key).and_then(|(_, v)| v).map(|v| v.to_owned());
    assert_eq!(set("DATABASE_URL").unwrap(), "b");
    assert_eq!(set("HOME").unwrap(), project.path());
    assert_eq!(set("USER"), None);
    project.pair("001_a", "SELECT 1;", "SELECT 2;");
    assert!(project.migrations().join("001_a_rollback.sql").exists());
}

/// A state folder that the server's user can reach. Its name has a blank, as on macOS.
fn state() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::Builder::new().prefix("me state ").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    dir
}

fn ask(url: &str, sql: &str) -> Result<String, String> {
    let install = embedded::find::find().unwrap();
    let output = Command::new(support::cluster::client(&install, "psql"))
        .args(["-AtXq", "-d", url, "-c", sql])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn postmaster(data: &Path) -> i32 {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).unwrap();
    text.lines().next().unwrap().parse().unwrap()
}

#[test]
fn an_embedded_server_keeps_its_data_and_goes_away() {
    let state = state();
    let server = embedded::start(Some(state.path())).unwrap_or_else(|e| panic!("{e}"));
    let url = server.url().to_owned();
    ask(&url, "CREATE TABLE t AS SELECT 5 AS n").unwrap();
    assert_eq!(ask(&url, "SELECT current_database() || ' ' || getdatabaseencoding()").unwrap(), "app UTF8");
    assert_eq!(ask(&url, "SHOW fsync").unwrap(), "on");
    assert_eq!(ask(&url, "SHOW listen_addresses").unwrap(), "");
    let pid = postmaster(server.data());
    server.stop().unwrap();
    assert!(!is_alive(pid));
    assert!(ask(&url, "SELECT 1").is_err());

    let start = Instant::now();
    let server = embedded::start(Some(state.path())).unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(ask(server.url(), "SELECT n FROM t").unwrap(), "5");
    let pid = postmaster(server.data());
    drop(server);
    assert!(!is_alive(pid), "dropping stops it too");
}

#[test]
fn commands_at_the_same_time_share_one_server() {
    let state = state();
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let dir = state.path().to_path_buf();
            std::thread::spawn(move || embedded::start(Some(&dir)).unwrap_or_else(|e| panic!("{e}")))
        })
        .collect();
    let mut servers: Vec<_> = workers.into_iter().map(|w| w.join().unwrap()).collect();
    let pid = postmaster(servers[0].data());
    while let Some(server) = servers.pop() {
        assert_eq!(ask(server.url(), "SELECT 1").unwrap(), "1");
        assert_eq!(postmaster(server.data()), pid);
        server.stop().unwrap();
        assert_eq!(is_alive(pid), !servers.is_empty(), "the last one stops it");
    }
}

/// Started by the next test in a process of its own, and killed there.
#[test]
#[ignore = "the victim of a_server_that_a_killed_command_left_is_used_and_stopped"]
fn embedded_victim() {
    let dir = std::env::var_os("ME_TEST_STATE").unwrap();
    let server = embedded::start(Some(Path::new(&dir))).unwrap();
    ask(server.url(), "CREATE TABLE t (n int)").unwrap();
    println!("\nREADY");
    std::thread::sleep(PATIENCE);
}

#[test]
fn a_server_that_a_killed_command_left_is_used_and_stopped() {
    let state = state();
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "embedded_victim", "--ignored", "--nocapture"]).env("ME_TEST_STATE", state.path());
    let mut child = test.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line == "READY"));
    support::kill_nine(child);

    let server = embedded::start(Some(state.path())).unwrap();
    let pid = postmaster(server.data());
    assert_eq!(ask(server.url(), "SELECT count(*) FROM t").unwrap(), "0");
    assert!(!std::fs::read_to_string(server.data().join("../server.log")).unwrap().contains("not properly shut down"));
    server.stop().unwrap();
    assert!(!is_alive(pid));
}

#[test]
fn a_half_made_cluster_is_made_again_and_a_dead_server_recovers() {
    let state = state();
    let user = ServerUser::current().unwrap();
    let major = embedded::find::find().unwrap().version.major;
    let draft = state.path().join(format!("pg{major}/data.new"));
    user.make_passable_dirs(draft.parent().unwrap()).unwrap();
    std::fs::create_dir(&draft).unwrap();
    std::fs::write(draft.join("PG_VERSION"), format!("{major}\n")).unwrap();

    let server = embedded::start(Some(state.path())).unwrap_or_else(|e| panic!("{e}"));
    assert!(!draft.exists());
    ask(server.url(), "CREATE TABLE t (n int)").unwrap();
    let pid = postmaster(server.data());
    signal(pid, nix::sys::signal::Signal::SIGKILL);
    // A zombie by then, because its parent, this process, has not waited for it.
    wait_until("the server dies", PATIENCE, || !is_alive(pid));
    drop(server);

    let server = embedded::start(Some(state.path())).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(ask(server.url(), "SELECT count(*) FROM t").unwrap(), "0");
    server.stop().unwrap();
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    let state = state();
    let major = embedded::find::find().unwrap().version.major;
    let data = state.path().join(format!("pg{major}/data"));
    ServerUser::current().unwrap().make_passable_dirs(data.parent().unwrap()).unwrap();
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("letter.txt"), "dear").unwrap();
    let error = embedded::start(Some(state.path())).unwrap_err();
    assert_eq!(error.code(), "ME346");
    assert!(data.join("letter.txt").exists());
}

#[test]
fn a_long_state_path_works() {
    let state = state();
    let deep = state.path().join("x".repeat(100));
    let server = embedded::start(Some(&deep)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(ask(server.url(), "SELECT 1").unwrap(), "1");
    server.stop().unwrap();
}

#[test]
fn a_shared_server_serves_many_threads() {
    let names: Vec<_> = (0..4)
        .map(|_| std::thread::spawn(|| Cluster::shared().database().name().to_owned()))
        .map(|thread| thread.join().unwrap())
        .collect();
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
    assert_eq!(Database::named(&names[0], Cluster::shared()).psql("SELECT 1"), "1");
}
