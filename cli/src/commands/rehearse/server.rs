//! Where a rehearsal takes place: a private server of its own, or an empty database that the user names.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use migengine_engine::migration::Script;
use migengine_engine::pg::rehearse::{RehearseError, Stand, StandOptions, schema_after};
use migengine_engine::pg::target::{SystemFiles, Target};
use migengine_engine::rehearse::{created_extensions, package_of};
use migengine_engine::schema::Schema;

use super::cache::kept_schema;
use super::chain::Chain;
use crate::context::Context;
use crate::embedded::{self, Durability, Embedded, ServerUser, find, place};
use crate::error::{CommandError, Exit};

/// Another rehearsal of the same user, in another terminal.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server, started or not.
pub struct Ground {
    target: Option<Target>,
    stand: Option<Stand>,
    root: PathBuf,
    running: Option<Embedded>,
    major: u32,
    limit: Duration,
    seed_rows: Option<u32>,
}

impl Ground {
    /// Looks for the server, without starting one.
    ///
    /// # Errors
    /// There is none, or it is not empty.
    pub async fn choose(
        context: &Context,
        against: Option<&str>,
        (limit, seed_rows): (Duration, Option<u32>),
    ) -> Result<Self, CommandError> {
        let root = root(context)?;
        let mut ground = Self { target: None, stand: None, root, running: None, major: 0, limit, seed_rows };
        match against {
            Some(url) => {
                let env = |name: &str| std::env::var(name).ok();
                ground.target = Some(Target::resolve(Some(url), &env, &SystemFiles)?);
                let stand = ground.open(context).await?;
                ground.major = stand.major;
                ground.stand = Some(stand);
            }
            None => {
                let found = find::find_all()?;
                ground.major = find::choose(&found, &place::clusters_in(&ground.root), &ground.root)?.version.major;
            }
        }
        Ok(ground)
    }

    /// Major version of the server.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Starts what has to be started, and takes the server.
    ///
    /// # Errors
    /// It does not start, or is not free.
    pub async fn open(&mut self, context: &Context) -> Result<Stand, CommandError> {
        if let Some(stand) = self.stand.take() {
            return Ok(stand);
        }
        let (target, private) = match &self.target {
            Some(target) => (target.clone(), false),
            None => {
                let server = embedded::start_with(Some(&self.root), Durability::Off)?;
                let target = Target::resolve(Some(server.url()), &|_| None, &SystemFiles)?;
                self.running = Some(server);
                (target, true)
            }
        };
        let options =
            StandOptions { private, statement_limit: self.limit, seed_rows: self.seed_rows, patience: PATIENCE };
        Ok(Stand::open(target, context.schema.clone(), options).await?)
    }

    /// Stops what was started.
    ///
    /// # Errors
    /// It does not stop.
    pub fn close(self) -> Result<(), CommandError> {
        match self.running {
            Some(server) => Ok(server.stop()?),
            None => Ok(()),
        }
    }
}

/// The folder of the private server. It is never the one of `--embedded`: rehearsals run without durability.
fn root(context: &Context) -> Result<PathBuf, CommandError> {
    if let Some(dir) = context.embedded_dir() {
        return Ok(dir.join("rehearsal"));
    }
    let user = ServerUser::current()?;
    let root = place::default_root(&place::PlaceEnv::of_process(&user))?;
    Ok(root.with_file_name("rehearsal"))
}

/// Nothing begins where an extension is missing: the first failure would hide all that comes after it.
///
/// # Errors
/// All that are missing, with their packages.
pub async fn refuse_missing_extensions(stand: &Stand, chain: &Chain, last: usize) -> Result<(), CommandError> {
    let scripts: Vec<&Script> = chain.members.iter().take(last + 1).map(|member| &*member.migration.up).collect();
    let wanted = created_extensions(scripts);
    let names: BTreeSet<String> = wanted.keys().cloned().collect();
    let missing = stand.missing_extensions(&names).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let places: Vec<String> = missing
        .iter()
        .map(|name| match wanted.get(name) {
            Some((file, line)) => format!("{name} ({file}:{line})"),
            None => name.clone(),
        })
        .collect();
    let what = format!("the rehearsal's server lacks what the migrations need: {}", places.join(", "));
    let packages: Vec<String> = missing.iter().map(|name| package_of(name, stand.major)).collect();
    Err(CommandError::refused("ME602", what)
        .next(format!("install it (Debian, Ubuntu: apt install {})", packages.join(" ")))
        .next("or rehearse beside an empty database of a server that has it: migengine rehearse --against URL"))
}

/// The schema after a member of the chain, from the cache or by applying everything up to there.
///
/// # Errors
/// The scripts do not apply, or there is no server.
pub async fn rehearsed_schema(context: &Context, chain: &Chain, at: usize) -> Result<Schema, CommandError> {
    let lock = chain.read_lock().unwrap_or_default();
    let member = chain.members.get(at);
    let entry = member.and_then(|member| lock.get(&member.link.id).filter(|entry| entry.chain == member.link.chain));
    if let Some(schema) = entry.and_then(|entry| kept_schema(&entry.schema.to_string())) {
        return Ok(schema);
    }
    let mut ground = Ground::choose(context, None, (Duration::from_secs(60), None)).await?;
    let mut stand = ground.open(context).await?;
    let schema = schema_after(&mut stand, &chain.items(at, |_| false)).await;
    stand.close().await;
    ground.close()?;
    schema?.map_err(|failure| {
        let error = CommandError::refused("ME605", format!("the migrations do not apply: {}", failure.message));
        CommandError { failure: Some(Box::new(failure)), ..error.next("migengine rehearse") }
    })
}

impl From<RehearseError> for CommandError {
    fn from(error: RehearseError) -> Self {
        let what = error.to_string();
        match error {
            RehearseError::Connect(error) => error.into(),
            RehearseError::NotEmpty { .. } => Self::refused("ME601", what)
                .next("make an empty one (createdb rehearsal) and name that with --against, or leave --against out"),
            RehearseError::Busy { .. } => {
                Self::refused("ME615", what).exit(Exit::Busy).next("wait for it, then: migengine rehearse")
            }
            RehearseError::Server { .. } => Self::refused("ME616", what)
                .next("with --against the role needs the right to create databases: ALTER ROLE … CREATEDB"),
            RehearseError::Fingerprint(_) => Self::refused("ME617", what),
        }
    }
}
