//! Statements, where they can run, and what they leave.

use super::{Command, Effect, TxRule, classify};

fn rule(sql: &str) -> TxRule {
    classify(sql).tx
}

#[test]
fn what_the_server_refuses_in_a_block_is_known() {
    // Each held against a server of version 15, except those that need a publisher, PostgreSQL 19 or a second database.
    for sql in [
        "create index concurrently on t (a)",
        "create unique index concurrently if not exists i on t (a)",
        "CREATE /* c */ INDEX -- d\n CONCURRENTLY i ON ONLY s.t USING gin (a)",
        "drop index concurrently i",
        "reindex table concurrently t",
        "reindex (verbose, concurrently) index i",
        "reindex (concurrently true) table t",
        "reindex schema s",
        "reindex database",
        "reindex (verbose) system d",
        "vacuum",
        "vacuum (analyze) t",
        "cluster",
        "cluster verbose",
        "cluster (verbose)",
        "create database d",
        "drop database if exists d with (force)",
        "alter database d set tablespace ts",
        "create tablespace ts location '/x'",
        "drop tablespace ts",
        "alter system set work_mem = '4MB'",
        "alter table p detach partition c concurrently",
        "create subscription s connection 'c' publication p",
        "create subscription s connection 'c' publication p with (create_slot)",
        "alter subscription s refresh publication",
        "alter subscription s set publication p",
        "alter subscription s add publication p with (copy_data = false)",
        "discard all",
        "commit prepared 'x'",
        "rollback prepared 'x'",
        "repack",
        "repack (concurrently) t",
    ] {
        assert_eq!(rule(sql), TxRule::NotInBlock, "{sql}");
    }
    for sql in [
        "drop subscription s",
        "alter table p detach partition c finalize",
        "alter subscription s set (failover = true)",
    ] {
        assert_eq!(rule(sql), TxRule::Depends, "{sql}");
    }
    for sql in [
        "create index i on t (a)",
        "create index \"concurrently\" on t (a)",
        "create table concurrently_t (a int)",
        "drop index i, j",
        "drop table if exists t",
        "reindex table t",
        "reindex (concurrently off) table t",
        "reindex (concurrently = false) index i",
        "analyze t",
        "cluster t using i",
        "cluster (verbose) t",
        "alter database d set work_mem = '4MB'",
        "alter table p detach partition c",
        "alter table t add column concurrently_x int",
        "create subscription s connection 'c' publication p with (connect = false)",
        "create subscription s connection 'c' publication p with (slot_name = none, create_slot = off)",
        "alter subscription s set publication p with (refresh = false)",
        "alter subscription s disable",
        "alter subscription s set (slot_name = none)",
        "discard temp",
        "checkpoint",
        "commit",
        "alter type e add value 'x'",
        "select 'vacuum'",
        "create",
        "",
        ")",
    ] {
        assert_eq!(rule(sql), TxRule::Anywhere, "{sql}");
    }
}

#[test]
fn effects_name_their_objects() {
    for (sql, expect) in [
        (
            "create unique index concurrently if not exists I on App.T (a)",
            "IndexBuilt app.i on app.t, if not exists, unique",
        ),
        ("create index concurrently on only t (a)", "IndexBuilt - on t"),
        ("create index concurrently \"On\" on t (a)", "IndexBuilt \"On\" on t"),
        ("drop index concurrently if exists s.i", "IndexDropped s.i, if exists"),
        ("drop index concurrently a, b restrict", "IndexDropped a b"),
        (
            "reindex index concurrently s.i",
            "Reindexed Index(QualifiedName { schema: Some(\"s\"), name: \"i\" }), concurrently",
        ),
        ("reindex (concurrently) schema S", "Reindexed Schema(\"s\"), concurrently"),
        ("reindex database", "Reindexed Database"),
        ("alter table if exists only s.p detach partition c concurrently", "PartitionDetached c from s.p"),
        ("alter table p detach partition s.c finalize", "PartitionDetached s.c from p, finalize"),
    ] {
        assert_eq!(show(&classify(sql).effect), expect, "{sql}");
    }
    for (sql, expect) in [
        ("create database \"D\" owner x", Effect::DatabaseCreated { name: "D".into() }),
        ("drop database if exists d", Effect::DatabaseDropped { name: "d".into() }),
        ("create tablespace t location ''", Effect::TablespaceCreated { name: "t".into() }),
        ("drop tablespace if exists t", Effect::TablespaceDropped { name: "t".into() }),
        ("create subscription s connection '' publication p", Effect::SubscriptionCreated { name: "s".into() }),
        ("drop subscription if exists s", Effect::SubscriptionDropped { name: "s".into() }),
        ("vacuum full t", Effect::Repeatable),
        ("alter system reset all", Effect::Repeatable),
        ("do $$ $$", Effect::Unknown),
        ("create index concurrently", Effect::Unknown),
    ] {
        assert_eq!(classify(sql).effect, expect, "{sql}");
    }
}

fn show(effect: &Effect) -> String {
    let flag = |on: bool, text: &str| if on { format!(", {text}") } else { String::new() };
    match effect {
        Effect::IndexBuilt { name, table, if_not_exists, unique } => {
            let name = name.as_ref().map_or("-".to_owned(), ToString::to_string);
            format!("IndexBuilt {name} on {table}{}{}", flag(*if_not_exists, "if not exists"), flag(*unique, "unique"))
        }
        Effect::IndexDropped { names, if_exists } => {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            format!("IndexDropped {}{}", names.join(" "), flag(*if_exists, "if exists"))
        }
        Effect::Reindexed { target, concurrently } => {
            format!("Reindexed {target:?}{}", flag(*concurrently, "concurrently"))
        }
        Effect::PartitionDetached { parent, child, finalize } => {
            format!("PartitionDetached {child} from {parent}{}", flag(*finalize, "finalize"))
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn transaction_control_is_told_apart() {
    for (sql, expect) in [
        ("begin", "Begin { options: \"\" }"),
        ("BEGIN WORK", "Begin { options: \"\" }"),
        (
            "begin transaction isolation level serializable, read write",
            "Begin { options: \"isolation level serializable, read write\" }",
        ),
        ("start transaction /* c */ deferrable", "Begin { options: \"deferrable\" }"),
        ("commit", "Commit { chain: false }"),
        ("end transaction and no chain", "Commit { chain: false }"),
        ("commit and chain", "Commit { chain: true }"),
        ("commit:", "OddCommit"),
        ("end if", "OddCommit"),
        ("discard all", "DiscardAll"),
        ("deallocate prepare all", "DiscardAll"),
        ("deallocate everything", "Other"),
        ("commit prepared 'x'", "Other"),
        ("rollback", "Rollback"),
        ("abort work", "Rollback"),
        ("rollback work to savepoint s", "Savepoint"),
        ("rollback to s", "Savepoint"),
        ("savepoint s", "Savepoint"),
        ("release savepoint s", "Savepoint"),
        ("prepare transaction 'x'", "PrepareTransaction"),
        ("prepare p as select 1", "Other"),
        (
            "set transaction isolation level repeatable read",
            "SetTransaction { options: \"isolation level repeatable read\" }",
        ),
        ("set local transaction read only", "SetTransaction { options: \"read only\" }"),
        ("set session characteristics as transaction read only", "Set { local: false }"),
        ("set constraints all deferred", "Set { local: true }"),
        ("set local lock_timeout = 1", "Set { local: true }"),
        ("set search_path = a", "Set { local: false }"),
        ("reset all", "Set { local: false }"),
        ("call p()", "Call"),
        ("do $$ $$", "Do"),
        ("copy t from stdin", "Copy"),
        ("create type mood as enum ('a')", "CreateEnum { enum_type: QualifiedName { schema: None, name: \"mood\" } }"),
        ("alter type s.mood rename to x", "AlterType"),
        ("(select 1) union select 2", "Query"),
        ("explain select 1", "Query"),
        ("insert into t select 1", "Other"),
    ] {
        assert_eq!(format!("{:?}", classify(sql).command), expect, "{sql}");
    }
    let added = classify("alter type s.Mood add value if not exists 'it''s' before 'x'").command;
    assert!(matches!(added, Command::AddEnumValue { enum_type, label }
        if enum_type.to_string() == "s.mood" && label == "it's"));
}
