//! From parameters to a [`Target`].

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::parameters::{self, Parameters};
use super::pgpass::{self, Wanted};
use super::{
    ChannelBinding, DEFAULT_CONNECT_TIMEOUT, Files, Host, Keepalive, RootCert, Server, SessionAttrs, SslMode, Target,
    TargetError, TlsOptions,
};
use crate::pg::secret::Secret;

/// Socket directories of distributions' packages and of PostgreSQL's own builds, in this order.
const SOCKET_DIRS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

pub(super) fn resolve(
    url: Option<&str>,
    env: &dyn Fn(&str) -> Option<String>,
    files: &dyn Files,
) -> Result<Target, TargetError> {
    let mut given = parameters::gather(url, env)?;
    let mut warnings = Vec::new();
    let user = given.remove("user").or_else(|| files.os_user()).ok_or(TargetError::NoUser)?;
    let dbname = given.remove("dbname").unwrap_or_else(|| user.clone());
    let mut servers = servers(&given)?;
    match given.remove("password").map(Secret::new) {
        Some(password) => servers.iter_mut().for_each(|server| server.password = Some(password.clone())),
        None => passwords_from_file(&mut servers, &given, (&user, &dbname), files, &mut warnings),
    }
    Ok(Target {
        tls: tls(&given, files)?,
        channel_binding: channel_binding(&given)?,
        session_attrs: session_attrs(&given)?,
        connect_timeout: connect_timeout(&given)?,
        keepalive: keepalive(&given)?,
        options: given.remove("options"),
        servers,
        user,
        dbname,
        warnings,
    })
}

fn value_error(parameter: &'static str, message: impl Into<String>) -> TargetError {
    TargetError::Value { parameter, message: message.into() }
}

fn list<'a>(given: &'a Parameters, name: &str) -> Vec<&'a str> {
    given.get(name).map(|value| value.split(',').map(str::trim).collect()).unwrap_or_default()
}

fn servers(given: &Parameters) -> Result<Vec<Server>, TargetError> {
    let (hosts, addresses, ports) = (list(given, "host"), list(given, "hostaddr"), list(given, "port"));
    let count = hosts.len().max(addresses.len()).max(1);
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err(value_error("hostaddr", format!("names {} addresses for {} hosts", addresses.len(), hosts.len())));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(value_error("port", format!("names {} ports for {count} hosts", ports.len())));
    }
    let mut servers = Vec::new();
    for index in 0..count {
        let port = port(ports.get(index).or(ports.first()).copied().unwrap_or_default())?;
        let address = match addresses.get(index).copied().unwrap_or_default() {
            "" => None,
            text => Some(text.parse::<IpAddr>().map_err(|_| value_error("hostaddr", "is not an IP address"))?),
        };
        let host = hosts.get(index).copied().unwrap_or_default();
        match (host, address) {
            ("", None) => servers.extend(SOCKET_DIRS.map(|dir| server(Host::Unix(dir.into()), None, port))),
            ("", Some(address)) => servers.push(server(Host::Tcp(address.to_string()), Some(address), port)),
            (dir, None) if dir.starts_with('/') => servers.push(server(Host::Unix(dir.into()), None, port)),
            (name, address) => servers.push(server(Host::Tcp(name.to_owned()), address, port)),
        }
    }
    Ok(servers)
}

fn server(host: Host, address: Option<IpAddr>, port: u16) -> Server {
    Server { host, address, port, password: None }
}

fn port(text: &str) -> Result<u16, TargetError> {
    match text {
        "" => Ok(5432),
        // The value is not shown: in a URL it may be the tail of a password that was not escaped.
        text => match text.parse() {
            Ok(0) | Err(_) => Err(value_error("port", "is not a number from 1 to 65535")),
            Ok(port) => Ok(port),
        },
    }
}

/// Looks the passwords up, each server's own. The file must be closed to others, or libpq ignores it, and so do we.
fn passwords_from_file(
    servers: &mut [Server],
    given: &Parameters,
    (user, dbname): (&str, &str),
    files: &dyn Files,
    warnings: &mut Vec<String>,
) {
    let Some(path) = given.get("passfile").map(PathBuf::from).or_else(|| in_home(files, ".pgpass")) else { return };
    let file = match files.read(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            warnings.push(format!("The password file {} was not used: {error}.", path.display()));
            return;
        }
    };
    if file.mode & 0o077 != 0 {
        warnings.push(format!(
            "The password file {path} was not used: others may read it. Run `chmod 0600 {path}`.",
            path = path.display()
        ));
        return;
    }
    for server in servers {
        let host = match &server.host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(dir) if SOCKET_DIRS.iter().any(|default| Path::new(default) == dir) => "localhost".to_owned(),
            Host::Unix(dir) => dir.display().to_string(),
        };
        server.password = pgpass::lookup(&file.text, Wanted { host: &host, port: server.port, dbname, user });
    }
}

fn in_home(files: &dyn Files, name: &str) -> Option<PathBuf> {
    files.home().map(|home| home.join(name))
}

fn tls(given: &Parameters, files: &dyn Files) -> Result<TlsOptions, TargetError> {
    let root = match given.get("sslrootcert").map(String::as_str) {
        Some("system") => Some(RootCert::System),
        Some(path) => Some(RootCert::File(path.into())),
        None => in_home(files, ".postgresql/root.crt").filter(|path| files.exists(path)).map(RootCert::File),
    };
    let mode = match given.get("sslmode").map(String::as_str) {
        // libpq's rule: the system's authorities vouch for the whole internet, so the name must be checked too.
        None if root == Some(RootCert::System) => SslMode::VerifyFull,
        None | Some("prefer") => SslMode::Prefer,
        Some("disable") => SslMode::Disable,
        Some("allow") => SslMode::Allow,
        Some("require") => SslMode::Require,
        Some("verify-ca") => SslMode::VerifyCa,
        Some("verify-full") => SslMode::VerifyFull,
        Some(_) => {
            return Err(value_error(
                "sslmode",
                "is none of disable, allow, prefer, require, verify-ca and verify-full",
            ));
        }
    };
    if root == Some(RootCert::System) && mode != SslMode::VerifyFull {
        let message = format!("is {}, which is too weak for sslrootcert=system: it must be verify-full", mode.as_str());
        return Err(value_error("sslmode", message));
    }
    let cert = given.get("sslcert").map(PathBuf::from);
    let key = given.get("sslkey").map(PathBuf::from);
    let explicit = cert.is_some() || key.is_some();
    let default = |name| in_home(files, name);
    let client = cert
        .or_else(|| default(".postgresql/postgresql.crt"))
        .zip(key.or_else(|| default(".postgresql/postgresql.key")))
        .filter(|(cert, key)| explicit || (files.exists(cert) && files.exists(key)));
    Ok(TlsOptions { mode, root, client })
}

fn channel_binding(given: &Parameters) -> Result<ChannelBinding, TargetError> {
    match given.get("channel_binding").map(String::as_str) {
        None | Some("prefer") => Ok(ChannelBinding::Prefer),
        Some("disable") => Ok(ChannelBinding::Disable),
        Some("require") => Ok(ChannelBinding::Require),
        Some(_) => Err(value_error("channel_binding", "is none of disable, prefer and require")),
    }
}

fn session_attrs(given: &Parameters) -> Result<SessionAttrs, TargetError> {
    match given.get("target_session_attrs").map(String::as_str) {
        None | Some("any") => Ok(SessionAttrs::Any),
        Some("read-write" | "primary") => Ok(SessionAttrs::ReadWrite),
        Some("read-only") => Ok(SessionAttrs::ReadOnly),
        Some(_) => Err(value_error("target_session_attrs", "is none of any, read-write, primary and read-only")),
    }
}

fn number(given: &Parameters, name: &'static str) -> Result<Option<i64>, TargetError> {
    let parse = |text: &String| text.trim().parse().map_err(|_| value_error(name, "is not a whole number"));
    given.get(name).map(parse).transpose()
}

/// Seconds; zero and below wait for ever, and 1 counts as 2, both as in libpq.
fn connect_timeout(given: &Parameters) -> Result<Option<Duration>, TargetError> {
    Ok(match number(given, "connect_timeout")? {
        None => Some(DEFAULT_CONNECT_TIMEOUT),
        Some(seconds) if seconds <= 0 => None,
        Some(seconds) => Some(Duration::from_secs(seconds.max(2).unsigned_abs())),
    })
}

/// libpq's units: seconds, and milliseconds for `tcp_user_timeout`. Zero keeps the default.
fn keepalive(given: &Parameters) -> Result<Keepalive, TargetError> {
    let mut keepalive = Keepalive::default();
    let positive = |name| number(given, name).map(|value| value.filter(|value| *value > 0).map(i64::unsigned_abs));
    keepalive.enabled = number(given, "keepalives")? != Some(0);
    if let Some(seconds) = positive("keepalives_idle")? {
        keepalive.idle = Duration::from_secs(seconds);
    }
    if let Some(seconds) = positive("keepalives_interval")? {
        keepalive.interval = Duration::from_secs(seconds);
    }
    if let Some(count) = positive("keepalives_count")? {
        keepalive.retries = u32::try_from(count).unwrap_or(u32::MAX);
    }
    if let Some(milliseconds) = positive("tcp_user_timeout")? {
        keepalive.user_timeout = Duration::from_millis(milliseconds);
    }
    Ok(keepalive)
}
