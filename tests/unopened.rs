//! A step is sent without waiting for the answer to its BEGIN. Where that is refused, as by a cancel request which meets the
//! server between two messages, nothing behind it takes effect: no script, no history row, no piece.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::{Cluster, Database, Options, Project};

/// A proxy that makes the first `BEGIN` of a step unreadable for the server.
struct Spoiler {
    port: u16,
    spoiled: Arc<AtomicUsize>,
}

impl Spoiler {
    fn before(server: u16, step: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (spoiled, needle) = (Arc::new(AtomicUsize::new(0)), format!(":{step}'"));
        let count = Arc::clone(&spoiled);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, upstream) = (client.unwrap(), TcpStream::connect(("127.0.0.1", server)).unwrap());
                let (mut answers, mut to_client) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || {
                    std::io::copy(&mut answers, &mut to_client).ok();
                    to_client.shutdown(std::net::Shutdown::Both).ok();
                });
                let (count, needle) = (Arc::clone(&count), needle.clone());
                std::thread::spawn(move || {
                    forward(client, &upstream, needle.as_bytes(), &count).ok();
                    upstream.shutdown(std::net::Shutdown::Both).ok();
                });
            }
        });
        Self { port, spoiled }
    }
}

/// Passes on whole messages. The first one of a connection has no type.
fn forward(mut from: TcpStream, mut to: &TcpStream, needle: &[u8], spoiled: &AtomicUsize) -> std::io::Result<()> {
    let mut typed = false;
    loop {
        let mut head = vec![0; if typed { 5 } else { 4 }];
        from.read_exact(&mut head)?;
        let length = u32::from_be_bytes(head[head.len() - 4..].try_into().unwrap());
        let mut body = vec![0; length as usize - 4];
        from.read_exact(&mut body)?;
        let begins = typed && head[0] == b'Q' && body.starts_with(b"BEGIN");
        if begins && body.windows(needle.len()).any(|window| window == needle) && spoiled.load(Ordering::SeqCst) == 0 {
            spoiled.fetch_add(1, Ordering::SeqCst);
            body[..5].copy_from_slice(b"BEGUN");
        }
        typed = true;
        to.write_all(&[head, body].concat())?;
    }
}

/// What a step does to a table that is there, to one of its own, and in pieces.
const KINDS: &[(&str, &str, &str)] = &[
    ("new only", "CREATE TABLE t2 (n int);\n", "DROP TABLE t2;\n"),
    (
        "plain",
        "CREATE TABLE t2 (n int);\nINSERT INTO counter VALUES (2, 'up');\n",
        "INSERT INTO counter VALUES (2, 'down');\nDROP TABLE t2;\n",
    ),
    (
        "in pieces",
        "-- chunk: big by id, size 10\nUPDATE big SET n = n + 1;\n",
        "-- chunk: big by id, size 10\nUPDATE big SET n = n - 1;\n",
    ),
];

/// Everything that steps may have done.
const EFFECTS: &str = "SELECT (SELECT string_agg(id, ' ' ORDER BY id) FROM migengine.history WHERE state = 'applied'), \
    to_regclass('t1'), to_regclass('t2'), to_regclass('t3'), (SELECT sum(n) FROM big), \
    (SELECT string_agg(tag || way, ' ' ORDER BY tag, way) FROM counter)";

fn project(db: &Database<'_>, up: &str, down: &str) -> Project {
    db.psql(
        "CREATE TABLE counter (tag int, way text); CREATE TABLE big (id int PRIMARY KEY, n int); \
         INSERT INTO big SELECT i, 0 FROM generate_series(1, 30) AS i; CREATE TABLE fired (at text); \
         CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS \
           $$ BEGIN INSERT INTO fired VALUES (current_query()); RETURN NULL; END $$; \
         CREATE TRIGGER fire BEFORE UPDATE ON big FOR EACH STATEMENT EXECUTE FUNCTION fire()",
    );
    let project = Project::new(db);
    project.pair("1_m", "CREATE TABLE t1 (n int);\n", "DROP TABLE t1;\n");
    project.pair("2_m", up, down);
    project.pair("3_m", "CREATE TABLE t3 (n int);\n", "DROP TABLE t3;\n");
    project
}

fn through(cluster: &Cluster, db: &Database<'_>, step: &str) -> (Spoiler, String) {
    let url = cluster.tcp_url(db.name());
    let port = cluster.port();
    let spoiler = Spoiler::before(port, step);
    let url = url.replace(&format!(":{port}/"), &format!(":{}/", spoiler.port));
    (spoiler, format!("{url}{}sslmode=disable", if url.contains('?') { "&" } else { "?" }))
}

#[test]
fn nothing_of_a_step_takes_effect_whose_begin_was_refused() {
    let cluster = Cluster::start_with(Options { tcp: true, ..Options::default() });
    for (kind, up, down) in KINDS {
        let db = cluster.database();
        let project = project(&db, up, down);
        let (spoiler, url) = through(&cluster, &db, "2_m");
        let output = project.run(&["apply", "--database-url", &url]).expect(7);
        assert_eq!(spoiler.spoiled.load(Ordering::SeqCst), 1, "{kind}: {output}");
        assert_eq!(db.psql(EFFECTS), "1_m|t1|||0|", "{kind}: {output}");
        assert_eq!(db.psql("SELECT count(*) FROM fired"), "0", "{kind}: {output}");
        project.run(&["apply", "--resume"]).expect(0);
        let sum = if *kind == "in pieces" { 30 } else { 0 };
        let (own, counted) = match *kind {
            "in pieces" => ("", ""),
            "plain" => ("t2", "2up"),
            _ => ("t2", ""),
        };
        let done = format!("1_m 2_m 3_m|t1|{own}|t3|{sum}|{counted}");
        assert_eq!(db.psql(EFFECTS), done, "{kind}");
        // The same on the way back.
        let (spoiler, url) = through(&cluster, &db, "2_m");
        let output = project.run(&["rollback", "--last", "3", "--database-url", &url]).expect(6);
        assert_eq!(spoiler.spoiled.load(Ordering::SeqCst), 1, "{kind}: {output}");
        let effects = db.psql(EFFECTS);
        let left = format!("|t1|{own}||{sum}|{counted}");
        assert!(effects.ends_with(&left) && effects.starts_with("1_m"), "{kind}: {effects}: {output}");
        project.run(&["rollback", "--resume"]).expect(0);
        let counted = if *kind == "plain" { "2down 2up" } else { "" };
        assert_eq!(db.psql(EFFECTS), format!("||||0|{counted}"), "{kind}");
        project.run(&["journal", "check"]).expect(0);
    }
}

#[test]
fn nothing_of_an_atomic_run_takes_effect_whose_begin_was_refused() {
    let cluster = Cluster::start_with(Options { tcp: true, ..Options::default() });
    for (kind, up, down) in KINDS.iter().filter(|(kind, ..)| *kind != "in pieces") {
        let db = cluster.database();
        let project = project(&db, up, down);
        let (spoiler, url) = through(&cluster, &db, "1_m");
        let output = project.run(&["apply", "--atomic", "--database-url", &url]);
        assert_eq!(spoiler.spoiled.load(Ordering::SeqCst), 1, "{kind}: {output}");
        assert_ne!(output.code, Some(0), "{kind}: {output}");
        assert_eq!(db.psql(EFFECTS), "||||0|", "{kind}: {output}");
    }
}
