//! Where the scripts of a run come from: the folder, and where a file is gone, what the history kept of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use migengine_engine::drive::StepScripts;
use migengine_engine::id::MigrationId;
use migengine_engine::migration::{Header, Migration, Script, parse_script};
use migengine_engine::pg::mirror::KeptScripts;
use migengine_engine::pg::read::{HistoryState, Ledger};
use migengine_engine::pg::witness::{Testimony, texts};
use migengine_engine::plan;
use migengine_engine::run::event::PlannedStep;

use crate::error::CommandError;
use crate::project::{Project, plan_script};

/// Scripts kept in the history, parsed.
#[derive(Default)]
pub struct Kept {
    by_id: BTreeMap<MigrationId, (KeptScripts, Option<Arc<Script>>)>,
}

impl Kept {
    /// Parses the reverse scripts.
    ///
    /// # Errors
    /// One that does not parse: then the history was edited.
    pub fn parse(rows: Vec<KeptScripts>) -> Result<Self, CommandError> {
        let mut by_id = BTreeMap::new();
        for row in rows {
            let down = match &row.down {
                Some(sql) => {
                    let (script, found) = parse_script(&format!("history:{}_rollback.sql", row.id), sql.as_bytes());
                    match script {
                        Some(script) => Some(Arc::new(script)),
                        None => return Err(CommandError::files(found)),
                    }
                }
                None => None,
            };
            by_id.insert(row.id.clone(), (row, down));
        }
        Ok(Self { by_id })
    }

    /// The reverse script of a migration.
    #[must_use]
    pub fn down(&self, id: &MigrationId) -> Option<Arc<Script>> {
        self.by_id.get(id).and_then(|(_, down)| down.clone())
    }
}

/// The planner's view of the history: what is in effect. A script by parts that was only begun is not.
#[must_use]
pub fn history(ledger: Option<&Ledger>, kept: &Kept) -> plan::History {
    let rows = ledger.into_iter().flat_map(|ledger| ledger.history.values());
    let rows = rows.filter(|row| row.state != HistoryState::Begun);
    plan::History::new(rows.map(|row| plan::Applied {
        id: row.id.clone(),
        content: row.content,
        tokens: row.tokens,
        applied_at: row.applied_at,
        seq: row.position,
        requires: row.requires.clone(),
        reverse: kept.down(&row.id).map(|script| plan_script(&script)),
        run: row.run.unwrap_or(migengine_engine::id::RunId::from_bytes([0; 16])),
    }))
}

/// The scripts of a run's steps.
#[must_use]
pub fn scripts(project: &Project, kept: &Kept, steps: &[PlannedStep], requires: &plan::Graph) -> Vec<StepScripts> {
    steps.iter().map(|step| step_scripts(project.get(&step.id), kept, &step.id, requires)).collect()
}

fn step_scripts(migration: Option<&Migration>, kept: &Kept, id: &MigrationId, graph: &plan::Graph) -> StepScripts {
    let Some(migration) = migration else {
        return StepScripts { down: kept.down(id), ..StepScripts::default() };
    };
    let (up, down, verify) = (&migration.up, migration.down.as_ref(), migration.verify.as_ref());
    StepScripts {
        testimony: Testimony {
            id: id.as_str().to_owned(),
            content: up.content.as_bytes().to_vec(),
            tokens: up.tokens.as_bytes().to_vec(),
            requires: texts(&graph.requires(id)),
            header: header_json(&up.header),
            up_sql: up.text.clone(),
            down_sql: down.map(|script| script.text.clone()),
            verify_sql: verify.map(|script| script.text.clone()),
        },
        up: Some(Arc::clone(up)),
        down: down.cloned().or_else(|| kept.down(id)),
        verify: verify.cloned(),
    }
}

/// The documentation keys of a header, as the history keeps them.
#[must_use]
pub fn header_json(header: &Header) -> String {
    let mut map = serde_json::Map::new();
    for (key, value) in [
        ("migration", &header.migration),
        ("description", &header.description),
        ("author", &header.author),
        ("date", &header.date),
        ("irreversible", &header.irreversible),
    ] {
        if let Some(value) = value {
            map.insert(key.to_owned(), value.clone().into());
        }
    }
    if !header.tags.is_empty() {
        map.insert("tags".to_owned(), header.tags.clone().into());
    }
    serde_json::Value::Object(map).to_string()
}
