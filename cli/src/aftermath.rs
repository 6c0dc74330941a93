//! What is left to do when a run is over or rests: export the schema, tell those who wait for it, and write down what
//! came of that. None of it changes how the run ended.

use migengine_engine::pg::target::Target;
use migengine_engine::run::event::Event;
use migengine_engine::run::journal::Journal as _;
use migengine_engine::run::state::RunSnapshot;
use tokio::sync::watch;

use crate::context::{Context, now};
use crate::journals::OpenJournal;
use crate::outside::Outside;
use crate::outside::export::{Wanted, dump, write};
use crate::outside::moment::Moment;
use crate::outside::post::Remark;

/// What the work after a run needs to know.
pub struct Aftermath<'a> {
    /// Options.
    pub context: &'a Context,
    /// The database.
    pub target: &'a Target,
    /// `server_version_num` of the server.
    pub server: i32,
    /// Becomes true at a signal.
    pub stop: watch::Receiver<bool>,
}

impl Aftermath<'_> {
    /// Does it. `done` says whether the run did what it was asked for.
    pub async fn settle(self, run: &RunSnapshot, done: bool, outside: Outside, journal: &OpenJournal) -> Vec<Remark> {
        let mut remarks = Vec::new();
        if done {
            remarks.extend(self.export().await);
            outside.tell(Moment::AfterSuccess, run, None);
        }
        remarks.extend(outside.close(run, self.stop).await);
        for remark in remarks.iter().filter(|remark| remark.trouble) {
            self.context.tell(&format!("  {}", remark.message));
        }
        // A run that rests may be taken up on another machine, from the records that the database has: one more record of
        // it here alone would make two stories of it.
        if !remarks.is_empty() && run.epoch.is_some() && run.state.is_final() {
            let noted = remarks.iter().map(|remark| {
                let (topic, message) = (remark.topic.to_owned(), remark.message.clone());
                (now(), Event::Noted { step: None, topic, message })
            });
            // The run is over and on disk; a note that cannot be added is no reason to call it anything else.
            if let Err(error) = journal.journal.append(run.run, noted.collect()).await {
                self.context.tell(&format!("  what came of hooks and the like is not in the journal: {error}"));
            }
        }
        remarks
    }

    /// Writes the schema to its file, where the configuration names one.
    async fn export(&self) -> Option<Remark> {
        let settings = self.context.section().export.clone()?;
        let file = settings.file.clone()?;
        let shown = file.display().to_string();
        let engine_schema = self.context.schema.raw().to_owned();
        let wanted = Wanted { target: self.target.clone(), server: self.server, engine_schema, settings };
        let written = tokio::task::spawn_blocking(move || dump(&wanted).and_then(|text| write(&file, &text)));
        let remark = |trouble: bool, message: String| Some(Remark { topic: "export", message, trouble });
        match crate::commands::apply::joined(written.await) {
            Ok(changed) => {
                if changed {
                    self.context.tell(&format!("  exported  the schema to {shown}"));
                }
                remark(false, format!("{shown} {}", if changed { "was written" } else { "was up to date" }))
            }
            Err(error) => {
                let next = error.next.first().map(|next| format!("; next: {next}")).unwrap_or_default();
                remark(true, format!("[{}] the schema was not exported: {}{next}", error.code, error.what))
            }
        }
    }
}
