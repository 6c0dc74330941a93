use super::*;

/// A schema from lines `kind|parent|name|position|attribute=value|…`.
fn schema(lines: &[&str]) -> Schema {
    let mut schema = Schema::default();
    for line in lines {
        let mut fields = line.split('|');
        let mut next = || fields.next().unwrap_or_default().to_owned();
        let (kind, parent, name, position) = (next(), next(), next(), next());
        let key = ObjectKey {
            kind: Kind::from_word(&kind).unwrap(),
            parent: Some(parent).filter(|parent| !parent.is_empty()),
            name,
        };
        let attributes = fields.map(|pair| pair.split_once('=').unwrap());
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        schema.objects.insert(key, Object { position: position.parse().ok(), attributes });
    }
    schema
}

const USERS: &[&str] = &[
    "table||public.users||owner=app",
    "column|public.users|id|1|type=bigint|nullable=no",
    "column|public.users|age|2|type=bigint|nullable=yes",
    "column|public.users|email|3|type=text|nullable=yes",
    "column|public.users|name|4|type=text|nullable=yes",
    "index|public.users|public.users_email||definition=CREATE INDEX",
    "function||public.f()||definition=a\nb\nc",
];

fn with(from: &str, to: &str) -> Schema {
    let lines: Vec<String> =
        USERS.iter().map(|line| if *line == from { to.to_owned() } else { (*line).to_owned() }).collect();
    schema(&lines.iter().map(String::as_str).filter(|line| !line.is_empty()).collect::<Vec<_>>())
}

fn sentences(expected: &Schema, actual: &Schema) -> Vec<String> {
    diff(expected, actual).iter().map(ToString::to_string).collect()
}

#[test]
fn differences_are_said_in_sentences() {
    let rows = [
        (USERS[5], "", "index users_email is missing"),
        (
            USERS[2],
            "column|public.users|age|2|type=integer|nullable=yes",
            "column users.age: type integer instead of bigint",
        ),
        (
            USERS[2],
            "column|public.users|age|2|type=bigint|nullable=yes|default=0",
            "column users.age: default 0 is extra",
        ),
        (
            USERS[6],
            "function||public.f()||definition=a\nx\nc",
            "function f(): definition differs at its line 2: `x` instead of `b`",
        ),
        (
            USERS[6],
            "function||public.f()||definition=a\nb",
            "function f(): definition differs: its line 3 is missing, `c`",
        ),
    ];
    for (from, to, expect) in rows {
        let changed = with(from, to);
        assert_eq!(sentences(&schema(USERS), &changed), [expect]);
        assert_eq!(compare(&schema(USERS), &changed), Verdict::Differs, "{expect}");
        assert!(!diff(&changed, &schema(USERS)).is_empty(), "{expect}, the other way round");
    }
}

#[test]
fn a_column_that_went_to_the_end_is_order_only_and_named_alone() {
    let mut moved = schema(USERS);
    for object in ["email", "name"] {
        let key = ObjectKey { kind: Kind::Column, parent: Some("public.users".into()), name: object.into() };
        moved.objects.get_mut(&key).unwrap().position = Some(if object == "email" { 4 } else { 3 });
    }
    assert_eq!(sentences(&schema(USERS), &moved), ["column users.email stands last instead of third (order only)"]);
    assert_eq!(compare(&schema(USERS), &moved), Verdict::OrderOnly);
    assert_ne!(schema(USERS).digest(), moved.digest());
    assert_eq!(schema(USERS).digest_ignoring_column_order(), moved.digest_ignoring_column_order());
}

#[test]
fn the_order_of_a_composite_type_is_more_than_order() {
    let one = schema(&["type||public.p|", "attribute|public.p|x|1", "attribute|public.p|y|2"]);
    let two = schema(&["type||public.p|", "attribute|public.p|x|2", "attribute|public.p|y|1"]);
    assert_eq!(compare(&one, &two), Verdict::Differs);
    assert_eq!(diff(&one, &two).len(), 1);
}

#[test]
fn a_missing_table_is_said_once() {
    assert_eq!(sentences(&schema(USERS), &schema(&USERS[6..])), ["table users is missing"]);
    assert_eq!(sentences(&schema(&USERS[6..]), &schema(USERS)), ["table users is extra"]);
}

#[test]
fn a_dropped_column_does_not_move_the_rest() {
    let dropped = schema(&[
        USERS[0],
        "column|public.users|age|1|type=bigint|nullable=yes",
        "column|public.users|email|2|type=text|nullable=yes",
        "column|public.users|name|3|type=text|nullable=yes",
        USERS[5],
        USERS[6],
    ]);
    assert_eq!(sentences(&schema(USERS), &dropped), ["column users.id is missing"]);
}

#[test]
fn json_survives_and_forged_json_is_refused() {
    let mut json = schema(USERS).to_json();
    assert_eq!(Schema::from_json(&json).unwrap(), schema(USERS));
    json["objects"][0]["name"] = "x".into();
    assert!(Schema::from_json(&json).is_err());
    assert!(Schema::from_json(&serde_json::json!({})).is_err());
}

#[test]
fn the_text_has_a_block_per_object_with_columns_in_order() {
    let expect = "function public.f()\n  definition:\n    a\n    b\n    c\n\ntable public.users\n  owner: app\n  \
                  column id: nullable no; type bigint\n  column age: nullable yes; type bigint\n  \
                  column email: nullable yes; type text\n  column name: nullable yes; type text\n  \
                  index public.users_email: definition CREATE INDEX\n";
    assert_eq!(schema(USERS).to_text(), expect);
}

#[test]
fn a_value_never_slides_into_its_neighbour() {
    let pairs = [
        (vec!["table||a|", "table||b|"], vec!["table||a|", "table|b||"]),
        (vec!["table||a||x=yz"], vec!["table||a||xy=z"]),
        (vec!["table||a||x=1", "table||b|"], vec!["table||a|", "table||b||x=1"]),
    ];
    for (one, two) in pairs {
        assert_ne!(schema(&one).digest(), schema(&two).digest(), "{one:?} {two:?}");
    }
}
