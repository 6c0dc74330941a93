//! The difference of two schemas, in sentences for people.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Kind, Object, ObjectKey, Schema};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The object, as people name it: `column users.age`.
    pub object: String,
    /// What is different about it: `is missing`, `type integer instead of bigint`.
    pub change: String,
}

/// The whole sentence, without a full stop: `column users.age: type integer instead of bigint`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = ["is ", "stands "].iter().any(|verb| self.change.starts_with(verb));
        write!(f, "{}{}{}", self.object, if verb { " " } else { ": " }, self.change)
    }
}

/// What `actual` has that `expected` has not, and the other way round, in canonical order. Empty exactly when the two
/// are equal. What stands in an object that is missing or extra altogether goes without saying.
#[must_use]
pub fn diff(expected: &Schema, actual: &Schema) -> Vec<Change> {
    let mut changes = Vec::new();
    let moved = moved_columns(expected, actual);
    let (expected_parents, actual_parents) = (top_names(expected), top_names(actual));
    let lone = |key: &ObjectKey, here: &BTreeSet<&str>, there: &BTreeSet<&str>| {
        key.parent.as_deref().is_some_and(|parent| here.contains(parent) && !there.contains(parent))
    };
    let keys: BTreeSet<&ObjectKey> = expected.objects.keys().chain(actual.objects.keys()).collect();
    for key in keys {
        let mut say = |change: String| changes.push(Change { object: key.to_string(), change });
        match (expected.objects.get(key), actual.objects.get(key)) {
            (Some(_), None) if lone(key, &expected_parents, &actual_parents) => {}
            (None, Some(_)) if lone(key, &actual_parents, &expected_parents) => {}
            (Some(_), None) => say("is missing".to_owned()),
            (None, Some(_)) => say("is extra".to_owned()),
            (Some(before), Some(after)) => {
                attribute_changes(before, after).into_iter().for_each(&mut say);
                if let Some(sentence) = moved.get(key) {
                    say(sentence.clone());
                }
            }
            (None, None) => {}
        }
    }
    changes
}

fn top_names(schema: &Schema) -> BTreeSet<&str> {
    schema.objects.keys().filter(|key| key.parent.is_none()).map(|key| key.name.as_str()).collect()
}

fn attribute_changes(before: &Object, after: &Object) -> Vec<String> {
    let names: BTreeSet<&String> = before.attributes.keys().chain(after.attributes.keys()).collect();
    let mut changes = Vec::new();
    for name in names {
        match (before.attributes.get(name), after.attributes.get(name)) {
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(new)) => changes.push(value_change(name, old, new)),
            (Some(old), None) => changes.push(format!("{} is missing", with_value(name, old))),
            (None, Some(new)) => changes.push(format!("{} is extra", with_value(name, new))),
            (None, None) => {}
        }
    }
    changes
}

/// A yes is said by naming it; a long value is only named by its first line.
fn with_value(name: &str, value: &str) -> String {
    if value == "yes" { name.to_owned() } else { format!("{name} {}", clip(value)) }
}

fn value_change(name: &str, old: &str, new: &str) -> String {
    if !old.contains('\n') && !new.contains('\n') {
        return format!("{name} {new} instead of {old}");
    }
    let (olds, news): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = olds.iter().zip(&news).take_while(|(old, new)| old == new).count();
    let line = same + 1;
    match (olds.get(same), news.get(same)) {
        (Some(old), Some(new)) if old.trim() == new.trim() => {
            format!("{name} differs at its line {line} in white space only: `{}`", clip(new.trim()))
        }
        (Some(old), Some(new)) => {
            format!("{name} differs at its line {line}: `{}` instead of `{}`", clip(new.trim()), clip(old.trim()))
        }
        (Some(old), None) => format!("{name} differs: its line {line} is missing, `{}`", clip(old.trim())),
        (None, Some(new)) => format!("{name} differs: its line {line} is extra, `{}`", clip(new.trim())),
        (None, None) => format!("{name} differs in its line ends"),
    }
}

/// The first line, cut at 120 characters.
fn clip(value: &str) -> String {
    let first = value.trim_start().lines().next().unwrap_or_default();
    let clipped: String = first.chars().take(120).collect();
    if clipped.len() < value.trim_end().len() { format!("{} …", clipped.trim_end()) } else { clipped }
}

/// A sentence for each column or attribute that stands elsewhere among those that both schemas have. The fewest
/// possible are named: one column that went to the end does not move the rest.
fn moved_columns<'a>(expected: &'a Schema, actual: &Schema) -> BTreeMap<&'a ObjectKey, String> {
    let mut moved = BTreeMap::new();
    let actual_children = actual.children();
    for (parent, before) in expected.children() {
        for kind in [Kind::Column, Kind::Attribute] {
            let of_kind = |list: &[(&'a ObjectKey, &Object)]| -> Vec<&'a ObjectKey> {
                list.iter().filter(|(key, _)| key.kind == kind).map(|(key, _)| *key).collect()
            };
            let before = of_kind(&before);
            let after: Vec<&ObjectKey> = actual_children
                .get(parent)
                .into_iter()
                .flatten()
                .filter(|(key, _)| key.kind == kind)
                .map(|(key, _)| *key)
                .collect();
            moved.extend(moves(&before, &after));
        }
    }
    moved
}

fn moves<'a>(before: &[&'a ObjectKey], after: &[&ObjectKey]) -> Vec<(&'a ObjectKey, String)> {
    // Old places in new order; what is not on a longest rising run has moved.
    let places: Vec<usize> = after.iter().filter_map(|key| before.iter().position(|other| other == key)).collect();
    let stayed = longest_rising(&places);
    let mut sentences = Vec::new();
    for (old, key) in before.iter().enumerate() {
        let Some(new) = after.iter().position(|other| other == key) else { continue };
        if !stayed.contains(&old) {
            let (now, then) = (ordinal(new, after.len()), ordinal(old, before.len()));
            sentences.push((*key, format!("stands {now} instead of {then} (order only)")));
        }
    }
    sentences
}

/// The first of the longest rising subsequences, so that of two that changed places the one now later has moved.
/// Quadratic, and tables have at most 1600 columns.
fn longest_rising(places: &[usize]) -> BTreeSet<usize> {
    let mut runs: Vec<Vec<usize>> = Vec::new();
    for place in places {
        let before = runs.iter().filter(|run| run.last().is_some_and(|last| last < place));
        let mut run = before.min_by_key(|run| Reverse(run.len())).cloned().unwrap_or_default();
        run.push(*place);
        runs.push(run);
    }
    runs.into_iter().min_by_key(|run| Reverse(run.len())).unwrap_or_default().into_iter().collect()
}

fn ordinal(index: usize, count: usize) -> String {
    const WORDS: [&str; 10] =
        ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"];
    match WORDS.get(index) {
        _ if index > 0 && index + 1 == count => "last".to_owned(),
        Some(word) => (*word).to_owned(),
        None => format!("in place {}", index + 1),
    }
}
