//! Completions in real shells, where they are on this machine, and the manual as `man` shows it.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;

use clap::CommandFactory as _;
use migengine_cli::args::Cli;
use support::Project;

/// A folder whose configuration is broken: what a shell reads at its start must not depend on it.
fn anywhere() -> Project {
    let project = Project::without_url();
    std::fs::write(project.path().join("migengine.toml"), "no = such key\n").unwrap();
    project
}

/// Whether a program is on this machine and runs; says so where it is not.
fn at_hand(program: &str, version: &str) -> bool {
    let found = Command::new(program).arg(version).output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: {program} is not on this machine");
    }
    found
}

/// The script for a shell, in a file.
fn script(project: &Project, shell: &str) -> std::path::PathBuf {
    let output = project.run(&["completions", shell]).expect(0);
    assert_eq!(output.stderr, "");
    let file = project.path().join(shell);
    std::fs::write(&file, &output.stdout).unwrap();
    file
}

fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What bash offers at the end of a line.
fn bash(file: &Path, line: &str) -> Vec<String> {
    // The function is the one that the script told bash of, and it is called as readline calls it.
    let program = r#"
        source "$1"
        read -ra COMP_WORDS <<<"$2"
        [[ $2 == *" " ]] && COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$2 COMP_POINT=${#2}
        spec=$(complete -p migengine) || exit 1
        function=${spec#*-F }
        "${function%% *}" migengine "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let args = ["--norc", "--noprofile", "-c", program, "bash"];
    stdout(Command::new("bash").args(args).arg(file).arg(line)).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    if !at_hand("bash", "--version") {
        return;
    }
    let project = anywhere();
    let file = script(&project, "bash");
    assert_eq!(bash(&file, "migengine apply --res"), ["--resume"]);
    assert!(bash(&file, "migengine apply --re").contains(&"--resume".to_owned()));
    assert_eq!(bash(&file, "migengine roll"), ["rollback"]);
    assert_eq!(bash(&file, "migengine journal re"), ["rebuild"]);
    assert_eq!(bash(&file, "migengine apply --on-failure "), ["stop", "rollback"]);
    assert!(
        bash(&file, "migengine status --database").contains(&"--database-url".to_owned()),
        "options of every command"
    );
}

#[test]
fn fish_and_zsh_take_their_scripts() {
    let project = anywhere();
    if at_hand("fish", "--version") {
        let file = script(&project, "fish");
        let said = stdout(
            Command::new("fish")
                .args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]"])
                .arg(&file)
                .arg("migengine apply --res"),
        );
        assert!(said.starts_with("--resume"), "{said}");
    }
    if at_hand("zsh", "--version") {
        stdout(Command::new("zsh").arg("-n").arg(script(&project, "zsh")));
    }
    for shell in ["fish", "zsh", "elvish", "powershell"] {
        let text = std::fs::read_to_string(script(&project, shell)).unwrap();
        assert!(text.contains("resume") && text.contains("rehearse"), "{shell}");
    }
    let unknown = project.run(&["completions", "csh"]).expect(2);
    assert!(unknown.stderr.contains("[possible values: bash, elvish, fish, powershell, zsh]"), "{unknown}");
}

/// The file names of all pages: one for each command, and for each command below it.
fn pages(command: &clap::Command, before: &str, found: &mut Vec<String>) {
    let name =
        if before.is_empty() { command.get_name().to_owned() } else { format!("{before}-{}", command.get_name()) };
    command.get_subcommands().for_each(|inner| pages(inner, &name, found));
    found.push(format!("{name}.1"));
}

#[test]
fn each_command_has_a_page_of_the_manual_that_man_can_show() {
    let project = anywhere();
    let listed = project.run(&["man", "--out", "pages"]).expect(0);
    let dir = project.path().join("pages");
    let mut expected = Vec::new();
    pages(&Cli::command(), "", &mut expected);
    let mut written: Vec<String> =
        std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    expected.sort();
    written.sort();
    assert_eq!(written, expected);
    assert_eq!(listed.stdout.lines().count(), expected.len());
    for page in &written {
        let text = std::fs::read_to_string(dir.join(page)).unwrap();
        for part in [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH \"EXIT STATUS\""] {
            assert!(text.contains(part), "{page} lacks {part}: {text}");
        }
    }
    // Distributions for containers replace `man` by a note that it is missing; it cannot show a page of its own then.
    let mut man = Command::new("man");
    man.env("MANWIDTH", "100").env("LC_ALL", "C").env("MANPAGER", "cat").arg("-l").arg(dir.join("migengine-apply.1"));
    match man.output() {
        Ok(output) if output.status.success() => {
            let shown = String::from_utf8_lossy(&output.stdout).replace(['\u{8}'], "");
            for part in ["migengine-apply", "--resume", "EXIT STATUS", "Stopped part-way"] {
                assert!(shown.contains(part), "{part} in {shown}");
            }
            assert_eq!(String::from_utf8_lossy(&output.stderr), "", "a page must be without mistakes");
        }
        _ => println!("skipped: man cannot show pages on this machine"),
    }
}

#[test]
fn the_manual_goes_to_stdout_and_a_folder_that_cannot_be_is_said() {
    let project = anywhere();
    let shown = project.run(&["man"]).expect(0);
    assert!(shown.stdout.contains(".TH migengine 1"), "{shown}");
    std::fs::write(project.path().join("file"), "").unwrap();
    let refused = project.run(&["man", "--out", "file/pages"]).expect(5);
    assert!(refused.stderr.contains("[ME763]") && refused.stderr.contains("next:"), "{refused}");
    let json = project.run_json(&["man", "--out", "file/pages"], 5);
    assert_eq!((&json["error"]["code"], &json["files"]), (&"ME763".into(), &serde_json::json!([])));
}
