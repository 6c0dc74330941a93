//! How the steps of an `apply` are to take effect (`--atomic`, `--jobs`), and what stands in the way of that.

use migengine_engine::drive::StepScripts;
use migengine_engine::pg::read::ReadError;
use migengine_engine::pg::room::free_connections;
use migengine_engine::pg::session::Session;
use migengine_engine::run::state::Manner;

use crate::error::CommandError;

/// Everything in one transaction is only possible where every step can be a part of it.
///
/// # Errors
/// The steps that cannot.
pub fn refuse_unjoinable(manner: Manner, scripts: &[StepScripts]) -> Result<(), CommandError> {
    let forward = scripts.iter().filter_map(|scripts| scripts.up.as_deref());
    let apart: Vec<String> = match manner {
        Manner::StepByStep => Vec::new(),
        Manner::AtOnce => forward.filter(|script| !script.can_join()).map(|script| script.file.clone()).collect(),
    };
    if apart.is_empty() {
        return Ok(());
    }
    let what =
        format!("--atomic runs all steps in one transaction, and these cannot be part of it: {}", apart.join(", "));
    Err(CommandError::refused("ME162", what)
        .next("apply what comes before them with --atomic --to ID, and these without it")
        .next("or apply everything step by step: migengine apply"))
}

/// Each session of `--jobs` is a connection of its own, and the guard may want one more.
///
/// # Errors
/// The server has not so many left.
pub async fn refuse_crowded(session: &Session, jobs: usize) -> Result<(), CommandError> {
    if jobs < 2 {
        return Ok(());
    }
    let free = free_connections(&session.client).await.map_err(ReadError::from)?;
    let wanted = jobs.saturating_add(1);
    if wanted <= usize::try_from(free).unwrap_or_default() {
        return Ok(());
    }
    let most = free.saturating_sub(1).max(1);
    let what = format!(
        "--jobs {jobs} needs {wanted} more connections (one for each job, and one to watch), and the server has {free} \
         free ones for this role"
    );
    Err(CommandError::refused("ME161", what).next(format!("migengine apply --jobs {most}")))
}
