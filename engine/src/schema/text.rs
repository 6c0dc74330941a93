//! The readable form: a block per object, so that `diff` and a reviewer see what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Object, ObjectKey, Schema};

type Children<'a> = BTreeMap<&'a str, Vec<(&'a ObjectKey, &'a Object)>>;

impl Schema {
    /// One block per object, blocks separated by an empty line. What stands in another object is shown inside its
    /// block, a line each: `  column age: type integer; nullable no`. Values of several lines are indented below.
    #[must_use]
    pub fn to_text(&self) -> String {
        let children = self.children();
        let tops: BTreeSet<&str> =
            self.objects.keys().filter(|key| key.parent.is_none()).map(|key| key.name.as_str()).collect();
        let mut text = String::new();
        for (key, object) in &self.objects {
            if key.parent.as_deref().is_some_and(|parent| tops.contains(parent)) {
                continue;
            }
            if !text.is_empty() {
                text.push('\n');
            }
            block(&mut text, key, object, &children);
        }
        text
    }
}

fn block(text: &mut String, key: &ObjectKey, object: &Object, children: &Children<'_>) {
    let parent = key.parent.as_deref().map(|parent| format!(" on {parent}")).unwrap_or_default();
    put(text, &format!("{} {}{parent}", key.kind, key.name));
    for (attribute, value) in &object.attributes {
        put_value(text, "  ", attribute, value);
    }
    if key.parent.is_some() {
        return;
    }
    for (child, object) in children.get(key.name.as_str()).into_iter().flatten() {
        let (long, short): (Vec<_>, Vec<_>) = object.attributes.iter().partition(|(_, value)| value.contains('\n'));
        let short: Vec<String> = short.iter().map(|(attribute, value)| format!("{attribute} {value}")).collect();
        put(text, format!("  {} {}: {}", child.kind, child.name, short.join("; ")).trim_end_matches([':', ' ']));
        for (attribute, value) in long {
            put_value(text, "    ", attribute, value);
        }
    }
}

fn put_value(text: &mut String, indent: &str, attribute: &str, value: &str) {
    if !value.contains('\n') {
        put(text, &format!("{indent}{attribute}: {value}"));
        return;
    }
    put(text, &format!("{indent}{attribute}:"));
    for line in value.trim_end_matches('\n').split('\n') {
        put(text, format!("{indent}  {line}").trim_end());
    }
}

fn put(text: &mut String, line: &str) {
    // Writing to a string cannot go wrong.
    let _ignored = writeln!(text, "{line}");
}
