//! Mail, to servers that the tests start: it arrives, over TLS where that is asked for, and no server holds up a run.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::path::Path;
use std::time::Duration;

use support::project::collect;
use support::smtp::{Manner, start};
use support::{Output, Scene, certificates, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "pa55-of-the-mailbox";

fn configure(scene: &Scene, port: u16, tls: &str, more: &str) {
    let text = format!(
        "[[notify]]\nkind = \"email\"\non = [\"finished\"]\nserver = \"localhost\"\nport = {port}\ntls = \"{tls}\"\n\
         from = \"migengine@example.com\"\nto = [\"dba@example.com\", \"Night Watch <night@example.com>\"]\n{more}"
    );
    std::fs::write(scene.project.path().join("migengine.toml"), text).unwrap();
}

fn apply(scene: &Scene, authority: &Path) -> Output {
    let mut command = scene.project.command(&["apply", "--format", "json"]);
    command.env("SSL_CERT_FILE", authority).env("SMTP_PASSWORD", PASSWORD);
    collect(command.spawn().unwrap())
}

const ACCOUNT: &str = "user = \"migengine\"\npassword_env = \"SMTP_PASSWORD\"\n";

#[test]
fn a_mail_arrives_with_what_happened_and_to_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let (port, mails) = start(Manner::Plain, folder.path());
    let scene = Scene::with_steps(1);
    configure(&scene, port, "none", "");
    let output = apply(&scene, Path::new("/dev/null")).expect(0);
    assert_eq!(output.json()["remarks"], serde_json::json!([]), "{output}");
    let mail = mails.recv_timeout(PATIENCE).unwrap();
    for expected in ["From: migengine@example.com", "Subject: migengine: apply of", "state: Committed", "actor: "] {
        assert!(mail.data.contains(expected), "{expected} in {mail:?}");
    }
    let recipients = mail.commands.iter().filter(|line| line.starts_with("RCPT TO:")).count();
    assert_eq!((recipients, mail.encrypted), (2, false), "{mail:?}");
}

#[test]
fn a_password_travels_over_tls_only_and_to_a_server_that_its_authority_vouches_for() {
    let folder = tempfile::tempdir().unwrap();
    certificates::make(folder.path());
    for (manner, tls) in [(Manner::Starttls, "starttls"), (Manner::Tls, "tls")] {
        let (port, mails) = start(manner, folder.path());
        let scene = Scene::with_steps(1);
        configure(&scene, port, tls, ACCOUNT);
        let output = apply(&scene, &folder.path().join("ca.crt")).expect(0);
        assert_eq!(output.json()["remarks"], serde_json::json!([]), "{tls}: {output}");
        let mail = mails.recv_timeout(PATIENCE).unwrap();
        assert!(mail.encrypted && mail.data.contains("Committed"), "{tls}: {mail:?}");
        assert!(mail.commands.iter().any(|line| line.starts_with("AUTH ")), "{tls}: {mail:?}");

        scene.step(2);
        let output = apply(&scene, &folder.path().join("other.crt")).expect(0);
        let remarks = output.json()["remarks"].to_string();
        assert!(remarks.contains("ME762") && remarks.contains("certificate"), "{tls}: {remarks}");
        assert!(!remarks.contains("tries"), "a certificate does not become good by asking again: {remarks}");
        let mail = mails.recv_timeout(PATIENCE).unwrap();
        assert!(mail.data.is_empty() && !mail.commands.iter().any(|line| line.starts_with("AUTH")), "{tls}: {mail:?}");
        assert_eq!(scene.effects(), "+001 +002");
    }
}

#[test]
fn a_server_that_offers_no_tls_gets_neither_password_nor_mail() {
    let folder = tempfile::tempdir().unwrap();
    let (port, mails) = start(Manner::Plain, folder.path());
    let scene = Scene::with_steps(1);
    configure(&scene, port, "starttls", ACCOUNT);
    let output = apply(&scene, Path::new("/dev/null")).expect(0);
    assert!(output.json()["remarks"].to_string().contains("ME762"), "{output}");
    let mail = mails.recv_timeout(PATIENCE).unwrap();
    assert!(mail.data.is_empty() && !mail.commands.iter().any(|line| line.starts_with("AUTH")), "{mail:?}");
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let (port, mails) = start(Manner::BusyOnce, folder.path());
    let scene = Scene::with_steps(1);
    configure(&scene, port, "none", "");
    let output = apply(&scene, Path::new("/dev/null")).expect(0);
    assert_eq!(output.json()["remarks"], serde_json::json!([]), "{output}");
    let (first, second) = (mails.recv_timeout(PATIENCE).unwrap(), mails.recv_timeout(PATIENCE).unwrap());
    let arrived = [&first, &second].iter().filter(|mail| mail.data.contains("Committed")).count();
    assert_eq!(arrived, 1, "{first:?} {second:?}");
}

#[test]
fn a_server_that_says_nothing_holds_up_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let (port, _mails) = start(Manner::Mute, folder.path());
    let scene = Scene::with_steps(1);
    // It would be waited for longer than the test waits for anything.
    configure(&scene, port, "none", "timeout = \"10m\"\n");
    let child = scene.project.spawn(&["apply", "--format", "json"]);
    let committed = || {
        let there = scene.db.psql("SELECT to_regclass('migengine.run') IS NOT NULL") == "t";
        there && scene.db.psql("SELECT coalesce(string_agg(state, ' '), '') FROM migengine.run") == "Committed"
    };
    wait_until("the run is over", PATIENCE, committed);
    let locks = || scene.db.psql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0";
    wait_until("the lock is free while the mail is still being sent", PATIENCE, locks);
    support::process::signal(i32::try_from(child.id()).unwrap(), nix::sys::signal::Signal::SIGINT);
    let output = collect(child).expect(0);
    assert_eq!(output.json()["state"], "Committed", "{output}");
}
