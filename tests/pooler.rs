//! Behind the real pgbouncer. Skipped, saying so, where it is not installed.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use migengine_cli::embedded::ServerUser;
use support::process::signal;
use support::{Cluster, Database, Project, wait_until};

/// A pooler in front of the shared server.
struct Pooler {
    child: Child,
    port: u16,
}

impl Pooler {
    /// `None`, saying so, where there is no pgbouncer.
    fn start(mode: &str, pool_size: u32) -> Option<Self> {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"];
        let Some(program) = program.into_iter().find(|path| Path::new(path).exists()) else {
            println!("skipped: pgbouncer is not installed (scripts/need-postgres.sh --with-pgbouncer)");
            return None;
        };
        let cluster = Cluster::shared();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = cluster.dir().join(format!("pgbouncer-{port}.ini"));
        let config = format!(
            "[databases]\n* = host={} port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = {mode}\ndefault_pool_size = {pool_size}\n\
             query_wait_timeout = 20\n",
            cluster.dir().display(),
            cluster.port()
        );
        std::fs::write(&file, config).unwrap();
        let user = ServerUser::current().unwrap();
        let mut command = user.command(program);
        command.arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let child = command.spawn().unwrap();
        wait_until("pgbouncer listens", Duration::from_secs(30), || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(Self { child, port })
    }

    fn url(&self, database: &Database<'_>) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{}?sslmode=disable", self.port, database.name())
    }

    /// What a setting is in the sessions that the pool hands out.
    fn setting(&self, database: &Database<'_>, name: &str) -> String {
        let mut psql = database.cluster().program("psql");
        let output = psql.args(["-AtXq", "-d", &self.url(database), "-c", &format!("SHOW {name}")]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        signal(i32::try_from(self.child.id()).unwrap_or(i32::MAX), nix::sys::signal::Signal::SIGKILL);
        self.child.wait().ok();
    }
}

fn project(url: &str) -> Project {
    let project = Project::with_url(url);
    project.pair("1_a", "CREATE TABLE a (n int);", "DROP TABLE a;");
    project.pair("2_b", "CREATE INDEX CONCURRENTLY b ON a (n);", "DROP INDEX CONCURRENTLY b;");
    project
}

#[test]
fn where_transactions_share_sessions_it_refuses_and_names_the_way_out() {
    for (mode, size) in [("transaction", 20), ("transaction", 1), ("statement", 5)] {
        let Some(pooler) = Pooler::start(mode, size) else { return };
        let db = Cluster::shared().database();
        let before = (pooler.setting(&db, "lock_timeout"), pooler.setting(&db, "client_connection_check_interval"));
        let project = project(&pooler.url(&db));
        for args in [&["apply", "--yes"][..], &["apply", "--resume"], &["rollback", "--last", "1"], &["status"]] {
            let output = project.run(args).expect(5);
            assert!(
                output.stderr.contains("ME353") && output.stderr.contains("--direct-url"),
                "{mode} {args:?}: {output}"
            );
        }
        assert_eq!(db.psql("SELECT to_regclass('a'), to_regnamespace('migengine')"), "|", "{mode}");
        let after = (pooler.setting(&db, "lock_timeout"), pooler.setting(&db, "client_connection_check_interval"));
        assert_eq!(before, after, "{mode}: settings stayed behind in the pool");
    }
}

#[test]
fn a_direct_url_goes_past_the_pooler_from_wherever_it_comes() {
    let Some(pooler) = Pooler::start("transaction", 20) else { return };
    type Way<'a> = &'a dyn Fn(Project, &str) -> (Project, Vec<String>);
    let ways: [Way<'_>; 4] = [
        &|project, url| (project, vec!["--direct-url".to_owned(), url.to_owned()]),
        &|project, url| (project.with_env("MIGENGINE_DIRECT_URL", url), Vec::new()),
        &|project, url| {
            std::fs::write(project.path().join("migengine.toml"), format!("direct_url = \"{url}\"\n")).unwrap();
            (project, Vec::new())
        },
        &|project, url| {
            std::fs::write(project.path().join("migengine.toml"), "[env.p]\ndirect_url_env = \"PAST\"\n").unwrap();
            (project.with_env("PAST", url), vec!["--env".to_owned(), "p".to_owned()])
        },
    ];
    for (number, way) in ways.iter().enumerate() {
        let db = Cluster::shared().database();
        let (project, options) = way(project(&pooler.url(&db)), &db.url());
        for args in [&["apply", "--yes"][..], &["status"], &["rollback", "--last", "2"]] {
            let args: Vec<&str> = options.iter().map(String::as_str).chain(args.iter().copied()).collect();
            let output = project.run(&args);
            assert_eq!(output.code, Some(0), "way {number}, {args:?}: {output}");
        }
        assert_eq!(db.psql("SELECT count(*) FROM migengine.reversed"), "2", "way {number}");
    }
}

#[test]
fn a_typed_database_wins_over_a_direct_url_of_the_environment() {
    let (meant, other) = (Cluster::shared().database(), Cluster::shared().database());
    let project = project(&other.url()).with_env("MIGENGINE_DIRECT_URL", &other.url());
    project.run(&["--database-url", &meant.url(), "apply", "--yes"]).expect(0);
    assert_eq!(meant.psql("SELECT count(*) FROM migengine.history"), "2");
    assert_eq!(other.psql("SELECT to_regnamespace('migengine') IS NULL"), "t");
}

#[test]
fn a_pool_in_session_mode_works_as_it_is() {
    let Some(pooler) = Pooler::start("session", 20) else { return };
    let db = Cluster::shared().database();
    let project = project(&pooler.url(&db));
    project.run(&["apply", "--yes"]).expect(0);
    assert_eq!(db.psql("SELECT count(*) FROM migengine.history"), "2");
    project.run(&["rollback", "--last", "2", "--yes"]).expect(0);
    assert_eq!(db.psql("SELECT count(*) FROM migengine.history"), "0");
    assert_eq!(db.psql("SELECT to_regclass('a') IS NULL"), "t");
}
