//! The graph as text for other programs: Graphviz and Mermaid.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::graph::{Graph, edges};
use super::input::History;
use crate::id::MigrationId;

/// The languages of `--graph`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Graphviz, <https://graphviz.org/doc/info/lang.html>.
    Dot,
    /// Mermaid, <https://mermaid.js.org/syntax/flowchart.html>.
    Mermaid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Applied,
    Pending,
    Missing,
}

impl State {
    const ALL: [(Self, &'static str, &'static str); 3] = [
        (Self::Applied, "applied", "#c8e6c9"),
        (Self::Pending, "pending", "#eeeeee"),
        (Self::Missing, "missing", "#ffcdd2"),
    ];
}

/// Draws files and applied migrations whose files are gone, with an arrow from each requirement to what requires it
/// and a dashed line for each conflict. The same input gives the same text.
#[must_use]
pub fn render(graph: &Graph, history: &History, format: Format) -> String {
    let picture = Picture::new(graph, history);
    match format {
        Format::Dot => picture.dot(),
        Format::Mermaid => picture.mermaid(),
    }
}

struct Picture<'a> {
    nodes: Vec<(&'a MigrationId, State)>,
    /// Requirement, dependant.
    edges: Vec<(usize, usize)>,
    conflicts: BTreeSet<(usize, usize)>,
}

impl<'a> Picture<'a> {
    fn new(graph: &'a Graph, history: &'a History) -> Self {
        let mut nodes: Vec<_> = graph
            .nodes()
            .iter()
            .map(|node| (&node.id, if history.contains(&node.id) { State::Applied } else { State::Pending }))
            .collect();
        let gone = history.by_id().filter(|row| graph.index(&row.id).is_none());
        nodes.extend(gone.map(|row| (&row.id, State::Missing)));
        let number: BTreeMap<_, _> = nodes.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
        let mut lines: BTreeSet<(usize, usize)> = edges(graph).into_iter().collect();
        for (at, (id, state)) in nodes.iter().enumerate() {
            let requires = match state {
                State::Missing => history.get(id).map(|row| row.requires.clone()).unwrap_or_default(),
                _ => graph.gone(id).to_vec(),
            };
            lines.extend(requires.iter().filter_map(|on| number.get(on)).map(|on| (at, *on)));
        }
        let conflicts = graph.conflicts.iter().filter_map(|conflict| {
            let with = *number.get(&conflict.with)?;
            Some((conflict.by.min(with), conflict.by.max(with)))
        });
        let conflicts = conflicts.collect();
        Self { nodes, edges: lines.into_iter().map(|(dependant, on)| (on, dependant)).collect(), conflicts }
    }

    fn dot(&self) -> String {
        let mut text = String::from("digraph migrations {\n  rankdir=LR;\n  node [shape=box, style=filled];\n");
        for (at, (id, state)) in self.nodes.iter().enumerate() {
            let label = id.as_str().replace('\\', "\\\\").replace('"', "\\\"");
            let (name, colour) = look(*state);
            let _ = writeln!(text, "  n{at} [label=\"{label}\", fillcolor=\"{colour}\", class=\"{name}\"];");
        }
        for (from, to) in &self.edges {
            let _ = writeln!(text, "  n{from} -> n{to};");
        }
        for (a, b) in &self.conflicts {
            let _ = writeln!(text, "  n{a} -> n{b} [dir=none, style=dashed, color=red, constraint=false];");
        }
        text.push_str("}\n");
        text
    }

    fn mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        for (at, (id, state)) in self.nodes.iter().enumerate() {
            let _ = writeln!(text, "  n{at}[\"{}\"]:::{}", entities(id.as_str()), look(*state).0);
        }
        for (from, to) in &self.edges {
            let _ = writeln!(text, "  n{from} --> n{to}");
        }
        for (a, b) in &self.conflicts {
            let _ = writeln!(text, "  n{a} -. conflicts .- n{b}");
        }
        for (_, name, colour) in State::ALL {
            let _ = writeln!(text, "  classDef {name} fill:{colour}");
        }
        text
    }
}

fn look(state: State) -> (&'static str, &'static str) {
    State::ALL
        .into_iter()
        .find(|(known, ..)| *known == state)
        .map_or(("pending", ""), |(_, name, colour)| (name, colour))
}

/// Mermaid's own escape is `#` with a decimal number. Names are mostly harmless; all else but letters is escaped,
/// because labels are also read as Markdown and HTML.
fn entities(name: &str) -> String {
    name.chars().fold(String::new(), |mut text, c| {
        if c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ') {
            text.push(c);
        } else {
            let _ = write!(text, "#{};", c as u32);
        }
        text
    })
}
