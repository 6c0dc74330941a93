//! Where the private server keeps its data and its socket.

use super::{EmbeddedError, ServerUser};
use migengine_engine::id::Digest;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The port in the name of the socket file. No TCP port is ever opened.
pub const PORT: u16 = 5432;

/// The longest path of a Unix socket: `sun_path` has 108 bytes on Linux and 104 on macOS, the last one is zero.
const SOCKET_PATH_LIMIT: usize = 103;

/// What the choice of the state folder depends on.
#[derive(Debug, Clone, Default)]
pub struct PlaceEnv {
    /// The process is root.
    pub root: bool,
    /// The system is macOS.
    pub macos: bool,
    /// `HOME`.
    pub home: Option<OsString>,
    /// `XDG_STATE_HOME`.
    pub xdg_state_home: Option<OsString>,
}

impl PlaceEnv {
    /// The values of this process.
    pub fn of_process(user: &ServerUser) -> Self {
        Self {
            root: user.drops_root(),
            macos: cfg!(target_os = "macos"),
            home: std::env::var_os("HOME"),
            xdg_state_home: std::env::var_os("XDG_STATE_HOME"),
        }
    }
}

/// The folder that holds one `pgNN` folder for each major version.
pub fn default_root(env: &PlaceEnv) -> Result<PathBuf, EmbeddedError> {
    if env.root {
        // Root's home is closed to the unprivileged user that the server runs as.
        return Ok(PathBuf::from("/var/lib/migengine/embedded"));
    }
    // The XDG specification: relative paths are invalid and ignored.
    let absolute = |value: &Option<OsString>| value.as_ref().map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute(&env.xdg_state_home).or_else(|| {
        let home = absolute(&env.home)?;
        Some(home.join(if env.macos { "Library/Application Support" } else { ".local/state" }))
    });
    state.map(|path| path.join("migengine/embedded")).ok_or(EmbeddedError::NoStateFolder)
}

/// The major versions that have an initialised cluster under `root`, ascending.
pub fn clusters_in(root: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut majors: Vec<u32> = entries
        .filter_map(|entry| {
            let major = entry.file_name().to_str()?.strip_prefix("pg")?.parse().ok()?;
            // As root this looks into the server's closed folder, as its owner too.
            entry.path().join("data/PG_VERSION").exists().then_some(major)
        })
        .collect();
    majors.sort_unstable();
    majors
}

/// The folder for the socket: inside `home` where the path is short enough, otherwise a private one in `/tmp`.
pub(super) fn socket_dir(home: &Path, user: &ServerUser) -> Result<PathBuf, EmbeddedError> {
    let dir = socket_dir_for(home, user.uid());
    match user.make_private_dir(&dir) {
        Err(EmbeddedError::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    // In /tmp anybody could have made it before.
    let meta = dir.symlink_metadata().map_err(|e| EmbeddedError::io("read", &dir, e))?;
    let why = if !meta.is_dir() {
        "it is not a folder"
    } else if meta.uid() != user.uid() {
        "it belongs to another user"
    } else if meta.mode() & 0o077 != 0 {
        "others can enter it (its mode must be 0700)"
    } else {
        return Ok(dir);
    };
    Err(EmbeddedError::SocketFolder { path: dir, why })
}

fn socket_dir_for(home: &Path, uid: u32) -> PathBuf {
    let near = home.join("socket");
    if socket_in(&near).as_os_str().len() <= SOCKET_PATH_LIMIT {
        return near;
    }
    PathBuf::from(format!("/tmp/migengine-{uid}-{}", Digest::of(home.as_os_str().as_bytes()).short()))
}

/// The socket file that a server makes in `dir`.
pub fn socket_in(dir: &Path) -> PathBuf {
    dir.join(format!(".s.PGSQL.{PORT}"))
}

/// The lock file that a server makes beside its socket.
pub(super) fn socket_lock_in(dir: &Path) -> PathBuf {
    dir.join(format!(".s.PGSQL.{PORT}.lock"))
}

/// The connection URL for the socket in `dir`. The port is given, so that `PGPORT` cannot divert it.
pub fn url(dir: &Path, database: &str, role: &str) -> String {
    let host: String = dir.as_os_str().as_bytes().iter().map(|&byte| percent(byte)).collect();
    format!("postgresql:///{database}?host={host}&port={PORT}&user={role}")
}

fn percent(byte: u8) -> String {
    // The unreserved characters of RFC 3986, and the slash, which a query may hold.
    if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_folder_follows_the_system() {
        let check = |root, macos, home: &str, xdg: &str, expect: Result<&str, &str>| {
            let var = |value: &str| (!value.is_empty()).then(|| OsString::from(value));
            let env = PlaceEnv { root, macos, home: var(home), xdg_state_home: var(xdg) };
            let got = default_root(&env).map_err(|e| e.code());
            assert_eq!(got, expect.map(PathBuf::from), "{env:?}");
        };
        check(false, false, "/home/ann", "", Ok("/home/ann/.local/state/migengine/embedded"));
        check(false, false, "/home/ann", "/s", Ok("/s/migengine/embedded"));
        check(false, false, "/home/ann", "rel", Ok("/home/ann/.local/state/migengine/embedded"));
        check(false, true, "/Users/ann", "", Ok("/Users/ann/Library/Application Support/migengine/embedded"));
        check(true, false, "/home/su", "/s", Ok("/var/lib/migengine/embedded"));
        check(false, false, "", "", Err("ME343"));
    }

    #[test]
    fn a_long_path_moves_the_socket_only() {
        let check = |length: usize, near: bool| {
            let home = PathBuf::from(format!("/{}", "x".repeat(length - 1)));
            let dir = socket_dir_for(&home, 7);
            assert_eq!(dir.starts_with(&home), near, "{length}");
            assert!(socket_in(&dir).as_os_str().len() <= SOCKET_PATH_LIMIT);
        };
        // "/socket" and "/.s.PGSQL.5432" take 21 bytes.
        check(SOCKET_PATH_LIMIT - 21, true);
        check(SOCKET_PATH_LIMIT - 20, false);
        check(SOCKET_PATH_LIMIT + 100, false);
        let of = |home: &str| socket_dir_for(Path::new(&format!("/{}/{home}", "x".repeat(99))), 7);
        assert_ne!(of("a"), of("b"));
        assert_eq!(of("a"), of("a"));
    }

    #[test]
    fn a_folder_that_others_can_enter_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let user = ServerUser::current().unwrap();
        let dir = socket_dir(home.path(), &user).unwrap();
        assert_eq!(socket_dir(home.path(), &user).unwrap(), dir, "an existing one is used again");
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(socket_dir(home.path(), &user).unwrap_err().code(), "ME347");
    }

    #[test]
    fn odd_characters_in_the_path_survive_the_url() {
        let url = url(Path::new("/Users/A b/100%&?#ü"), "app", "postgres");
        assert_eq!(url, "postgresql:///app?host=/Users/A%20b/100%25%26%3F%23%C3%BC&port=5432&user=postgres");
    }
}
