//! What the documentation names is there: tests, files, headings, commands and options.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use clap::error::ErrorKind;
use migengine_cli::args::Cli;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The pages for people, by their path from the root.
fn pages() -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    for folder in ["", "docs", "docs/hazards", "integrations", "benches"] {
        for entry in fs::read_dir(root().join(folder)).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name.ends_with(".md") {
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                pages.insert(path, fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    pages
}

/// The text between backticks, and what stands between one such text and the next.
fn spans(page: &str) -> Vec<(&str, &str)> {
    let pieces: Vec<&str> = page.split('`').collect();
    pieces.chunks(2).filter_map(|pair| Some((*pair.first()?, *pair.get(1)?))).collect()
}

/// A test file and the names behind it: `tests/run.rs` `one_test`, `another`.
fn named_tests(page: &str) -> Vec<(String, String)> {
    let mut named = Vec::new();
    let mut file: Option<&str> = None;
    for (before, span) in spans(page) {
        let follows = matches!(before.trim(), "" | "," | "and" | "and at" | ":");
        if span.starts_with("tests/") && span.ends_with(".rs") {
            file = Some(span);
            named.push((span.to_owned(), String::new()));
        } else if let Some(file) = file.filter(|_| follows && span.contains('_')) {
            named.push((file.to_owned(), span.to_owned()));
        } else {
            file = None;
        }
    }
    named
}

#[test]
fn each_test_that_a_page_names_is_there() {
    let mut count = 0;
    for (page, text) in pages() {
        for (file, name) in named_tests(&text) {
            let source = fs::read_to_string(root().join(&file)).unwrap_or_else(|e| panic!("{page}: {file}: {e}"));
            let there = name.is_empty() || source.contains(&format!("fn {name}("));
            assert!(there, "{page} names {name}, which {file} has not");
            count += usize::from(!name.is_empty());
        }
    }
    assert!(count > 100, "the runbook alone names more than {count}");
}

/// The cells of a table's row.
fn cells(line: &str) -> Vec<&str> {
    let line = line.trim().strip_prefix('|').and_then(|line| line.strip_suffix('|'));
    line.map(|line| line.split('|').map(str::trim).collect()).unwrap_or_default()
}

#[test]
fn each_line_of_the_runbook_says_which_test_shows_it() {
    let page = &pages()["docs/runbook.md"];
    let mut shown_by = None;
    let mut rows = 0;
    for line in page.lines() {
        let cells = cells(line);
        if cells.is_empty() {
            shown_by = None;
        } else if cells.contains(&"shown by") {
            shown_by = cells.iter().position(|cell| *cell == "shown by");
        } else if let Some(column) = shown_by.filter(|_| !cells[0].starts_with("---")) {
            let shown = cells.last().filter(|_| cells.len() > column).copied().unwrap_or_default();
            // Some rows are shown by what stands above or below them.
            let elsewhere = ["the same", "the tests there", "the table below"];
            let said = shown.contains("tests/") || elsewhere.contains(&shown);
            assert!(said, "which test shows this? {line}");
            rows += 1;
        }
    }
    assert!(rows > 80, "{rows}");
    assert!(!page.contains("by hand*"), "what was only tried once is not shown");
}

/// The words of a command line, up to a comment, a pipe or what stands for something else.
fn words(line: &str) -> Vec<String> {
    let line = line.split(" #").next().unwrap_or_default();
    let mut words: Vec<String> = Vec::new();
    let mut quoted = false;
    for piece in line.split(' ').filter(|piece| !piece.is_empty()) {
        if ["|", ">", ">>", "&&", "…", "<"].contains(&piece) && !quoted {
            break;
        }
        match words.last_mut() {
            Some(last) if quoted => last.push_str(&format!(" {piece}")),
            _ => words.push(piece.to_owned()),
        }
        quoted ^= piece.matches('"').count() % 2 == 1;
    }
    words
}

/// Whether the program has such a command with such options. Values may stand for something: `--last N`.
fn check(page: &str, line: &str) {
    let words = words(line);
    if words.iter().any(|word| word.contains(['[', '|', '(', '…']))
        || words.iter().skip(1).any(|word| word == "COMMAND")
    {
        return;
    }
    if let Err(error) = Cli::try_parse_from(&words) {
        let incomplete = [
            ErrorKind::MissingRequiredArgument,
            ErrorKind::MissingSubcommand,
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
            ErrorKind::DisplayHelp,
            ErrorKind::DisplayVersion,
            ErrorKind::ValueValidation,
            ErrorKind::WrongNumberOfValues,
        ];
        assert!(incomplete.contains(&error.kind()), "{page}: `{line}`: {error}");
    }
}

#[test]
fn each_command_that_a_page_shows_is_one_that_the_program_takes() {
    let mut count = 0;
    for (page, text) in pages() {
        // Options of other tools are compared with there.
        if page.starts_with("benches") {
            continue;
        }
        let shown = text.lines().filter_map(|line| line.trim().strip_prefix("$ "));
        let spans = text.lines().flat_map(|line| spans(line).into_iter().map(|(_, span)| span).collect::<Vec<_>>());
        for line in shown.chain(spans).filter(|line| line.starts_with("migengine ")) {
            check(&page, line);
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

/// A heading as the fragment of a link.
fn fragment(heading: &str) -> String {
    let letters = heading.trim().to_lowercase().replace(' ', "-");
    letters.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

#[test]
fn each_link_between_pages_leads_somewhere() {
    let pages = pages();
    for (page, text) in &pages {
        let folder = Path::new(page).parent().unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
            let target = if file.is_empty() { PathBuf::from(page) } else { folder.join(file) };
            assert!(root().join(&target).exists(), "{page} links {link}, which is not there");
            if let Some(heading) = heading {
                let text = fs::read_to_string(root().join(&target)).unwrap();
                let headings = text
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .map(|line| fragment(line.trim_start_matches('#')));
                assert!(headings.into_iter().any(|found| found == heading), "{page} links {link}: no such heading");
            }
        }
    }
}

/// The sources of the program, without their tests.
fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
            found.push((path.display().to_string(), text));
        }
    }
}

/// The command that a message names, as far as its words can be nothing but a command: `migengine journal list and …` is
/// `migengine journal list`.
fn command_in(message: &str) -> Vec<String> {
    let mut known = <Cli as clap::CommandFactory>::command();
    known.build();
    let mut here = &known;
    let mut words = vec!["migengine".to_owned()];
    let mut wants_value = false;
    for raw in message.split(' ').skip(1) {
        let word = raw.trim_end_matches([',', '.', ')', ';', ':', '"', '\\', '`']);
        let stands_for = !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase() || c == '{' || c == '}');
        match here.find_subcommand(word) {
            _ if wants_value => {}
            Some(inner) => here = inner,
            None if word.starts_with("--") || stands_for => {}
            None => break,
        }
        let long = word.strip_prefix("--");
        let option = here.get_arguments().find(|known| long.is_some() && known.get_long() == long);
        wants_value =
            option.is_some_and(|option| option.get_action().takes_values() && !option.is_require_equals_set());
        words.push(word.to_owned());
        // There the text ends, and the source goes on.
        if raw.contains('"') && !raw.contains("\\\"") {
            break;
        }
    }
    words
}

#[test]
fn each_command_that_a_message_of_the_program_names_is_one_that_it_takes() {
    let mut found = Vec::new();
    for folder in ["cli/src", "engine/src", "journal/src"] {
        sources(&root().join(folder), &mut found);
    }
    let mut count = 0;
    for (file, text) in &found {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in lines.filter(|line| line.contains('"')) {
            for (at, _) in line.match_indices("migengine ") {
                let words = command_in(&line[at..]);
                if words.len() > 1 {
                    check(file, &words.join(" "));
                    count += 1;
                }
            }
        }
    }
    assert!(count > 60, "{count}");
}
