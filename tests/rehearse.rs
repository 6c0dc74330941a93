//! `rehearse`, `schema` and `drift`, with real servers.
#![allow(clippy::unwrap_used)]

#[path = "rehearse_support/corpora.rs"]
mod corpora;
#[path = "rehearse_support/report.rs"]
mod report;
#[path = "support/mod.rs"]
mod support;

use std::time::Instant;

use report::{of, rehearse, statement, verdicts};
use serde_json::Value;
use support::{Cluster, Database, Project};

#[test]
fn each_kind_of_outcome_is_told_apart() {
    let cluster = Cluster::start();
    let ground = cluster.database();
    let project = Project::new(&ground);
    project.pair("001_users", "CREATE TABLE users (id int PRIMARY KEY, email text);", "DROP TABLE users;");
    project.pair("002_index", "CREATE INDEX users_email ON users (email);", "-- keeps it\nSELECT 1;");
    project.pair("003_drop", "ALTER TABLE users DROP COLUMN id;", "ALTER TABLE users ADD COLUMN id int PRIMARY KEY;");
    project.pair("004_broken", "CREATE TABLE t (id int);", "DROP TABLE\n  tt;");
    project.write("005_forgotten.sql", "CREATE TABLE forgotten (id int);");
    project.write("006_on_purpose.sql", "-- Irreversible: the data is gone\nDROP TABLE forgotten;");
    project.pair(
        "007_excused",
        "-- Allow: unfaithful-rollback(the old index was never used)\nDROP INDEX IF EXISTS users_email;",
        "SELECT 1;",
    );
    project.pair("008_concurrently", "CREATE INDEX CONCURRENTLY t_id ON t (id);", "DROP INDEX CONCURRENTLY t_id;");
    project.pair("009_twice", "CREATE SEQUENCE s;", "SELECT 1;");
    project.pair("010_own", "BEGIN;\nCREATE VIEW v AS SELECT 1 AS one;\nCOMMIT;\n", "BEGIN;\nDROP VIEW v;\nCOMMIT;\n");
    let copy = "CREATE TABLE c (n int, t text);\nCOPY c FROM stdin;\n1\tone\n2\t\\N\n\\.\nCREATE INDEX c_n ON c (n);\n";
    project.pair("011_copy", copy, "DROP TABLE c;");
    let report = rehearse(&project, &ground, &[], 3);
    let expected = [
        "001_users ok exact exact",
        "002_index ok differs failed",
        "003_drop ok order exact",
        "004_broken ok failed skipped",
        "005_forgotten ok missing skipped",
        "006_on_purpose ok irreversible skipped",
        "007_excused ok differs exact",
        "008_concurrently ok exact exact",
        "009_twice ok differs failed",
        "010_own ok exact exact",
        "011_copy ok exact exact",
    ];
    assert_eq!(verdicts(&report), expected, "{report:#}");
    assert_eq!(
        (report["proven"].as_u64(), report["excused"].as_u64(), report["broken"].as_u64()),
        (Some(5), Some(2), Some(4))
    );
    let of = |id: &str| of(&report, id);
    assert_eq!(of("001_users")["locks"], serde_json::json!([]), "what it made itself disturbs nobody");
    assert_eq!(of("002_index")["locks"], serde_json::json!([{"object": "users", "mode": "SHARE"}]));
    let dropped = serde_json::json!({"object": "users_pkey", "mode": "ACCESS EXCLUSIVE"});
    assert!(of("003_drop")["locks"].as_array().unwrap().contains(&dropped), "{}", of("003_drop"));
    let diff = &of("002_index")["diff"][0];
    assert_eq!((diff["object"].as_str(), diff["change"].as_str()), (Some("index users_email"), Some("is extra")));
    let error = &of("004_broken")["error"];
    assert_eq!((error["sqlstate"].as_str(), error["line"].as_u64()), (Some("42P01"), Some(1)), "{error}");
    assert!(error["file"].as_str().unwrap().ends_with("004_broken_rollback.sql"));
    assert_eq!(ground.psql("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"), "0");
    assert_eq!(leftovers(&ground), "0", "scratch databases are removed");
    let text = project.run(&["rehearse", "--against", &ground.url()]).expect(3);
    assert!(text.stdout.contains("002_index.sql:1: index users_email is extra after rollback"), "{text}");
    assert!(text.stderr.contains("11 known before"), "{text}");
}

fn lock(object: &str, mode: &str) -> Value {
    serde_json::json!({"object": object, "mode": mode})
}

#[test]
fn what_a_statement_costs_is_measured_also_where_no_text_shows_it() {
    let cluster = Cluster::start();
    let ground = cluster.database();
    let project = Project::new(&ground);
    let base = "CREATE TABLE users (id int PRIMARY KEY, email text, age int);\n\
                CREATE TABLE orders (id int PRIMARY KEY, user_id int REFERENCES users);\n\
                CREATE INDEX users_email ON users (email);\nCREATE VIEW emails AS SELECT email FROM users;\n\
                CREATE TABLE parts (a int) PARTITION BY RANGE (a);\n";
    project.pair("001_base", base, "DROP TABLE parts; DROP VIEW emails; DROP TABLE orders, users;");
    project.pair("002_rewrite", "ALTER TABLE users\n ALTER age TYPE bigint;", "ALTER TABLE users ALTER age TYPE int;");
    let inside = "SET lock_timeout = '1s';\nDO $$ BEGIN EXECUTE 'ALTER TABLE users ALTER age TYPE bigint'; \
                  EXECUTE 'TRUNCATE orders'; END $$;";
    project.pair("003_inside", "ALTER TABLE users ALTER age TYPE int;", "ALTER TABLE users ALTER age TYPE bigint;");
    project.pair("004_do", inside, "ALTER TABLE users ALTER age TYPE int;");
    let cascade = "ALTER TABLE users DROP COLUMN email CASCADE;";
    let back = "ALTER TABLE users ADD email text; CREATE INDEX users_email ON users (email); \
                CREATE VIEW emails AS SELECT email FROM users;";
    project.pair("005_cascade", cascade, back);
    project.pair(
        "006_concurrently",
        "CREATE INDEX CONCURRENTLY users_age ON users (age);\nREINDEX INDEX CONCURRENTLY users_age;",
        "DROP INDEX CONCURRENTLY users_age;",
    );
    project.pair("007_partition", "CREATE TABLE p1 PARTITION OF parts FOR VALUES FROM (0) TO (9);", "DROP TABLE p1;");
    project.pair(
        "008_not_null",
        "ALTER TABLE users ALTER age SET NOT NULL;",
        "ALTER TABLE users ALTER age DROP NOT NULL;",
    );
    project.pair(
        "009_drop",
        "DROP TABLE orders;",
        "CREATE TABLE orders (id int PRIMARY KEY, user_id int REFERENCES users);",
    );
    let report = rehearse(&project, &ground, &[], 0);
    let of = |id: &str, at: usize| statement(&report, id, "statements", at);
    assert_eq!(of("001_base", 0)["locks"], serde_json::json!([]));
    let rewrite = of("002_rewrite", 0);
    assert_eq!((rewrite["rewrites"].clone(), rewrite["line"].clone()), (serde_json::json!(["users"]), 1.into()));
    assert!(rewrite["locks"].as_array().unwrap().contains(&lock("users", "ACCESS EXCLUSIVE")), "{rewrite}");
    assert!(rewrite["wal_bytes"].as_u64().unwrap() > 0, "{rewrite}");
    assert_eq!(rewrite["lint"], Value::Null, "{rewrite}");
    let hidden = of("004_do", 0);
    assert_eq!((hidden["verb"].as_str(), hidden["line"].as_u64()), (Some("DO"), Some(2)), "{hidden}");
    assert!(hidden["rewrites"].as_array().unwrap().contains(&"users".into()), "{hidden}");
    assert!(hidden["locks"].as_array().unwrap().contains(&lock("orders", "ACCESS EXCLUSIVE")), "{hidden}");
    let dropped = of("005_cascade", 0)["dropped"].clone();
    for (object, cascade) in [("table column users.email", false), ("index users_email", true), ("view emails", true)] {
        let one = serde_json::json!({"object": object, "cascade": cascade});
        assert!(dropped.as_array().unwrap().contains(&one), "{object} in {dropped}");
    }
    for (list, at, built) in [("statements", 0, true), ("statements", 1, true), ("rollback_statements", 0, false)] {
        let one = statement(&report, "006_concurrently", list, at);
        let locks = one["locks"].as_array().unwrap();
        assert!(locks.contains(&lock("users", "SHARE UPDATE EXCLUSIVE")), "{list} {at}: {one}");
        assert_eq!(!one["builds"].as_array().unwrap().is_empty(), built, "{one}");
    }
    assert!(of("007_partition", 0)["locks"].as_array().unwrap().contains(&lock("parts", "ACCESS EXCLUSIVE")));
    assert_eq!(of("008_not_null", 0)["scans"][0]["table"], "users");
    let drop = of("009_drop", 0);
    for table in ["orders", "users", "orders_pkey"] {
        assert!(drop["locks"].as_array().unwrap().contains(&lock(table, "ACCESS EXCLUSIVE")), "{table}: {drop}");
    }
    let lock_file = std::fs::read_to_string(project.migrations().join("migengine.lock")).unwrap();
    assert!(lock_file.contains("002_rewrite rollback=exact proven=yes lock=ACCESS%20EXCLUSIVE:users "), "{lock_file}");
    let text = project.run(&["rehearse", "--against", &ground.url(), "-v"]).expect(0);
    assert!(text.stdout.contains("002_rewrite.sql:1: ALTER TABLE: ACCESS EXCLUSIVE on users"), "{text}");
    assert!(text.stdout.contains("drops view emails along"), "{text}");
}

/// The measurement is right: the text does not show that the function's body is put into the column's default, nor that
/// the index is there.
#[test]
fn where_lint_and_the_measurement_disagree_both_are_told() {
    let ground = Cluster::shared().database();
    let project = Project::new(&ground);
    let base = "CREATE TABLE t (id int PRIMARY KEY, a int);\nCREATE INDEX t_a ON t (a);\n\
                CREATE FUNCTION one() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';\n";
    project.pair("001_t", base, "DROP TABLE t; DROP FUNCTION one();");
    let change = "ALTER TABLE t ADD x int DEFAULT one();\nCREATE INDEX IF NOT EXISTS t_a ON t (a);\n\
                  ALTER TABLE t ALTER a TYPE bigint;\n";
    project.pair("002_change", change, "ALTER TABLE t DROP x; ALTER TABLE t ALTER a TYPE int;");
    let report = rehearse(&project, &ground, &[], 0);
    let told = [0, 1, 2].map(|at| statement(&report, "002_change", "statements", at)["lint"].clone());
    let rewrite = "a rewrite is expected, and none happened; a scan is expected, and none happened";
    assert_eq!(told, [Value::from(rewrite), "a scan is expected, and none happened".into(), Value::Null], "{report:#}");
    assert_eq!(
        statement(&report, "002_change", "statements", 0)["rewrites"],
        serde_json::json!([]),
        "what was measured"
    );
    let text = project.run(&["rehearse", "--against", &ground.url()]).expect(0);
    assert!(text.stdout.contains(&format!("lint expected otherwise: {rewrite}")), "{text}");
}

fn leftovers(ground: &Database<'_>) -> String {
    ground.psql("SELECT count(*) FROM pg_database WHERE datname LIKE 'migengine_rehearsal%'")
}

#[test]
fn what_does_not_apply_takes_only_its_dependants_along() {
    let ground = Cluster::shared().database();
    let project = Project::new(&ground);
    project.pair("001_a", "CREATE TABLE a (id int);", "DROP TABLE a;");
    project.pair("002_b", "CREATE TABLE b (id intt);", "DROP TABLE b;");
    project.pair("003_c", "CREATE TABLE c (id int);", "DROP TABLE c;");
    project.pair("004_d", "-- Requires: 001\nCREATE TABLE d (id int);", "DROP TABLE d;");
    project.pair("005_e", "-- Requires: 004\nCREATE TABLE e (id int);", "DROP TABLE e;");
    project.write("005_e_verify.sql", "SELECT false;");
    let report = rehearse(&project, &ground, &[], 3);
    let expected = [
        "001_a ok exact exact",
        "002_b failed failed skipped",
        "003_c failed failed skipped",
        "004_d ok exact exact",
        "005_e failed failed skipped",
    ];
    assert_eq!(verdicts(&report), expected, "{report:#}");
    let codes: Vec<&str> = [1, 2, 4].map(|at| report["migrations"][at]["error"]["code"].as_str().unwrap()).to_vec();
    assert_eq!(codes, ["ME605", "ME606", "ME403"]);
}

#[test]
fn the_lock_file_and_the_cache_follow_the_files() {
    let ground = Cluster::shared().database();
    let project = Project::new(&ground);
    project.run(&["rehearse", "--check"]).expect(5);
    project.pair("001_a", "CREATE TABLE a (id int);", "DROP TABLE a;");
    project.run(&["rehearse", "--check"]).expect(3);
    project.pair("002_b", "CREATE TABLE b (id int);", "DROP TABLE b;");
    rehearse(&project, &ground, &[], 0);
    project.run(&["rehearse", "--check"]).expect(0);
    let lock = std::fs::read_to_string(project.migrations().join("migengine.lock")).unwrap();
    assert_eq!(lock.lines().filter(|line| !line.starts_with('#')).count(), 2);
    assert_eq!(rehearse(&project, &ground, &[], 0)["cached"], 2);
    assert_eq!(rehearse(&project, &ground, &["--all"], 0)["cached"], 0);
    // A comment in a reverse script moves lines, but proves nothing new.
    project.write("002_b_rollback.sql", "-- gone\nDROP TABLE b;");
    project.run(&["rehearse", "--check"]).expect(0);
    project.write("002_b_rollback.sql", "DROP TABLE b CASCADE;");
    let stale = project.run(&["rehearse", "--check"]).expect(3);
    assert!(stale.stdout.contains("the reverse script of 002_b was changed"), "{stale}");
    assert_eq!(rehearse(&project, &ground, &[], 0)["cached"], 1);
    project.pair("003_c", "CREATE TABLE c (id int);", "SELECT 1;");
    rehearse(&project, &ground, &["--to", "2"], 0);
    project.run(&["rehearse", "--check"]).expect(3);
    let report = rehearse(&project, &ground, &["3"], 3);
    assert_eq!(verdicts(&report), ["003_c ok differs failed"]);
    let broken = project.run(&["rehearse", "--check"]).expect(3);
    assert!(broken.stdout.contains("003_c is not proven"), "{broken}");
    std::fs::write(project.migrations().join("migengine.lock"), "<<<<<<< ours\n").unwrap();
    let bad = project.run(&["rehearse", "--check"]).expect(3);
    assert!(bad.stderr.contains("ME611") && bad.stderr.contains("line 1"), "{bad}");
}

#[test]
fn bad_scripts_are_survived() {
    let cluster = Cluster::start();
    let ground = cluster.database();
    let project = Project::new(&ground);
    project.pair(
        "001_role",
        "CREATE TABLE a (id int); GRANT SELECT ON a TO stub_reader; ALTER TABLE a OWNER TO stub_owner;",
        "DROP TABLE a;",
    );
    project.pair("002_suicide", "CREATE TABLE b (id int);", "SELECT pg_terminate_backend(pg_backend_pid());");
    project.pair("003_endless", "SET statement_timeout = 0; CREATE TABLE c (id int);", "SELECT pg_sleep(600);");
    project.pair(
        "004_role",
        "CREATE ROLE rehearsed_role; CREATE TABLE d (id int);",
        "DROP TABLE d; DROP ROLE rehearsed_role;",
    );
    let began = Instant::now();
    let report = rehearse(&project, &ground, &["--statement-limit", "2s"], 3);
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    let expected = [
        "001_role ok exact exact",
        "002_suicide ok failed skipped",
        "003_endless ok failed skipped",
        "004_role ok exact exact",
    ];
    assert_eq!(verdicts(&report), expected, "{report:#}");
    assert_eq!(report["stub_roles"], serde_json::json!(["stub_reader", "stub_owner"]));
    let code = |at: usize| report["migrations"][at]["error"]["code"].as_str().unwrap().to_owned();
    assert_eq!((code(1).as_str(), code(2).as_str()), ("ME603", "ME604"), "{report:#}");
    let roles = "SELECT count(*) FROM pg_roles WHERE rolname ~ '^stub_|^rehearsed_'";
    assert_eq!(ground.psql(roles), "0", "roles are removed");
    assert_eq!(leftovers(&ground), "0");
    // Refusals.
    project.write("005_extension.sql", "CREATE EXTENSION IF NOT EXISTS no_such_extension;");
    let missing = project.run(&["rehearse", "--against", &ground.url()]).expect(5);
    assert!(missing.stderr.contains("no_such_extension") && missing.stderr.contains("apt install"), "{missing}");
    ground.psql("CREATE TABLE somebodys (id int)");
    let full = project.run(&["rehearse", "--against", &ground.url()]).expect(5);
    assert!(full.stderr.contains("ME601") && full.stderr.contains("table somebodys"), "{full}");
}

/// Beside somebody's server, with a role that may only create databases: nothing there tells of drops, and not every
/// script may run.
#[test]
fn a_role_without_special_rights_can_rehearse_and_is_told_what_needs_a_superuser() {
    let cluster = Cluster::start();
    let ground = cluster.database();
    let name = ground.url().split('?').next().unwrap().rsplit('/').next().unwrap().to_owned();
    ground.psql(&format!(
        "CREATE ROLE app LOGIN CREATEDB; ALTER DATABASE {name} OWNER TO app; GRANT ALL ON SCHEMA public TO app"
    ));
    let url = ground.url().replace("user=postgres", "user=app");
    let project = Project::with_url(&url);
    project.pair("001_t", "CREATE TABLE t (id int PRIMARY KEY);", "DROP TABLE t;");
    project.pair(
        "002_super",
        "-- Requires: 001\nCREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION no_such();",
        "SELECT 1;",
    );
    project.pair("003_super", "-- Requires: 001\nCOPY t FROM PROGRAM 'true';", "SELECT 1;");
    project.pair("004_drop", "-- Requires: 001\nDROP TABLE t;", "CREATE TABLE t (id int PRIMARY KEY);");
    project.pair("005_index", "-- Requires: 004\nCREATE TABLE u (id int);", "DROP TABLE u;");
    let report = project.run_json(&["rehearse", "--against", &url, "--seed-rows", "5"], 3);
    let expected = [
        "001_t ok exact exact",
        "002_super failed failed skipped",
        "003_super failed failed skipped",
        "004_drop ok exact exact",
        "005_index ok exact exact",
    ];
    assert_eq!(verdicts(&report), expected, "{report:#}");
    for at in [1, 2] {
        let error = &report["migrations"][at]["error"];
        assert_eq!((error["code"].as_str(), error["sqlstate"].as_str()), (Some("ME628"), Some("42501")), "{error}");
    }
    let dropped = serde_json::json!({"object": "table t", "cascade": false});
    let drop = statement(&report, "004_drop", "statements", 0);
    assert!(drop["dropped"].as_array().unwrap().contains(&dropped), "{drop}");
    assert_eq!(report["migrations"][3]["data"]["rows_lost"][0]["rows"], 5);
    assert_eq!(leftovers(&ground), "0");
    // One that may not even do that.
    ground.psql("ALTER ROLE app NOCREATEDB");
    let refused = project.run(&["rehearse", "--all", "--against", &url]).expect(5);
    assert!(refused.stderr.contains("ME616") && refused.stderr.contains("CREATEDB"), "{refused}");
}

#[test]
fn drift_is_found_and_shown() {
    let cluster = Cluster::shared();
    let (ground, live) = (cluster.database(), cluster.database());
    let project = Project::new(&live);
    project.pair("001_a", "CREATE TABLE a (id int);", "DROP TABLE a;");
    project.pair("002_b", "CREATE TABLE b (id int);", "DROP TABLE b;");
    project.run(&["drift"]).expect(5);
    rehearse(&project, &ground, &[], 0);
    project.run(&["drift", "--exit-code"]).expect(0);
    project.run(&["apply", "--yes"]).expect(0);
    assert_eq!(project.run_json(&["drift", "--exit-code"], 0)["drift"], false);
    live.psql("ALTER TABLE a ADD COLUMN by_hand text");
    let drift = project.run_json(&["drift", "--exit-code"], 3);
    assert_eq!(drift["diff"][0]["object"], "column a.by_hand", "{drift}");
    project.run(&["drift"]).expect(0);
    let text = project.run(&["schema"]).expect(0);
    assert!(text.stdout.contains("table public.a") && !text.stdout.contains("migengine"), "{text}");
    let json = project.run(&["schema", "--format", "json"]).expect(0);
    std::fs::write(project.path().join("now.json"), &json.stdout).unwrap();
    assert_eq!(project.run_json(&["schema", "--diff", "now.json", "live", "--exit-code"], 0)["verdict"], "exact");
    let diff = project.run_json(&["schema", "--diff", ground.url().as_str(), "live", "--exit-code"], 3);
    assert!(diff["diff"].as_array().unwrap().iter().any(|change| change["object"] == "table b"), "{diff}");
}

/// The differences come from the rehearsal of this machine; a deployment elsewhere has them from `migengine drift`.
#[test]
fn a_run_that_ends_in_drift_tells_it_and_status_too() {
    let cluster = Cluster::shared();
    let (ground, live) = (cluster.database(), cluster.database());
    let project = Project::new(&live);
    project.pair("001_a", "CREATE TABLE a (id int);", "DROP TABLE a;");
    project.pair("002_b", "CREATE TABLE b (id int);", "DROP TABLE b;");
    assert_eq!(project.run_json(&["status"], 0)["drift"], Value::Null, "nothing was rehearsed");
    rehearse(&project, &ground, &[], 0);
    let quiet = project.run(&["apply", "--to", "1", "--yes"]).expect(0);
    assert!(!quiet.stderr.contains("ME612"), "{quiet}");
    assert_eq!(project.run_json(&["status"], 0)["drift"]["drift"], false);
    live.psql("CREATE INDEX by_hand ON a (id)");
    assert_eq!(project.run_json(&["status", "--exit-code"], 3)["drift"]["drift"], true);
    let told = project.run(&["apply", "--yes", "--format", "json"]).expect(0);
    assert!(told.stderr.contains("warning: [ME612]") && told.stderr.contains("index by_hand is extra"), "{told}");
    assert_eq!(told.json()["drift"]["diff"][0]["object"], "index by_hand");
    let status = project.run(&["status", "--exit-code"]).expect(3);
    assert!(status.stdout.contains("index by_hand is extra"), "{status}");
    // As strict as it gets: neither on top of drift, nor ending in it.
    std::fs::write(project.path().join("migengine.toml"), "drift = \"refuse\"\n").unwrap();
    project.pair("003_c", "CREATE TABLE c (id int);", "DROP TABLE c;");
    rehearse(&project, &ground, &[], 0);
    let refused = project.run(&["apply", "--yes"]).expect(5);
    assert!(refused.stderr.contains("ME622") && refused.stderr.contains("Nothing was changed"), "{refused}");
    live.psql("DROP INDEX by_hand");
    std::fs::write(project.path().join("migengine.toml"), "").unwrap();
    project.run(&["apply", "--yes"]).expect(0);
    project.pair("004_d", "CREATE TABLE d (id int);", "DROP TABLE d;");
    project.write("004_d_verify.sql", "SELECT true;");
    rehearse(&project, &ground, &[], 0);
    std::fs::write(project.path().join("migengine.toml"), "[env.p]\ndrift = \"refuse\"\n").unwrap();
    live.psql(
        "CREATE FUNCTION meddle() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
               IF to_regclass('d') IS NOT NULL AND to_regclass('meddled') IS NULL THEN CREATE TABLE meddled (x int); \
               END IF; END $$",
    );
    live.psql("CREATE EVENT TRIGGER meddle ON ddl_command_end EXECUTE FUNCTION meddle()");
    let drifted = project.run(&["apply", "--yes", "--env", "p"]).expect(5);
    assert!(drifted.stderr.contains("ME622") && drifted.stderr.contains("event trigger meddle"), "{drifted}");
    project.run(&["apply", "--yes"]).expect(0);
    let rolled = project.run(&["rollback", "--last", "1", "--env", "p", "--yes"]).expect(3);
    assert!(rolled.stderr.contains("ME623") && rolled.stderr.contains("table meddled is extra"), "{rolled}");
    // One that was never proven is told before it runs.
    project.write("003_c_rollback.sql", "DROP TABLE c CASCADE;");
    let unproven = project.run(&["rollback", "--last", "1", "--yes"]).expect(0);
    assert!(unproven.stderr.contains("ME624") && unproven.stderr.contains("003_c_rollback.sql"), "{unproven}");
    std::fs::write(project.path().join("migengine.toml"), "drift = \"shrug\"\n").unwrap();
    project.run(&["status"]).expect(2);
}

#[test]
fn a_missing_requirement_shows_in_another_order() {
    let ground = Cluster::shared().database();
    let project = Project::new(&ground);
    project.pair("001_a", "CREATE TABLE a (id int);", "DROP TABLE a;");
    project.pair("002_b", "-- Requires: 001\nALTER TABLE a ADD COLUMN b int;", "ALTER TABLE a DROP COLUMN b;");
    project.pair("003_c", "-- Requires: 001\nCREATE INDEX a_id ON a (id);", "DROP INDEX a_id;");
    assert_eq!(rehearse(&project, &ground, &[], 0)["other_order"], Value::Null, "really independent");
    project.pair("003_c", "-- Requires: 001\nCREATE INDEX a_b ON a (b);", "DROP INDEX a_b;");
    for _ in ["found", "known"] {
        let report = rehearse(&project, &ground, &[], 3);
        let message = report["other_order"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("003_c.sql:2") && message.contains("column \"b\" does not exist"), "{report:#}");
        assert!(message.ends_with("003_c uses a as 002_b leaves it, and does not require that"), "{message}");
        let tie = serde_json::json!([{"id": "003_c", "requires": "002_b", "object": "a"}]);
        assert_eq!(report["other_order"]["ties"], tie);
        assert_eq!(report["broken"], 0);
    }
    let text = project.run(&["rehearse", "--against", &ground.url()]).expect(3);
    assert!(text.stderr.contains("ME621"), "{text}");
}

#[test]
fn the_fewest_requirements_are_proposed_and_hold_in_another_order() {
    let ground = Cluster::shared().database();
    let project = Project::new(&ground);
    project.pair("001_users", "CREATE TABLE users (id int PRIMARY KEY);", "DROP TABLE users;");
    project.pair(
        "002_stock",
        "CREATE TYPE mood AS ENUM ('a'); CREATE TABLE stock (id int);",
        "DROP TABLE stock; DROP TYPE mood;",
    );
    project.pair("003_orders", "CREATE TABLE orders (id int REFERENCES users);", "DROP TABLE orders;");
    project.pair("004_view", "CREATE VIEW report AS SELECT u.id FROM users u, stock s;", "DROP VIEW report;");
    project.pair("005_mood", "CREATE TABLE feelings (m mood);", "DROP TABLE feelings;");
    // Nothing shows that this needs the table of 005 before it but trying it: the body is not looked into.
    let body = "CREATE FUNCTION count_them() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM \
                feelings); END $$;\nDO $$ BEGIN IF to_regclass('feelings') IS NULL THEN RAISE EXCEPTION 'no feelings'; END IF; END $$;";
    project.pair("006_hidden", body, "DROP FUNCTION count_them();");
    let report = rehearse(&project, &ground, &["--suggest-requires"], 0);
    let told: Vec<String> = report["suggested_requires"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{}: {}", one["id"].as_str().unwrap(), one["requires"]))
        .collect();
    let expected = [
        "001_users: []",
        "002_stock: []",
        "003_orders: [\"001_users\"]",
        "004_view: [\"001_users\",\"002_stock\"]",
        "005_mood: [\"002_stock\"]",
        "006_hidden: [\"005_mood\"]",
    ];
    assert_eq!(told, expected, "{report:#}");
    let text = project.run(&["rehearse", "--suggest-requires", "--against", &ground.url()]).expect(0);
    assert!(text.stdout.contains("001_users: -- Requires: none\n"), "{text}");
    // What lint can see of it without a server.
    project.pair("007_split", "-- Requires: 002\nALTER TABLE orders ADD note text;", "ALTER TABLE orders DROP note;");
    let lint = project.run(&["lint"]).expect(3);
    assert!(lint.stdout.contains("007_split.sql:2:1: warning[ME626]: orders comes from 003_orders"), "{lint}");
}

/// The private server, which is also what `--embedded` would use for its data, but never the same one.
#[test]
fn the_private_server_is_used_without_against() {
    let project = Project::without_url();
    // Short, and reachable for the server's own user.
    let home = tempfile::Builder::new().prefix("me-r-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let embedded = format!("--embedded={}", home.path().join("e").display());
    project.pair("001_a", "CREATE TABLE a (id int);", "DROP TABLE a;");
    let report = project.run_json(&[&embedded, "rehearse"], 0);
    assert_eq!(verdicts(&report), ["001_a ok exact exact"]);
    let began = Instant::now();
    assert_eq!(project.run_json(&[&embedded, "rehearse"], 0)["cached"], 1);
    println!("nothing changed: {:?}", began.elapsed());
    let state = project.run(&[embedded.as_str(), "apply", "--yes"]).expect(0);
    assert!(state.stderr.contains("committed"), "{state}");
    project.run(&[embedded.as_str(), "drift", "--exit-code"]).expect(0);
}
