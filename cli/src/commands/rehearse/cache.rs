//! What earlier rehearsals on this machine found out. It may be deleted at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use migengine_engine::id::Digest;
use migengine_engine::rehearse::Rehearsal;
use migengine_engine::schema::Schema;
use serde_json::Value;

/// Beside the journal's usual place.
const FOLDER: &str = ".migengine/rehearsed";

/// Outcomes by key, and schemas by fingerprint.
pub(super) struct Cache {
    outcomes: BTreeMap<String, Value>,
    schema: Option<Schema>,
    changed: bool,
}

fn outcomes_path() -> PathBuf {
    Path::new(FOLDER).join("outcomes.json")
}

fn schema_path(fingerprint: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{fingerprint}.json"))
}

impl Cache {
    /// Reads it. What cannot be read counts as not there.
    #[must_use]
    pub(super) fn open() -> Self {
        let text = std::fs::read_to_string(outcomes_path()).unwrap_or_default();
        let outcomes = serde_json::from_str(&text).unwrap_or_default();
        Self { outcomes, schema: None, changed: false }
    }

    /// The outcome of a key.
    #[must_use]
    pub(super) fn get(&self, key: &Digest) -> Option<Rehearsal> {
        self.outcomes.get(&key.to_string()).and_then(|value| Rehearsal::from_json(value).ok())
    }

    /// Keeps an outcome. One that was cut short by the limit, or by the end of the session, is worth another try.
    pub(super) fn put(&mut self, key: &Digest, rehearsal: &Rehearsal) {
        let by_chance = |code: &str| matches!(code, "ME603" | "ME604");
        if rehearsal.error.as_ref().is_some_and(|error| by_chance(&error.code)) {
            return;
        }
        self.outcomes.insert(key.to_string(), rehearsal.to_json());
        self.changed = true;
    }

    /// What was found out about another order; see [`super::order`].
    pub(super) fn other_order(&self, key: &Digest) -> Option<Value> {
        self.outcomes.get(&key.to_string()).cloned()
    }

    /// Keeps that.
    pub(super) fn put_other_order(&mut self, key: &Digest, value: Value) {
        self.outcomes.insert(key.to_string(), value);
        self.changed = true;
    }

    /// Forgets what no file of the folder has any more.
    pub(super) fn keep_only(&mut self, keys: &[Digest]) {
        let keys: BTreeSet<String> = keys.iter().map(ToString::to_string).collect();
        self.outcomes.retain(|key, _| keys.contains(key));
    }

    /// Keeps a schema, by its fingerprint.
    pub(super) fn keep_schema(&mut self, schema: &Schema) {
        self.schema = Some(schema.clone());
    }

    /// Writes what is new.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(super) fn save(&self) -> std::io::Result<()> {
        if let Some(schema) = &self.schema {
            write(&schema_path(&schema.digest().to_string()), &schema.to_json().to_string())?;
        }
        if self.changed {
            write(&outcomes_path(), &serde_json::to_string(&self.outcomes).unwrap_or_default())?;
        }
        Ok(())
    }
}

/// A schema that was kept, by the beginning of its fingerprint.
#[must_use]
pub fn kept_schema(fingerprint: &str) -> Option<Schema> {
    let mut path = schema_path(fingerprint);
    if fingerprint.len() < 64 {
        let named = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with(fingerprint);
        path = std::fs::read_dir(FOLDER).ok()?.flatten().find(named)?.path();
    }
    let text = std::fs::read_to_string(path).ok()?;
    Schema::from_json(&serde_json::from_str(&text).ok()?).ok()
}

/// Whole or not at all.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(FOLDER)?;
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}
