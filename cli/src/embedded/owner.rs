//! Who the private server runs as.

use super::EmbeddedError;
use nix::unistd::{Gid, Uid, User};
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The system user that owns the server's files and processes: the caller, or an unprivileged one where that is root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUser {
    name: String,
    uid: u32,
    gid: u32,
    drops_root: bool,
}

impl ServerUser {
    /// The user for servers that this process starts.
    pub fn current() -> Result<Self, EmbeddedError> {
        let me = Uid::effective();
        if !me.is_root() {
            let gid = Gid::effective().as_raw();
            return Ok(Self { name: me.to_string(), uid: me.as_raw(), gid, drops_root: false });
        }
        let known = |name| User::from_name(name).ok().flatten();
        let user = known("postgres").or_else(|| known("nobody")).ok_or(EmbeddedError::NoUnprivilegedUser)?;
        Ok(Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw(), drops_root: true })
    }

    /// Its user id.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Whether this process is root and the server is not.
    pub fn drops_root(&self) -> bool {
        self.drops_root
    }

    /// A command that runs as this user, without input, and that no variable of PostgreSQL's can divert.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let diverting = std::env::vars_os().map(|(key, _)| key).filter(|key| key.as_encoded_bytes().starts_with(b"PG"));
        diverting.for_each(|key| {
            command.env_remove(key);
        });
        // The current folder may be one that the user cannot enter.
        command.env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
        if self.drops_root {
            // As root, the standard library also clears the supplementary groups.
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Makes a folder that only this user can enter (mode 0700).
    pub fn make_private_dir(&self, path: &Path) -> Result<(), EmbeddedError> {
        DirBuilder::new().mode(0o700).create(path).map_err(|e| EmbeddedError::io("create", path, e))?;
        if self.drops_root {
            std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
                .map_err(|e| EmbeddedError::io("change the owner of", path, e))?;
        }
        Ok(())
    }

    /// Makes `path` and the folders above it that are missing, so that this user can pass through.
    pub fn make_passable_dirs(&self, path: &Path) -> Result<(), EmbeddedError> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.make_passable_dirs(parent)?;
        }
        // Mode 0711 lets others pass but not look around; needed only where the server is another user.
        let mode = if self.drops_root { 0o711 } else { 0o700 };
        match DirBuilder::new().mode(mode).create(path) {
            // Set once more: the umask may have taken bits away.
            Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode)),
            // Another command was faster.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(e),
        }
        .map_err(|e| EmbeddedError::io("create", path, e))
    }

    /// Refuses a path (of an existing folder) that this user cannot walk to.
    pub fn check_reach(&self, path: &Path) -> Result<(), EmbeddedError> {
        if !self.drops_root {
            return Ok(());
        }
        let real = path.canonicalize().map_err(|e| EmbeddedError::io("find", path, e))?;
        for folder in real.ancestors() {
            let meta = folder.metadata().map_err(|e| EmbeddedError::io("read", folder, e))?;
            if !self.may_pass(&meta) {
                let (path, blocked) = (path.to_path_buf(), folder.to_path_buf());
                return Err(EmbeddedError::OutOfReach { user: self.name.clone(), path, blocked });
            }
        }
        Ok(())
    }

    /// The search permission of path_resolution(7), for a process without supplementary groups.
    fn may_pass(&self, folder: &Metadata) -> bool {
        let bit = if folder.uid() == self.uid {
            0o100
        } else if folder.gid() == self.gid {
            0o010
        } else {
            0o001
        };
        folder.mode() & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger() -> ServerUser {
        // Ids that own nothing in a temporary folder.
        ServerUser { name: "stranger".into(), uid: 54_321, gid: 54_321, drops_root: true }
    }

    #[test]
    fn a_closed_folder_on_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).unwrap();
        let (closed, inner) = (dir.path().join("closed"), dir.path().join("closed/inner"));
        fs::create_dir_all(&inner).unwrap();
        fs::set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
        match stranger().check_reach(&inner) {
            Err(EmbeddedError::OutOfReach { blocked, .. }) => assert_eq!(blocked, closed.canonicalize().unwrap()),
            other => panic!("{other:?}"),
        }
        fs::set_permissions(&closed, Permissions::from_mode(0o711)).unwrap();
        assert!(stranger().check_reach(&inner).is_ok());
    }

    #[test]
    fn new_folders_can_be_passed_by_the_server() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).unwrap();
        let deep = dir.path().join("a/b/c");
        stranger().make_passable_dirs(&deep).unwrap();
        assert!(stranger().check_reach(&deep).is_ok());
    }

    #[test]
    fn commands_do_not_inherit_the_callers_server() {
        let user = ServerUser::current().unwrap();
        let command = user.command("true");
        assert!(command.get_envs().all(|(key, value)| !key.as_encoded_bytes().starts_with(b"PG") || value.is_none()));
    }
}
