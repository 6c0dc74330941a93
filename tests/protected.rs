//! Protected databases and maintenance windows, on a real server: nothing is changed before a person's word was given.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use support::project::Project;
use support::{Output, Scene};

fn configure(project: &Project, text: &str) {
    std::fs::write(project.path().join("migengine.toml"), text).unwrap();
}

/// Runs the program at a terminal, where somebody types `answer`; everything it wrote there comes back as stderr.
fn at_a_terminal(project: &Project, args: &[&str], answer: &str) -> Output {
    let pty = nix::pty::openpty(None, None).unwrap();
    let slave = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
    let mut command = project.command(args);
    command.stdin(slave(&pty.slave)).stderr(slave(&pty.slave)).stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    drop((command, pty.slave));
    let mut terminal = File::from(pty.master);
    terminal.write_all(answer.as_bytes()).unwrap();
    let mut screen = Vec::new();
    let mut piece = [0; 4096];
    // Linux says EIO when the last one has closed the terminal.
    while let Ok(read @ 1..) = terminal.read(&mut piece) {
        screen.extend_from_slice(&piece[..read]);
    }
    let output = child.wait_with_output().unwrap();
    Output {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(screen).unwrap().replace("\r\n", "\n"),
    }
}

/// The messages of the notes on a topic in the last run.
fn notes(scene: &Scene, topic: &str) -> Vec<String> {
    let shown = scene.project.run_json(&["journal", "show", "last"], 0);
    let events = shown["runs"][0]["events"].as_array().unwrap().clone();
    let of_topic = events.iter().filter(|event| event["kind"] == "noted" && event["topic"] == topic);
    of_topic.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_protected_environment_is_changed_only_under_its_databases_name() {
    let scene = Scene::with_steps(1);
    let name = scene.db.name().to_owned();
    configure(&scene.project, "[env.production]\nprotected = true\n[env.dev]\n");
    let before = scene.everything();
    let refused = scene.project.run_json(&["--env", "production", "apply"], 5);
    assert_eq!(refused["error"]["code"], "ME701", "{refused}");
    let said = refused["error"]["message"].as_str().unwrap();
    assert!(said.contains(&name) && said.contains("[env.production] of migengine.toml"), "{said}");
    let refused = scene.project.run_json(&["--env", "production", "apply", "--yes"], 5);
    assert_eq!(refused["error"]["code"], "ME701", "{refused}");
    let refused = scene.project.run_json(&["--env", "production", "apply", "--yes", "--confirm", "other"], 5);
    assert_eq!(refused["error"]["code"], "ME702", "{refused}");
    assert_eq!(scene.everything(), before, "a refusal must leave no trace, not even the engine's tables");
    scene.run(&["--env", "production", "apply", "--yes", "--confirm", &name, "--no-backup", "a test"]).expect(0);
    let kept = notes(&scene, "confirmed");
    assert!(kept.len() == 1 && kept[0].contains("--confirm"), "the journal must keep the word: {kept:?}");
    // The same project without that environment asks nobody.
    scene.step(2);
    scene.run(&["--env", "dev", "apply"]).expect(0);
    // A slip in the name is caught wherever it is made.
    scene.step(3);
    let refused = scene.project.run_json(&["apply", "--confirm", "shop_production"], 5);
    assert_eq!(refused["error"]["code"], "ME702", "{refused}");
}

#[test]
fn the_mark_inside_the_database_wins_over_every_local_file() {
    let scene = Scene::with_steps(1);
    let name = scene.db.name().to_owned();
    assert_eq!(scene.project.run_json(&["protect"], 0)["protected"], true);
    let status = scene.project.run_json(&["status"], 0);
    assert_eq!(status["protected"], true, "{status}");
    configure(&scene.project, "protected = false\n");
    let refused = scene.project.run_json(&["apply"], 5);
    assert_eq!(refused["error"]["code"], "ME701", "{refused}");
    // Neither does it come off without a word.
    let refused = scene.project.run_json(&["protect", "--off"], 5);
    assert_eq!(refused["error"]["code"], "ME701", "{refused}");
    assert_eq!(scene.db.psql("SELECT count(*) FROM migengine.protection"), "1");
    scene.run(&["protect", "--off", "--yes", "--confirm", &name]).expect(0);
    scene.run(&["protect", "--off"]).expect(0);
    scene.run(&["apply"]).expect(0);
    let kept = scene.db.psql("SELECT string_agg(marked::text, ' ' ORDER BY number) FROM migengine.protection");
    assert_eq!(kept, "true false", "who marked it and who took the mark off must stay readable");
}

#[test]
fn reversing_and_going_on_need_the_name_too() {
    let scene = Scene::with_steps(2);
    let name = scene.db.name().to_owned();
    for id in ["001", "002"] {
        let reverse = format!("-- Allow: drop-table(t{id}) -- \"it was new\"\n\nDROP TABLE t{id};");
        scene.project.write(&format!("{id}_m_rollback.sql"), reverse);
    }
    scene.project.pair("003_m", "SELECT 1 / (SELECT count(*) FROM effects WHERE what = 'go')", "SELECT 1");
    scene.run(&["apply"]).expect(7);
    scene.run(&["protect"]).expect(0);
    let before = scene.everything();
    for command in [&["apply", "--resume"][..], &["rollback", "--run", "last"], &["apply", "001", "--rollback"]] {
        let code = if command.contains(&"001") { 7 } else { 5 };
        let refused = scene.run(command).expect(code);
        assert!(code == 7 || refused.stderr.contains("ME701"), "{refused}");
    }
    assert_eq!(scene.everything(), before);
    scene.db.psql("INSERT INTO effects (what) VALUES ('go')");
    scene.run(&["apply", "--resume", "--yes", "--confirm", &name, "--no-backup", "a test"]).expect(0);
    scene.run(&["rollback", "--last", "1"]).expect(5);
    // Nobody rehearsed it: that takes a word of its own.
    let refused =
        scene.run(&["rollback", "--last", "1", "--yes", "--confirm", &name, "--no-backup", "a test"]).expect(5);
    assert!(refused.stderr.contains("ME624") && refused.stderr.contains("003_m_rollback.sql"), "{refused}");
    scene
        .run(&["rollback", "--last", "1", "--yes", "--confirm", &name, "--no-backup", "a test", "--unproven"])
        .expect(0);
    assert!(notes(&scene, "unproven")[0].contains("003_m_rollback.sql"));
    assert_eq!(scene.history(), "001_m:applied 002_m:applied");
}

#[test]
fn a_person_at_a_terminal_sees_what_would_happen_and_types_the_name() {
    let scene = Scene::with_steps(1);
    let name = scene.db.name().to_owned();
    scene.run(&["protect"]).expect(0);
    scene.project.pair("002_big", "CREATE INDEX ON effects (what);", "DROP INDEX effects_what_idx;");
    let before = scene.everything();
    for wrong in ["yes\n", "\n", "\u{4}"] {
        let output = at_a_terminal(&scene.project, &["apply", "--no-backup", "a test"], wrong).expect(5);
        assert!(output.stderr.contains("ME702") || output.stderr.contains("ME701"), "{output}");
    }
    assert_eq!(scene.everything(), before);
    let output = at_a_terminal(&scene.project, &["apply", "--no-backup", "a test"], &format!("{name}\n")).expect(0);
    for part in ["the mark that", "target: ", "apply 2 migrations", "001_m", "MH0", "type the name of the database"] {
        assert!(output.stderr.contains(part), "the screen must show {part:?}: {output}");
    }
    assert_eq!(notes(&scene, "confirmed").len(), 1);
    // With --yes nobody is asked, terminal or not.
    scene.step(3);
    at_a_terminal(&scene.project, &["apply", "--yes"], "").expect(5);
}

#[test]
fn data_is_lost_in_a_protected_database_only_where_the_author_allowed_it() {
    let scene = Scene::with_steps(1);
    let name = scene.db.name().to_owned();
    scene.run(&["apply"]).expect(0);
    scene.run(&["protect"]).expect(0);
    let word = ["--yes", "--confirm", &name, "--no-backup", "a test"];
    scene.project.pair("002_drop", "ALTER TABLE t001 DROP COLUMN n;", "ALTER TABLE t001 ADD n int;");
    let before = scene.everything();
    let refused = scene.project.run_json(&[&["apply"][..], &word].concat(), 5);
    assert_eq!(refused["error"]["code"], "ME433", "{refused}");
    assert_eq!(refused["error"]["line"], 1, "{refused}");
    assert_eq!(scene.everything(), before);
    let allowed = "-- Allow: drop-column(t001.n) -- \"nobody reads it\"\n\nALTER TABLE t001 DROP COLUMN n;";
    scene.project.write("002_drop.sql", allowed);
    scene.run(&[&["apply"][..], &word].concat()).expect(0);
    // A reverse script that drops a table: an emergency has a way out, which the journal keeps.
    scene.run(&[&["rollback", "--to", "001", "--unproven"][..], &word].concat()).expect(0);
    let refused = scene.run(&[&["rollback", "001"][..], &word].concat()).expect(5);
    assert!(refused.stderr.contains("ME433") && refused.stderr.contains("--accept-loss"), "{refused}");
    scene.run(&[&["rollback", "001", "--unproven", "--accept-loss", "t001 is empty"][..], &word].concat()).expect(0);
    assert!(notes(&scene, "loss")[0].contains("t001 is empty"));
    assert_eq!(scene.tables(), "");
}

#[test]
fn outside_of_the_window_nothing_begins_and_the_next_opening_is_told() {
    let scene = Scene::with_steps(1);
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    let now = jiff::Timestamp::now().to_zoned(zone);
    let day = |ahead: i64| now.date().saturating_add(jiff::Span::new().days(ahead)).strftime("%a").to_string();
    configure(&scene.project, &format!("window = \"{} 02:00-05:00 Europe/Berlin\"\n", day(3)));
    let before = scene.everything();
    let refused = scene.project.run_json(&["apply"], 5);
    assert_eq!(refused["error"]["code"], "ME703", "{refused}");
    let opening = format!("open again {} ", day(3));
    let said = refused["error"]["message"].as_str().unwrap();
    assert!(said.contains(&opening) && said.contains("02:00 Europe/Berlin"), "{said}");
    assert_eq!(scene.everything(), before);
    configure(&scene.project, "window = [\"daily 00:00-24:00 Asia/Kathmandu\", \"Sat 02:00-05:00 Europe/Berlin\"]\n");
    scene.run(&["apply"]).expect(0);
    configure(&scene.project, &format!("window = \"{} 02:00-05:00 Europe/Berlin\"\n", day(3)));
    scene.run(&["rollback", "--last", "1"]).expect(5);
    scene.run(&["rollback", "--last", "1", "--outside-window", "the site is down"]).expect(0);
    assert!(notes(&scene, "window")[0].ends_with("because: the site is down"));
    scene.run(&["apply", "--outside-window", " "]).expect(2);
}

#[test]
fn a_window_in_an_unknown_zone_is_a_mistake_with_its_line() {
    let scene = Scene::with_steps(1);
    configure(&scene.project, "dir = \"migrations\"\n[env.production]\nwindow = \"Sat 02:00-05:00 Europe/Berlln\"\n");
    let before = scene.everything();
    for args in [&["apply"][..], &["--env", "production", "plan"]] {
        let refused = scene.project.run_json(args, 2);
        assert_eq!(refused["error"]["code"], "ME002", "{refused}");
        let said = refused["error"]["message"].as_str().unwrap();
        assert!(said.starts_with("migengine.toml:3:10: there is no time zone `Europe/Berlln`"), "{said}");
    }
    assert_eq!(scene.everything(), before);
}

#[test]
fn a_hosted_name_that_nothing_protects_is_warned_of() {
    let scene = Scene::with_steps(1);
    // libpq's hostaddr says where to go; the name is only looked at.
    let cluster = support::Cluster::start_with(support::Options { tcp: true, ..support::Options::default() });
    let db = cluster.database();
    db.psql("CREATE TABLE effects (at serial, what text)");
    let url = format!(
        "host=shop.abc.eu-central-1.rds.amazonaws.com hostaddr=127.0.0.1 port={} user=postgres dbname={} sslmode=disable",
        cluster.port(),
        db.name()
    );
    let output = scene.run(&["--database-url", &url, "--journal", "elsewhere", "apply"]).expect(0);
    assert!(output.stderr.contains("Amazon RDS") && output.stderr.contains("migengine protect"), "{output}");
    scene.run(&["--database-url", &url, "--journal", "elsewhere", "protect"]).expect(0);
    scene.step(2);
    let output = scene.run(&["--database-url", &url, "--journal", "elsewhere", "apply"]).expect(5);
    assert!(!output.stderr.contains("Amazon RDS"), "it is protected now: {output}");
}

#[test]
fn a_database_in_use_that_nothing_protects_is_warned_of() {
    let scene = Scene::with_steps(1);
    let output = scene.run(&["apply"]).expect(0);
    assert!(!output.stderr.contains("warning: traffic"), "nobody is there: {output}");
    let mut web = scene.db.cluster().program("psql");
    web.args(["-qXAt", "-d", &scene.db.url()]).env("PGAPPNAME", "shop-web").stdin(Stdio::piped());
    let mut web = web.spawn().unwrap();
    let there = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shop-web'";
    support::wait_until("the application is there", std::time::Duration::from_secs(60), || scene.db.psql(there) == "1");
    scene.step(2);
    let output = scene.run(&["apply"]).expect(0);
    let warning = "warning: traffic: 1 session of others: shop-web (1)";
    assert!(output.stderr.contains(warning) && output.stderr.contains("migengine protect"), "{output}");
    scene.run(&["protect"]).expect(0);
    let json = scene.project.run_json(&["doctor"], 5);
    let traffic = json["checks"].as_array().unwrap().iter().find(|check| check["name"] == "traffic").unwrap();
    assert_eq!(traffic["verdict"], "ok", "it is protected now: {traffic}");
    drop(web.stdin.take());
    web.wait().unwrap();
}

#[test]
fn an_allow_for_an_object_that_does_not_exist_allows_nothing() {
    let scene = Scene::with_steps(1);
    configure(&scene.project, "[env.production]\nprotected = true\n");
    scene.run(&["apply", "--yes"]).expect(0);
    let name = scene.db.name().to_owned();
    let script = "-- Allow: drop-table(nowhere) -- \"a slip\"\n\nDROP TABLE t001;\n";
    scene.project.pair("002_drop", script, "CREATE TABLE t001 (n int);\n");
    let lint = scene.project.run(&["lint"]);
    assert!(format!("{lint}").contains("nothing in this script is drop-table(nowhere)"), "{lint}");
    let before = scene.everything();
    let refused = scene.run(&["--env", "production", "apply", "--yes", "--confirm", &name]).expect(5);
    assert!(refused.stderr.contains("ME433") && refused.stderr.contains("002_drop.sql:3:1"), "{refused}");
    assert_eq!(scene.everything(), before);
    // Of an object that is in the script and not in the database the server says so, and nothing is changed.
    let script = "-- Allow: drop-table(nowhere) -- \"a slip\"\n\nDROP TABLE nowhere;\n";
    scene.project.pair("002_drop", script, "CREATE TABLE nowhere (n int);\n");
    let failed = scene.run(&["--env", "production", "apply", "--yes", "--confirm", &name, "--no-backup", "test"]);
    assert!(failed.code != Some(0) && failed.stderr.contains("nowhere"), "{failed}");
    assert_eq!(scene.effects(), "+001");
}
