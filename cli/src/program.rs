//! Programs that the configuration names: run without a shell, within a time limit, their output bounded.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

/// What is kept of each output; more is read and thrown away.
const KEPT: usize = 1 << 20;

/// What a program left.
#[derive(Debug)]
pub struct Ran {
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

/// Runs a program to its end.
///
/// # Errors
/// It cannot be started, takes too long (it is killed then), or ends with another code than 0: one sentence.
pub async fn run(argv: &[String], limit: Duration) -> Result<Ran, String> {
    let [program, arguments @ ..] = argv else { return Err("no program is named".to_owned()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (stdout, stderr, status) = tokio::join!(drain(out), drain(err), child.wait());
        status.map(|status| (stdout, stderr, status)).map_err(|error| format!("{program}: {error}"))
    };
    let ended = tokio::time::timeout(limit, work).await;
    let (stdout, stderr, status) =
        ended.map_err(|_| format!("{program} took longer than {limit:?} and was ended"))??;
    if !status.success() {
        let said =
            stderr.lines().chain(stdout.lines()).find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        return Err(format!("{program} ended with {status}: {said}"));
    }
    Ok(Ran { stdout, stderr })
}

async fn drain(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let mut kept = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = pipe.read(&mut piece).await {
        let room = KEPT.saturating_sub(kept.len()).min(read);
        kept.extend_from_slice(&piece[..room]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> Result<Ran, String> {
        let argv = ["sh", "-c", script].map(str::to_owned);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(&argv, limit))
    }

    #[test]
    fn a_program_that_fails_hangs_or_prints_without_end_does_no_harm() {
        let long = Duration::from_secs(60);
        assert_eq!(sh("echo out; echo err >&2", long).unwrap().stdout, "out\n");
        let failed = sh("echo why >&2; exit 3", long).unwrap_err();
        assert!(failed.contains("exit status: 3: why"), "{failed}");
        let hung = sh("exec sleep 600", Duration::from_millis(100)).unwrap_err();
        assert!(hung.contains("took longer than"), "{hung}");
        let megabytes = sh("head -c 5000000 /dev/zero | tr '\\0' x", long).unwrap();
        assert_eq!(megabytes.stdout.len(), KEPT);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let none = runtime.block_on(run(&["/no/such/program".to_owned()], long)).unwrap_err();
        assert!(none.contains("cannot be started"), "{none}");
    }
}
