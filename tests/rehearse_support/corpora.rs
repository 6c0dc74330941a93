//! Other projects' migrations: `MIGENGINE_CORPORA` names the folder, `MIGENGINE_FULL` asks for all of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;
use std::time::Instant;

use serde_json::Value;

use crate::report::{of, rehearse};
use crate::support::{Cluster, Database, Project};

/// Other projects' migrations, and what a replay with psql and `pg_dump` found about them.
#[test]
fn the_corpora_get_the_verdicts_of_a_replay_with_psql() {
    let Some(corpora) = crate::support::corpora() else { return };
    let full = std::env::var_os("MIGENGINE_FULL").is_some();
    let sets: &[&str] = if full { &["svix", "firefly", "crates-io"] } else { &["svix", "firefly"] };
    for set in sets {
        agrees(&corpora.join(set), set);
    }
}

/// A verdict against a script has its reason: a difference with the line it is about, or an error with its code and place.
fn reasoned(one: &Value) -> bool {
    let of_script = |file: &Value| file.as_str().is_some_and(|file| file.contains(one["id"].as_str().unwrap()));
    match one["rollback"].as_str().unwrap() {
        "exact" => true,
        "order" => {
            one["diff"].as_array().unwrap().iter().all(|found| found["change"].as_str().unwrap().contains("order"))
        }
        "differs" => {
            let diff = one["diff"].as_array().unwrap();
            !diff.is_empty() && diff.iter().all(|found| of_script(&found["file"]) && found["line"].as_u64() >= Some(1))
        }
        _ => {
            let error = &one["error"];
            let placed = of_script(&error["file"]) && error["line"].as_u64() >= Some(1);
            placed && error["sqlstate"].as_str().is_some_and(|state| state.len() == 5)
        }
    }
}

fn agrees(folder: &Path, set: &str) {
    let ground = Cluster::shared().database();
    let project = Project::new(&ground);
    project.copy_from(&folder.join("migrations"));
    let began = Instant::now();
    let report = rehearse(&project, &ground, &[], 3);
    println!("{set}: {:?} for {}", began.elapsed(), report["migrations"].as_array().unwrap().len());
    let expected = std::fs::read_to_string(folder.join("verdicts.csv")).unwrap();
    let mut wrong = Vec::new();
    for line in expected.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let rollback = match fields[3] {
            "exact" => "exact",
            "order-only" => "order",
            "DIFF" => "differs",
            "FAIL" => "failed",
            other => panic!("{other}"),
        };
        let one = &of(&report, fields[0]);
        if one["apply"] != "ok" || one["rollback"] != rollback || !reasoned(one) {
            wrong.push(format!("{line}\n  {one}"));
        }
        // The replay applied again also where the rollback had left another schema; what came of it is the same.
        let again = match fields[5] {
            "exact" => &["exact"][..],
            "order-only" => &["order", "exact"],
            "DIFF" => &["differs", "order"],
            "FAIL" => &["failed"],
            _ => &["skipped"],
        };
        if !again.iter().any(|word| one["reapply"] == *word) {
            wrong.push(format!("{line}: reapply {}\n  {one}", one["reapply"]));
        }
    }
    if std::env::var_os("MIGENGINE_FULL").is_some() {
        wrong.extend(other_reasons(folder, &expected, &report));
    }
    assert!(wrong.is_empty(), "{set}: {} disagreements\n{}", wrong.len(), wrong.join("\n"));
    let began = Instant::now();
    let again = rehearse(&project, &ground, &[], 3);
    println!("{set}: nothing changed: {:?}", began.elapsed());
    assert_eq!(again["broken"], report["broken"]);
    assert_eq!(again["cached"].as_u64().unwrap() as usize, report["migrations"].as_array().unwrap().len());
}

/// Runs a script with psql, as the replay did.
fn psql(db: &Database<'_>, file: &Path, one_transaction: bool) -> Output {
    let mut psql = db.cluster().program("psql");
    psql.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-d", &db.url(), "-f"]).arg(file);
    if one_transaction {
        psql.arg("--single-transaction");
    }
    psql.output().unwrap()
}

/// Holds the reasons of a report against those of psql and `pg_dump`: the SQLSTATE of a script that fails, and for one
/// that leaves another schema the lines in which the dumps differ. Returns what does not agree.
fn other_reasons(folder: &Path, verdicts: &str, report: &Value) -> Vec<String> {
    let db = Cluster::shared().database();
    let maintenance = Database::named("postgres", db.cluster());
    let script = |id: &str, suffix: &str| folder.join("migrations").join(format!("{id}{suffix}.sql"));
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for line in verdicts.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let (id, one_transaction, verdict) = (fields[0], fields[1] == "one transaction", fields[3]);
        let before = if verdict == "DIFF" { db.dump() } else { String::new() };
        let forward = psql(&db, &script(id, ""), one_transaction);
        assert!(forward.status.success(), "{id}: {}", String::from_utf8_lossy(&forward.stderr));
        if !matches!(verdict, "DIFF" | "FAIL") {
            continue;
        }
        let clone = Database::named(&format!("{}_clone", db.name()), db.cluster());
        maintenance.psql(&format!("CREATE DATABASE {} TEMPLATE {}", clone.name(), db.name()));
        let reversed = psql(&clone, &script(id, "_rollback"), false);
        let said = String::from_utf8_lossy(&reversed.stderr).into_owned();
        let one = of(report, id);
        if verdict == "FAIL" {
            let state = one["error"]["sqlstate"].as_str().unwrap_or("none").to_owned();
            if !said.contains(&format!("ERROR:  {state}: ")) {
                wrong.push(format!("{id}: {state} here, and psql says {said}"));
            }
        } else {
            let lines = differing(&before, &clone.dump());
            wrong.extend(
                unseen(&one, &lines)
                    .into_iter()
                    .map(|found| format!("{id}: {found}, in no line of the dumps: {lines}")),
            );
        }
        compared += 1;
        maintenance.psql(&format!("DROP DATABASE {} WITH (FORCE)", clone.name()));
    }
    println!("{compared} reasons held against psql and pg_dump");
    wrong
}

/// The lines that only one of two dumps has, each with the statement that it is of: columns of two tables may look alike.
fn differing(before: &str, after: &str) -> String {
    let lines = |text: &str| {
        let mut statement = String::new();
        let mut all = BTreeSet::new();
        for line in text.lines() {
            if !line.starts_with(' ') {
                statement = line.to_owned();
            }
            all.insert(format!("{statement} {}", line.trim_end_matches(',')));
        }
        all
    };
    let (before, after) = (lines(before), lines(after));
    before.symmetric_difference(&after).cloned().collect::<Vec<_>>().join("\n")
}

/// The differences of a report of which the dumps know nothing: neither the object's name nor a quoted piece of it.
fn unseen(one: &Value, lines: &str) -> Vec<String> {
    let known = |found: &&Value| {
        let (object, change) = (found["object"].as_str().unwrap(), found["change"].as_str().unwrap());
        let name = object.split(" on ").next().unwrap().split('(').next().unwrap().rsplit([' ', '.']).next().unwrap();
        let quoted = change.split(['`', '\'']).skip(1).step_by(2).filter(|piece| piece.len() > 2);
        change.contains("order only")
            || lines.contains(name.trim_matches('"'))
            || quoted.into_iter().any(|piece| lines.contains(piece.trim_end_matches(" …")))
    };
    let list = one["diff"].as_array().unwrap();
    list.iter().filter(|found| !known(found)).map(|found| format!("{} {}", found["object"], found["change"])).collect()
}
