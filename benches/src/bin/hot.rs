//! `hot PATH`: one hot path, once, in this process, for counting its instructions (`make instructions`).
//!
//! - `nothing`: the work on files of a command over 1,000 migrations: parse, hash, graph, plan against the history;
//! - `lex`: read a script of 100,000 statements;
//! - `plan`: the graph and the plan of 10,000 pending migrations;
//! - `journal`: seal, chain and read back the records of a run of 1,000 steps.

use migengine_benches::sets;
use migengine_engine::id::{Digest, RunId, Timestamp};
use migengine_engine::migration::parse_script;
use migengine_engine::plan::{ApplyTarget, Graph, Policy, plan_apply};
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
    let migrations = sets::read(count);
    let history = sets::history(&migrations, applied);
    let graph = Graph::build(migrations.iter().map(sets::node).collect(), &history);
    let plan =
        plan_apply(&graph, &history, &ApplyTarget::All, Policy::default()).map_err(|refused| format!("{refused:?}"))?;
    Ok(plan.plan.steps.len())
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
