//! Running somebody else's program: no shell, a time limit, and no more of its output than fits a message.

use std::io::{Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How much of each stream is kept of a program whose words are for people, in bytes.
pub const KEPT: usize = 4 * 1024;

/// How often the end of a program is looked for.
const POLL: Duration = Duration::from_millis(10);

/// How long the last bytes of a program's output are waited for after its end: something it left running may hold the
/// pipe open for ever.
const LAST_BYTES: Duration = Duration::from_millis(500);

/// What came of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Exit 0.
    pub success: bool,
    /// `exit status 3`, `signal 9`, or `no answer within 30 s`, for people.
    pub verdict: String,
    /// Whether it was ended because it took too long.
    pub timed_out: bool,
    /// The beginning of its standard output.
    pub stdout: Vec<u8>,
    /// The beginning of its standard error.
    pub stderr: String,
}

/// Runs `command` with `input` on its standard input. At the end of `timeout` it and what it started are killed. Of each
/// stream the first `kept` bytes are kept; what comes behind is read and thrown away, so that the program can go on.
///
/// # Errors
/// It cannot be started; the system's words.
pub fn run(mut command: Command, input: &[u8], timeout: Duration, kept: usize) -> std::io::Result<Done> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
    let stdout = read_beginning(child.stdout.take(), kept);
    let stderr = read_beginning(child.stderr.take(), kept);
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // A program that does not read its input must not hold up anybody; a broken pipe is its own choice.
        std::thread::spawn(move || stdin.write_all(&input).ok());
    }
    let status = wait(&mut child, timeout)?;
    let bytes = |stream: mpsc::Receiver<Vec<u8>>| stream.recv_timeout(LAST_BYTES).unwrap_or_default();
    Ok(Done {
        success: status.is_some_and(|status| status.success()),
        verdict: status.map_or_else(|| format!("no end within {} s", timeout.as_secs_f32()), describe),
        timed_out: status.is_none(),
        stdout: bytes(stdout),
        stderr: String::from_utf8_lossy(&bytes(stderr)).into_owned(),
    })
}

/// Waits for the end; nothing when it had to be made.
fn wait(child: &mut Child, timeout: Duration) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            kill_group(child);
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

fn kill_group(child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).ok();
    }
    child.kill().ok();
}

/// Reads a stream to its end on a thread of its own, and keeps the beginning.
fn read_beginning(stream: Option<impl Read + Send + 'static>, limit: usize) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    let Some(mut stream) = stream else { return receiver };
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buffer = [0; 8 * 1024];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            let room = limit.saturating_sub(kept.len()).min(read);
            kept.extend_from_slice(buffer.get(..room).unwrap_or_default());
        }
        sender.send(kept).ok();
    });
    receiver
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an end of unknown kind".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn megabytes_of_output_and_unread_input_hold_up_nothing() {
        let done =
            run(sh("head -c 20000000 /dev/zero; exit 3"), &[b'x'; 1 << 20], Duration::from_secs(60), KEPT).unwrap();
        assert_eq!((done.success, done.verdict.as_str(), done.stdout.len()), (false, "exit status 3", KEPT));
    }

    #[test]
    fn what_hangs_is_killed_with_its_children() {
        let begun = Instant::now();
        let done = run(sh("sleep 600 & sleep 600"), b"", Duration::from_millis(100), KEPT).unwrap();
        assert!(done.timed_out && !done.success);
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    }

    #[test]
    fn input_arrives_whole() {
        let done = run(sh("wc -c"), &[b'x'; 300_000], Duration::from_secs(60), KEPT).unwrap();
        assert_eq!((done.success, done.stdout.trim_ascii()), (true, &b"300000"[..]));
    }
}
