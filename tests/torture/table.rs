//! The table at the end, and the threads that fill it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many threads torture at once; each has a server of its own. Two for each core: they wait now and then.
pub fn workers() -> usize {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
    std::env::var("WORKERS").ok().and_then(|text| text.parse().ok()).unwrap_or(2 * cores)
}

/// What was tried, and what was found wrong. The names of its rows begin with the number of the row in `make torture`'s
/// own list.
#[derive(Default)]
pub struct Table(Mutex<BTreeMap<String, Row>>);

#[derive(Default)]
struct Row {
    tried: usize,
    violations: Vec<String>,
    took: Duration,
    note: String,
}

impl Table {
    /// Tries every case of a row, in [`workers`] threads with what `lab` makes for each. A panic is a violation of its case.
    pub fn all<C: Sync, L>(
        &self,
        name: &str,
        cases: &[C],
        lab: impl Fn() -> L + Sync,
        test: impl Fn(&L, &C) -> Result<(), String> + Sync,
        describe: impl Fn(&C) -> String + Sync,
    ) {
        self.each(cases, |_| name, lab, test, describe);
    }

    /// The same for cases of several rows, whose names `row` tells.
    pub fn each<'n, C: Sync, L>(
        &self,
        cases: &[C],
        row: impl Fn(&C) -> &'n str + Sync,
        lab: impl Fn() -> L + Sync,
        test: impl Fn(&L, &C) -> Result<(), String> + Sync,
        describe: impl Fn(&C) -> String + Sync,
    ) {
        self.many(cases, &row, lab, |lab, case| {
            let outcome = catch_unwind(AssertUnwindSafe(|| test(lab, case)));
            let outcome = outcome.unwrap_or_else(|panic| Err(words(panic.as_ref())));
            self.count(row(case), outcome.map_err(|error| format!("{}: {error}", describe(case))));
        });
    }

    /// Does every piece of work, in [`workers`] threads with what `lab` makes for each. Each counts as many cases as it
    /// tries. The time of a row is the share that its pieces had of the machine.
    pub fn many<'n, C: Sync, L>(
        &self,
        cases: &[C],
        row: impl Fn(&C) -> &'n str + Sync,
        lab: impl Fn() -> L + Sync,
        work: impl Fn(&L, &C) + Sync,
    ) {
        let (next, began) = (AtomicUsize::new(0), Instant::now());
        let workers = workers().min(cases.len());
        let share = |time: Duration| time / u32::try_from(workers).unwrap_or(1).max(1);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    let lab = lab();
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(case) = cases.get(index) else { break };
                        let at = Instant::now();
                        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(&lab, case))) {
                            self.count(row(case), Err(words(panic.as_ref())));
                        }
                        self.spent(row(case), share(at.elapsed()));
                        if (index + 1) % (cases.len() / 10).max(1) == 0 {
                            println!("{}: {} of {}, {:?}", row(case), index + 1, cases.len(), began.elapsed());
                        }
                    }
                });
            }
        });
    }

    /// Time that a row took.
    pub fn spent(&self, name: &str, time: Duration) {
        self.0.lock().unwrap().entry(name.to_owned()).or_default().took += time;
    }

    /// One case.
    pub fn count(&self, name: &str, outcome: Result<(), String>) {
        self.counted(name, 1, outcome);
    }

    /// Several cases that were tried as one piece of work, of which one at most was found wrong.
    pub fn counted(&self, name: &str, tried: usize, outcome: Result<(), String>) {
        let mut rows = self.0.lock().unwrap();
        let row = rows.entry(name.to_owned()).or_default();
        row.tried += tried;
        if let Err(violation) = outcome {
            println!("VIOLATION {name}: {violation}\n");
            row.violations.push(violation);
        }
    }

    /// What a case of the row is, where its name does not tell, or why it was not tried.
    pub fn note(&self, name: &str, note: &str) {
        println!("{name}: {note}");
        self.0.lock().unwrap().entry(name.to_owned()).or_default().note = note.to_owned();
    }

    /// A row of which every `stride`-th case is tried, unless it is 1, and the variable that sets it.
    pub fn strided(&self, name: &str, stride: usize, variable: &str) {
        let note = match stride {
            1 => "all".to_owned(),
            _ => format!("1 of {stride}; {variable}=1 tries all"),
        };
        self.note(name, &note);
    }

    /// The table, as text.
    pub fn text(&self) -> String {
        let mut text = format!("{:>3}  {:<56} {:>8} {:>10} {:>8}\n", "row", "what", "cases", "violations", "seconds");
        let rows = self.0.lock().unwrap();
        let mut sorted: Vec<_> =
            rows.iter().map(|(name, row)| (name.split_once(' ').unwrap_or(("", name)), row)).collect();
        sorted.sort_by_key(|((number, what), _)| (number.parse::<u32>().unwrap_or(u32::MAX), *what));
        for ((number, what), row) in sorted {
            let (tried, bad, took) = (row.tried, row.violations.len(), row.took.as_secs_f32());
            writeln!(text, "{number:>3}  {what:<56} {tried:>8} {bad:>10} {took:>8.0}  {}", row.note).unwrap();
        }
        let total = |of: fn(&Row) -> usize| rows.values().map(of).sum::<usize>();
        let (tried, bad) = (total(|row| row.tried), total(|row| row.violations.len()));
        let took: f32 = rows.values().map(|row| row.took.as_secs_f32()).sum();
        writeln!(text, "{:>3}  {:<56} {tried:>8} {bad:>10} {took:>8.0}", "", "all").unwrap();
        text
    }

    /// Prints the table, and fails where a promise was broken.
    pub fn conclude(&self) {
        println!("\n{}", self.text());
        let rows = self.0.lock().unwrap();
        let bad: usize = rows.values().map(|row| row.violations.len()).sum();
        let first = rows.values().flat_map(|row| &row.violations).next().cloned().unwrap_or_default();
        assert_eq!(bad, 0, "{bad} violations; the first:\n{first}");
        assert!(rows.values().any(|row| row.tried > 0 || !row.note.is_empty()), "nothing was tried");
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "a panic without words".to_owned())
}
