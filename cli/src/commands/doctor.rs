//! `migengine doctor`: every check that there is, each by name, with its verdict and its time. Changes nothing.

use std::time::{Duration, Instant};

use clap::Args;
use migengine_engine::diag::Severity;
use migengine_engine::hazard::{self, refusals};
use migengine_engine::migration::Migration;
use migengine_engine::pg::read::DatabaseState;
use migengine_engine::pg::session::Session;
use migengine_engine::pg::target::{Host, Target};
use migengine_engine::plan::{ApplyTarget, Graph, Plan, Policy, plan_apply};
use migengine_engine::preflight::{Check, Facts, KINDS, Verdict};
use migengine_engine::protect::window::Standing;
use serde_json::json;

use crate::admission::hosted_at;
use crate::args::{Format, RunOptions, duration};
use crate::chronicle;
use crate::commands::apply::refuse_bad_files;
use crate::commands::rehearse::chain::Chain;
use crate::context::{Context, Limits, now};
use crate::drift;
use crate::error::{CommandError, Exit};
use crate::outside::programs;
use crate::preflight::{self, RowLimits, micros};
use crate::project::{self, Project};
use crate::render;
use crate::sources::{self, Kept};

/// Options of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// How long one look at the rows of a table may take.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "60s")]
    pub data_timeout: Duration,
    /// Exit with 3 when there are warnings.
    #[arg(long)]
    pub exit_code: bool,
}

/// The checks as they are made, each with the time since the one before.
struct List {
    checks: Vec<Check>,
    lap: Instant,
}

impl List {
    fn add(&mut self, check: Check) {
        let took_us = if check.took_us == 0 { micros(self.lap) } else { check.took_us };
        self.checks.push(Check { took_us, ..check });
        self.lap = Instant::now();
    }

    /// From something that may go wrong.
    fn judge(&mut self, name: &'static str, result: Result<Check, CommandError>) {
        self.add(result.unwrap_or_else(|error| failed(name, error)));
    }

    fn worst(&self) -> Verdict {
        self.checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok)
    }
}

/// Runs the command.
///
/// # Errors
/// None of its own: what is wrong is a check.
pub async fn run(context: &Context, args: &DoctorArgs) -> Result<Exit, CommandError> {
    let mut list = List { checks: Vec::new(), lap: Instant::now() };
    examine(context, args, &mut list).await;
    let place = |check: &Check| KINDS.iter().position(|kind| kind.name == check.name);
    for kind in KINDS {
        if !list.checks.iter().any(|check| check.name == kind.name) {
            list.checks.push(Check::skipped(kind.name, "what it needs could not be had"));
        }
    }
    list.checks.sort_by_key(place);
    show(context, &list);
    Ok(match list.worst() {
        Verdict::Fail => Exit::Refused,
        Verdict::Warn if args.exit_code => Exit::Differs,
        _ => Exit::Done,
    })
}

fn show(context: &Context, list: &List) {
    if context.look.format == Format::Json {
        let checks = list.checks.iter().map(|check| {
            json!({
                "name": check.name,
                "verdict": check.verdict.name(),
                "message": check.says,
                "next": check.next,
                "duration_ms": check.took_us / 1000,
            })
        });
        let object = json!({ "verdict": list.worst().name(), "checks": checks.collect::<Vec<_>>(), "error": null });
        return render::data(&object.to_string());
    }
    for check in &list.checks {
        let took = render::duration(check.took_us);
        render::data(&format!("{:<8} {:<18} {} ({took})", check.verdict.name(), check.name, check.says));
        if let Some(next) = &check.next {
            render::data(&format!("{:27} next: {next}", ""));
        }
    }
    render::data(&format!("\n{}", summary(&list.checks)));
}

/// `1 fail, 2 warn, 20 ok, 3 skipped: a run would be refused`.
fn summary(checks: &[Check]) -> String {
    let count = |verdict: Verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    let counts = [Verdict::Fail, Verdict::Warn, Verdict::Ok, Verdict::Skipped].map(|verdict| (count(verdict), verdict));
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, verdict)| format!("{count} {}", verdict.name())).collect();
    let refused = if count(Verdict::Fail) > 0 { "a run would be refused" } else { "nothing is in the way of a run" };
    format!("{}: {refused}", counts.join(", "))
}

/// Makes the checks, as far as they can be made.
async fn examine(context: &Context, args: &DoctorArgs, list: &mut List) {
    let project = project::load(&context.dir);
    list.add(files(context, project.as_ref()));
    list.add(window(context));
    let (target, limits) = match configuration(context) {
        Ok(resolved) => resolved,
        Err(error) => return list.add(failed("configuration", error)),
    };
    list.add(Check::ok("configuration", target.describe()));
    list.add(programs::check(context.section(), None));
    let (session, state) = match context.open(&target, &limits).await {
        Ok(opened) => opened,
        Err(error) => return list.add(failed("connection", error)),
    };
    let major = u32::try_from(state.server.version / 10_000).ok();
    // With the server's version more is known of them.
    list.checks.retain(|check| check.name != "programs");
    list.add(programs::check(context.section(), major));
    list.judge("direct-connection", direct(&session, &state).await);
    list.add(match state.server.read_only {
        true => {
            Check::fail("primary", "the server takes no changes: a standby, or set read-only", "connect to the primary")
        }
        false => Check::ok("primary", "the server takes changes"),
    });
    list.add(protection(context, &target, &state));
    list.judge("unfinished-run", unfinished(context, &session, &state).await);
    let project = match project {
        Ok(project) if refuse_bad_files(&project, &context.dir).is_ok() => project,
        _ => Project { migrations: Vec::new(), diagnostics: Vec::new() },
    };
    let history = sources::history(state.ledger.as_ref(), &Kept::default());
    let graph = Graph::build(project.nodes(), &history);
    let planned = plan_apply(&graph, &history, &ApplyTarget::All, Policy::default());
    let plan = match planned {
        Ok(planned) => {
            list.add(past(&state, &graph));
            planned.plan
        }
        Err(refused) => {
            list.add(failed("history", crate::commands::apply::refused(refused)));
            return;
        }
    };
    let pending: Vec<&Migration> = plan.steps.iter().filter_map(|step| project.get(&step.id)).collect();
    let scripts: Vec<_> = pending.iter().map(|migration| &*migration.up).collect();
    list.lap = Instant::now();
    let inspected = match preflight::inspect(context, &session, &state, &scripts).await {
        Ok(inspected) => inspected,
        Err(error) => return list.add(failed("settings", error)),
    };
    list.add(connection(&target, &state, inspected.facts.as_ref()));
    inspected.checks.iter().for_each(|check| list.add(check.clone()));
    list.add(hazards(context, &state, &scripts));
    list.add(reverse(context, &plan, &pending));
    list.judge("drift", drifted(context, &session, &state).await);
    let archiver = inspected.facts.as_ref().and_then(|facts| facts.archiver.as_ref());
    let protected = context.protection(state.ledger.as_ref()).is_on();
    if let Ok(sources) = context.backups() {
        list.add(sources.check(state.server.system, archiver, now(), protected).await);
    }
    let limits = RowLimits::of_doctor(args.data_timeout);
    list.judge("data", preflight::rows(&session, &inspected.asks, inspected.facts.as_ref(), limits).await);
}

/// Everything that a run would read of options, variables and the file: what it would refuse is told here.
fn configuration(context: &Context) -> Result<(Target, Limits), CommandError> {
    let target = context.target()?;
    let limits = context.limits(&RunOptions::default())?;
    context.outside(&RunOptions::default()).map(drop)?;
    Ok((target, limits))
}

/// An error as a check: what happened, and what to do next.
fn failed(name: &'static str, error: CommandError) -> Check {
    let mut says = format!("[{}] {}", error.code, error.what);
    for found in error.diagnostics.iter().filter(|found| found.severity == Severity::Error).take(5) {
        says.push_str(&format!("; {found}"));
    }
    let next = error.next.first().cloned().unwrap_or_else(|| format!("migengine explain {}", error.code));
    Check::fail(name, says, next)
}

fn files(context: &Context, project: Result<&Project, &CommandError>) -> Check {
    let project = match project {
        Ok(project) => project,
        Err(error) => {
            let next = error.next.first().cloned().unwrap_or_default();
            return Check::fail("files", format!("[{}] {}", error.code, error.what), next);
        }
    };
    match refuse_bad_files(project, &context.dir) {
        Err(error) => failed("files", error),
        Ok(()) => Check::ok(
            "files",
            format!("{}, and no error in any file", render::count(project.migrations.len() as u64, "migration")),
        ),
    }
}

fn window(context: &Context) -> Check {
    let windows = context.windows();
    match windows.standing(now()) {
        Standing::Always => Check::ok("window", "changes are welcome at any time"),
        Standing::Open { closes } => Check::ok("window", format!("open until {}", windows.show(closes))),
        Standing::Closed { opens } => {
            let opens = opens
                .map_or_else(|| "it does not open again".to_owned(), |at| format!("it opens {}", windows.show(at)));
            Check::warn(
                "window",
                format!("outside of {windows}; {opens}"),
                "wait for it, or: --outside-window \"reason\"",
            )
        }
    }
}

/// A transaction pooler gives each statement a session of its own choice.
async fn direct(session: &Session, state: &DatabaseState) -> Result<Check, CommandError> {
    for _ in 0..3 {
        let row = session.client.query_one("SELECT pg_backend_pid()", &[]).await;
        let pid: i32 = row.and_then(|row| row.try_get(0)).map_err(migengine_engine::pg::read::ReadError::from)?;
        if pid != state.server.pid {
            let says = "the session changed between two statements: a transaction pooler is in between";
            return Ok(Check::fail("direct-connection", says, "connect to the server itself, or to a session pool"));
        }
    }
    Ok(Check::ok("direct-connection", format!("one session throughout (pid {})", state.server.pid)))
}

fn connection(target: &Target, state: &DatabaseState, facts: Option<&Facts>) -> Check {
    let server = format!("PostgreSQL {}", state.server.version_text);
    let Some(facts) = facts else { return Check::ok("connection", server) };
    let local = target.servers.iter().all(|server| matches!(server.host, Host::Unix(_))) || facts.same_machine;
    match (&facts.tls.version, facts.tls.on) {
        (version, true) => Check::ok("connection", format!("{server}, {}", version.as_deref().unwrap_or("TLS"))),
        (_, false) if local => Check::ok("connection", format!("{server}, on this machine")),
        (_, false) => {
            Check::warn("connection", format!("{server}, in plain text over the network"), "sslmode=verify-full")
        }
    }
}

fn protection(context: &Context, target: &Target, state: &DatabaseState) -> Check {
    let protection = context.protection(state.ledger.as_ref());
    if protection.is_on() {
        return Check::ok("protection", format!("protected by {}", protection.why()));
    }
    match hosted_at(target) {
        Some(service) => {
            Check::warn("protection", format!("a database at {service}, and not protected"), "migengine protect")
        }
        None => Check::ok("protection", "not protected: changes need nobody's word"),
    }
}

async fn unfinished(context: &Context, session: &Session, state: &DatabaseState) -> Result<Check, CommandError> {
    let Some(ledger) = &state.ledger else { return Ok(Check::ok("unfinished-run", "nothing was ever run here")) };
    Ok(match chronicle::unfinished(context, session, ledger).await? {
        None => Check::ok("unfinished-run", "every run is over"),
        Some(open) => match open.holder {
            Some(holder) => Check::warn(
                "unfinished-run",
                format!("run {} is at work: {holder}", open.run.run),
                "migengine journal show --follow",
            ),
            None => Check::fail(
                "unfinished-run",
                format!("run {} stands at {}", open.run.run, open.run.state),
                format!("{}, or: migengine rollback --run {}", crate::outcome::resume_command(&open.run), open.run.run),
            ),
        },
    })
}

/// Files that are not what was applied. Changed ones are refused by the planner before this is reached.
fn past(state: &DatabaseState, graph: &Graph) -> Check {
    let history = sources::history(state.ledger.as_ref(), &Kept::default());
    let found = migengine_engine::plan::compare(graph, &history, Policy::default());
    let names = |ids: &[migengine_engine::id::MigrationId]| {
        ids.iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>().join(", ")
    };
    if !found.missing.is_empty() {
        let says = format!("applied, and the file is gone: {}", names(&found.missing));
        return Check::warn(
            "history",
            says,
            "put the files back: a rollback works from the history, a new database does not",
        );
    }
    if !found.comments_changed.is_empty() {
        let says = format!("comments were changed after they were applied: {}", names(&found.comments_changed));
        return Check::warn("history", says, "nothing depends on it");
    }
    let applied = state.ledger.as_ref().map_or(0, |ledger| ledger.history.len());
    Check::ok("history", format!("{applied} applied, as the folder has them"))
}

fn hazards(context: &Context, state: &DatabaseState, scripts: &[&migengine_engine::migration::Script]) -> Check {
    let major = u32::try_from(state.server.version / 10_000).ok();
    let refused = refusals(scripts.iter().copied(), &mut hazard::Context::new(major));
    let said: Vec<String> = refused.iter().take(5).map(ToString::to_string).collect();
    match (refused.is_empty(), context.protection(state.ledger.as_ref()).is_on()) {
        (true, _) => Check::ok("hazards", "no pending step loses data or writes a table anew without an Allow line"),
        (false, true) => Check::fail("hazards", said.join("; "), "change the statements, or allow them in the header"),
        (false, false) => Check::warn("hazards", said.join("; "), "a protected environment refuses these"),
    }
}

fn reverse(context: &Context, plan: &Plan, pending: &[&Migration]) -> Check {
    if plan.steps.is_empty() {
        return Check::ok("reverse", "nothing is pending");
    }
    let without: Vec<&str> = pending
        .iter()
        .filter(|migration| migration.down.is_none() && migration.up.header.irreversible.is_none())
        .map(|migration| migration.id.as_str())
        .collect();
    if !without.is_empty() {
        let says = format!("no reverse script, and no reason why: {}", without.join(", "));
        return Check::warn("reverse", says, "write it, or say why not: -- Irreversible: reason");
    }
    let proven = Chain::load(&context.dir).and_then(|chain| chain.read_lock().map(|lock| (chain, lock)));
    let Ok((chain, lock)) = proven else {
        return Check::warn("reverse", "there, and none is proven", "migengine rehearse");
    };
    let proven = |migration: &&&Migration| {
        let link = chain.members.iter().map(|member| &member.link).find(|link| link.id == migration.id);
        let entry = link.and_then(|link| lock.get(&link.id).filter(|entry| entry.chain == link.chain));
        migration.down.is_none() || entry.is_some_and(|entry| entry.proven)
    };
    let unproven: Vec<&str> =
        pending.iter().filter(|migration| !proven(migration)).map(|migration| migration.id.as_str()).collect();
    match unproven.is_empty() {
        true => Check::ok("reverse", format!("there and proven for {} pending migrations", pending.len())),
        false => {
            Check::warn("reverse", format!("there, and not proven: {}", unproven.join(", ")), "migengine rehearse")
        }
    }
}

async fn drifted(context: &Context, session: &Session, state: &DatabaseState) -> Result<Check, CommandError> {
    let rehearsed = Chain::load(&context.dir).and_then(|chain| chain.read_lock().map(|lock| (chain, lock)));
    let Ok((chain, lock)) = rehearsed else {
        return Ok(Check::skipped("drift", "nothing was rehearsed, so nothing says what the schema should be"));
    };
    match drift::compare(context, (&chain, &lock), session, state.ledger.as_ref()).await {
        Ok(None) => Ok(Check::skipped("drift", "nothing is applied")),
        Ok(Some(found)) if !found.drifted() => {
            Ok(Check::ok("drift", format!("the schema is what was rehearsed after {}", found.after.0)))
        }
        Ok(Some(found)) => {
            let says = format!("the schema is not what was rehearsed after {}", found.after.0);
            Ok(Check::warn("drift", says, "migengine drift shows the difference"))
        }
        Err(error) if matches!(error.code.as_str(), "ME613" | "ME619") => Ok(Check::skipped("drift", error.what)),
        Err(error) => Err(error),
    }
}
