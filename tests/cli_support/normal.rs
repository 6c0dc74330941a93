//! Output without what differs from run to run: names of runs, times, durations, hashes, places.

use std::collections::BTreeMap;

/// Names runs `RUN1`, `RUN2` in the order in which they appear, and replaces times (`TIME`), durations (`DUR`), hashes
/// (`HASH`), uuids (`UUID`), backends (`PID`), the server's version and the user. Columns are two blanks apart.
pub(crate) fn normal(text: &str) -> String {
    let mut runs = BTreeMap::new();
    let lines = text.lines().map(|line| normal_line(line, &mut runs));
    lines.collect::<Vec<_>>().join("\n")
}

fn normal_line(line: &str, runs: &mut BTreeMap<String, usize>) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in line.chars() {
        if c.is_whitespace() || "\"'(){}[],;".contains(c) {
            words.push(std::mem::take(&mut word));
            words.push(c.to_string());
        } else {
            word.push(c);
        }
    }
    words.push(word);
    let mut out: Vec<String> = words.iter().map(|word| normal_word(word, runs)).collect();
    // A number and its unit, with the blank between them.
    for at in 0..out.len() {
        let unit = |at: usize| words.get(at).is_some_and(|unit| ["us", "ms", "s", "min"].contains(&unit.as_str()));
        if words[at].parse::<f64>().is_ok() && words.get(at + 1).is_some_and(|blank| blank == " ") && unit(at + 2) {
            out[at] = "DUR".to_owned();
            out[at + 1].clear();
            out[at + 2].clear();
        }
        let follows = |name: &str| at >= 2 && words[at - 2] == name;
        if follows("backend") || follows("(pid") {
            out[at] = "PID".to_owned();
        }
        if follows("PostgreSQL") {
            out[at] = "VERSION".to_owned();
        }
    }
    squeeze(&out.concat())
}

fn normal_word(word: &str, runs: &mut BTreeMap<String, usize>) -> String {
    let bare = word.trim_end_matches([':', '.']);
    let end = &word[bare.len()..];
    let hex = |length: usize| bare.len() == length && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_run = bare.len() == 26 && bare.bytes().all(|byte| b"0123456789abcdefghjkmnpqrstvwxyz".contains(&byte));
    let replaced = if is_run {
        let next = runs.len() + 1;
        format!("RUN{}", runs.entry(bare.to_owned()).or_insert(next))
    } else if bare.len() == 24 && bare.ends_with('Z') && bare.as_bytes()[10] == b'T' {
        "TIME".to_owned()
    } else if hex(12) || hex(64) {
        "HASH".to_owned()
    } else if bare.len() == 36 && bare.split('-').count() == 5 {
        "UUID".to_owned()
    } else if bare.contains('@') && !bare.contains('/') {
        "USER".to_owned()
    } else {
        return word.to_owned();
    };
    replaced + end
}

/// More than two blanks inside a line become two.
fn squeeze(line: &str) -> String {
    let body = line.trim_start();
    let mut text = line[..line.len() - body.len()].to_owned();
    let mut blanks = 0;
    for c in body.trim_end().chars() {
        blanks = if c == ' ' { blanks + 1 } else { 0 };
        if blanks <= 2 {
            text.push(c);
        }
    }
    text
}

/// The same output, told apart line by line.
#[track_caller]
pub(crate) fn assert_text(found: &str, expected: &str) {
    let (found, expected) = (normal(found), expected.trim_matches('\n'));
    assert_eq!(found.trim_matches('\n'), expected, "\n--- found\n{found}\n---");
}
