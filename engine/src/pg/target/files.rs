//! The few facts of the machine a target depends on, behind a trait so that tests can make them up.

use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A text file and who may read it.
#[derive(Debug, Clone)]
pub struct FileText {
    /// The content.
    pub text: String,
    /// Permission bits, `0o600`.
    pub mode: u32,
}

/// The home directory, the user's name and files.
pub trait Files {
    /// The home directory of the user.
    fn home(&self) -> Option<PathBuf>;
    /// The name of the operating system's user.
    fn os_user(&self) -> Option<String>;
    /// Reads a text file.
    ///
    /// # Errors
    /// Any error of the file system; `InvalidData` when it is not a regular file or not UTF-8.
    fn read(&self, path: &Path) -> io::Result<FileText>;
    /// Whether a file is there.
    fn exists(&self, path: &Path) -> bool;
}

/// The machine as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemFiles;

impl Files for SystemFiles {
    fn home(&self) -> Option<PathBuf> {
        std::env::home_dir().filter(|home| !home.as_os_str().is_empty())
    }

    /// The name of the effective user, as libpq takes it. `USER` is not asked: sudo and cron leave it stale.
    fn os_user(&self) -> Option<String> {
        nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.name)
    }

    fn read(&self, path: &Path) -> io::Result<FileText> {
        let mut file = std::fs::File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(FileText { text, mode: metadata.mode() & 0o7777 })
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}
