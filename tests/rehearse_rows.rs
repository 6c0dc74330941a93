//! `rehearse --seed-rows`: what only rows show.
#![allow(clippy::unwrap_used)]

#[path = "rehearse_support/report.rs"]
mod report;
#[path = "support/mod.rs"]
mod support;

use report::{of, rehearse};
use serde_json::{Value, json};
use support::{Cluster, Project};

/// What came of one migration with rows.
fn data(report: &Value, id: &str) -> Value {
    of(report, id)["data"].clone()
}

fn seeded(data: &Value, table: &str) -> Option<u64> {
    let list = data["seeded"].as_array().unwrap();
    list.iter().find(|one| one["table"] == table).and_then(|one| one["rows"].as_u64())
}

#[test]
fn what_only_rows_show_is_told_with_its_place() {
    let ground = Cluster::shared().database();
    let project = Project::new(&ground);
    project.pair(
        "001_users",
        "CREATE TABLE users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, age bigint);",
        "DROP TABLE users;",
    );
    project.pair(
        "002_required",
        "SELECT 1;\nALTER TABLE users ADD email text NOT NULL;",
        "ALTER TABLE users DROP email;",
    );
    project.pair(
        "003_cast",
        "ALTER TABLE users ALTER name TYPE varchar(3);",
        "ALTER TABLE users ALTER name TYPE text;",
    );
    project.pair("004_unique", "ALTER TABLE users ADD code int DEFAULT 1 UNIQUE;", "ALTER TABLE users DROP code;");
    project.pair("005_drop", "ALTER TABLE users DROP age;", "ALTER TABLE users ADD age bigint;");
    project.pair(
        "006_orders",
        "CREATE TABLE orders (id int PRIMARY KEY, of_user bigint REFERENCES users);",
        "DROP TABLE orders;",
    );
    project.pair("007_index", "CREATE INDEX CONCURRENTLY orders_user ON orders (of_user);", "DROP INDEX orders_user;");
    project.pair("008_back", "ALTER TABLE orders ADD note text;", "ALTER TABLE orders DROP note, ALTER of_user SET NOT NULL; ALTER TABLE orders ALTER of_user DROP NOT NULL, ALTER id SET DEFAULT 1; ALTER TABLE orders ALTER id DROP DEFAULT;");
    let report = rehearse(&project, &ground, &["--seed-rows", "20"], 3);
    let data = |id: &str| data(&report, id);
    let required = data("002_required");
    assert_eq!((seeded(&required, "users"), &required["apply"]), (Some(20), &json!("failed")), "{required}");
    let error = &required["error"];
    assert_eq!((&error["sqlstate"], &error["line"], &error["code"]), (&json!("23502"), &json!(2), &json!("ME625")));
    assert_eq!(data("003_cast")["error"]["sqlstate"], "22001", "{}", data("003_cast"));
    assert_eq!(data("004_unique")["error"]["sqlstate"], "23505", "told, but other values might do");
    assert!(
        data("005_drop")["rows_lost"]
            .as_array()
            .unwrap()
            .contains(&json!({"table": "users", "column": "age", "rows": 20}))
    );
    let orders = data("006_orders");
    assert!(
        orders["rows_lost"].as_array().unwrap().contains(&json!({"table": "orders", "column": null, "rows": 20})),
        "{orders}"
    );
    let index = data("007_index");
    assert_eq!((seeded(&index, "orders"), &index["rollback"]), (Some(20), &json!("ok")), "{index}");
    assert_eq!(data("008_back")["error"], Value::Null, "rows refer to users that are there: {}", data("008_back"));
    assert_eq!((&report["broken"], &report["proven"]), (&json!(2), &json!(6)), "{report:#}");
    let text = project.run(&["rehearse", "--seed-rows", "20", "--against", &ground.url()]).expect(3);
    assert!(text.stdout.contains("BROKEN   002_required: fails with rows in the tables"), "{text}");
    assert!(text.stdout.contains("with rows: migrations/002_required.sql:2: [ME625]"), "{text}");
    assert!(text.stdout.contains("lost by rolling back: 20 values of users.age"), "{text}");
    assert!(text.stdout.contains("real rows may have other values"), "{text}");
    // Without rows all of that is proven, and the outcomes are kept apart.
    let empty = project.run_json(&["rehearse", "--against", &ground.url()], 0);
    assert_eq!(empty["migrations"][1]["data"], Value::Null);
}

#[test]
fn costs_are_scaled_to_the_sizes_of_a_real_database() {
    let cluster = Cluster::shared();
    let (ground, real) = (cluster.database(), cluster.database());
    real.psql("CREATE TABLE users (id int, name text); INSERT INTO users SELECT i, repeat('x', 200) FROM generate_series(1, 60000) i; ANALYZE");
    let project = Project::new(&ground);
    project.pair("001_users", "CREATE TABLE users (id int, name text);", "DROP TABLE users;");
    project.pair("002_rewrite", "ALTER TABLE users ALTER id TYPE bigint;", "ALTER TABLE users ALTER id TYPE int;");
    project.pair("003_free", "ALTER TABLE users ADD note text;", "ALTER TABLE users DROP note;");
    let before = real.dump();
    let args = ["rehearse", "--against", &ground.url(), "--sizes-from", &real.url()];
    let report = project.run_json(&args, 0);
    let holds = |at: usize| report["migrations"][at]["holds"].clone();
    assert_eq!(
        (holds(1)[0]["object"].as_str(), holds(1)[0]["mode"].as_str()),
        (Some("users"), Some("ACCESS EXCLUSIVE"))
    );
    assert!(holds(1)[0]["ms"].as_u64().unwrap() > 0, "{report:#}");
    assert_eq!((holds(0), holds(2)), (json!([]), json!([])));
    for speed in ["scan", "rewrite", "build"] {
        assert!(report["scale"]["speed"][speed].as_u64().unwrap() > 1000, "{report:#}");
    }
    let text = project.run(&args).expect(0);
    assert!(text.stdout.contains("ACCESS EXCLUSIVE on users for about "), "{text}");
    assert!(text.stderr.contains("factor of three"), "{text}");
    assert_eq!(real.dump(), before);
    let nowhere =
        project.run(&["rehearse", "--against", &ground.url(), "--sizes-from", "postgresql:///x?host=/nowhere"]);
    assert_eq!(nowhere.code, Some(5), "{nowhere}");
}

/// Tables that every type, key and check has to be respected for.
const TABLES: &[(&str, &str)] = &[
    (
        "numbers",
        "a smallint PRIMARY KEY, b int UNIQUE, c bigint, d numeric(4,2), e numeric, f real, g float8, h money, i oid",
    ),
    (
        "texts",
        "a text PRIMARY KEY, b varchar(5) NOT NULL, c char(3) NOT NULL, d char NOT NULL, e name, f bytea NOT NULL",
    ),
    (
        "times",
        "a date PRIMARY KEY, b timestamp NOT NULL, c timestamptz NOT NULL, d time, e timetz, f interval NOT NULL",
    ),
    ("networks", "a inet PRIMARY KEY, b cidr NOT NULL, c macaddr NOT NULL, d macaddr8 NOT NULL"),
    (
        "others",
        "a uuid PRIMARY KEY, b json NOT NULL, c jsonb NOT NULL, d bit(9) NOT NULL, e varbit NOT NULL, f boolean NOT NULL, g tsvector NOT NULL, h tsquery NOT NULL",
    ),
    (
        "shapes",
        "a point NOT NULL, b box NOT NULL, c lseg NOT NULL, d path NOT NULL, e polygon NOT NULL, f circle NOT NULL, g line NOT NULL",
    ),
    ("arrays", "a int[] PRIMARY KEY, b text[][] NOT NULL, c mood[] NOT NULL, d uuid[] NOT NULL"),
    (
        "ranges",
        "a int4range PRIMARY KEY, b numrange NOT NULL, c tstzrange NOT NULL, d int4multirange NOT NULL, e floats NOT NULL, EXCLUDE USING gist (a WITH &&)",
    ),
    ("own_types", "a mood NOT NULL, b positive PRIMARY KEY, c pair NOT NULL, d email NOT NULL, e short NOT NULL"),
    (
        "serials",
        "id serial PRIMARY KEY, code bigint GENERATED BY DEFAULT AS IDENTITY, a int NOT NULL, twice int GENERATED ALWAYS AS (a * 2) STORED",
    ),
    (
        "checked",
        "id int PRIMARY KEY, status text NOT NULL CHECK (status IN ('new', 'paid')), age int NOT NULL CHECK (age BETWEEN 18 AND 65), code text NOT NULL CHECK (length(code) = 3), low int NOT NULL, high int NOT NULL, CHECK (low < high AND low > 1000), mail text NOT NULL CHECK (mail LIKE '%@%'), kind varchar(8) NOT NULL CHECK ((kind)::text = ANY (ARRAY['a', 'b']))",
    ),
    ("parent", "a int, b text, PRIMARY KEY (a, b)"),
    (
        "child",
        "id int PRIMARY KEY, a int NOT NULL, b text NOT NULL, FOREIGN KEY (a, b) REFERENCES parent, up int REFERENCES child, one int NOT NULL UNIQUE REFERENCES checked",
    ),
    ("rooted", "id int PRIMARY KEY, up int NOT NULL REFERENCES rooted"),
    ("reserved", "\"order\" int PRIMARY KEY, \"A b\" text NOT NULL CHECK (\"A b\" <> 'x')"),
];

#[test]
fn rows_are_made_up_for_every_type_and_respect_keys_and_checks() {
    let cluster = Cluster::shared();
    let ground = cluster.database();
    let project = Project::new(&ground);
    let mut sql = String::from(
        "CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy');\nCREATE DOMAIN positive AS int CHECK (VALUE > 0);\n\
         CREATE TYPE pair AS (a int, b text);\nCREATE DOMAIN email AS text NOT NULL CHECK (VALUE ~ '^[a-z]+@[a-z.]+$');\n\
         CREATE DOMAIN short AS varchar(4);\nCREATE TYPE floats AS RANGE (subtype = float8);\n",
    );
    for (name, columns) in TABLES {
        sql.push_str(&format!("CREATE TABLE {name} ({columns});\n"));
    }
    sql.push_str(
        "CREATE SCHEMA app; CREATE TABLE app.parts (at date NOT NULL, n int) PARTITION BY RANGE (at);\n\
         CREATE TABLE app.p2020 PARTITION OF app.parts FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');\n\
         CREATE TABLE app.triggered (id int);\n\
         CREATE FUNCTION app.no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''never''; END';\n\
         CREATE TRIGGER no BEFORE INSERT ON app.triggered FOR EACH ROW EXECUTE FUNCTION app.no();\n\
         CREATE TABLE impossible (a int NOT NULL CHECK (a > 5 AND a < 5));\n",
    );
    project.pair("001_tables", &sql, "SELECT 1;");
    let names: Vec<&str> =
        TABLES.iter().map(|(name, _)| *name).chain(["app.p2020", "app.triggered", "impossible"]).collect();
    let touch: Vec<String> = names.iter().map(|name| format!("COMMENT ON TABLE {name} IS 'x'")).collect();
    let untouch: Vec<String> = names.iter().map(|name| format!("COMMENT ON TABLE {name} IS NULL")).collect();
    project.pair("002_touch", &touch.join(";\n"), &untouch.join(";\n"));
    let report = rehearse(&project, &ground, &["--seed-rows", "20"], 3);
    let touched = data(&report, "002_touch");
    for name in names.iter().filter(|name| **name != "impossible") {
        let least = if ["own_types", "checked", "child"].contains(name) { 1 } else { 20 };
        assert!(seeded(&touched, name).is_some_and(|rows| rows >= least), "{name}: {touched:#}");
    }
    assert_eq!(touched["unseeded"][0]["table"], "impossible", "{touched:#}");
    assert_eq!(touched["unseeded"].as_array().unwrap().len(), 1, "{touched:#}");
    assert_eq!((&touched["apply"], &touched["rollback"]), (&json!("ok"), &json!("ok")));
    let lost = data(&report, "001_tables");
    assert_eq!(lost["rows_lost"], json!([]), "the reverse script keeps everything: {lost}");
}
