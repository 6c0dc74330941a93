//! Nothing that is printed or stored holds a secret, and nothing is written where it should not be.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use support::http::{OK, Request, server};
use support::project::collect;
use support::smtp::{self, Manner};
use support::{Cluster, Options, Output, Project, Scene, certificates};

/// Every secret of the scene below, by where it is used. They look like nothing else.
const SECRETS: [(&str, &str); 7] = [
    ("the password of the database", "pw0fTheDatabase!x"),
    ("a wrong password of the database", "pw0fNobody!x"),
    ("the password of the mailbox", "pw0fTheMailbox!x"),
    ("the key of the webhook", "key0fTheHook!x"),
    ("the header of OTLP", "bearer0fOtlp!x"),
    ("the key at Sentry", "key0fSentry0x"),
    ("the address of the webhook", "path-token"),
];
const MAILBOX: &str = SECRETS[2].1;

/// What was printed or stored: where, and the bytes.
type Found = Vec<(String, Vec<u8>)>;

/// Every file below a folder.
fn files(folder: &Path, found: &mut Found) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => files(&path, found),
            path => found.push((path.display().to_string(), std::fs::read(&path).unwrap())),
        }
    }
}

fn configuration(mail: u16) -> String {
    format!(
        r#"
        [hooks]
        started = ["sh", "-c", "cat > hook-input"]
        finished = ["sh", "-c", "cat > hook-output"]
        [export]
        file = "schema.sql"
        [metrics]
        textfile = "migengine.prom"
        [[notify]]
        kind = "webhook"
        url_env = "HOOK_URL"
        secret_env = "HOOK_KEY"
        [[notify]]
        kind = "email"
        server = "localhost"
        port = {mail}
        user = "migengine"
        password_env = "SMTP_PASSWORD"
        from = "a@example.com"
        to = ["b@example.com"]
        [[notify]]
        kind = "command"
        command = ["sh", "-c", "cat > told; echo \"$MIGENGINE_TEXT\" >> told"]
        [otlp]
        headers_env = "OTLP_HEADERS"
        "#
    )
}

fn bodies(name: &str, requests: &Receiver<Request>) -> Found {
    let all = std::iter::from_fn(|| requests.recv_timeout(Duration::from_millis(100)).ok());
    all.map(|(_, body)| (format!("what {name} was sent"), body.into_bytes())).collect()
}

#[test]
fn no_output_log_file_table_message_or_export_holds_a_password() {
    let trust = "host all walter 127.0.0.1/32 scram-sha-256".to_owned();
    let conf = vec!["log_statement = 'all'".to_owned(), "log_connections = on".to_owned()];
    let cluster = Cluster::start_with(Options { tcp: true, hba: vec![trust], conf, ..Options::default() });
    let db = cluster.database();
    let [(_, password), (_, wrong), _, (_, key), (_, bearer), (_, sentry), _] = SECRETS;
    // The server's log shows what its superuser types here, so it is looked at from here on only.
    db.psql(&format!("CREATE ROLE walter LOGIN SUPERUSER PASSWORD '{password}'"));
    let typed = cluster.log().len();
    let folder = tempfile::tempdir().unwrap();
    certificates::make(folder.path());
    let (mail, mails) = smtp::start(Manner::Starttls, folder.path());
    let (hook, hooked) = server(&[OK]);
    let (otlp, collected) = server(&[OK]);
    let (at_sentry, told) = server(&[OK]);
    let url = |password: &str| cluster.tcp_url(db.name()).replace("postgres@", &format!("walter:{password}@"));
    let project = Project::without_url()
        .with_env("SSL_CERT_FILE", folder.path().join("ca.crt").to_str().unwrap())
        .with_env("MIGENGINE_LOG", "trace")
        .with_env("HOOK_URL", &hook)
        .with_env("HOOK_KEY", key)
        .with_env("SMTP_PASSWORD", MAILBOX)
        .with_env("OTEL_EXPORTER_OTLP_ENDPOINT", otlp.trim_end_matches("/path-token"))
        .with_env("OTLP_HEADERS", &format!("Authorization={bearer}"))
        .with_env("SENTRY_DSN", &at_sentry.replace("http://", &format!("http://{sentry}@")).replace("path-token", "7"));
    std::fs::write(project.path().join("migengine.toml"), configuration(mail)).unwrap();
    project.pair("001_m", "CREATE TABLE t001 (n int);\n", "DROP TABLE t001;\n");
    project.pair("002_m", "SELECT 1/0;\n", "SELECT 1;\n");
    let mut found = Found::new();
    let mut run = |url: &str, args: &[&str]| -> Output {
        let mut command = project.command(args);
        let output = collect(command.env("DATABASE_URL", url).spawn().unwrap());
        found.push((format!("stdout of {args:?}"), output.stdout.clone().into_bytes()));
        found.push((format!("stderr of {args:?}"), output.stderr.clone().into_bytes()));
        output
    };
    let refused = run(&url(wrong), &["apply", "--yes"]);
    assert!(refused.stderr.contains("password authentication failed"), "{refused}");
    run("postgres://walter:pw0fNobody!x@127.0.0.1:no/port", &["apply", "--yes"]).expect(2);
    let failed = run(&url(password), &["apply", "--yes", "--events", "--format", "json"]).expect(7);
    assert!(failed.stdout.lines().last().unwrap().contains("\"remarks\":[]"), "everybody must be told: {failed}");
    project.pair("002_m", "CREATE TABLE t002 ();\n", "DROP TABLE t002;\n");
    run(&url(password), &["apply", "--resume", "-vv", "--log-format", "json"]).expect(0);
    run(&url(password), &["rollback", "--last", "1"]).expect(0);
    for args in [
        ["doctor", "--format", "json"].as_slice(),
        &["status"],
        &["journal", "show", "--format", "json"],
        &["journal", "check"],
        &["audit", "export", "--format", "jsonl"],
        &["audit", "verify"],
        &["export", "--check"],
        &["plan", "--sql"],
    ] {
        run(&url(password), args);
    }
    drop(project.run(&["schema"]));
    files(project.path(), &mut found);
    found.extend(bodies("the webhook", &hooked));
    found.extend(bodies("the collector", &collected));
    found.extend(bodies("Sentry", &told));
    let mail = std::iter::from_fn(|| mails.recv_timeout(Duration::from_millis(100)).ok());
    found.extend(mail.map(|mail| ("a mail".to_owned(), mail.data.into_bytes())));
    let mut pg_dump = cluster.program("pg_dump");
    let dump = pg_dump.args(["--schema=migengine", "-d", &db.url()]).output().unwrap();
    found.push(("the engine's tables".to_owned(), dump.stdout));
    found.push(("the server's log".to_owned(), cluster.log().into_bytes().split_off(typed)));
    // A test that looks at nothing finds nothing.
    for kind in ["the webhook", "the collector", "Sentry", "a mail", "hook-input", "hook-output", "told", "schema.sql"]
    {
        let bytes: usize = found.iter().filter(|(place, _)| place.contains(kind)).map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes > 50, "nothing of {kind} was looked at");
    }
    assert!(
        found
            .iter()
            .any(|(place, bytes)| place.contains("stderr") && contains(bytes, "TRACE") || contains(bytes, "DEBUG"))
    );
    assert!(found.iter().any(|(place, bytes)| place.contains("tables") && contains(bytes, "audit_head")));
    for (whose, secret) in SECRETS {
        for (place, bytes) in &found {
            assert!(!contains(bytes, secret), "{whose} is in {place}");
        }
    }
    let encoded = "AG1pZ2VuZ2luZQBwdzBmVGhlTWFpbGJveCF4"; // printf '\0migengine\0pw0fTheMailbox!x' | base64
    assert!(!found.iter().any(|(_, bytes)| contains(bytes, encoded)), "nor as SMTP writes it");
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn what_is_written_is_its_owners_alone() {
    let scene = Scene::with_steps(1);
    let config = "[export]\nfile = \"schema.sql\"\n";
    std::fs::write(scene.project.path().join("migengine.toml"), config).unwrap();
    scene.run(&["apply"]).expect(0);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let schema = scene.project.path().join("schema.sql");
    assert_eq!((mode(&scene.project.journal()), mode(&schema)), (0o700, 0o600));
    let mut written = Found::new();
    files(&scene.project.journal(), &mut written);
    assert!(!written.is_empty());
    for (path, _) in written {
        assert_eq!(mode(&PathBuf::from(&path)), 0o600, "{path}");
    }
    // A mode that somebody chose stays.
    std::fs::set_permissions(&schema, std::fs::Permissions::from_mode(0o644)).unwrap();
    scene.step(2);
    scene.run(&["apply"]).expect(0);
    assert_eq!(mode(&schema), 0o644);
}

#[test]
fn paths_of_the_configuration_that_leave_the_project_are_refused_before_anything_happens() {
    let scene = Scene::with_steps(1);
    let outside = tempfile::tempdir().unwrap();
    let there = outside.path().canonicalize().unwrap();
    std::os::unix::fs::symlink(&there, scene.project.path().join("link")).unwrap();
    let shown = there.display();
    let configure = |text: &str| std::fs::write(scene.project.path().join("migengine.toml"), text).unwrap();
    for (text, place) in [
        ("[export]\nfile = \"../schema.sql\"\n".to_owned(), "migengine.toml:2: export.file"),
        (format!("[export]\nfile = \"{shown}/schema.sql\"\n"), "migengine.toml:2: export.file"),
        ("[export]\nfile = \"link/schema.sql\"\n".to_owned(), "migengine.toml:2: export.file"),
        ("[backup]\ndump = true\ndump_dir = \"migrations/../../x\"\n".to_owned(), "migengine.toml:3: backup.dump_dir"),
        ("dir = \"..\"\n".to_owned(), "migengine.toml:1: dir"),
        ("journal = \"/var/lib/x\"\n".to_owned(), "migengine.toml:1: journal"),
        ("[hooks]\nstarted = [\"../hook\"]\n".to_owned(), "migengine.toml:2: hooks.started"),
        ("[[notify]]\nkind = \"command\"\ncommand = [\"link/tell\"]\n".to_owned(), "migengine.toml:3: notify.command"),
    ] {
        configure(&text);
        let output = scene.run(&["apply"]).expect(2);
        assert!(output.stderr.contains("ME720") && output.stderr.contains(place), "{text}{output}");
        assert!(output.stderr.contains("leaves the project folder"), "{output}");
    }
    assert_eq!(scene.effects(), "");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    // What the machine allows, and programs of the machine, are fine.
    configure(&format!(
        "[export]\nfile = \"{shown}/schema.sql\"\n[hooks]\nstarted = [\"/bin/true\"]\nfinished = [\"true\"]\n"
    ));
    let mut command = scene.project.command(&["apply"]);
    collect(command.env("MIGENGINE_ALLOWED_PATHS", format!("/nowhere:{shown}")).spawn().unwrap()).expect(0);
    assert!(there.join("schema.sql").exists());
}

#[test]
fn unknown_keys_are_errors_with_their_line_in_every_section() {
    let scene = Scene::with_steps(1);
    let sections =
        ["", "[export]\n", "[backup]\n", "[metrics]\n", "[otlp]\n", "[sentry]\n", "[env.p]\n", "[env.p.metrics]\n"];
    for section in sections {
        let text = format!("# a comment\n{section}colour = \"red\"\n");
        std::fs::write(scene.project.path().join("migengine.toml"), text).unwrap();
        let output = scene.run(&["apply"]).expect(2);
        let line = if section.is_empty() { 2 } else { 3 };
        assert!(
            output.stderr.contains(&format!("migengine.toml:{line}:1: unknown field `colour`")),
            "{section}{output}"
        );
    }
    for (text, expected) in [
        ("[hooks]\nfinishd = [\"x\"]\n", "migengine.toml:2:1: unknown variant `finishd`"),
        ("[[notify]]\nkind = \"slack\"\ncolour = \"x\"\n", "migengine.toml:3:1: unknown field `colour`"),
    ] {
        std::fs::write(scene.project.path().join("migengine.toml"), text).unwrap();
        let output = scene.run(&["apply"]).expect(2);
        assert!(output.stderr.contains(expected), "{output}");
    }
}

/// The words behind what announces a password in the source of a test.
fn passwords(source: &str) -> Vec<&str> {
    let announced = ["PASSWORD '", "password '", "password=", "password='", "PASSWORD: &str = \"", "\"KEY\", \""];
    let behind = announced.iter().flat_map(|words| source.split(words).skip(1));
    let accounts = source.split("://").skip(1).filter_map(|rest| {
        let (account, _) = rest.split_once('@').filter(|(account, _)| !account.contains(['"', '/', ' ']))?;
        account.split_once(':').map(|(_, password)| password)
    });
    let word =
        |rest: &'_ str| rest.find(|c: char| !c.is_ascii_alphanumeric() && !"-_!".contains(c)).unwrap_or(rest.len());
    behind.chain(accounts).map(|rest| &rest[..word(rest)]).filter(|found| found.len() > 3).collect()
}

/// Every run of every test is looked through for the suite's secrets (tests/support/secret.rs); this holds the list.
#[test]
fn each_password_that_a_test_uses_is_looked_for_in_all_tests() {
    let mut sources = Found::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests"), &mut sources);
    let mut count = 0;
    for (path, bytes) in sources.iter().filter(|(path, _)| path.ends_with(".rs")) {
        let source = String::from_utf8_lossy(bytes);
        for password in passwords(&source) {
            let known = support::secret::ALL.iter().any(|secret| password.contains(secret));
            assert!(known, "{path} uses the password {password}, which tests/support/secret.rs does not list");
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
    for (_, secret) in SECRETS {
        assert!(support::secret::ALL.contains(&secret), "{secret}");
    }
    let caught = std::panic::catch_unwind(|| support::secret::none_in("a journal", b"\xff\0 hunter2\0"));
    assert!(caught.is_err(), "what looks for them must find them");
}
