//! Whether there is a backup, from what backup tools print. Nothing they print is believed without its time.

use serde_json::Value;

use super::facts::Archiver;
use super::{Check, age};
use crate::id::Timestamp;

/// What one source says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What, for people: a label.
    pub what: String,
    /// When it was finished; absent where the source only says that all is well.
    pub finished: Option<Timestamp>,
}

/// A clock that is ahead by more than this makes a time in the future a lie.
const AHEAD_US: i64 = 300_000_000;

/// What a command of the user's printed before it ended with 0. An object must hold what it is about; any other output
/// is for people.
///
/// # Errors
/// It is an object, and says nothing that can be understood.
pub fn command(stdout: &str) -> Result<Found, String> {
    let what = "the command".to_owned();
    if !stdout.trim_start().starts_with(['{', '[']) {
        return Ok(Found { what, finished: None });
    }
    let value: Value = serde_json::from_str(stdout).map_err(|error| format!("what it printed is no JSON: {error}"))?;
    match value.get("finished_at") {
        Some(Value::String(text)) => {
            let finished = time(text).ok_or_else(|| format!("finished_at = \"{text}\" is no time (RFC 3339)"))?;
            Ok(Found { what, finished: Some(finished) })
        }
        Some(other) => Err(format!("finished_at = {other} is no time (RFC 3339)")),
        None => Err("the object it printed has no finished_at".to_owned()),
    }
}

/// `pgbackrest info --output=json`: a list of stanzas, each with its backups (`timestamp.stop` in Unix seconds) and the
/// system identifiers of its clusters. <https://pgbackrest.org/command.html#command-info>
///
/// # Errors
/// Another shape, another cluster, or no backup without errors.
pub fn pgbackrest(stdout: &str, stanza: &str, system: u64) -> Result<Found, String> {
    let value: Value = serde_json::from_str(stdout).map_err(|error| format!("what it printed is no JSON: {error}"))?;
    let stanzas = value.as_array().ok_or("it printed no list of stanzas")?;
    let found = stanzas.iter().find(|found| found.get("name").and_then(Value::as_str) == Some(stanza));
    let found = found.ok_or_else(|| format!("it knows no stanza `{stanza}`"))?;
    let code = found.pointer("/status/code").and_then(Value::as_i64).ok_or("the stanza has no status")?;
    if code != 0 {
        let message = found.pointer("/status/message").and_then(Value::as_str).unwrap_or("no reason");
        return Err(format!("the stanza `{stanza}` is not in order: {message} (status {code})"));
    }
    let clusters = found.get("db").and_then(Value::as_array).into_iter().flatten();
    let ids: Vec<u64> = clusters.filter_map(|db| db.get("system-id")?.as_u64()).collect();
    same_cluster(&ids, system, &format!("the stanza `{stanza}`"))?;
    let backups = found.get("backup").and_then(Value::as_array).ok_or("the stanza has no list of backups")?;
    let sound = backups.iter().filter(|backup| backup.get("error").and_then(Value::as_bool) != Some(true));
    let timed = sound.filter_map(|backup| {
        let stop = backup.pointer("/timestamp/stop")?.as_i64()?;
        let label = backup.get("label").and_then(Value::as_str).unwrap_or("a backup");
        Some(Found { what: label.to_owned(), finished: Some(Timestamp(stop.checked_mul(1_000_000)?)) })
    });
    timed
        .max_by_key(|found| found.finished)
        .ok_or_else(|| format!("the stanza `{stanza}` has no backup without errors"))
}

/// `wal-g backup-list --json --detail`: a list of backups with `finish_time`, or without `--detail` with `time`.
///
/// # Errors
/// Another shape, another cluster, or no backup.
pub fn walg(stdout: &str, system: u64) -> Result<Found, String> {
    let text = stdout.trim();
    let value: Value = serde_json::from_str(if text.is_empty() { "null" } else { text })
        .map_err(|error| format!("what it printed is no JSON: {error}"))?;
    if value.is_null() {
        return Err("it lists no backup".to_owned());
    }
    let backups = value.as_array().ok_or("it printed no list of backups")?;
    let mine = |backup: &&Value| {
        let id = backup.get("system_identifier").and_then(Value::as_u64).unwrap_or_default();
        id == 0 || system == 0 || id == system
    };
    if !backups.is_empty() && !backups.iter().any(|backup| mine(&backup)) {
        return Err("its backups are of another cluster".to_owned());
    }
    let timed = backups.iter().filter(mine).filter_map(|backup| {
        let at = ["finish_time", "time"].into_iter().find_map(|key| time(backup.get(key)?.as_str()?))?;
        let name = backup.get("backup_name").and_then(Value::as_str)?;
        Some(Found { what: name.to_owned(), finished: Some(at) })
    });
    timed.max_by_key(|found| found.finished).ok_or_else(|| "it lists no backup with a name and a time".to_owned())
}

fn same_cluster(ids: &[u64], system: u64, what: &str) -> Result<(), String> {
    if system == 0 || ids.is_empty() || ids.contains(&system) {
        return Ok(());
    }
    Err(format!(
        "{what} is of another cluster: system identifier {}, and this server has {system}",
        ids.last().copied().unwrap_or_default()
    ))
}

/// A continuous archive is as young as the last segment that reached it.
///
/// # Errors
/// It is off, fails, or stands still.
pub fn archive(archiver: Option<&Archiver>, max_age_s: i64) -> Result<String, String> {
    match archiver {
        Some(archiver) if archiver.on => match archiver.archived_ago {
            _ if archiver.failing => {
                Err("the archiver fails: its last failure is younger than its last success".to_owned())
            }
            Some(ago) if ago <= max_age_s => Ok(format!("WAL was archived {} ago", age(ago))),
            Some(ago) => Err(format!("WAL was archived {} ago, and {} is allowed", age(ago), age(max_age_s))),
            None => Err("nothing was archived yet".to_owned()),
        },
        Some(_) => Err("archive_mode is off".to_owned()),
        None => Err("pg_stat_archiver could not be read".to_owned()),
    }
}

/// Whether a backup is young enough.
///
/// # Errors
/// It is too old, or was finished in the future.
pub fn young(found: &Found, now: Timestamp, max_age_s: i64) -> Result<String, String> {
    let Some(finished) = found.finished else { return Ok(format!("{} says that all is well", found.what)) };
    let ago = now.0 - finished.0;
    if ago < -AHEAD_US {
        return Err(format!("{} claims to be finished {} from now", found.what, age(-ago / 1_000_000)));
    }
    let ago = ago.max(0) / 1_000_000;
    if ago > max_age_s {
        return Err(format!("{} was finished {} ago, and {} is allowed", found.what, age(ago), age(max_age_s)));
    }
    Ok(format!("{} was finished {} ago", found.what, age(ago)))
}

/// What the sources say together: one that proves a backup is enough; the others are told.
#[must_use]
pub fn judge(proofs: &[(String, Result<String, String>)], protected: bool, dump: bool) -> Check {
    let of = |found: &(String, Result<String, String>)| match &found.1 {
        Ok(words) | Err(words) => format!("{}: {words}", found.0),
    };
    let good: Vec<String> = proofs.iter().filter(|proof| proof.1.is_ok()).map(of).collect();
    let bad: Vec<String> = proofs.iter().filter(|proof| proof.1.is_err()).map(of).collect();
    let next = "make a backup and see why these do not show one, or: --no-backup \"reason\"";
    match (good.is_empty(), bad.is_empty()) {
        (false, true) => Check::ok("backup", good.join("; ")),
        (false, false) => Check::warn(
            "backup",
            format!("{}; but {}", good.join("; "), bad.join("; ")),
            "see why the others show none",
        ),
        (true, _) if dump => {
            let aside = if bad.is_empty() { String::new() } else { format!("; {}", bad.join("; ")) };
            Check::ok("backup", format!("pg_dump is run before the first step{aside}"))
        }
        (true, false) if protected => Check::fail("backup", bad.join("; "), next),
        (true, false) => Check::warn("backup", bad.join("; "), next),
        (true, true) if protected => Check::fail(
            "backup",
            "nothing says whether there is a backup of this protected database",
            "write a [backup] section for this environment (docs/production.md), or: --no-backup \"reason\"",
        ),
        (true, true) => Check::skipped("backup", "no [backup] section says how to find out"),
    }
}

/// RFC 3339, with any offset.
fn time(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|at| Timestamp(at.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

    /// The shape of pgBackRest 2.x, shortened to what it prints for one full backup.
    fn stanza(code: i64, system: u64, error: bool, stop: i64) -> String {
        format!(
            r#"[{{"archive":[{{"database":{{"id":1,"repo-key":1}},"id":"15-1","max":"000000010000000000000004","min":"000000010000000000000002"}}],
            "backup":[{{"archive":{{"start":"000000010000000000000002","stop":"000000010000000000000002"}},"backrest":{{"format":5,"version":"2.54.0"}},
            "database":{{"id":1,"repo-key":1}},"error":{error},"info":{{"delta":22890000,"repository":{{"delta":2999}},"size":22890000}},
            "label":"20231114-220000F","prior":null,"reference":null,"timestamp":{{"start":{},"stop":{stop}}},"type":"full"}}],
            "cipher":"none","db":[{{"id":1,"repo-key":1,"system-id":{system},"version":"15"}}],"name":"main",
            "repo":[{{"cipher":"none","key":1,"status":{{"code":{code},"message":"ok"}}}}],
            "status":{{"code":{code},"lock":{{"backup":{{"held":false}}}},"message":"no valid backups"}}}}]"#,
            stop - 60
        )
    }

    #[test]
    fn pgbackrest_is_believed_only_for_this_cluster_and_a_sound_backup() {
        let read = |text: &str| pgbackrest(text, "main", 42);
        let found = read(&stanza(0, 42, false, 1_699_999_000)).unwrap();
        assert_eq!(found.what, "20231114-220000F");
        assert_eq!(young(&found, NOW, 3_600).unwrap(), "20231114-220000F was finished 16 min ago");
        assert!(young(&found, NOW, 60).unwrap_err().contains("and 60 s is allowed"));
        for (text, expected) in [
            (stanza(2, 42, false, 1_699_999_000), "no valid backups (status 2)"),
            (stanza(0, 43, false, 1_699_999_000), "another cluster: system identifier 43"),
            (stanza(0, 42, true, 1_699_999_000), "no backup without errors"),
            ("[]".to_owned(), "no stanza `main`"),
            ("{}".to_owned(), "no list of stanzas"),
            ("stanza: main\n    status: ok".to_owned(), "no JSON"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn walg_is_read_in_both_its_forms() {
        let plain = r#"[{"backup_name":"base_000000010000000000000002","time":"2023-11-14T22:00:00Z","wal_file_name":"000000010000000000000002","storage_name":"default"},
            {"backup_name":"base_000000010000000000000009","time":"2023-11-14T22:10:00+00:00","wal_file_name":"000000010000000000000009","storage_name":"default"}]"#;
        assert_eq!(walg(plain, 42).unwrap().what, "base_000000010000000000000009");
        let detail = r#"[{"backup_name":"base_000000010000000000000002","time":"2023-11-14T22:05:00Z","wal_file_name":"000000010000000000000002","storage_name":"default",
            "start_time":"2023-11-14T21:59:00Z","finish_time":"2023-11-14T22:00:00.5Z","date_fmt":"%Y-%m-%dT%H:%M:%S.%fZ","hostname":"db","data_dir":"/pg","pg_version":150018,
            "start_lsn":33554472,"finish_lsn":50331648,"is_permanent":false,"system_identifier":42,"uncompressed_size":1,"compressed_size":1}]"#;
        assert_eq!(walg(detail, 42).unwrap().finished, Some(Timestamp(1_699_999_200_500_000)));
        assert!(walg(detail, 7).unwrap_err().contains("another cluster"));
        for text in ["", "null", "[]", "{}", "No backups found", r#"[{"backup_name":"x","time":"yesterday"}]"#] {
            assert!(walg(text, 42).is_err(), "{text}");
        }
    }

    #[test]
    fn a_command_may_say_nothing_but_not_nonsense() {
        assert_eq!(command("").unwrap().finished, None);
        assert_eq!(command("last backup: fine\n").unwrap().finished, None);
        assert_eq!(
            command(r#"{"finished_at":"2023-11-14T22:00:00Z"}"#).unwrap().finished,
            Some(Timestamp(1_699_999_200_000_000))
        );
        for text in ["{", "{}", "[1]", r#"{"finished_at":"today"}"#, r#"{"finished_at":1700000000}"#] {
            assert!(command(text).is_err(), "{text}");
        }
        let future = Found { what: "x".to_owned(), finished: Some(Timestamp(NOW.0 + 3_600_000_000)) };
        assert!(young(&future, NOW, 60).unwrap_err().contains("from now"));
    }

    #[test]
    fn an_archive_counts_while_it_moves() {
        let archiver = |on, archived_ago, failing| Archiver { on, archived_ago, failing };
        assert!(archive(Some(&archiver(true, Some(10), false)), 60).is_ok());
        for bad in [
            archiver(false, Some(10), false),
            archiver(true, Some(100), false),
            archiver(true, None, false),
            archiver(true, Some(10), true),
        ] {
            assert!(archive(Some(&bad), 60).is_err(), "{bad:?}");
        }
        assert!(archive(None, 60).is_err());
    }

    #[test]
    fn one_proof_is_enough_and_a_protected_database_needs_one() {
        let good = ("a".to_owned(), Ok("young".to_owned()));
        let bad = ("b".to_owned(), Err("old".to_owned()));
        assert_eq!(judge(std::slice::from_ref(&good), true, false).verdict, Verdict::Ok);
        assert_eq!(judge(&[good, bad.clone()], true, false).verdict, Verdict::Warn);
        assert_eq!(judge(std::slice::from_ref(&bad), true, false).verdict, Verdict::Fail);
        assert_eq!(judge(std::slice::from_ref(&bad), false, false).verdict, Verdict::Warn);
        assert_eq!(judge(&[bad], true, true).verdict, Verdict::Ok);
        assert_eq!(judge(&[], true, false).verdict, Verdict::Fail);
        assert_eq!(judge(&[], false, false).verdict, Verdict::Skipped);
    }
}
