//! The command line of migengine: options, commands, what people see. Decisions are the engine's.

pub mod admission;
pub mod aftermath;
pub mod args;
pub mod backup;
pub mod chronicle;
pub mod commands;
pub mod config;
pub mod context;
pub mod crash;
pub mod divisible;
pub mod drift;
pub mod embedded;
pub mod error;
pub mod execute;
pub mod journals;
pub mod logging;
pub mod manner;
pub mod meant;
pub mod origin;
pub mod outcome;
pub mod outline;
pub mod outside;
pub mod paths;
pub mod pg_dump;
pub mod preflight;
pub mod project;
pub mod render;
pub mod runs;
pub mod show;
pub mod sources;
pub mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;
use tokio::sync::watch;

use args::{AskedFormat, Cli, Command, Format};
use context::{Context, Look};
use error::{CommandError, Exit};

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return unusable(&error),
    };
    let look = Look::of(&cli.global);
    let empty = commands::empty_json(&cli.command);
    let exit = match run(cli) {
        Ok(exit) => exit,
        Err(error) => {
            report(&error, look, empty);
            error.exit
        }
    };
    ExitCode::from(exit as u8)
}

/// Help and version go to stdout; what cannot be understood to stderr, and in JSON to stdout too.
fn unusable(error: &clap::Error) -> ExitCode {
    drop(error.print());
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let words: Vec<String> = std::env::args().collect();
    let json = words.iter().any(|word| word == "--format=json")
        || words.windows(2).any(|pair| matches!(pair, [option, value] if option == "--format" && value == "json"));
    if json {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let error = CommandError::usage("ME012", message);
        render::data(&serde_json::json!({ "error": outcome::error_json(&error) }).to_string());
    }
    ExitCode::from(Exit::Usage as u8)
}

/// Shows an error on stderr and, in JSON, on stdout beside the command's own fields.
fn report(error: &CommandError, look: Look, mut fields: serde_json::Value) {
    if look.format == Format::Json {
        if let Some(map) = fields.as_object_mut() {
            map.insert("error".to_owned(), outcome::error_json(error));
        }
        render::data(&fields.to_string());
    }
    render::line(render::error_text(error, look.color).trim_end());
}

/// The commands about the program itself: neither configuration nor database is looked at.
fn about_itself(cli: &Cli) -> Option<Result<Exit, CommandError>> {
    let look = Look::of(&cli.global);
    match &cli.command {
        Command::Completions(args) => Some(Ok(commands::completions::run(look, args))),
        Command::Man(args) => Some(commands::man::run(look, args)),
        _ => None,
    }
}

fn run(cli: Cli) -> Result<Exit, CommandError> {
    if let Some(exit) = about_itself(&cli) {
        return exit;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::refused("ME009", format!("the system gives no event loop: {error}")))?;
    let context = Context::new(cli.global)?;
    context.start_log()?;
    let rows = matches!(context.asked_format(), Some(AskedFormat::Jsonl | AskedFormat::Csv));
    if rows && !matches!(&cli.command, Command::Audit(args) if args.exports()) {
        return Err(CommandError::usage("ME756", "--format jsonl and --format csv are for: migengine audit export"));
    }
    let exit = runtime.block_on(async {
        match &cli.command {
            Command::Apply(args) => commands::apply::run(&context, args, watch_signals()).await,
            Command::Rollback(args) => commands::rollback::run(&context, args, watch_signals()).await,
            Command::Resolve(args) => commands::resolve::run(&context, args, watch_signals()).await,
            Command::Rehearse(args) => commands::rehearse::run(&context, args, watch_signals()).await,
            Command::Protect(args) => commands::protect::run(&context, args, watch_signals()).await,
            command => tokio::select! {
                exit = look(&context, command) => exit,
                () = signalled() => Ok(interrupted(command)),
            },
        }
    });
    // The server is stopped also after an error; the command's own error matters more than one in stopping.
    drop(runtime);
    let closed = context.close();
    let exit = exit?;
    closed.map(|()| exit)
}

/// The commands that change nothing in the database. A signal ends them at once.
async fn look(context: &Context, command: &Command) -> Result<Exit, CommandError> {
    match command {
        Command::Plan(args) => commands::plan::run(context, args).await,
        Command::Status(args) => commands::status::run(context, args).await,
        Command::List(args) => commands::list::run(context, args),
        Command::Journal(args) => commands::journal::run(context, args).await,
        Command::New(args) => commands::new::run(context, args),
        Command::Lint(args) => commands::lint::run(context, args),
        Command::Explain(args) => commands::explain::run(context, args),
        Command::Schema(args) => commands::schema::run(context, args).await,
        Command::Pause(args) => commands::pause::run(context, args).await,
        Command::Resume => commands::resume::run(context).await,
        Command::Doctor(args) => commands::doctor::run(context, args).await,
        Command::Drift(args) => commands::drift::run(context, args).await,
        Command::Audit(args) => commands::audit::run(context, args).await,
        Command::Export(args) => commands::export::run(context, args).await,
        // Handled before.
        Command::Completions(_) | Command::Man(_) => Ok(Exit::Done),
        Command::Apply(_) | Command::Rollback(_) | Command::Resolve(_) | Command::Rehearse(_) | Command::Protect(_) => {
            Ok(Exit::Done)
        }
    }
}

/// Watching ends with an interrupt, which is no failure.
fn interrupted(command: &Command) -> Exit {
    match command {
        Command::Journal(args) if args.watches() => Exit::Done,
        _ => Exit::Stopped,
    }
}

/// SIGINT or SIGTERM. Where the system gives no handlers the signal ends the process by itself.
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};

    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// The first SIGINT or SIGTERM asks the run to come to rest; a second one ends the process at once.
fn watch_signals() -> watch::Receiver<bool> {
    use tokio::signal::unix::{SignalKind, signal};

    let (sender, receiver) = watch::channel(false);
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return receiver;
    };
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if *sender.borrow() {
                render::screen::clear();
                render::line("stopped at once; the next command settles what was in flight");
                std::process::exit(Exit::Stopped as i32);
            }
            render::line("stopping: the running statement is cancelled (again: stop at once)");
            if sender.send(true).is_err() {
                std::process::exit(Exit::Stopped as i32);
            }
        }
    });
    receiver
}
