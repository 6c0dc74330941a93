//! The hot paths by themselves: `cargo bench -p migengine-benches`.

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use migengine_benches::sets;
use migengine_engine::id::{Digest, RunId, Timestamp};
use migengine_engine::migration::parse_script;
use migengine_engine::plan::{ApplyTarget, Graph, History, Policy, plan_apply};
use migengine_engine::run::event::Event;
use migengine_engine::run::journal::Journal as _;
use migengine_engine::schema::{Kind, Object, ObjectKey, Schema, compare, diff};
use migengine_journal::{MemoryJournal, SledJournal};

/// Bytes of the text that the lexer reads.
const MEGABYTE: usize = 1 << 20;

fn lexer(criterion: &mut Criterion) {
    let mut text = String::new();
    for n in 0.. {
        text += &format!("INSERT INTO t (id, name) VALUES ({n}, 'name ''{n}'''); -- {n}\n");
        text += &format!("CREATE FUNCTION f{n}() RETURNS int LANGUAGE sql AS $f$ SELECT {n}; $f$;\n");
        if text.len() >= MEGABYTE {
            break;
        }
    }
    let mut group = criterion.benchmark_group("lexer");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("split, classify and hash 1 MB", |bencher| {
        bencher.iter(|| parse_script("001_data.sql", text.as_bytes()));
    });
    group.finish();
}

fn planner(criterion: &mut Criterion) {
    let migrations = sets::read(10_000);
    criterion.bench_function("planner: 10,000 pending migrations", |bencher| {
        let history = History::default();
        bencher.iter_batched(
            || migrations.iter().map(sets::node).collect(),
            |nodes| plan_apply(&Graph::build(nodes, &history), &history, &ApplyTarget::All, Policy::default()).is_ok(),
            BatchSize::LargeInput,
        );
    });
    let nodes = sets::mesh(100_000);
    criterion.bench_function("graph of 100,000 nodes and 300,000 edges, sorted and checked", |bencher| {
        let history = History::default();
        bencher.iter_batched(
            || nodes.clone(),
            |nodes| {
                let graph = Graph::build(nodes, &history);
                assert!(graph.problems().is_empty());
                plan_apply(&graph, &history, &ApplyTarget::All, Policy::default()).is_ok()
            },
            BatchSize::LargeInput,
        );
    });
}

fn intents(from: u32) -> Vec<(Timestamp, Event)> {
    let (content, tokens) = (Digest::of(b"content"), Digest::of(b"tokens"));
    let intent = |step| (Timestamp(1), Event::StepIntent { step, attempt: 1, content, tokens });
    (from..from + 32).map(intent).collect()
}

fn journal(criterion: &mut Criterion) {
    let run = RunId::from_bytes([1; 16]);
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    criterion.bench_function("journal: seal, chain and read back 1,024 records", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let journal = MemoryJournal::new();
                for window in 0..32 {
                    journal.append(run, intents(window * 32)).await.ok();
                }
                journal.records(run).await.map(|records| records.len())
            })
        });
    });
    let Ok(folder) = tempfile::tempdir() else { return };
    let Ok(opened) = SledJournal::open(folder.path().join("journal")) else { return };
    criterion.bench_function("journal: 32 intents on the disk, synced", |bencher| {
        bencher.iter(|| runtime.block_on(opened.journal.append(run, intents(0))).map(|sealed| sealed.len()));
    });
}

/// A schema of so many tables of ten columns each.
fn schema(tables: usize) -> Schema {
    let mut schema = Schema::default();
    for table in 0..tables {
        let parent = format!("public.t{table}");
        for column in 0..10 {
            let key = ObjectKey { kind: Kind::Column, parent: Some(parent.clone()), name: format!("c{column}") };
            let attributes = [("type", "text"), ("not null", "true"), ("default", "''::text")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()));
            schema.objects.insert(key, Object { position: Some(column), attributes: attributes.into() });
        }
    }
    schema
}

fn fingerprint(criterion: &mut Criterion) {
    let (before, mut after) = (schema(1_000), schema(1_000));
    criterion.bench_function("fingerprint: digest of 10,000 columns", |bencher| bencher.iter(|| before.digest()));
    after.objects.pop_last();
    criterion.bench_function("fingerprint: compare and tell the difference of 10,000 columns", |bencher| {
        bencher.iter(|| (compare(&before, &after), diff(&before, &after)));
    });
}

criterion_group! {
    name = hot;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    targets = lexer, planner, journal, fingerprint
}
criterion_main!(hot);
