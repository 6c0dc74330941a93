//! `hot PATH`: one hot path, once, in this process, for counting its instructions (`make instructions`).
//!
//! - `nothing`: the work on files of a command over 1,000 migrations: parse, hash, graph, plan against the history;
//! - `lex`: read a script of 100,000 statements;
//! - `plan`: the graph and the plan of 10,000 pending migrations;
//! - `journal`: seal, chain and read back the records of a run of 1,000 steps.

use migengine_engine::id::{Digest, MigrationId, RunId, Timestamp};
use migengine_engine::migration::{Migration, merge, parse_script, read_file};
use migengine_engine::plan::{Applied, ApplyTarget, Graph, History, Node, Policy, Requires, Script, plan_apply};
use migengine_engine::run::event::Event;
use migengine_engine::run::journal::Journal as _;
use migengine_journal::MemoryJournal;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Fallible<()> {
    let path = std::env::args().nth(1).unwrap_or_default();
    let result = match path.as_str() {
        "nothing" => planned(1_000, 1_000),
        "plan" => planned(10_000, 0),
        "lex" => lex(),
        "journal" => journal(),
        other => Err(format!("no path is named `{other}`: nothing, lex, plan, journal").into()),
    };
    println!("{}", result?);
    Ok(())
}

/// Parses `count` migrations, of which so many are applied, and plans the rest. Returns the number of steps.
fn planned(count: usize, applied: usize) -> Fallible<usize> {
    let mut files = Vec::new();
    for n in 1..=count {
        let up = format!("-- Description: a table\n\nCREATE TABLE t{n} (id bigint PRIMARY KEY, name text NOT NULL);\n");
        files.push(read_file(&format!("{n:05}_t.sql"), Ok(up.as_bytes())));
        files.push(read_file(&format!("{n:05}_t_rollback.sql"), Ok(format!("DROP TABLE t{n};\n").as_bytes())));
    }
    let (migrations, _) = merge(files);
    let past = |(migration, seq): (&Migration, i64)| Applied {
        id: migration.id.clone(),
        content: migration.up.content,
        tokens: migration.up.tokens,
        applied_at: Timestamp(seq),
        seq,
        requires: Vec::<MigrationId>::new(),
        reverse: None,
        run: RunId::from_bytes([0; 16]),
    };
    let history = History::new(migrations.iter().take(applied).zip(1..).map(past));
    let graph = Graph::build(migrations.iter().map(node).collect(), &history);
    let plan =
        plan_apply(&graph, &history, &ApplyTarget::All, Policy::default()).map_err(|refused| format!("{refused:?}"))?;
    Ok(plan.plan.steps.len())
}

fn node(migration: &Migration) -> Node {
    let script = &migration.up;
    Node {
        id: migration.id.clone(),
        file: script.file.clone(),
        requires: Requires::Default,
        conflicts: Vec::new(),
        up: Script { content: script.content, tokens: script.tokens, transactional: script.transactional() },
        down: None,
        irreversible_reason: None,
    }
}

fn lex() -> Fallible<usize> {
    let text: String =
        (0..100_000).map(|n| format!("INSERT INTO t (id, name) VALUES ({n}, 'name {n}'); -- {n}\n")).collect();
    let (script, _) = parse_script("001_data.sql", text.as_bytes());
    Ok(script.ok_or("the script is refused")?.statements.len())
}

fn journal() -> Fallible<usize> {
    let journal = MemoryJournal::new();
    let run = RunId::from_bytes([1; 16]);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        for window in 0..32u32 {
            let intents = (0..32).map(|n| {
                let (content, tokens) = (Digest::of(b"content"), Digest::of(b"tokens"));
                (Timestamp(1), Event::StepIntent { step: window * 32 + n, attempt: 1, content, tokens })
            });
            journal.append(run, intents.collect()).await?;
        }
        Ok(journal.records(run).await?.len())
    })
}
