//! What is looked at before a run, on real servers: `doctor` shows it, and a run is refused before any lock is taken.
#![allow(clippy::unwrap_used)]

mod support;

use migengine_engine::preflight::KINDS;
use serde_json::Value;
use support::{Cluster, Options, Project, Scene};

fn check<'j>(json: &'j Value, name: &str) -> &'j Value {
    let checks = json["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no check {name}: {json}"))
}

#[track_caller]
fn expect(json: &Value, name: &str, verdict: &str, words: &str) {
    let found = check(json, name);
    assert_eq!(found["verdict"], verdict, "{found}");
    assert!(found["message"].as_str().unwrap().contains(words), "{found}");
}

#[test]
fn doctor_shows_every_check_by_name_and_changes_nothing() {
    let scene = Scene::with_steps(2);
    let before = scene.everything();
    let json = scene.project.run_json(&["doctor"], 0);
    let names: Vec<&str> =
        json["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    let kinds: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    assert_eq!(names, kinds);
    assert!(json["checks"].as_array().unwrap().iter().all(|check| check["duration_ms"].is_u64()), "{json}");
    for name in [
        "configuration",
        "connection",
        "direct-connection",
        "primary",
        "files",
        "history",
        "unfinished-run",
        "rights",
        "clock",
        "disk",
    ] {
        assert_eq!(check(&json, name)["verdict"], "ok", "{json}");
    }
    expect(&json, "reverse", "warn", "none is proven");
    expect(&json, "backup", "skipped", "no [backup] section");
    expect(&json, "programs", "ok", "is there");
    let text = scene.run(&["doctor"]).expect(0);
    assert!(text.stdout.lines().any(|line| line.starts_with("ok       rights")), "{text}");
    assert!(text.stdout.trim_end().ends_with(": nothing is in the way of a run"), "{text}");
    scene.run(&["doctor", "--exit-code"]).expect(3);
    assert_eq!(scene.everything(), before);
}

#[test]
fn doctor_goes_as_far_as_it_can() {
    let unreachable = Project::with_url("postgresql://127.0.0.1:1/none?connect_timeout=5");
    unreachable.write("001_a.sql", "SELECT 1;");
    let json = unreachable.run_json(&["doctor"], 5);
    expect(&json, "files", "ok", "1 migration,");
    assert_eq!(check(&json, "connection")["verdict"], "fail", "{json}");
    assert_eq!(check(&json, "rights")["verdict"], "skipped", "{json}");
    unreachable.write("002_b.sql", "SELECT 'open");
    expect(&unreachable.run_json(&["doctor"], 5), "files", "fail", "002_b.sql:1:");
}

#[test]
fn programs_that_are_not_there_are_known_before_the_run() {
    let scene = Scene::with_steps(1);
    let configure = |text: &str| std::fs::write(scene.project.path().join("migengine.toml"), text).unwrap();
    configure(
        "[hooks]\nstarted = [\"sh\", \"-c\", \"true\"]\ncommitted = [\"no-such-program\"]\n\
         [[notify]]\nkind = \"command\"\ncommand = [\"./bin/tell\"]\n\
         [export]\nfile = \"schema.sql\"\npg_dump = \"/no/such/pg_dump\"\n",
    );
    let json = scene.project.run_json(&["doctor"], 0);
    expect(&json, "programs", "warn", "there is no program hooks.committed = \"no-such-program\"");
    expect(&json, "programs", "warn", "notify.command = \"./bin/tell\"; export.file: there is no pg_dump");
    assert!(!check(&json, "programs")["message"].as_str().unwrap().contains("started"), "{json}");
    // A run tells it too, and does what it should.
    let output = scene.run(&["apply"]).expect(0);
    assert!(output.stderr.contains("warning: programs: there is no program hooks.committed"), "{output}");
    // Without its dump no run begins.
    configure("[backup]\ndump = true\ndump_command = [\"no-such-keeper\"]\n");
    expect(&scene.project.run_json(&["doctor"], 5), "programs", "fail", "dump_command = \"no-such-keeper\"");
}

#[test]
fn doctor_refuses_the_configuration_that_a_run_would_refuse() {
    let scene = Scene::with_steps(1);
    for (text, words) in [
        ("[[notify]]\nkind = \"slack\"\nurl_env = \"NOT_SET\"\n", "[ME761]"),
        ("[sentry]\ndsn_env = \"NOT_SET\"\n", "[ME761]"),
        ("hook_timeout = \"soon\"\n[hooks]\nstarted = [\"true\"]\n", "[ME007]"),
        ("data_check_timeout = \"soon\"\n", "[ME007]"),
    ] {
        std::fs::write(scene.project.path().join("migengine.toml"), text).unwrap();
        expect(&scene.project.run_json(&["doctor"], 5), "configuration", "fail", words);
        scene.run(&["apply"]).expect(2);
    }
}

#[test]
fn what_others_left_in_the_database_is_told() {
    let cluster =
        Cluster::start_with(Options { conf: vec!["max_prepared_transactions = 2".to_owned()], ..Options::default() });
    let db = cluster.database();
    let project = Project::new(&db);
    project.pair("001_a", "CREATE TABLE a (n int);", "DROP TABLE a;");
    db.psql("CREATE TABLE odd (n int); INSERT INTO odd VALUES (1), (1); CREATE TABLE flyway_schema_history (n int);");
    db.try_psql("CREATE UNIQUE INDEX CONCURRENTLY odd_n ON odd (n)").unwrap_err();
    db.psql("ALTER TABLE odd ADD CONSTRAINT small CHECK (n < 9) NOT VALID");
    db.psql("BEGIN; INSERT INTO odd VALUES (2); PREPARE TRANSACTION 'forgotten'");
    db.psql("SELECT pg_create_physical_replication_slot('standby', true)");
    db.psql(&format!("ALTER DATABASE {} SET session_replication_role = replica", db.name()));
    let json = project.run_json(&["doctor"], 0);
    expect(&json, "leftovers", "warn", "odd_n");
    expect(&json, "leftovers", "warn", "odd.small");
    expect(&json, "other-tools", "warn", "flyway_schema_history (Flyway)");
    expect(&json, "transactions", "warn", "forgotten");
    expect(&json, "replication", "ok", "1 slots");
    expect(&json, "settings", "warn", "triggers and foreign keys do not work");
    assert_eq!(json["verdict"], "warn");
    // A run tells of what may keep it waiting, and goes ahead.
    let output = project.run(&["apply"]).expect(0);
    assert!(output.stderr.contains("warning: transactions: the prepared transaction forgotten"), "{output}");
}

#[test]
fn doctor_knows_an_unfinished_run_and_drift_and_proofs() {
    let scene = Scene::new();
    scene.project.pair("001_a", "CREATE TABLE a (n int);", "DROP TABLE a;");
    scene.run(&["rehearse"]).expect(0);
    expect(&scene.project.run_json(&["doctor"], 0), "reverse", "ok", "proven");
    scene.db.psql("DROP TABLE effects");
    scene.run(&["apply"]).expect(0);
    expect(&scene.project.run_json(&["doctor"], 0), "drift", "ok", "001_a");
    scene.db.psql("ALTER TABLE a ADD odd int");
    expect(&scene.project.run_json(&["doctor"], 0), "drift", "warn", "not what was rehearsed");
    scene.project.pair("002_b", "SELECT 1 / 0;", "SELECT 1;");
    scene.run(&["apply"]).expect(7);
    expect(&scene.project.run_json(&["doctor"], 5), "unfinished-run", "fail", "stands at");
    let text = scene.run(&["doctor"]).expect(5).stdout;
    assert!(
        text.lines().last().unwrap().starts_with("1 fail, ") && text.ends_with(": a run would be refused\n"),
        "{text}"
    );
}

#[test]
fn a_table_of_somebody_elses_is_refused_before_the_lock() {
    let scene = Scene::new();
    let db = &scene.db;
    let name = db.name();
    db.psql(&format!(
        "CREATE ROLE owner_{name}; CREATE ROLE migrator_{name} LOGIN; GRANT CREATE ON DATABASE {name} TO migrator_{name}; \
         CREATE TABLE shop (n int); ALTER TABLE shop OWNER TO owner_{name}"
    ));
    scene.project.pair("001_a", "ALTER TABLE shop ADD a int;", "ALTER TABLE shop DROP a;");
    let url = db.url().replace("user=postgres", &format!("user=migrator_{name}"));
    let project = scene.project;
    let project = project.with_env("DATABASE_URL", &url);
    let refused = project.run_json(&["apply"], 5);
    assert_eq!(refused["error"]["code"], "ME712", "{refused}");
    let said = refused["error"]["message"].as_str().unwrap();
    assert!(said.contains(&format!("shop belongs to owner_{name}")) && said.contains("001_a.sql:1:13"), "{said}");
    assert_eq!(db.psql("SELECT to_regnamespace('migengine') IS NULL"), "t", "nothing may be made first");
    db.psql(&format!("GRANT owner_{name} TO migrator_{name}"));
    project.run(&["apply"]).expect(0);
}

/// A table to start from, a migration, and what must be said of it; nothing: it must be applied.
#[rustfmt::skip]
const ROWS: &[(&str, &str, Option<&str>)] = &[
    ("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1), (7, -1)",
     "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0 -- positive\n);", Some("1 row is in the way of t: CHECK (a > 0 -- positive): (7)")),
    ("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1), (7, NULL)",
     "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0);", None),
    ("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t SELECT n, nullif(n, n) FROM generate_series(1, 9) n",
     "ALTER TABLE t ALTER COLUMN a SET NOT NULL;", Some("9 rows are in the way of t: a NOT NULL")),
    ("CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'x'), (2, 'x'), (3, NULL), (4, NULL)",
     "CREATE UNIQUE INDEX i ON t (a);", Some("2 rows are in the way of t: UNIQUE (a)")),
    ("CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'x'), (2, 'X')",
     "CREATE UNIQUE INDEX CONCURRENTLY i ON t (lower(a));", Some("(x)")),
    ("CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'x'), (2, 'x')",
     "CREATE UNIQUE INDEX i ON t (a) WHERE id > 1;", None),
    ("CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 1), (1, 1), (1, 2)",
     "ALTER TABLE t ADD PRIMARY KEY (a, b);", Some("2 rows are in the way of t: UNIQUE (a, b)")),
    ("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (NULL)",
     "ALTER TABLE t ADD PRIMARY KEY (a);", Some("1 row is in the way of t: a NOT NULL")),
    ("CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO p VALUES (1); INSERT INTO t VALUES (5, 1), (6, 2), (7, NULL)",
     "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES p;", Some("1 row is in the way of t: FOREIGN KEY (a) REFERENCES p: (6)")),
    ("CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, '12'), (2, 'twelve')",
     "ALTER TABLE t ALTER a TYPE int USING a::int;", Some("1 row is in the way of t: a TYPE int: (2); one of them: invalid input syntax for type integer: \"twelve\"")),
    ("CREATE TABLE t (id int, a text) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (5); \
      CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (5) TO (99); ALTER TABLE t ADD PRIMARY KEY (id); \
      INSERT INTO t SELECT n, CASE WHEN n % 2 = 0 THEN 'x' ELSE '1' END FROM generate_series(0, 13) n",
     "ALTER TABLE t ALTER a TYPE int USING (a || '$m0$')::int;", Some("14 rows are in the way of t: a TYPE int: (0), (1), (2), (3), (4), …; one of them: invalid")),
    ("CREATE TABLE t (id int, a text); INSERT INTO t VALUES (1, 'x')",
     "ALTER TABLE t ALTER a TYPE int USING a::int;", Some("1 row is in the way of t: a TYPE int: (0,1); one of them:")),
    ("CREATE TABLE t (id int PRIMARY KEY, a bigint); INSERT INTO t VALUES (1, 9999999999)",
     "ALTER TABLE t ALTER a TYPE int;", Some("1 row is in the way of t: a TYPE int: (1); one of them: integer out of range")),
    ("CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'abc   '), (2, 'abcd')",
     "ALTER TABLE t ALTER a TYPE varchar(3);", Some("1 row is in the way of t: a TYPE varchar(3)")),
    ("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)",
     "ALTER TABLE t ADD COLUMN b int NOT NULL;", Some("the new column b, NOT NULL and without a default")),
    ("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)",
     "ALTER TABLE t ADD COLUMN b int NOT NULL DEFAULT 1, ADD COLUMN c serial NOT NULL;", None),
    ("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, -1)",
     "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID;", None),
    ("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, -1)",
     "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID;\nALTER TABLE t VALIDATE CONSTRAINT c;", Some("CHECK (a > 0): (1)")),
    ("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, NULL)",
     "UPDATE t SET a = 0 WHERE a IS NULL;\nALTER TABLE t ALTER a SET NOT NULL;", None),
    ("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, NULL)",
     "ALTER TABLE t ADD b int DEFAULT 1;\nALTER TABLE t ALTER b SET NOT NULL;", None),
    ("CREATE SCHEMA s; CREATE TABLE s.\"T t\" (id int PRIMARY KEY, \"A a\" int); INSERT INTO s.\"T t\" VALUES (3, NULL)",
     "ALTER TABLE s.\"T t\" ALTER \"A a\" SET NOT NULL;", Some("1 row is in the way of s.\"T t\": \"A a\" NOT NULL")),
];

/// A message without where the statement stands, which must be there.
fn without_place(message: &Value) -> String {
    let text = message.as_str().unwrap();
    let (before, rest) = text.split_once(" (migrations/001_a.sql:").unwrap_or_else(|| panic!("no place: {text}"));
    format!("{before}{}", rest.split_once(')').unwrap().1)
}

#[test]
fn rows_that_would_break_a_step_are_counted_and_named_before_any_lock() {
    for (setup, migration, expected) in ROWS {
        let db = Cluster::shared().database();
        let project = Project::new(&db);
        db.psql(setup);
        project.pair("001_a", migration, "SELECT 1;");
        let Some(expected) = expected else {
            project.run(&["apply"]).expect(0);
            continue;
        };
        let refused = project.run_json(&["apply"], 5);
        assert_eq!(refused["error"]["code"], "ME711", "{migration}: {refused}");
        assert!(without_place(&refused["error"]["message"]).contains(expected), "{migration}: {refused}");
        assert_eq!(db.psql("SELECT to_regnamespace('migengine') IS NULL"), "t", "refused before anything is made");
        let json = project.run_json(&["doctor"], 5);
        assert!(without_place(&check(&json, "data")["message"]).contains(expected), "{json}");
        // The step itself would have said no: the check did not refuse what would have worked.
        project.run(&["apply", "--no-data-checks"]).expect(7);
    }
}

#[test]
fn looking_at_rows_changes_nothing_whatever_a_file_says() {
    let db = Cluster::shared().database();
    let project = Project::new(&db);
    db.psql(
        "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1); CREATE SEQUENCE s; \
         CREATE FUNCTION evil(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES ($1 + 1, 1); RETURN true; END $$",
    );
    for check in [
        "evil(id)",
        "nextval('s') > 0",
        "set_config('transaction_read_only', 'off', false) IS NOT NULL",
        "(a > 0) OR (pg_sleep(0) IS NULL)",
    ] {
        project.pair("001_a", &format!("ALTER TABLE t ADD CHECK ({check});"), "SELECT 1;");
        let json = project.run_json(&["doctor"], 0);
        assert!(["ok", "skipped"].contains(&check_verdict(&json)), "{json}");
        assert_eq!(
            db.psql("SELECT count(*), (SELECT last_value || is_called::text FROM s) FROM t"),
            "1|1false",
            "{check}"
        );
    }
    // What takes too long is left, and the run goes on.
    project.pair("001_a", "ALTER TABLE t ADD CHECK (a > 0 OR pg_sleep(600) IS NULL);", "SELECT 1;");
    db.psql("UPDATE t SET a = 0");
    let json = project.run_json(&["doctor", "--data-timeout", "200ms"], 0);
    expect(&json, "data", "skipped", "it takes too long");
}

fn check_verdict(json: &Value) -> &str {
    check(json, "data")["verdict"].as_str().unwrap()
}

#[test]
fn data_checks_can_be_switched_off_where_they_are_not_wanted() {
    let db = Cluster::shared().database();
    let project = Project::new(&db);
    db.psql("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, NULL)");
    project.pair("001_a", "ALTER TABLE t ALTER a SET NOT NULL;", "SELECT 1;");
    project.run(&["apply"]).expect(5);
    std::fs::write(project.path().join("migengine.toml"), "data_checks = false\n").unwrap();
    project.run(&["apply"]).expect(7);
    std::fs::write(project.path().join("migengine.toml"), "data_check_timeout = \"soon\"\n").unwrap();
    project.run(&["apply"]).expect(2);
}

/// The recipe of docs/production.md, word by word.
#[test]
fn the_least_privileged_role_of_the_documentation_is_enough() {
    let scene = Scene::new();
    let (db, name) = (&scene.db, scene.db.name());
    let (migrator, owner) = (format!("migrator_{name}"), format!("app_owner_{name}"));
    db.psql(&format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC"));
    db.psql(&format!("CREATE ROLE {owner}; CREATE TABLE shop (n int); ALTER TABLE shop OWNER TO {owner}"));
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/production.md")).unwrap();
    let recipe = page.split("```sql\n").nth(1).unwrap().split("```").next().unwrap();
    let recipe = recipe.replace("DATABASE shop", &format!("DATABASE {name}"));
    db.psql(&recipe.replace("app_owner", &owner).replace("migrator", &migrator));
    let url = db.url().replace("user=postgres", &format!("user={migrator}"));
    let project = scene.project.with_env("DATABASE_URL", &url);
    project.pair("001_a", "CREATE TABLE a (n int);", "DROP TABLE a;");
    project.pair("002_b", "ALTER TABLE shop ADD b int;", "ALTER TABLE shop DROP b;");
    project.pair("003_c", "CREATE INDEX CONCURRENTLY shop_b ON shop (b);", "DROP INDEX CONCURRENTLY shop_b;");
    expect(&project.run_json(&["doctor"], 0), "rights", "ok", "may do what the pending steps do");
    project.run(&["apply"]).expect(0);
    project.run(&["rollback", "--last", "3"]).expect(0);
    project.run(&["status"]).expect(0);
    assert_eq!(db.psql(&format!("SELECT rolsuper FROM pg_roles WHERE rolname = '{migrator}'")), "f");
}
