//! The command line of migengine: options, commands, what people see. Decisions are the engine's.

pub mod args;
pub mod commands;
pub mod config;
pub mod context;
pub mod crash;
pub mod embedded;
pub mod error;
pub mod execute;
pub mod journals;
pub mod outcome;
pub mod project;
pub mod render;
pub mod runs;
pub mod sources;

use std::process::ExitCode;

use clap::Parser as _;
use tokio::sync::watch;

use args::{Cli, Command, Format};
use context::{Context, Look};
use error::{CommandError, Exit};

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_tracing(cli.global.verbose);
    let look = Look::of(&cli.global);
    let exit = match run(cli) {
        Ok(exit) => exit,
        Err(error) => {
            report(&error, look);
            error.exit
        }
    };
    ExitCode::from(exit as u8)
}

/// Shows an error on stderr and, in JSON, on stdout.
fn report(error: &CommandError, look: Look) {
    if look.format == Format::Json {
        render::data(&serde_json::json!({ "error": outcome::error_json(error) }).to_string());
    }
    render::line(render::error_text(error, look.color).trim_end());
}

fn run(cli: Cli) -> Result<Exit, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::refused("ME009", format!("the system gives no event loop: {error}")))?;
    let context = Context::new(cli.global)?;
    let exit = runtime.block_on(async {
        let stop = watch_signals();
        match &cli.command {
            Command::Plan(args) => commands::plan::run(&context, args).await,
            Command::Apply(args) => commands::apply::run(&context, args, stop).await,
            Command::Rollback(args) => commands::rollback::run(&context, args, stop).await,
            Command::Status(args) => commands::status::run(&context, args).await,
            Command::List(args) => commands::list::run(&context, args),
            Command::Journal(args) => commands::journal::run(&context, args).await,
            Command::New(args) => commands::new::run(&context, args),
            Command::Rehearse(args) => commands::rehearse::run(&context, args).await,
            Command::Schema(args) => commands::schema::run(&context, args).await,
            Command::Drift(args) => commands::drift::run(&context, args).await,
        }
    });
    // The server is stopped also after an error; the command's own error matters more than one in stopping.
    drop(runtime);
    let closed = context.close();
    let exit = exit?;
    closed.map(|()| exit)
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

fn start_tracing(verbose: u8) {
    use tracing_subscriber::EnvFilter;

    let default = match verbose {
        0 => "off",
        1 => "migengine=info,migengine_engine=info,migengine_journal=info",
        _ => "migengine=debug,migengine_engine=debug,migengine_journal=debug",
    };
    let filter = EnvFilter::try_from_env("MIGENGINE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
