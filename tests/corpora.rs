//! Real migrations of other projects: they apply as with psql, go back as far as their own reverse scripts do, and the
//! splitter finds the statements that the server finds.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use migengine_engine::migration::parse_script;
use support::scene::step_field;
use support::{Cluster, Database, Project, corpora};

/// The sets: name, migrations, and reverse scripts that fail when all are run newest first.
const SETS: [(&str, usize, usize); 3] = [("svix", 16, 1), ("crates-io", 285, 8), ("firefly", 115, 10)];

fn folder(set: &str) -> Option<PathBuf> {
    let folder = corpora()?.join(set);
    if !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return None;
    }
    Some(folder)
}

/// The script files of a folder, sorted by name.
fn scripts(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "sql"));
    files.sort();
    files
}

fn is_forward(path: &Path) -> bool {
    !path.to_string_lossy().ends_with("_rollback.sql")
}

/// How psql ran each script when the verdicts were made.
fn in_one_transaction(set: &Path) -> BTreeMap<String, bool> {
    let text = fs::read_to_string(set.join("verdicts.csv")).unwrap();
    let rows = text.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    rows.map(|row| (row[0].to_owned(), row[1] == "one transaction")).collect()
}

/// Applies every forward script with psql, file by file.
fn apply_with_psql(db: &Database<'_>, set: &Path) {
    let modes = in_one_transaction(set);
    for file in scripts(&set.join("migrations")).into_iter().filter(|path| is_forward(path)) {
        let mut psql: Command = db.cluster().program("psql");
        psql.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-d", &db.url(), "-f"]).arg(&file);
        if modes[file.file_stem().unwrap().to_str().unwrap()] {
            psql.arg("--single-transaction");
        }
        let output = psql.output().unwrap();
        assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    }
}

/// Goes back to the first migration, and then past it. A reverse script that fails leaves the run stuck; it is then
/// replaced by one that does nothing, as one would who leaves its leavings for later. Returns the ids that failed.
fn roll_back(project: &Project, set: &str, first: &str) -> Vec<String> {
    let mut failed: Vec<String> = Vec::new();
    let ways: [&[&str]; 2] = [&["rollback", "--to", first], &["rollback", first]];
    for way in ways {
        let mut output = project.run(&[way, &["--format", "json"]].concat());
        while output.code == Some(6) {
            let json = output.json();
            assert_eq!(json["rest"]["reason"], "stuck", "{set}: {output}");
            let step = json["rest"]["step"].as_str().unwrap().to_owned();
            assert_eq!(step_field(&output, &step, "state"), "failed", "{set}: {output}");
            // What is missing, still needed, or there already: an error of the script, not of ours.
            let sqlstate = json["error"]["sqlstate"].as_str().unwrap_or_default().to_owned();
            let classes = ["42", "2B", "23", "55", "0A", "22"];
            assert!(classes.iter().any(|class| sqlstate.starts_with(class)), "{set}: {sqlstate}: {output}");
            assert!(json["error"]["file"].as_str().unwrap().contains(&format!("{step}_rollback.sql")), "{output}");
            assert!(!failed.contains(&step), "{set}: {step} fails again");
            failed.push(step.clone());
            project.write(&format!("{step}_rollback.sql"), "SELECT 'left for later';\n");
            output = project.run(&["rollback", "--resume", "--format", "json"]);
        }
        assert_eq!(output.code, Some(0), "{set} {way:?}: {output}");
    }
    failed
}

fn check(set: &str, count: usize, failing: usize) {
    let Some(folder) = folder(set) else { return };
    let cluster = Cluster::shared();
    let (ours, theirs) = (cluster.database(), cluster.database());
    let project = Project::new(&ours);
    project.copy_from(&folder.join("migrations"));
    let output = project.run(&["apply", "--format", "json"]).expect(0);
    let json = output.json();
    let steps = json["steps"].as_array().unwrap();
    assert_eq!(steps.len(), count, "{set}");
    assert!(steps.iter().all(|step| step["state"] == "applied"), "{set}: {output}");
    assert_eq!(ours.psql("SELECT count(*) FROM migengine.history WHERE state = 'applied'"), count.to_string());
    apply_with_psql(&theirs, &folder);
    assert!(ours.dump() == theirs.dump(), "{set}: the schema is not the one that psql makes");
    project.run(&["apply"]).expect(0);
    let first = steps[0]["id"].as_str().unwrap();
    let failed = roll_back(&project, set, first);
    assert_eq!(failed.len(), failing, "{set}: reverse scripts that fail: {failed:#?}");
    assert_eq!(ours.psql("SELECT count(*) FROM migengine.history"), "0", "{set}");
}

#[test]
fn svix_applies_as_with_psql_and_goes_back_as_far_as_it_can() {
    let (set, count, failing) = SETS[0];
    check(set, count, failing);
}

#[test]
fn crates_io_applies_as_with_psql_and_goes_back_as_far_as_it_can() {
    let (set, count, failing) = SETS[1];
    check(set, count, failing);
}

#[test]
fn firefly_applies_as_with_psql_and_goes_back_as_far_as_it_can() {
    let (set, count, failing) = SETS[2];
    check(set, count, failing);
}

/// The server's parser refuses a message with more than one statement, and one that is no whole statement, each as a
/// syntax error. It does so before it looks anything up, so what a statement is about need not exist.
#[test]
fn the_server_takes_every_piece_of_the_splitter_for_exactly_one_statement() {
    let db = Cluster::shared().database();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (set, ..) in SETS {
        let Some(folder) = folder(set) else { return };
        let (mut files, mut statements, mut broken) = (0, 0, Vec::new());
        for file in scripts(&folder.join("migrations")) {
            let bytes = fs::read(&file).unwrap();
            let (script, found) = parse_script(&file.to_string_lossy(), &bytes);
            let script = script.unwrap_or_else(|| panic!("{found:?}"));
            let pieces: Vec<&str> = script.statements.iter().map(|statement| script.sql(statement)).collect();
            if let Some(piece) = runtime.block_on(refused(&db.url(), &pieces)) {
                // Some authors' scripts do not parse. Then the server refuses the whole file too, before it runs any of it.
                let whole = runtime.block_on(whole_is_refused(&db.url(), &script.text));
                assert!(whole, "{}: not one statement: {piece}", file.display());
                broken.push(file.file_name().unwrap().to_string_lossy().into_owned());
            }
            files += 1;
            statements += pieces.len();
        }
        println!("{set}: {statements} statements in {files} files; not SQL: {broken:?}");
        assert!(broken.len() <= 3 && broken.iter().all(|name| !is_forward(Path::new(name))), "{set}: {broken:?}");
        assert!(statements > files / 2, "{set}: something must have been split");
    }
}

/// Whether the server's parser refuses a whole file.
async fn whole_is_refused(url: &str, text: &str) -> bool {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    let answer = client.simple_query(text).await;
    drop(client);
    driver.await.unwrap().unwrap();
    answer.is_err_and(|error| error.code().is_some_and(|code| code.code() == "42601"))
}

/// The first piece that the server's parser does not take for one statement.
async fn refused(url: &str, pieces: &[&str]) -> Option<String> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    // Control: the server does refuse two at once.
    assert!(is_syntax_error(&client.prepare("SELECT 1; SELECT 2").await), "the control");
    let mut found = None;
    for piece in pieces {
        let empty = piece.trim().trim_end_matches(';').trim().is_empty();
        if empty || is_syntax_error(&client.prepare(piece).await) {
            found = Some((*piece).to_owned());
            break;
        }
    }
    drop(client);
    driver.await.unwrap().unwrap();
    found
}

fn is_syntax_error(prepared: &Result<tokio_postgres::Statement, tokio_postgres::Error>) -> bool {
    prepared.as_ref().is_err_and(|error| error.code().is_some_and(|code| code.code() == "42601"))
}
