//! Costs at the size of a real database (`--sizes-from`).

use std::collections::BTreeMap;

use migengine_engine::pg::rehearse::table_sizes;
use migengine_engine::pg::session::Session;
use migengine_engine::pg::target::{SystemFiles, Target};
use migengine_engine::rehearse::{Hold, Rehearsal, Size, Speed, holds};
use serde_json::{Value, json};

use super::cost::bytes;
use crate::args::RunOptions;
use crate::context::Context;
use crate::error::CommandError;
use crate::render;

/// Real sizes, and what this machine does in a second.
pub struct Scale {
    from: String,
    sizes: BTreeMap<String, Size>,
    speed: Speed,
}

impl Scale {
    /// With sizes that were read and a speed that was measured.
    #[must_use]
    pub fn new((from, sizes): (String, BTreeMap<String, Size>), speed: Speed) -> Self {
        Self { from, sizes, speed }
    }

    /// How long the locks of a migration would be held.
    #[must_use]
    pub fn holds(&self, rehearsal: &Rehearsal) -> Vec<Hold> {
        holds(&rehearsal.statements, &self.sizes, &self.speed)
    }

    /// `ACCESS EXCLUSIVE on users for about 41 s (37.0 GB)`.
    #[must_use]
    pub fn line(&self, hold: &Hold) -> String {
        let size = self.sizes.get(&hold.object).map(|size| format!(" ({})", bytes(size.bytes))).unwrap_or_default();
        format!("{} on {} for about {}{size}", hold.mode, hold.object, render::duration(hold.micros))
    }

    /// How the estimate was made, and how far to trust it.
    #[must_use]
    pub fn model(&self) -> String {
        let Speed { scan, rewrite, build } = self.speed;
        format!(
            "estimates: table sizes of {}, at {}/s read, {}/s written anew, {}/s indexed as measured on this machine just \
             now, on a warm and idle server: right to a factor of three or so",
            self.from,
            bytes(scan),
            bytes(rewrite),
            bytes(build)
        )
    }

    /// `{"from","speed":{"scan","rewrite","build"}}`, in bytes a second.
    #[must_use]
    pub fn json(&self) -> Value {
        let Speed { scan, rewrite, build } = self.speed;
        json!({"from": self.from, "speed": {"scan": scan, "rewrite": rewrite, "build": build}})
    }
}

/// Reads the sizes of a database's tables, changing nothing.
///
/// # Errors
/// It cannot be reached or asked.
pub(super) async fn read(context: &Context, url: &str) -> Result<(String, BTreeMap<String, Size>), CommandError> {
    let env = |name: &str| std::env::var(name).ok();
    let target = Target::resolve(Some(url), &env, &SystemFiles)?;
    let settings = context.limits(&RunOptions::default())?.settings();
    let session = Session::open(&target, &context.schema, "migengine:sizes", &settings).await?;
    Ok((target.to_string(), table_sizes(&session).await?))
}
