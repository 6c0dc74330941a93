//! What can go wrong with the private server, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// A failure of the private server. No migration has run when one of these is returned by `start`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// No PostgreSQL server binaries anywhere.
    #[error(
        "no PostgreSQL server (version 14 or newer) was found on this machine{detail}\n{hint}\n\
         or set MIGENGINE_PG_BIN to the folder that holds `postgres` and `initdb`, or use --database-url"
    )]
    NoServer {
        /// What was found instead, empty or starting with `: `.
        detail: String,
        /// What to type on this system.
        hint: String,
    },

    /// `MIGENGINE_PG_BIN` names a folder without usable binaries.
    #[error("MIGENGINE_PG_BIN={} does not hold a usable PostgreSQL server: {why}", path.display())]
    BadPgBin {
        /// The folder.
        path: PathBuf,
        /// The reason.
        why: String,
    },

    /// Clusters are there, but none of an installed version.
    #[error(
        "{} holds data of PostgreSQL {have}, but only {installed} is installed; \
         install PostgreSQL {have}, or choose another folder with --embedded=DIR (the data stays untouched)",
        root.display()
    )]
    OtherVersion {
        /// The state folder.
        root: PathBuf,
        /// Major versions of the clusters.
        have: String,
        /// Major versions that are installed.
        installed: String,
    },

    /// Neither `HOME` nor `XDG_STATE_HOME` is set.
    #[error("no folder for the private server: neither HOME nor XDG_STATE_HOME is set; name one with --embedded=DIR")]
    NoStateFolder,

    /// The server must not run as root, and there is nobody else.
    #[error("PostgreSQL does not run as root, and this system has neither the user `postgres` nor `nobody`")]
    NoUnprivilegedUser,

    /// The unprivileged user cannot get there.
    #[error(
        "the server runs as the user {user} (PostgreSQL does not run as root), who cannot enter {}; \
         {} is out of its reach: name another folder, for example --embedded=/var/lib/migengine/embedded",
        blocked.display(), path.display()
    )]
    OutOfReach {
        /// The unprivileged user.
        user: String,
        /// Where it had to go.
        path: PathBuf,
        /// The folder that keeps it out.
        blocked: PathBuf,
    },

    /// Something else lies where the data should be.
    #[error("{} is not a PostgreSQL data folder; it was left alone. Name another place with --embedded=DIR", path.display())]
    NotACluster {
        /// The folder in question.
        path: PathBuf,
    },

    /// The folder for the socket cannot be trusted.
    #[error("the socket folder {} cannot be used: {why}", path.display())]
    SocketFolder {
        /// The folder.
        path: PathBuf,
        /// The reason.
        why: &'static str,
    },

    /// A file operation.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// A verb.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// `initdb` or the first single-user session.
    #[error("the private server could not be set up; nothing was kept. {program} said:\n{output}")]
    Init {
        /// The program that failed.
        program: String,
        /// Its output.
        output: String,
    },

    /// The server did not come up.
    #[error("the private server did not start: {why}. Its data in {} is kept. The end of {}:\n{tail}", data.display(), log.display())]
    Start {
        /// The reason.
        why: String,
        /// The data folder.
        data: PathBuf,
        /// The log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },

    /// The server did not go down in time.
    #[error(
        "the private server (process {pid}) did not stop within {seconds} s; its data is safe. To end it: kill -INT {pid}"
    )]
    Stop {
        /// The postmaster.
        pid: i32,
        /// How long it was given.
        seconds: u64,
    },
}

impl EmbeddedError {
    pub(super) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { what, path: path.to_path_buf(), source }
    }

    /// The stable diagnostic code of this problem.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoServer { .. } => "ME340",
            Self::BadPgBin { .. } => "ME341",
            Self::OtherVersion { .. } => "ME342",
            Self::NoStateFolder => "ME343",
            Self::NoUnprivilegedUser => "ME344",
            Self::OutOfReach { .. } => "ME345",
            Self::NotACluster { .. } => "ME346",
            Self::SocketFolder { .. } => "ME347",
            Self::Io { .. } => "ME348",
            Self::Init { .. } => "ME349",
            Self::Start { .. } => "ME350",
            Self::Stop { .. } => "ME351",
        }
    }
}
