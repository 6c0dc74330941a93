//! Servers of other versions give the same verdicts, and the same costs. Skipped where there are none.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Cluster, Options, Project, other_servers};

/// What must not depend on the version: verdicts, what is different, and what was locked, rewritten, built, dropped.
fn essence(report: &Value) -> Vec<Value> {
    // Since version 18 NOT NULL is a constraint with a name, which is dropped like any other.
    let not_null = |one: &&Value| one["object"].as_str().unwrap().contains("_not_null on ");
    let statement = |one: &Value| {
        let dropped: Vec<&Value> = one["dropped"].as_array().unwrap().iter().filter(|one| !not_null(one)).collect();
        json!([one["line"], one["verb"], one["locks"], one["rewrites"], one["builds"], dropped, one["emptied"]])
    };
    let statements = |one: &Value| one["statements"].as_array().unwrap().iter().map(statement).collect::<Vec<_>>();
    let migrations = report["migrations"].as_array().unwrap().iter();
    migrations
        .map(|one| {
            let code = &one["error"]["code"];
            json!([one["id"], one["apply"], one["rollback"], one["reapply"], one["diff"], code, statements(one)])
        })
        .collect()
}

fn cases(project: &Project) {
    project.pair("001_t", "CREATE TABLE t (id int PRIMARY KEY, a int, b text);", "DROP TABLE t;");
    project.pair("002_i", "CREATE INDEX CONCURRENTLY t_a ON t (a);", "DROP INDEX CONCURRENTLY t_a;");
    project.pair("003_rewrite", "ALTER TABLE t ALTER a TYPE bigint;", "ALTER TABLE t ALTER a TYPE int;");
    project.pair("004_unfaithful", "CREATE VIEW v AS SELECT a FROM t WHERE b = ANY (ARRAY['x', 'y']);", "SELECT 1;");
    project.pair("005_not_null", "ALTER TABLE t ALTER b SET NOT NULL;", "ALTER TABLE t ALTER b DROP NOT NULL;");
    project.pair("006_do", "DO $$ BEGIN ALTER TABLE t ADD c int; END $$;", "ALTER TABLE t DROP c;");
    project.pair("007_check", "ALTER TABLE t ADD CHECK (a > 0 AND b <> '');", "ALTER TABLE t DROP CONSTRAINT t_check;");
    project.pair("008_column", "ALTER TABLE t DROP b CASCADE;", "ALTER TABLE t ADD b text NOT NULL;");
    project.pair("009_fails", "CREATE TABLE u (id int REFERENCES t);", "DROP TABLE uu;");
    project.pair("010_order", "ALTER TABLE t DROP a CASCADE;", "ALTER TABLE t ADD a bigint;");
    project.write("011_irreversible.sql", "-- Irreversible: gone\nTRUNCATE t CASCADE;");
    project.pair(
        "012_domain",
        "CREATE DOMAIN d AS int NOT NULL CHECK (VALUE > 0); CREATE TABLE w (x d);",
        "DROP TABLE w; DROP DOMAIN d;",
    );
    project.pair("013_suicide", "SELECT 1;", "SELECT pg_terminate_backend(pg_backend_pid());");
}

fn report(bin: Option<PathBuf>, fill: &dyn Fn(&Project)) -> (u32, Vec<Value>) {
    let cluster = Cluster::start_with(Options { bin, ..Options::default() });
    let ground = cluster.database();
    let project = Project::new(&ground);
    fill(&project);
    let url = ground.url();
    let output = project.run(&["rehearse", "--against", &url, "--format", "json"]);
    (cluster.major(), essence(&output.json()))
}

fn same_everywhere(fill: &dyn Fn(&Project)) {
    let others = other_servers();
    if others.is_empty() {
        return;
    }
    let (major, expected) = report(None, fill);
    for bin in others {
        let (other, found) = report(Some(bin), fill);
        println!("{} verdicts on version {other} beside {major}", found.len());
        for (expected, found) in expected.iter().zip(&found) {
            assert_eq!(expected, found, "version {other} differs from {major}");
        }
        assert_eq!(expected.len(), found.len());
    }
}

#[test]
fn every_version_judges_alike() {
    same_everywhere(&cases);
}

#[test]
fn every_version_judges_the_sample_alike() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    same_everywhere(&|project| project.copy_from(&sample));
}

#[test]
fn every_version_judges_real_migrations_alike() {
    let Some(corpora) = support::corpora() else { return };
    same_everywhere(&|project| project.copy_from(&corpora.join("svix/migrations")));
}
