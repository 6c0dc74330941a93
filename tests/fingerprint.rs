//! The fingerprint: it sees every kind of change and its reversal, on each server version, and it agrees with
//! `pg_dump` on real migrations.
#![allow(clippy::unwrap_used)] // a failed set-up is a failed test

#[path = "fingerprint_support/cases.rs"]
mod cases;
#[path = "fingerprint_support/corpus.rs"]
mod corpus;
#[path = "fingerprint_support/kinds.rs"]
mod kinds;
#[path = "fingerprint_support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cases::CASES;
use kinds::{Subject, subjects};
use migengine_engine::pg::fingerprint;
use migengine_engine::schema::{Kind, Schema, Verdict, compare, diff};
use support::Server;
use tokio_postgres::Client;

async fn read(client: &Client) -> Schema {
    fingerprint::read(client, &["migengine"]).await.unwrap_or_else(|error| panic!("{error}: {error:?}"))
}

async fn version(client: &Client) -> u32 {
    let row = client.query_one("SELECT current_setting('server_version_num')", &[]).await.unwrap();
    row.get::<_, String>(0).parse::<u32>().unwrap() / 10_000
}

async fn run(client: &Client, sql: &str) -> Result<(), String> {
    let mut done = Ok(());
    // One statement a message: CREATE SUBSCRIPTION and its like refuse to share one.
    for statement in split(sql) {
        done = done.and(client.batch_execute(statement).await.map_err(|error| format!("{statement}: {error:?}")));
    }
    done
}

/// At semicolons outside quotes and SQL bodies, as far as the cases need it.
fn split(sql: &str) -> Vec<&str> {
    if sql.contains("BEGIN ATOMIC") {
        return vec![sql];
    }
    let mut quoted = false;
    let at_semicolon = |c: char| {
        quoted ^= c == '\'';
        c == ';' && !quoted
    };
    sql.split(at_semicolon).filter(|statement| !statement.trim().is_empty()).collect()
}

async fn fresh_database(server: &Server, admin: &Client, name: &str) -> Client {
    admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
    server.connect(name).await
}

async fn roles(admin: &Client) {
    admin.batch_execute("CREATE ROLE alice; CREATE ROLE boss SUPERUSER").await.unwrap();
}

/// What went wrong with one case, if anything.
async fn case(client: &Client, (_, set_up, change, reverse): cases::Case, public_owner: &str) -> Result<(), String> {
    let read = async || fingerprint::read(client, &["migengine"]).await.map_err(|error| format!("{error:?}"));
    run(client, set_up).await?;
    let before = read().await?;
    run(client, change).await?;
    let changed = read().await?;
    let sentences: Vec<String> = diff(&before, &changed).iter().map(ToString::to_string).collect();
    println!("{change}\n    {}", sentences.join("\n    "));
    if compare(&before, &changed) != Verdict::Differs || sentences.is_empty() {
        return Err("the change was not seen".to_owned());
    }
    if changed.to_text() == before.to_text() || changed.to_text().contains("hunter2") {
        return Err("the text does not show the change, or shows a secret".to_owned());
    }
    if Schema::from_json(&changed.to_json()).as_ref() != Ok(&changed) {
        return Err("the JSON form does not come back".to_owned());
    }
    run(client, &reverse.replace("@public_owner@", public_owner)).await?;
    let after = read().await?;
    match compare(&before, &after) {
        Verdict::Exact => Ok(()),
        other => Err(format!("after the reverse it {}: {:?}", other.as_str(), diff(&before, &after))),
    }
}

#[tokio::test]
async fn every_kind_of_change_is_seen_and_comes_back() {
    all_cases(Server::start()).await;
}

/// The folders that `MIGENGINE_PG_MATRIX` lists; says so where there are none.
fn other_servers() -> Vec<PathBuf> {
    let named = std::env::var("MIGENGINE_PG_MATRIX").unwrap_or_default();
    if named.is_empty() {
        println!("skipped: MIGENGINE_PG_MATRIX lists no servers; scripts/pg-matrix.sh fetches some");
    }
    named.split(':').filter(|folder| !folder.is_empty()).map(PathBuf::from).collect()
}

#[tokio::test]
async fn every_kind_of_change_is_seen_on_other_versions_too() {
    for folder in other_servers() {
        all_cases(Server::start_at(&folder)).await;
    }
}

#[tokio::test]
async fn every_kind_of_object_is_added_changed_and_removed() {
    all_subjects(Server::start()).await;
}

#[tokio::test]
async fn every_kind_of_object_is_added_changed_and_removed_on_other_versions_too() {
    for folder in other_servers() {
        all_subjects(Server::start_at(&folder)).await;
    }
}

/// Small builds of the server come without ICU or LZ4.
const NOT_BUILT_IN: &str = "not supported in this build";

/// Whether an object of a kind is another, is new, or is gone.
fn touches(kind: Kind, before: &Schema, after: &Schema) -> bool {
    let keys = before.objects.keys().chain(after.objects.keys()).filter(|key| key.kind == kind);
    keys.into_iter().any(|key| before.objects.get(key) != after.objects.get(key))
}

/// Adds, changes and removes one; returns how many changes were seen.
async fn life(client: &Client, subject: &Subject, version: u32) -> Result<usize, String> {
    let read = async || fingerprint::read(client, &["migengine"]).await.map_err(|error| format!("{error:?}"));
    let same = |before: &Schema, after: &Schema, sql: &str| match compare(before, after) {
        Verdict::Exact => Ok(()),
        _ => Err(format!("{sql}\n    does not bring it back: {:?}", diff(before, after))),
    };
    run(client, subject.ground).await?;
    let before = read().await?;
    run(client, subject.add).await?;
    let there = read().await?;
    let count = |schema: &Schema| schema.objects.keys().filter(|key| key.kind == subject.kind).count();
    if count(&there) <= count(&before) {
        return Err(format!("{}\n    adds no {}: {:?}", subject.add, subject.kind, diff(&before, &there)));
    }
    let mut seen = 0;
    for (_, change, back) in subject.changes.iter().filter(|(since, ..)| *since <= version) {
        run(client, change).await?;
        let changed = read().await?;
        if compare(&there, &changed) != Verdict::Differs || !touches(subject.kind, &there, &changed) {
            return Err(format!("{change}\n    was not seen: {:?}", diff(&there, &changed)));
        }
        if diff(&there, &changed).is_empty() || changed.digest() == there.digest() {
            return Err(format!("{change}\n    has no words, or no digest of its own"));
        }
        run(client, back).await?;
        seen += 1;
    }
    // Whatever did not come back shows here, with its name.
    same(&there, &read().await?, "one of the ways back")?;
    run(client, subject.remove).await?;
    same(&before, &read().await?, subject.remove)?;
    Ok(seen)
}

async fn all_subjects(server: Server) {
    let admin = server.connect("postgres").await;
    roles(&admin).await;
    let version = version(&admin).await;
    let (mut wrong, mut changes, mut shown) = (Vec::new(), 0, BTreeSet::new());
    for (number, subject) in subjects().enumerate().filter(|(_, subject)| subject.since <= version) {
        let client = fresh_database(&server, &admin, &format!("kind_{number}")).await;
        match life(&client, subject, version).await {
            Ok(0) => wrong.push(format!("no change of a {} was tried", subject.kind)),
            Ok(seen) => {
                changes += seen;
                shown.insert(subject.kind);
            }
            Err(error) => wrong.push(format!("{}: {error}", subject.kind)),
        }
    }
    println!("{} kinds of objects with {changes} changes on version {version}", shown.len());
    assert!(wrong.is_empty(), "{} on version {version}:\n{}", wrong.len(), wrong.join("\n"));
    // Every kind has its row, and those without one of this version are of a later one.
    let later: Vec<Kind> = subjects().filter(|row| row.since > version).map(|row| row.kind).collect();
    let lacking: Vec<Kind> = Kind::ALL.iter().filter(|kind| !shown.contains(kind)).copied().collect();
    assert_eq!(lacking, later, "kinds that were not added, changed and removed on version {version}");
}

async fn all_cases(server: Server) {
    let admin = server.connect("postgres").await;
    roles(&admin).await;
    let version = version(&admin).await;
    let public_owner = if version >= 15 { "pg_database_owner" } else { "postgres" };
    let mut wrong = Vec::new();
    let mut count = 0;
    for (number, row) in CASES.iter().enumerate().filter(|(_, row)| row.0 <= version) {
        let client = fresh_database(&server, &admin, &format!("case_{number}")).await;
        if let Err(error) = case(&client, *row, public_owner).await
            && !error.contains(NOT_BUILT_IN)
        {
            wrong.push(format!("{}\n    {error}", row.2));
        }
        count += 1;
        drop(client);
    }
    println!("{count} cases on version {version}");
    assert!(wrong.is_empty(), "{} of {count} cases on version {version}:\n{}", wrong.len(), wrong.join("\n"));
}

const SMALL: &str = "CREATE TABLE t (a bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, b text NOT NULL, c text); \
                     CREATE INDEX i ON t (b); CREATE VIEW v AS SELECT a FROM t";

#[tokio::test]
async fn a_column_dropped_and_added_again_differs_in_order_only() {
    let server = Server::start();
    let client = server.connect("postgres").await;
    run(&client, &format!("{SMALL}; CREATE STATISTICS s ON b, c FROM t")).await.unwrap();
    let before = read(&client).await;
    let again = "ALTER TABLE t DROP b; ALTER TABLE t ADD b text NOT NULL; CREATE INDEX i ON t (b); CREATE STATISTICS s ON b, c FROM t";
    run(&client, again).await.unwrap();
    let after = read(&client).await;
    let sentences: Vec<String> = diff(&before, &after).iter().map(ToString::to_string).collect();
    assert_eq!(sentences, ["column t.b stands last instead of second (order only)"]);
    assert_eq!(compare(&before, &after), Verdict::OrderOnly);
}

#[tokio::test]
async fn the_session_is_left_as_it_was_and_hidden_schemas_stay_hidden() {
    let server = Server::start();
    let client = server.connect("postgres").await;
    run(&client, SMALL).await.unwrap();
    let before = read(&client).await;
    run(&client, "CREATE SCHEMA migengine; CREATE TABLE migengine.h (x int); CREATE TEMP TABLE tmp (x int)")
        .await
        .unwrap();
    run(&client, "SET search_path = 'migengine', 'public'; SET DateStyle = 'German'").await.unwrap();
    assert_eq!(diff(&before, &read(&client).await), []);
    run(&client, "BEGIN; CREATE TABLE uncommitted (x int)").await.unwrap();
    let inside = fingerprint::read_in_transaction(&client, &["migengine"]).await.unwrap();
    // The table lands in the first schema of the path, which is hidden; one in public shows.
    assert_eq!(diff(&before, &inside), []);
    run(&client, "CREATE TABLE public.uncommitted (x int)").await.unwrap();
    let inside = fingerprint::read_in_transaction(&client, &["migengine"]).await.unwrap();
    assert_eq!(diff(&before, &inside).len(), 1);
    let row =
        client.query_one("SELECT current_setting('search_path'), current_setting('DateStyle')", &[]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("migengine, public", "German, DMY"));
    run(&client, "ROLLBACK").await.unwrap();
    assert_eq!(compare(&before, &read(&client).await), Verdict::Exact);
}

#[tokio::test]
async fn reading_a_small_schema_is_quick() {
    let server = Server::start();
    let client = server.connect("postgres").await;
    run(&client, SMALL).await.unwrap();
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        read(&client).await;
        best = best.min(start.elapsed());
    }
    println!("best of 20: {best:?}");
    // Far above what it takes on an idle machine: this guards against a query that grew by a factor, not by a tenth.
    assert!(best < Duration::from_millis(400), "{best:?}");
}

/// For what prints the same on every version, the digest is the same too; recorded from 14, 15 and 18.
#[tokio::test]
async fn versions_give_the_same_digest() {
    let server = Server::start();
    let admin = server.connect("postgres").await;
    roles(&admin).await;
    let client = fresh_database(&server, &admin, "digest").await;
    run(&client, "CREATE TABLE t (a bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, b text NOT NULL DEFAULT 'x')")
        .await
        .unwrap();
    run(&client, "CREATE DOMAIN d AS int NOT NULL; GRANT ALL ON t TO alice; COMMENT ON TABLE t IS 'c'").await.unwrap();
    run(&client, "CREATE INDEX i ON t (b); CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE VIEW v AS SELECT 1 AS one")
        .await
        .unwrap();
    let schema = read(&client).await;
    println!("{}", schema.to_text());
    assert_eq!(schema.digest().short(), "93fa248a6d59");
}

#[tokio::test]
async fn real_migrations_agree_with_pg_dump() {
    let Some(folder) = std::env::var_os("MIGENGINE_CORPORA") else {
        println!("skipped: MIGENGINE_CORPORA names no folder of real migrations");
        return;
    };
    let full = std::env::var_os("MIGENGINE_FULL").is_some();
    let server = Server::start();
    let admin = server.connect("postgres").await;
    let mut wrong = Vec::new();
    for set in ["svix", "firefly", "crates-io"] {
        let sweep = corpus::sweep(&server, &admin, &std::path::Path::new(&folder).join(set), set, full).await;
        println!("{set}: {}", sweep.summary);
        wrong.extend(sweep.wrong.into_iter().map(|line| format!("{set}: {line}")));
    }
    assert!(wrong.is_empty(), "{} disagreements:\n{}", wrong.len(), wrong.join("\n"));
}
