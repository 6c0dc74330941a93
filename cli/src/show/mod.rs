//! What people see of a run while it lasts, on stderr: on a terminal a live display below the lines, elsewhere lines
//! alone.

mod board;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use migengine_engine::progress::Progress;
use migengine_engine::run::event::Recorded;
use migengine_engine::run::state::RunSnapshot;

use crate::args::ShowProgress;
use crate::context::Context;
use crate::render::{self, screen};
use board::Board;

/// Pause between two lines about the same step.
const LINE_EVERY: Duration = Duration::from_secs(2);
/// Pause between two pictures of the live display.
const TICK: Duration = Duration::from_millis(120);

/// The view of one run.
pub struct Show<'a> {
    context: &'a Context,
    live: Option<Live>,
    /// When a line was last written about each step.
    told: Mutex<BTreeMap<String, Instant>>,
}

struct Live {
    board: Arc<Mutex<Board>>,
    _raised: screen::Raised,
}

impl<'a> Show<'a> {
    /// Of a run that begins or goes on.
    #[must_use]
    pub fn new(context: &'a Context, asked: ShowProgress, jobs: usize, run: &RunSnapshot) -> Self {
        let wanted = asked == ShowProgress::Auto && !context.look.quiet;
        // The target is hidden where stderr is no terminal, or one that cannot move its cursor.
        let target = ProgressDrawTarget::stderr();
        let live = (wanted && !target.is_hidden()).then(|| Live::new(run, jobs, target));
        Self { context, live, told: Mutex::default() }
    }

    /// An event; `run` contains it.
    pub fn event(&self, run: &RunSnapshot, record: &Recorded) {
        if let Some(live) = &self.live {
            live.with(|board| board.event(run, record, Instant::now()));
        }
        if let Some(line) = render::event(run, record) {
            self.context.tell(&line);
        }
    }

    /// How far something has come.
    pub fn progress(&self, step: Option<&str>, progress: &Progress) {
        match &self.live {
            Some(live) => live.with(|board| board.progress(step, progress, Instant::now())),
            None => self.line(step, progress),
        }
    }

    /// As a line, now and then. Waits for locks have lines of their own, which the guard writes.
    fn line(&self, step: Option<&str>, progress: &Progress) {
        let (Some(step), Progress::Rows(_) | Progress::Building(_)) = (step, progress) else { return };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // The first line comes after a pause, too: what is over sooner is not worth one.
        let now = Instant::now();
        let last = told.entry(step.to_owned()).or_insert(now);
        if now.saturating_duration_since(*last) >= LINE_EVERY {
            *last = now;
            self.context.tell(&format!("  progress  {step}: {}", progress.words()));
        }
    }
}

impl Live {
    fn new(run: &RunSnapshot, jobs: usize, target: ProgressDrawTarget) -> Self {
        let board = Arc::new(Mutex::new(Board::new(run, jobs, Instant::now())));
        let bar = ProgressBar::with_draw_target(None, target);
        let model = Arc::clone(&board);
        let draw = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            let (_, width) = Term::stderr().size();
            // The spinner and a space stand before the first line.
            let width = usize::from(width).saturating_sub(3).max(20);
            let lines = model.lock().unwrap_or_else(PoisonError::into_inner).lines(Instant::now(), width);
            // Writing to memory does not fail.
            out.write_str(&lines.join("\n")).ok();
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {board}") {
            bar.set_style(style.with_key("board", draw).tick_chars("|/-\\ "));
        }
        bar.enable_steady_tick(TICK);
        Self { board, _raised: screen::raise(bar) }
    }

    fn with(&self, change: impl FnOnce(&mut Board)) {
        change(&mut self.board.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
