//! `--resume` where there is nothing to resume, and where what there is cannot be trusted.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use migengine_engine::id::RunId;
use migengine_engine::run::journal::Journal as _;
use migengine_journal::SledJournal;
use support::{Output, Scene};

fn says(output: &Output, words: &[&str]) {
    for word in words {
        assert!(output.stderr.contains(word), "`{word}` is missing: {output}");
    }
}

#[test]
fn nothing_to_resume_is_said_and_is_no_failure() {
    let scene = Scene::with_steps(1);
    says(&scene.run(&["apply", "--resume"]).expect(0), &["nothing to resume"]);
    assert_eq!(scene.db.psql("SELECT to_regnamespace('migengine') IS NULL"), "t", "it must not make anything");
    scene.run(&["apply"]).expect(0);
    for command in ["apply", "rollback"] {
        says(&scene.run(&[command, "--resume"]).expect(0), &["nothing to resume"]);
    }
    assert_eq!(scene.effects(), "+001");
}

#[test]
fn an_unfinished_run_is_not_resumed_on_another_database() {
    let (here, there) = (Scene::with_steps(2), Scene::with_steps(2));
    here.crash("step.answered:2", &["apply"]);
    there.run(&["apply", "001"]).expect(0);
    let before = there.everything();
    let journal = here.project.journal().display().to_string();
    says(&there.run(&["--journal", &journal, "apply", "--resume"]).expect(6), &["ME206", "another database"]);
    says(&there.run(&["--journal", &journal, "rollback", "--run", "last"]).expect(6), &["ME206"]);
    assert_eq!(there.everything(), before);
    here.run(&["apply", "--resume"]).expect(0);
    assert_eq!(here.effects(), "+001 +002");
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn records_of_a_newer_format_are_refused_and_stay_as_they_are() {
    let scene = Scene::with_steps(3);
    scene.crash("step.commit_answered:2", &["apply"]);
    std::fs::remove_dir_all(scene.project.journal()).unwrap();
    let hex = scene.db.psql("SELECT encode(bytes, 'hex') FROM migengine.record WHERE seq = 1");
    let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    let mut bytes: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
    bytes[4] = 99;
    let body = bytes.len() - 4;
    let crc = crc32c(&bytes[..body]).to_le_bytes();
    bytes[body..].copy_from_slice(&crc);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    scene.db.psql(&format!("UPDATE migengine.record SET bytes = decode('{hex}', 'hex') WHERE seq = 1"));
    let before = scene.everything();
    let output = scene.run(&["apply", "--resume"]);
    assert!(matches!(output.code, Some(5 | 6)), "{output}");
    says(&output, &["ME204", "newer"]);
    assert_eq!(scene.everything(), before);
}

#[test]
fn a_file_that_changed_after_it_took_effect_stops_the_resume() {
    let scene = Scene::with_steps(3);
    scene.crash("step.commit_answered:2", &["apply"]);
    assert_eq!(scene.effects(), "+001");
    let kept = std::fs::read(scene.project.migrations().join("001_m.sql")).unwrap();
    scene.project.write("001_m.sql", "CREATE TABLE another (n int);");
    let before = scene.everything();
    says(&scene.run(&["apply", "--resume"]).expect(5), &["ME147", "001_m.sql"]);
    assert_eq!(scene.everything(), before);
    // What has not taken effect may be edited.
    scene.project.write("001_m.sql", kept);
    scene.project.write("003_m.sql", "INSERT INTO effects (what) VALUES ('+edited');");
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002 +edited");
}

#[test]
fn two_unfinished_runs_are_for_a_person_to_decide() {
    let scene = Scene::with_steps(2);
    scene.crash("step.commit_answered:2", &["apply"]);
    let first = scene.db.psql("SELECT run_id FROM migengine.run");
    // Somebody edits the first one away, and another machine begins anew.
    scene.db.psql("UPDATE migengine.run SET state = 'RolledBack', finished_at = now()");
    let elsewhere = scene.project.path().join("second").display().to_string();
    scene.step(3);
    scene.crash("step.answered:2", &["--journal", &elsewhere, "apply"]);
    scene.db.psql(&format!("UPDATE migengine.run SET state = 'Applying', finished_at = NULL WHERE run_id = '{first}'"));
    let before = scene.everything();
    for command in [&["apply", "--resume"][..], &["apply"], &["rollback", "--last", "1"]] {
        says(&scene.run(command).expect(6), &["ME411", &first]);
    }
    assert_eq!(scene.everything(), before);
}

#[test]
fn a_verdict_without_a_reason_is_no_verdict() {
    let scene = Scene::with_steps(2);
    scene.crash("step.commit_answered:2", &["apply"]);
    let before = scene.everything();
    says(&scene.run(&["resolve", "001", "--as", "applied"]).expect(2), &["--reason"]);
    says(&scene.run(&["resolve", "001", "--as", "applied", "--reason", " "]).expect(2), &["ME420"]);
    assert_eq!(scene.everything(), before);
}

#[test]
fn a_journal_that_lost_all_but_the_first_word_of_a_finished_run_is_completed_from_the_database() {
    let scene = Scene::with_steps(2);
    scene.run(&["apply"]).expect(0);
    let told = scene.run(&["journal", "show", "last", "--format", "json"]).expect(0).json();
    let run: RunId = scene.db.psql("SELECT run_id FROM migengine.run").parse().unwrap();
    let hex = scene.db.psql("SELECT encode(bytes, 'hex') FROM migengine.record WHERE seq = 1");
    let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    let first: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
    std::fs::remove_dir_all(scene.project.journal()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let opened = SledJournal::open(scene.project.journal()).unwrap();
    runtime.block_on(opened.journal.adopt(run, vec![first])).unwrap();
    drop(opened);
    says(&scene.run(&["apply", "--resume"]).expect(0), &["nothing to resume"]);
    assert_eq!(scene.run(&["journal", "show", "last", "--format", "json"]).expect(0).json(), told);
    scene.run(&["journal", "check"]).expect(0);
}
