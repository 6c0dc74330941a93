//! `audit verify`.

use std::collections::BTreeMap;

use migengine_engine::audit::{Anchor, TOPIC, Verifier};
use migengine_engine::pg::read::HistoryState;
use migengine_engine::run::event::Event;
use migengine_engine::run::journal::Journal as _;
use migengine_journal::SledJournal;
use serde_json::json;

use super::Log;
use crate::args::Format;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::render;

/// Runs the command. A log that is not as it was written is for a person to look at.
///
/// # Errors
/// The log cannot be read.
pub(super) async fn run(context: &Context) -> Result<Exit, CommandError> {
    let mut log = Log::open(context).await?;
    let anchors = anchors(context, &log.ledger.uuid).await;
    let remembered = anchors.len();
    let mut verifier = Verifier::new(anchors);
    let mut count = 0_u64;
    loop {
        let entries = log.next().await?;
        if entries.is_empty() {
            break;
        }
        entries.iter().for_each(|entry| verifier.push(entry));
        count += entries.len() as u64;
    }
    let in_effect = |state| matches!(state, HistoryState::Applied | HistoryState::Undoing);
    let history: BTreeMap<String, Vec<u8>> = log
        .ledger
        .history
        .values()
        .filter(|row| in_effect(row.state))
        .map(|row| (row.id.to_string(), row.tokens.as_bytes().to_vec()))
        .collect();
    let findings = verifier.finish(log.ledger.audit, &history);
    let sound = findings.is_empty();
    let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
    match context.look.format {
        Format::Json => {
            let object = json!({ "sound": sound, "entries": count, "anchors": remembered, "findings": texts });
            render::data(&object.to_string());
        }
        Format::Text => {
            texts.iter().for_each(|text| render::data(text));
            let verdict = if sound { "sound" } else { "NOT SOUND" };
            let entries = if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") };
            let heads = render::count(remembered as u64, "head");
            render::data(&format!("the audit log: {verdict}, {entries}, {heads} in the journal"));
        }
    }
    if sound {
        return Ok(Exit::Done);
    }
    context.tell("[ME758] the audit log is not as it was written; next: migengine explain ME758");
    Ok(Exit::Person)
}

/// The heads that the local journal remembers, where there is one for this database.
async fn anchors(context: &Context, uuid: &str) -> Vec<Anchor> {
    let Ok(Some(opened)) = SledJournal::open_read_only(context.journal.path(uuid)) else {
        context.tell("no journal of this database is at hand: the log is checked against itself and the history only");
        return Vec::new();
    };
    if !matches!(opened.journal.binding().await, Ok(Some(bound)) if bound == uuid) {
        return Vec::new();
    }
    let mut anchors = Vec::new();
    for run in opened.journal.runs().await.unwrap_or_default() {
        for (record, _) in opened.journal.records(run).await.unwrap_or_default() {
            match record.event {
                Event::Noted { topic, message, .. } if topic == TOPIC => anchors.extend(Anchor::parse(&message)),
                _ => {}
            }
        }
    }
    anchors
}
