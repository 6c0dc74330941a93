//! The command line of migengine.

use std::process::ExitCode;

fn main() -> ExitCode {
    migengine_cli::main()
}
