//! Errors that explain themselves: codes provoked on a real server, each with its place in the file, what the server said,
//! what it means, and what to do.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Cluster, Project};

/// What every case finds.
const BASE: &str = "
CREATE TABLE teams (id int PRIMARY KEY);
INSERT INTO teams VALUES (1);
CREATE TABLE users (id int PRIMARY KEY, name text, team int, age int CHECK (age > 0));
INSERT INTO users VALUES (1, 'a', 1, 5), (2, 'a', 9, 6), (3, NULL, 1, 7);
CREATE VIEW grown AS SELECT id, age FROM users;
CREATE TYPE mood AS ENUM ('bad');
CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE MATERIALIZED VIEW m AS SELECT 1 AS a;
CREATE TABLE gen (a int, b int GENERATED ALWAYS AS (a) STORED);
CREATE TABLE p (a int) PARTITION BY RANGE (a);
";

/// The statement that fails on the second line, its code, and words that must be shown.
const CASES: &[(&str, &str, &str)] = &[
    ("ALTER TABEL users ADD a int;", "42601", "2:7"),
    ("ALTER TABLE userz ADD a int;", "42P01", "userz"),
    ("UPDATE users SET nam = 1;", "42703", "2:18"),
    ("DROP TYPE nothing;", "42704", "nothing"),
    ("SELECT nothing(1);", "42883", "2:8"),
    ("CREATE TABLE nowhere.t (a int);", "3F000", "nowhere"),
    ("CREATE TABLE users (a int);", "42P07", "users"),
    ("ALTER TABLE users ADD name text;", "42701", "name"),
    ("CREATE TYPE mood AS ENUM ('x');", "42710", "mood"),
    ("CREATE SCHEMA public;", "42P06", "public"),
    ("CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 2';", "42723", "f"),
    ("ALTER TABLE users ALTER name SET NOT NULL;", "23502", "SELECT * FROM public.users WHERE name IS NULL LIMIT 5"),
    (
        "CREATE UNIQUE INDEX u ON users (name);",
        "23505",
        "SELECT name, count(*) FROM public.users GROUP BY name HAVING count(*) > 1 LIMIT 5",
    ),
    (
        "ALTER TABLE users ADD FOREIGN KEY (team) REFERENCES teams;",
        "23503",
        "SELECT * FROM public.users WHERE (team) = ('9') LIMIT 5",
    ),
    ("ALTER TABLE users ADD CHECK (age < 6);", "23514", "SELECT * FROM public.users WHERE NOT (age < 6) LIMIT 5"),
    ("UPDATE users SET age = 99999999999;", "22003", "state:"),
    ("ALTER TABLE users ALTER name TYPE varchar(0 + 1);", "42601", "2:"),
    ("ALTER TABLE users ALTER id TYPE text USING 1 / 0;", "22012", "advice:"),
    ("SELECT 'x'::int;", "22P02", "2:8"),
    ("SELECT 'ab'::date;", "22007", "2:8"),
    ("SELECT '2026-13-45'::date;", "22008", "2:8"),
    ("DROP TABLE users;", "2BP01", "CASCADE drops everything"),
    ("ALTER TABLE users ALTER age TYPE bigint;", "0A000", "grown"),
    ("DROP TABLE grown;", "42809", "grown"),
    ("CREATE OR REPLACE VIEW grown AS SELECT id FROM users;", "42P16", "advice:"),
    ("ALTER TABLE users ALTER name TYPE int;", "42804", "USING"),
    ("ALTER TABLE users ADD FOREIGN KEY (team) REFERENCES users (age);", "42830", "users"),
    ("INSERT INTO gen VALUES (1, 2);", "428C9", "gen"),
    ("SELECT now()::int;", "42846", "2:"),
    ("REFRESH MATERIALIZED VIEW CONCURRENTLY m;", "55000", "hint:"),
    ("INSERT INTO p VALUES (1);", "23514", "p"),
    ("DO $$ BEGIN RAISE EXCEPTION 'not today'; END $$;", "P0001", "not today"),
    ("DO $$ BEGIN ASSERT false, 'never'; END $$;", "P0004", "where:"),
    ("SELECT set_config('transaction_read_only', 'on', true); CREATE TABLE x (a int);", "25006", "read-only"),
    ("LOCK TABLE missing IN SHARE MODE;", "42P01", "missing"),
    ("CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT';", "42P13", "where:"),
    ("SELECT 1 / 0;", "22012", "advice:"),
];

#[test]
fn each_code_is_shown_with_its_place_its_meaning_and_what_to_do() {
    let database = Cluster::shared().database();
    database.psql(BASE);
    let mut wrong = Vec::new();
    for (sql, code, words) in CASES {
        let project = Project::new(&database);
        project.pair("001_x", &format!("-- a line before\n{sql}\n"), "SELECT 1;");
        // The checks of the rows that a run makes beforehand would find some of these first.
        let output = project.run(&["apply", "--yes", "--no-data-checks", "--format", "json"]);
        let (json, stderr) = (output.json(), &output.stderr);
        let error = &json["error"];
        let whole = error["sqlstate"] == *code
            && error["line"] == 2
            && stderr.contains("001_x.sql:2:")
            && stderr.contains(words)
            && stderr.contains("advice: ")
            && stderr.contains("state: ");
        if !whole {
            wrong.push(format!("{sql}: wanted {code} with `{words}`\n{output}"));
        }
        let run = database.psql("SELECT run_id FROM migengine.run ORDER BY started_at DESC LIMIT 1");
        project.run(&["rollback", "--run", &run, "--yes"]).expect(0);
        let journal = project.run(&["journal", "show", &run, "--format", "json"]).expect(0);
        assert!(journal.stdout.contains(code), "the journal keeps the code: {journal}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_missing_name_leads_to_the_migration_that_creates_it() {
    let database = Cluster::shared().database();
    let project = Project::new(&database);
    project.pair("001_users", "-- Requires: none\n\nCREATE TABLE users (id int);", "DROP TABLE users;");
    project.pair("002_slip", "-- Requires: none\n\nALTER TABLE userz ADD a int;", "SELECT 1;");
    let output = project.run(&["apply", "002", "--yes"]).expect(7);
    assert!(output.stderr.contains("users is meant? 001_users creates it"), "{output}");
    let run = database.psql("SELECT run_id FROM migengine.run");
    project.run(&["rollback", "--run", &run, "--yes"]).expect(0);
    project.pair("002_slip", "-- Requires: none\n\nALTER TABLE users ADD a int;", "SELECT 1;");
    let output = project.run(&["apply", "002", "--yes"]).expect(7);
    assert!(output.stderr.contains("is `Requires: 001_users` missing"), "{output}");
}
