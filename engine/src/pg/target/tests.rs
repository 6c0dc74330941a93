use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::*;

#[derive(Default)]
struct Machine {
    files: BTreeMap<&'static str, (&'static str, u32)>,
}

impl Files for Machine {
    fn home(&self) -> Option<PathBuf> {
        Some("/home/me".into())
    }
    fn os_user(&self) -> Option<String> {
        Some("me".to_owned())
    }
    fn read(&self, path: &Path) -> io::Result<FileText> {
        let (text, mode) = path.to_str().and_then(|path| self.files.get(path)).ok_or(io::ErrorKind::NotFound)?;
        Ok(FileText { text: (*text).to_owned(), mode: *mode })
    }
    fn exists(&self, path: &Path) -> bool {
        self.read(path).is_ok()
    }
}

fn resolve(url: &str, env: &[(&str, &str)], machine: &Machine) -> Result<Target, TargetError> {
    let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Target::resolve((url != "-").then_some(url), &env, machine)
}

/// `url` (`-` for none) under `env` gives a target shown as `expect`, or an error that holds what follows `error: `.
fn check(url: &str, env: &[(&str, &str)], expect: &str) {
    match (resolve(url, env, &Machine::default()), expect.strip_prefix("error: ")) {
        (Ok(target), None) => assert_eq!(target.to_string(), expect, "{url} {env:?}"),
        (Err(error), Some(part)) => {
            let shown = format!("[{}] {error}; {}", error.code(), error.next());
            assert!(shown.contains(part), "{url} {env:?}\n  gave {shown}\n  not {expect}");
            assert!(!shown.contains("s3cret") && !format!("{error:?}").contains("s3cret"), "leaked: {shown}");
        }
        (other, _) => panic!("{url} {env:?} gave {other:?}, not {expect}"),
    }
}

#[test]
fn string_then_environment_then_defaults() {
    check("-", &[], "me@/var/run/postgresql:5432,/tmp:5432/me");
    check("-", &[("PGHOST", "db"), ("PGPORT", "6000"), ("PGUSER", "u"), ("PGDATABASE", "d")], "u@db:6000/d");
    check("-", &[("PGUSER", "u")], "u@/var/run/postgresql:5432,/tmp:5432/u");
    check("postgres://a@h/x", &[("PGHOST", "db"), ("PGUSER", "u"), ("PGDATABASE", "d")], "a@h:5432/x");
    check("postgres://h", &[("PGUSER", "u"), ("PGDATABASE", "d"), ("PGPORT", "6000")], "u@h:6000/d");
    check("postgres:///x", &[("PGHOST", "/tmp/s"), ("PGPORT", "6000")], "me@/tmp/s:6000/x");
    check("postgres://h/x", &[("PGHOSTADDR", "10.0.0.1")], "me@h:5432/x");
    check("-", &[("PGHOSTADDR", "10.0.0.1")], "me@10.0.0.1:5432/me");
    check("host=h user=u dbname='my db' port=7", &[], "u@h:7/my db");
    check("-", &[("PGHOST", ""), ("PGUSER", "")], "me@/var/run/postgresql:5432,/tmp:5432/me");
}

#[test]
fn several_hosts_and_sockets() {
    check("postgres://u@a,b:6000,[::1]/d", &[], "u@a:5432,b:6000,[::1]:5432/d");
    check("postgres://u@a,b/d?port=7", &[], "u@a:7,b:7/d");
    check("host=a,/tmp/x user=u dbname=d", &[], "u@a:5432,/tmp/x:5432/d");
    check("postgresql:///db?host=/tmp/x", &[], "me@/tmp/x:5432/db");
    check("postgresql://%2Ftmp%2Fx/db", &[], "me@/tmp/x:5432/db");
    check("host=a,b hostaddr=10.0.0.1", &[], "error: [ME322] connection parameter `hostaddr` names 1 addresses");
    check("host=a,b,c port=1,2", &[], "error: names 2 ports for 3 hosts");
}

#[test]
fn a_wrong_parameter_is_named_and_no_password_shown() {
    check(
        "postgres://u:s3cret@h/d?sslmod=require",
        &[],
        "error: [ME321] unknown connection parameter `sslmod`; write `sslmode`",
    );
    check("host=h colour=red", &[], "error: `colour`");
    check("password=my s3cret=x", &[], "error: right after the password");
    check("postgres://u:s3cret@h/d?sslcrl=x", &[], "error: [ME323] connection parameter `sslcrl`");
    check("-", &[("PGSERVICE", "prod")], "error: `PGSERVICE` is not supported");
    check("postgres://h/d", &[("PGSERVICE", "prod")], "me@h:5432/d");
    check("-", &[("PGREQUIREAUTH", "scram-sha-256")], "error: PGREQUIREAUTH");
    check("postgres://u:s3cret@h:x/d", &[], "error: `port` is not a number");
    check("postgres://u:s3cret/@h", &[], "error: [ME320]");
    check("host=h port=0", &[], "error: `port` is not a number");
    check("host=h sslmode=yes", &[], "error: `sslmode` is none of");
    check("host=h sslmode=require sslrootcert=system", &[], "error: must be verify-full");
    check("host=h channel_binding=maybe", &[], "error: `channel_binding`");
    check("host=h target_session_attrs=standby", &[], "error: `target_session_attrs`");
    check("host=h connect_timeout=soon", &[], "error: `connect_timeout`");
    check("hostaddr=h", &[], "error: `hostaddr` is not an IP address");
    check("", &[("PGHOST", "db")], "error: the database URL is empty");
    check("host=h application_name=x gssencmode=prefer client_encoding=utf8", &[], "me@h:5432/me");
    check("host=h gssencmode=require", &[], "error: `gssencmode` is not supported");
}

#[test]
fn tls_settings_follow_libpq() {
    let tls = |url: &str, env: &[(&str, &str)], files: &[&'static str]| {
        let machine = Machine { files: files.iter().map(|path| (*path, ("", 0o600))).collect() };
        let tls = resolve(url, env, &machine).unwrap().tls;
        let root = match tls.root {
            None => "-".to_owned(),
            Some(RootCert::System) => "system".to_owned(),
            Some(RootCert::File(path)) => path.display().to_string(),
        };
        let client = tls.client.map_or("-".to_owned(), |(cert, key)| format!("{}+{}", cert.display(), key.display()));
        format!("{} {root} {client}", tls.mode.as_str())
    };
    assert_eq!(tls("host=h", &[], &[]), "prefer - -");
    assert_eq!(tls("host=h", &[("PGSSLMODE", "verify-ca"), ("PGSSLROOTCERT", "/ca")], &[]), "verify-ca /ca -");
    assert_eq!(tls("host=h sslmode=disable", &[("PGSSLMODE", "verify-ca")], &[]), "disable - -");
    assert_eq!(tls("host=h sslrootcert=system", &[], &[]), "verify-full system -");
    assert_eq!(
        tls("host=h sslmode=require", &[], &["/home/me/.postgresql/root.crt"]),
        "require /home/me/.postgresql/root.crt -"
    );
    assert_eq!(tls("host=h sslcert=/c sslkey=/k", &[], &[]), "prefer - /c+/k");
    assert_eq!(tls("host=h sslcert=/c", &[], &[]), "prefer - /c+/home/me/.postgresql/postgresql.key");
    let both = ["/home/me/.postgresql/postgresql.crt", "/home/me/.postgresql/postgresql.key"];
    assert_eq!(tls("host=h", &[], &both), format!("prefer - {}+{}", both[0], both[1]));
    assert_eq!(tls("host=h", &[], &both[..1]), "prefer - -");
}

#[test]
fn timeouts_and_keepalives_are_read_in_libpq_units() {
    let target = |url: &str| resolve(url, &[], &Machine::default()).unwrap();
    assert_eq!(target("host=h").connect_timeout, Some(DEFAULT_CONNECT_TIMEOUT));
    assert_eq!(target("host=h connect_timeout=0").connect_timeout, None);
    assert_eq!(target("host=h connect_timeout=1").connect_timeout, Some(Duration::from_secs(2)));
    let keepalive = target("host=h keepalives_idle=5 keepalives_count=2 tcp_user_timeout=1500").keepalive;
    assert_eq!((keepalive.idle, keepalive.retries), (Duration::from_secs(5), 2));
    assert_eq!(keepalive.user_timeout, Duration::from_millis(1500));
    assert!(keepalive.enabled && !target("host=h keepalives=0").keepalive.enabled);
}

#[test]
fn passwords_come_from_string_variable_or_file() {
    const PASS: &str = "a:5432:d:u:for-a\nb:6000:*:u:for-b\nlocalhost:*:*:*:local\n/tmp/x:*:*:*:socket\n";
    let found = |url: &str, env: &[(&str, &str)], mode: u32| {
        let machine =
            Machine { files: [("/home/me/.pgpass", (PASS, mode)), ("/other", ("*:*:*:*:other", 0o600))].into() };
        let target = resolve(url, env, &machine).unwrap();
        for shown in [format!("{target:?}"), target.to_string(), target.describe()] {
            assert!(!shown.contains("for-a") && !shown.contains("typed"), "{shown}");
        }
        let passwords: Vec<_> =
            target.servers.iter().map(|server| server.password.as_ref().map_or("-", Secret::expose)).collect();
        format!("{} {}", passwords.join(","), target.warnings.len())
    };
    assert_eq!(found("postgres://u@a,b:6000,c/d", &[], 0o600), "for-a,for-b,- 0");
    assert_eq!(found("postgres://u:typed@a/d", &[("PGPASSWORD", "env")], 0o600), "typed 0");
    assert_eq!(found("postgres://u@a/d", &[("PGPASSWORD", "env")], 0o600), "env 0");
    assert_eq!(found("-", &[], 0o600), "local,local 0");
    assert_eq!(found("host=/tmp/x", &[], 0o600), "socket 0");
    assert_eq!(found("postgres://u@a/d", &[], 0o640), "- 1");
    assert_eq!(found("postgres://u@a/d", &[("PGPASSFILE", "/other")], 0o600), "other 0");
    assert_eq!(found("postgres://u@a/d?passfile=/none", &[], 0o600), "- 0");
}
