//! Finding PostgreSQL server binaries on this machine.

use super::{EmbeddedError, hint};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest major version that works; older ones are out of their maintenance.
pub const OLDEST: u32 = 14;

/// A server version. Releases sort above development versions, whatever their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// False for `19beta1` or `19devel`.
    pub released: bool,
    /// 15 in 15.18.
    pub major: u32,
    /// 18 in 15.18; 0 where there is none.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.major)?;
        if self.released { write!(f, ".{}", self.minor) } else { f.write_str(" (development)") }
    }
}

impl Version {
    /// Reads the output of `postgres --version`, such as `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
    pub fn parse(output: &str) -> Option<Self> {
        let (_, rest) = output.split_once(") ")?;
        let word = rest.split_whitespace().next()?;
        let end = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
        let (major, tail) = word.split_at_checked(end)?;
        let major = major.parse().ok()?;
        if tail.is_empty() {
            return Some(Self { released: true, major, minor: 0 });
        }
        let Some(minor) = tail.strip_prefix('.') else {
            return Some(Self { released: false, major, minor: 0 });
        };
        let minor: String = minor.chars().take_while(char::is_ascii_digit).collect();
        Some(Self { released: true, major, minor: minor.parse().ok()? })
    }
}

/// Server binaries of one version in one folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// The folder with `postgres` and `initdb`.
    pub bin: PathBuf,
    /// What `postgres --version` said.
    pub version: Version,
}

impl Install {
    /// Asks the binaries in `bin`. The error is a reason in words.
    pub fn probe(bin: &Path) -> Result<Self, String> {
        for program in ["postgres", "initdb"] {
            if !is_program(&bin.join(program)) {
                return Err(format!("there is no program `{program}`"));
            }
        }
        let output = Command::new(bin.join("postgres"))
            .arg("--version")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("`postgres --version` does not run: {e}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version =
            Version::parse(&text).ok_or_else(|| format!("`postgres --version` printed {:?}", text.trim_end()))?;
        Ok(Self { bin: bin.to_path_buf(), version })
    }
}

/// All usable binaries, in the order of the places searched. With `MIGENGINE_PG_BIN` set, only that folder counts.
pub fn find_all() -> Result<Vec<Install>, EmbeddedError> {
    if let Some(named) = std::env::var_os("MIGENGINE_PG_BIN").filter(|v| !v.is_empty()) {
        let path = PathBuf::from(named);
        let bad = |why: String| EmbeddedError::BadPgBin { path: path.clone(), why };
        let install = Install::probe(&path).map_err(bad)?;
        if install.version.major < OLDEST {
            return Err(bad(format!("version {} is older than {OLDEST}", install.version)));
        }
        return Ok(vec![install]);
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for bin in places() {
        // A link to the program leads to the folder where its companions are, such as psql.
        let linked = bin.join("postgres").canonicalize().ok();
        let home = linked.as_deref().and_then(Path::parent).filter(|home| is_program(&home.join("initdb")));
        let real = home.map(Path::to_path_buf).unwrap_or(bin);
        if seen.insert(real.clone())
            && let Ok(install) = Install::probe(&real)
        {
            found.push(install);
        }
    }
    Ok(found)
}

/// The newest usable binaries, where no cluster has to be considered.
pub fn find() -> Result<Install, EmbeddedError> {
    let found = find_all()?;
    choose(&found, &[], Path::new("")).cloned()
}

/// Chooses among the binaries `found`: those of the newest cluster in `root` that can be started, otherwise the newest.
///
/// A newer version that gets installed later therefore never hides the data that is already there.
pub fn choose<'a>(found: &'a [Install], clusters: &[u32], root: &Path) -> Result<&'a Install, EmbeddedError> {
    // `max_by_key` keeps the last of equals; the first place searched shall win.
    let newest = |of: &mut dyn Iterator<Item = &'a Install>| {
        of.filter(|i| i.version.major >= OLDEST).fold(None, |best: Option<&'a Install>, i| match best {
            Some(b) if b.version >= i.version => Some(b),
            _ => Some(i),
        })
    };
    let Some(best) = newest(&mut found.iter()) else {
        let old: Vec<String> = found.iter().map(|i| format!("{} in {}", i.version, i.bin.display())).collect();
        let detail = if old.is_empty() { String::new() } else { format!(": only {}", old.join(", ")) };
        return Err(EmbeddedError::NoServer { detail, hint: hint::for_this_system() });
    };
    if clusters.is_empty() {
        return Ok(best);
    }
    newest(&mut found.iter().filter(|i| clusters.contains(&i.version.major))).ok_or_else(|| {
        let list = |majors: BTreeSet<u32>| majors.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        EmbeddedError::OtherVersion {
            root: root.to_path_buf(),
            have: list(clusters.iter().copied().collect()),
            installed: list(found.iter().map(|i| i.version.major).collect()),
        }
    })
}

/// The folders to look into, most specific to this user first.
#[must_use]
pub fn places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
    places.extend(pg_config_bindir());
    for (parent, prefix, rest) in [
        ("/usr/lib/postgresql", "", "bin"), // Debian, Ubuntu, Alpine's versioned packages
        ("/usr/libexec", "postgresql", ""), // Alpine
        ("/usr", "pgsql-", "bin"),          // Fedora and RHEL, packages of postgresql.org
        ("/opt/homebrew/opt", "postgresql@", "bin"), // Homebrew on Apple silicon
        ("/usr/local/opt", "postgresql@", "bin"), // Homebrew on Intel
        ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"), // Homebrew on Linux
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ] {
        places.extend(children(Path::new(parent), prefix).into_iter().map(|p| p.join(rest)));
    }
    places.extend(["/usr/bin", "/usr/local/bin", "/usr/local/pgsql/bin"].map(PathBuf::from));
    places
}

/// The sub-folders of `parent` whose name starts with `prefix`, in the order of their names; none where it is missing.
fn children(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(prefix)))
        .collect();
    found.sort();
    found
}

fn pg_config_bindir() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| PathBuf::from(text.trim()))
}

/// Whether this is a file that may be executed.
#[must_use]
pub fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(bin: &str, version: &str) -> Install {
        let version = Version::parse(&format!("postgres (PostgreSQL) {version}")).unwrap();
        Install { bin: PathBuf::from(bin), version }
    }

    #[test]
    fn versions_as_distributions_print_them() {
        let check = |output: &str, expect: Option<(bool, u32, u32)>| {
            assert_eq!(Version::parse(output).map(|v| (v.released, v.major, v.minor)), expect, "{output}");
        };
        check("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some((true, 15, 18)));
        check("postgres (PostgreSQL) 16.4\n", Some((true, 16, 4)));
        check("postgres (PostgreSQL) 14.13 (Homebrew)", Some((true, 14, 13)));
        check("postgres (PostgreSQL) 9.6.24", Some((true, 9, 6)));
        check("postgres (PostgreSQL) 19beta1", Some((false, 19, 0)));
        check("postgres (PostgreSQL) 19devel", Some((false, 19, 0)));
        check("postgres (PostgreSQL) 17", Some((true, 17, 0)));
        check("postgres (PostgreSQL) ", None);
        check("postgres (PostgreSQL) x", None);
        check("", None);
    }

    #[test]
    fn the_newest_that_fits_the_data_is_chosen() {
        let check = |found: &[(&str, &str)], clusters: &[u32], expect: Result<&str, &str>| {
            let found: Vec<Install> = found.iter().map(|(bin, v)| install(bin, v)).collect();
            let got = choose(&found, clusters, Path::new("/state"));
            let got = got.map(|i| i.bin.to_str().unwrap()).map_err(|e| e.code());
            assert_eq!(got, expect, "{found:?} {clusters:?}");
        };
        check(&[("/a", "14.1"), ("/b", "16.2"), ("/c", "15.9")], &[], Ok("/b"));
        check(&[("/a", "16.1"), ("/b", "16.3")], &[], Ok("/b"));
        check(&[("/a", "16.3"), ("/b", "16.3")], &[], Ok("/a"));
        check(&[("/a", "19beta1"), ("/b", "18.0")], &[], Ok("/b"));
        check(&[("/a", "19beta1")], &[], Ok("/a"));
        check(&[("/a", "13.9"), ("/b", "14.0")], &[], Ok("/b"));
        check(&[("/a", "13.9")], &[], Err("ME340"));
        check(&[], &[], Err("ME340"));
        check(&[("/a", "15.9"), ("/b", "17.0")], &[15], Ok("/a"));
        check(&[("/a", "15.9"), ("/b", "17.0")], &[15, 17], Ok("/b"));
        check(&[("/a", "15.9"), ("/b", "17.0")], &[16], Err("ME342"));
        check(&[("/a", "13.9")], &[13], Err("ME340"));
    }

    #[test]
    fn the_message_names_what_was_too_old_and_what_to_do() {
        let text = choose(&[install("/old/bin", "12.3")], &[], Path::new("")).unwrap_err().to_string();
        for part in ["only 12.3 in /old/bin", "MIGENGINE_PG_BIN", "--database-url"] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }

    #[test]
    fn a_folder_without_binaries_says_which_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Install::probe(dir.path()).unwrap_err(), "there is no program `postgres`");
    }
}
