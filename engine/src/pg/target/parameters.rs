//! The parameters of a connection as one table of names, and the merging of the string with the environment.

use std::collections::BTreeMap;

use super::TargetError;
use super::parse;

/// Parameters honoured, with the variable that gives their default. From libpq's `PQconninfoOptions`.
const HONOURED: &[(&str, Option<&str>)] = &[
    ("host", Some("PGHOST")),
    ("hostaddr", Some("PGHOSTADDR")),
    ("port", Some("PGPORT")),
    ("user", Some("PGUSER")),
    ("password", Some("PGPASSWORD")),
    ("passfile", Some("PGPASSFILE")),
    ("dbname", Some("PGDATABASE")),
    ("options", Some("PGOPTIONS")),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    ("sslmode", Some("PGSSLMODE")),
    ("sslrootcert", Some("PGSSLROOTCERT")),
    ("sslcert", Some("PGSSLCERT")),
    ("sslkey", Some("PGSSLKEY")),
    ("channel_binding", Some("PGCHANNELBINDING")),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    ("keepalives", None),
    ("keepalives_idle", None),
    ("keepalives_interval", None),
    ("keepalives_count", None),
    ("tcp_user_timeout", None),
];

/// Parameters without meaning here: the session names itself and always speaks UTF-8.
const IGNORED: &[&str] = &["application_name", "fallback_application_name", "client_encoding", "sslcompression"];

/// Parameters whose harmless values are accepted: leaving them out changes nothing.
const ONLY: &[(&str, Option<&str>, &[&str])] = &[
    ("gssencmode", Some("PGGSSENCMODE"), &["disable", "prefer"]),
    ("sslnegotiation", Some("PGSSLNEGOTIATION"), &["postgres"]),
    ("sslsni", Some("PGSSLSNI"), &["1"]),
    ("load_balance_hosts", Some("PGLOADBALANCEHOSTS"), &["disable"]),
    ("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION"), &["TLSv1", "TLSv1.1", "TLSv1.2"]),
];

/// Parameters libpq knows and that must not be ignored in silence.
const REFUSED: &[(&str, Option<&str>)] = &[
    ("service", Some("PGSERVICE")),
    ("sslcrl", Some("PGSSLCRL")),
    ("sslcrldir", Some("PGSSLCRLDIR")),
    ("sslcertmode", Some("PGSSLCERTMODE")),
    ("sslpassword", None),
    ("require_auth", Some("PGREQUIREAUTH")),
    ("requirepeer", Some("PGREQUIREPEER")),
    ("ssl_max_protocol_version", Some("PGSSLMAXPROTOCOLVERSION")),
    ("krbsrvname", None),
    ("gsslib", None),
    ("gssdelegation", None),
    ("replication", None),
];

/// Every parameter that has a value, by libpq's name.
pub(super) type Parameters = BTreeMap<&'static str, String>;

/// The string's parameters, completed from the environment.
pub(super) fn gather(url: Option<&str>, env: &dyn Fn(&str) -> Option<String>) -> Result<Parameters, TargetError> {
    let mut parameters = Parameters::new();
    if let Some(url) = url {
        if url.trim().is_empty() {
            return Err(TargetError::Syntax { message: "the database URL is empty".to_owned() });
        }
        let mut previous = String::new();
        for (key, value) in parse::pairs(url)? {
            let known = known(&key, &value, &previous)?;
            if let Some(known) = known {
                // An empty value means "not given", and a later one replaces an earlier one, both as in libpq.
                parameters.remove(known);
                if !value.is_empty() {
                    parameters.insert(known, value);
                }
            }
            previous = key;
        }
    }
    let get = |variable: &Option<&str>| variable.and_then(env).filter(|value| !value.is_empty());
    let names_host = parameters.contains_key("host") || parameters.contains_key("hostaddr");
    for (name, variable) in REFUSED {
        if *name == "service" && names_host {
            continue;
        }
        if get(variable).is_some() {
            return Err(TargetError::Unsupported { parameter: variable.unwrap_or(name).to_owned() });
        }
    }
    for (name, variable, fine) in ONLY {
        if get(variable).is_some_and(|value| !fine.contains(&value.as_str())) {
            return Err(TargetError::Unsupported { parameter: variable.unwrap_or(name).to_owned() });
        }
    }
    for (name, variable) in HONOURED {
        if matches!(*name, "host" | "hostaddr") && names_host {
            continue;
        }
        if !parameters.contains_key(name)
            && let Some(value) = get(variable)
        {
            parameters.insert(name, value);
        }
    }
    Ok(parameters)
}

/// The table's name of a parameter; `None` for one without meaning here.
fn known(key: &str, value: &str, previous: &str) -> Result<Option<&'static str>, TargetError> {
    // tokio-postgres' name for libpq's keepalives_count; both are in use in Rust projects.
    let key = if key == "keepalives_retries" { "keepalives_count" } else { key };
    if let Some((name, _)) = HONOURED.iter().find(|(name, _)| *name == key) {
        return Ok(Some(name));
    }
    if IGNORED.contains(&key) || ONLY.iter().any(|(name, _, fine)| *name == key && fine.contains(&value)) {
        return Ok(None);
    }
    if ONLY.iter().any(|(name, ..)| *name == key) || REFUSED.iter().any(|(name, _)| *name == key) {
        return Err(TargetError::Unsupported { parameter: key.to_owned() });
    }
    // `password=my secret=x` without quotes: the "parameter" is the second half of the password.
    if previous == "password" || previous == "sslpassword" {
        return Err(TargetError::Unknown { name: "right after the password (not shown)".to_owned(), meant: None });
    }
    let meant = HONOURED.iter().map(|(name, _)| *name).find(|name| strsim::damerau_levenshtein(name, key) <= 2);
    Err(TargetError::Unknown { name: format!("`{key}`"), meant })
}
