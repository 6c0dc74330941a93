//! `migengine rehearse`: every migration and every rollback proven on a scratch database.

pub mod cache;
pub mod chain;
mod cost;
mod order;
mod report;
mod scale;
pub mod server;
mod suggest;

use std::time::{Duration, Instant};

use clap::Args;
use migengine_engine::id::Digest;
use migengine_engine::migration::parse_duration;
use migengine_engine::pg::rehearse::{Audience, Stand, rehearse};
use migengine_engine::rehearse::{Rehearsal, Size, created_roles, stale};
use migengine_engine::schema::Schema;
use tokio::sync::watch;

use crate::args::Format;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::render;
use cache::Cache;
use chain::{Chain, Choice};
use scale::Scale;
use server::Ground;

/// Options of `rehearse`.
#[derive(Debug, Args)]
pub struct RehearseArgs {
    /// Migrations to rehearse: ids, numbers or files. Without any: all.
    #[arg(value_name = "ID-OR-FILE")]
    pub targets: Vec<String>,
    /// The first migration to rehearse, in the order of the plan.
    #[arg(long, value_name = "ID", conflicts_with = "targets")]
    pub from: Option<String>,
    /// The last migration to rehearse.
    #[arg(long, value_name = "ID", conflicts_with = "targets")]
    pub to: Option<String>,
    /// Rehearse again also what was rehearsed before and is unchanged.
    #[arg(long)]
    pub all: bool,
    /// An empty database to rehearse beside, instead of the private server. It stays empty: copies of it are used.
    #[arg(long, value_name = "URL")]
    pub against: Option<String>,
    /// Rehearse also with this many made-up rows in each table that a migration touches.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub seed_rows: Option<u32>,
    /// Scale what was measured to the table sizes of this database. It is only read.
    #[arg(long, value_name = "URL")]
    pub sizes_from: Option<String>,
    /// Propose the fewest `Requires` that what was measured allows; tried in another order.
    #[arg(long, conflicts_with_all = ["targets", "from", "to"])]
    pub suggest_requires: bool,
    /// Only tell whether migengine.lock fits the files. Needs no server.
    #[arg(long, conflicts_with_all = ["targets", "from", "to", "all", "against", "seed_rows", "sizes_from", "suggest_requires"])]
    pub check: bool,
    /// How long a statement may take.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = limit)]
    pub statement_limit: Duration,
}

fn limit(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and a unit: 10s, 2m".to_owned();
    parse_duration(text).filter(|limit| !limit.is_zero()).ok_or_else(wrong)
}

/// Runs the command.
///
/// # Errors
/// See the contract's exit codes.
pub async fn run(context: &Context, args: &RehearseArgs, stop: watch::Receiver<bool>) -> Result<Exit, CommandError> {
    let chain = Chain::load(&context.dir)?;
    crate::commands::apply::warn(context, &chain.warnings);
    if args.check {
        return check(context, &chain);
    }
    let began = Instant::now();
    let choice = chain.choose(args)?;
    let mut cache = Cache::open();
    let outcome = rehearsed(context, args, (&chain, &choice), &mut cache, stop).await?;
    let lock = chain.updated_lock(&outcome.rehearsals, outcome.major);
    chain.write_lock(&lock)?;
    if let Err(error) = cache.save() {
        context.tell(&format!("the outcomes could not be kept for the next time: {error}"));
    }
    report::show(context, &outcome, began.elapsed())
}

/// What a command found out.
pub struct Outcome {
    /// In the order of the plan.
    pub rehearsals: Vec<Rehearsal>,
    /// How many of them were known before.
    pub cached: usize,
    /// Major version of the server.
    pub major: u32,
    /// Whether another order gives something else; `null` where it does not, or where there is none.
    pub other_order: serde_json::Value,
    /// What the migrations should require, where that was asked for.
    pub requires: Option<suggest::Requires>,
    /// Real sizes, where they were asked for.
    pub scale: Option<Scale>,
    /// Roles that were made for the time of the rehearsal.
    pub stubs: Vec<String>,
}

async fn rehearsed(
    context: &Context,
    args: &RehearseArgs,
    (chain, choice): (&Chain, &Choice),
    cache: &mut Cache,
    mut stop: watch::Receiver<bool>,
) -> Result<Outcome, CommandError> {
    let sizes = match &args.sizes_from {
        Some(url) => Some(scale::read(context, url).await?),
        None => None,
    };
    let mut ground = Ground::choose(context, args.against.as_deref(), (args.statement_limit, args.seed_rows)).await?;
    let major = ground.major();
    let keys = chain.keys(major, args.seed_rows);
    let order_key = order::key(chain, major).filter(|_| choice.wanted.len() == chain.members.len());
    let kept: Vec<_> = keys.iter().copied().chain(order::key(chain, major)).collect();
    cache.keep_only(&kept);
    let mut other_order = order_key.and_then(|key| cache.other_order(&key)).filter(|_| !args.all);
    let mut known: Vec<Option<Rehearsal>> =
        keys.iter().map(|key| if args.all { None } else { cache.get(key) }).collect();
    let open: Vec<usize> =
        choice.wanted.iter().copied().filter(|at| !matches!(known.get(*at), Some(Some(_)))).collect();
    let cached = choice.wanted.len() - open.len();
    let reorder = order_key.filter(|_| other_order.is_none());
    let last = open.iter().max().copied().or(reorder.map(|_| chain.members.len() - 1));
    let work = Work { chain, choice, open, last, reorder, keys, sizes, suggest: args.suggest_requires };
    let (mut stubs, mut found) = (Vec::new(), Ok(Found::default()));
    if work.needs_server() {
        let mut stand = ground.open(context).await?;
        found = tokio::select! {
            found = work.on(&mut stand, context, cache, &mut known) => found,
            Ok(()) = stop.changed() => Err(stopped()),
        };
        stubs.clone_from(&stand.stubs);
        stand.close().await;
    }
    ground.close()?;
    let found = found?;
    other_order = found.order.or(other_order);
    let rehearsals = wanted(chain, choice, &known);
    let other_order = other_order.unwrap_or_default();
    Ok(Outcome { rehearsals, cached, major, other_order, requires: found.requires, scale: found.scale, stubs })
}

/// The outcomes of what was asked for, each with what its author says today.
fn wanted(chain: &Chain, choice: &Choice, known: &[Option<Rehearsal>]) -> Vec<Rehearsal> {
    let one = |at: &usize| {
        let rehearsal = known.get(*at)?.clone()?;
        Some(Rehearsal { excuse: chain.members.get(*at).and_then(chain::Member::excuse), ..rehearsal })
    };
    choice.wanted.iter().filter_map(one).collect()
}

/// By a signal. The scratch databases are removed all the same.
fn stopped() -> CommandError {
    CommandError::refused("ME620", "the rehearsal was stopped by a signal")
        .exit(Exit::Stopped)
        .state("Only scratch databases were used; they are gone.")
        .next("migengine rehearse")
}

/// What has to be found out on a server.
struct Work<'c> {
    chain: &'c Chain,
    choice: &'c Choice,
    /// Places that are not known yet, and the last one that has to be applied for them.
    open: Vec<usize>,
    last: Option<usize>,
    reorder: Option<Digest>,
    keys: Vec<Digest>,
    sizes: Option<(String, std::collections::BTreeMap<String, Size>)>,
    suggest: bool,
}

/// What was found out beside the outcomes.
#[derive(Default)]
struct Found {
    order: Option<serde_json::Value>,
    scale: Option<Scale>,
    requires: Option<suggest::Requires>,
}

impl Work<'_> {
    fn needs_server(&self) -> bool {
        self.last.is_some() || self.sizes.is_some() || self.suggest
    }

    async fn on(
        self,
        stand: &mut Stand,
        context: &Context,
        cache: &mut Cache,
        known: &mut [Option<Rehearsal>],
    ) -> Result<Found, CommandError> {
        let mut found = Found::default();
        if let Some(last) = self.last {
            server::refuse_missing_extensions(stand, self.chain, last).await?;
            let items = self.chain.items(last, |at| self.open.contains(&at));
            stand.expect_roles(created_roles(items.iter().map(|item| item.up)));
            let mut audience = Progress { context, cache, last: items.last().map(|item| item.id.clone()) };
            let fresh = if self.open.is_empty() { Vec::new() } else { rehearse(stand, &items, &mut audience).await? };
            for (at, rehearsal) in self.open.iter().zip(fresh) {
                if let Some((slot, key)) = known.get_mut(*at).zip(self.keys.get(*at)) {
                    cache.put(key, &rehearsal);
                    *slot = Some(rehearsal);
                }
            }
        }
        if let Some(key) = self.reorder {
            let rehearsals = wanted(self.chain, self.choice, known);
            let order = order::compare_orders(stand, self.chain, &rehearsals).await?;
            cache.put_other_order(&key, order.clone());
            found.order = Some(order);
        }
        if self.suggest {
            found.requires = Some(suggest::suggest(stand, self.chain, &wanted(self.chain, self.choice, known)).await?);
        }
        if let Some(sizes) = self.sizes {
            found.scale = Some(Scale::new(sizes, stand.speed().await?));
        }
        Ok(found)
    }
}

/// Tells what happens, and keeps the last schema for `drift`.
struct Progress<'a> {
    context: &'a Context,
    cache: &'a mut Cache,
    last: Option<migengine_engine::id::MigrationId>,
}

impl Audience for Progress<'_> {
    fn rehearsed(&mut self, rehearsal: &Rehearsal, schema: Option<&Schema>) {
        if self.context.look.verbose > 0 {
            self.context.tell(&report::line(rehearsal, None, self.context.look.verbose));
        }
        if let Some(schema) = schema.filter(|_| self.last.as_ref() == Some(&rehearsal.id)) {
            self.cache.keep_schema(schema);
        }
    }
}

/// Holds the lock file against the folder.
fn check(context: &Context, chain: &Chain) -> Result<Exit, CommandError> {
    let lock = chain.read_lock()?;
    let links: Vec<_> = chain.members.iter().map(|member| member.link.clone()).collect();
    let found: Vec<String> = stale(&lock, &links).iter().map(ToString::to_string).collect();
    let broken: Vec<String> = chain
        .members
        .iter()
        .filter(|member| lock.get(&member.link.id).is_some_and(|entry| !entry.proven) && member.excuse().is_none())
        .map(|member| member.link.id.to_string())
        .collect();
    if context.look.format == Format::Json {
        let object = serde_json::json!({ "stale": found, "broken": broken });
        render::data(&object.to_string());
    }
    if found.is_empty() && broken.is_empty() {
        context.tell("migengine.lock fits the files, and every migration in it is proven or excused");
        return Ok(Exit::Done);
    }
    if context.look.format == Format::Text {
        found.iter().for_each(|line| render::data(line));
        broken.iter().for_each(|id| render::data(&format!("{id} is not proven")));
    }
    let (code, what) = match (found.len(), broken.len()) {
        (0, n) => ("ME609", format!("{n} of {} migrations are not proven", chain.members.len())),
        (1, _) => ("ME610", "migengine.lock is stale in 1 place".to_owned()),
        (n, _) => ("ME610", format!("migengine.lock is stale in {n} places")),
    };
    let mut error = CommandError::refused(code, what).exit(Exit::Differs);
    if !broken.is_empty() {
        error = error.next("mend what is not proven, or say in its header why that is right: migengine explain ME609");
    }
    error = error.next("then: migengine rehearse, and commit migengine.lock");
    render::line(render::error_text(&error, context.look.color).trim_end());
    Ok(Exit::Differs)
}
