//! Pictures of the graph.

use super::*;

fn picture(notation: &str, past: &str, format: Format) -> String {
    render(&graph_of(notation, past), &history(past), format)
}

#[test]
fn dot_shows_states_requirements_and_conflicts() {
    let expected = r##"digraph migrations {
  rankdir=LR;
  node [shape=box, style=filled];
  n0 [label="1", fillcolor="#c8e6c9", class="applied"];
  n1 [label="3", fillcolor="#eeeeee", class="pending"];
  n2 [label="4", fillcolor="#eeeeee", class="pending"];
  n3 [label="2", fillcolor="#ffcdd2", class="missing"];
  n0 -> n1;
  n3 -> n1;
  n0 -> n2;
  n0 -> n3;
  n1 -> n2 [dir=none, style=dashed, color=red, constraint=false];
}
"##;
    assert_eq!(picture("4:1!3; 1; 3", "1 2", Format::Dot), expected);
}

#[test]
fn mermaid_shows_states_requirements_and_conflicts() {
    let expected = r#"flowchart LR
  n0["1"]:::applied
  n1["2"]:::pending
  n2["3"]:::pending
  n0 --> n1
  n0 --> n2
  n1 -. conflicts .- n2
  classDef applied fill:#c8e6c9
  classDef pending fill:#eeeeee
  classDef missing fill:#ffcdd2
"#;
    assert_eq!(picture("3:1!2; 2; 1", "1", Format::Mermaid), expected);
}

#[test]
fn names_cannot_break_out_of_their_quotes() {
    let mut nodes = files("1");
    nodes[0].id = id("1\"];x<b>#`\u{e9}");
    let graph = Graph::build(nodes, &history(""));
    let dot = render(&graph, &history(""), Format::Dot);
    assert!(dot.contains("label=\"1\\\"];x<b>#`\u{e9}\""), "{dot}");
    let mermaid = render(&graph, &history(""), Format::Mermaid);
    assert!(mermaid.contains("n0[\"1#34;#93;#59;x#60;b#62;#35;#96;\u{e9}\"]"), "{mermaid}");
}

#[test]
fn an_empty_graph_is_still_a_picture() {
    assert!(picture("", "", Format::Dot).ends_with("];\n}\n"));
    assert!(picture("", "", Format::Mermaid).starts_with("flowchart LR\n  classDef"));
}
