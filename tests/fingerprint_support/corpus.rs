//! Replays the migrations of a project: each forward script, and on a clone its reverse script.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use migengine_engine::pg::fingerprint;
use migengine_engine::schema::{Schema, Verdict, compare, diff};
use tokio_postgres::Client;

use super::support::Server;

/// In a sample, one reverse script in this many is tried, and no dump is made: the verdicts came from dumps.
const SAMPLE: usize = 10;

pub(crate) struct Sweep {
    pub(crate) summary: String,
    pub(crate) wrong: Vec<String>,
}

#[derive(Default)]
struct Count {
    steps: usize,
    dumped: usize,
    reversed: usize,
    reads: u32,
    reading: Duration,
}

/// `verdicts.csv`: id, how it ran, whether the dump changed, what the reverse script did.
pub(crate) async fn sweep(server: &Server, admin: &Client, folder: &Path, set: &str, full: bool) -> Sweep {
    let database = set.replace('-', "_");
    admin.batch_execute(&format!("CREATE DATABASE {database} TEMPLATE template0")).await.unwrap();
    let verdicts = std::fs::read_to_string(folder.join("verdicts.csv")).expect("verdicts.csv");
    let (mut count, mut wrong) = (Count::default(), Vec::new());
    let mut before = read(server, &database, &mut count).await;
    let mut dump_before = if full { dump(server, &database) } else { String::new() };
    for (number, line) in verdicts.lines().skip(1).enumerate() {
        let fields: Vec<&str> = line.split(',').collect();
        let (id, mode, changes, rollback) = (fields[0], fields[1], fields[2] == "True", fields[3]);
        let script = |suffix: &str| folder.join("migrations").join(format!("{id}{suffix}.sql"));
        if let Err(error) = psql(server, &database, &script(""), mode == "one transaction") {
            wrong.push(format!("{id}: does not apply: {error}"));
        }
        let after = read(server, &database, &mut count).await;
        let mut dump_changed = changes;
        if full {
            let dump_after = dump(server, &database);
            dump_changed = dump_after != dump_before;
            dump_before = dump_after;
            count.dumped += 1;
        }
        let seen = compare(&before, &after) != Verdict::Exact;
        if seen != dump_changed {
            wrong.push(format!("{id}: dump changed {dump_changed}, fingerprint {seen}: {:?}", diff(&before, &after)));
        }
        if full || number % SAMPLE == 0 {
            count.reversed += 1;
            let clone = format!("{database}_clone");
            let verdict = reverse(server, admin, (&database, &clone), &script("_rollback"), &before, &mut count).await;
            if verdict != rollback {
                wrong.push(format!("{id}: rollback {verdict}, expected {rollback}"));
            }
        }
        count.steps += 1;
        before = after;
    }
    let each = count.reading / count.reads.max(1);
    let Count { steps, dumped, reversed, .. } = count;
    Sweep { summary: format!("{steps} steps, {dumped} dumped, {reversed} reversed, {each:?} a reading"), wrong }
}

/// The verdict in the words of `verdicts.csv`.
async fn reverse(
    server: &Server,
    admin: &Client,
    (database, clone): (&str, &str),
    script: &Path,
    before: &Schema,
    count: &mut Count,
) -> String {
    admin.batch_execute(&format!("CREATE DATABASE {clone} TEMPLATE {database}")).await.unwrap();
    let text = std::fs::read_to_string(script).unwrap_or_default().to_uppercase();
    let one_transaction = !text.contains("CONCURRENTLY") && !text.contains("COMMIT");
    let verdict = match psql(server, clone, script, one_transaction) {
        Err(_) => "FAIL".to_owned(),
        Ok(()) => {
            let after = read(server, clone, count).await;
            match compare(before, &after) {
                Verdict::Exact => "exact".to_owned(),
                Verdict::OrderOnly => "order-only".to_owned(),
                Verdict::Differs => {
                    let sentences: Vec<String> = diff(before, &after).iter().map(ToString::to_string).collect();
                    println!("{}\n    {}", script.display(), sentences.join("\n    "));
                    "DIFF".to_owned()
                }
            }
        }
    };
    admin.batch_execute(&format!("DROP DATABASE {clone} WITH (FORCE)")).await.unwrap();
    verdict
}

async fn read(server: &Server, database: &str, count: &mut Count) -> Schema {
    let client = server.connect(database).await;
    let start = Instant::now();
    let schema = fingerprint::read(&client, &["migengine"]).await.expect("the catalogs can be read");
    count.reading += start.elapsed();
    count.reads += 1;
    // The server must see the session end before the database can be a template.
    client.batch_execute("SELECT pg_terminate_backend(pg_backend_pid())").await.expect_err("the session ends itself");
    schema
}

fn psql(server: &Server, database: &str, script: &Path, one_transaction: bool) -> Result<(), String> {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h", &server.host(), "-d", database]);
    if one_transaction {
        command.arg("-1");
    }
    let output = command.arg("-f").arg(script).output().expect("psql runs");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Without comments and the random key of `\restrict`.
fn dump(server: &Server, database: &str) -> String {
    let mut command = Command::new("pg_dump");
    let output = command.args(["--schema-only", "-U", "postgres", "-h", &server.host(), database]).output();
    let output = output.expect("pg_dump runs");
    assert!(output.status.success(), "pg_dump: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let noise =
        |line: &&str| !(line.starts_with("--") || line.starts_with("\\restrict") || line.starts_with("\\unrestrict"));
    text.lines().filter(noise).collect::<Vec<_>>().join("\n")
}
