use super::*;
use crate::id::{Digest, MigrationId};
use crate::migration::parse_script;
use crate::schema::{Change, Kind, Object, ObjectKey, Schema};

fn id(text: &str) -> MigrationId {
    MigrationId::new(text).unwrap()
}

fn chain(ids: &[(&str, &str)]) -> Vec<Link> {
    links(ids.iter().map(|(name, up)| (id(name), Digest::of(up.as_bytes()), Some(Digest::of(b"down")))))
}

fn entries(links: &[Link]) -> LockFile {
    let entries = links.iter().map(|link| Entry {
        id: link.id.clone(),
        chain: link.chain,
        up: link.up,
        down: link.down,
        schema: Digest::of(link.id.as_str().as_bytes()),
        rollback: Rollback::Exact,
        proven: true,
        worst: None,
        server: 15,
    });
    LockFile { entries: entries.collect() }
}

#[test]
fn a_lock_file_survives_its_text() {
    let mut lock = entries(&chain(&[("001_a", "a"), ("002_with blank%20", "b")]));
    lock.entries[1].down = None;
    lock.entries[1].rollback = Rollback::Irreversible;
    lock.entries[1].proven = false;
    lock.entries[1].worst = Some(HeldLock { object: "\"a b\"".to_owned(), mode: "ACCESS EXCLUSIVE".to_owned() });
    let text = lock.render();
    assert_eq!(LockFile::parse(&text).unwrap(), lock);
    assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 2, "one line for each");
}

#[test]
fn a_lock_file_that_was_damaged_names_the_line() {
    let good = entries(&chain(&[("001_a", "a")])).render();
    let line = good.lines().last().unwrap();
    for (text, at, why) in [
        (format!("<<<<<<< ours\n{line}"), 1, "merge conflict"),
        (format!("{line}\n{line}"), 2, "twice"),
        (line.replace("server=15", "server=x"), 1, "server=x"),
        (line.replace("proven=yes", ""), 1, "`proven` is missing"),
        (line.replace("up=", "up=zz"), 1, "up=zz"),
        ("users rollback=exact".to_owned(), 1, "not a migration id"),
    ] {
        let error = LockFile::parse(&text).unwrap_err();
        assert_eq!(error.line, at, "{text}");
        assert!(error.why.contains(why), "{error} against {why}");
    }
}

#[test]
fn staleness_tells_what_was_changed() {
    let lock = entries(&chain(&[("001_a", "a"), ("002_b", "b"), ("003_c", "c")]));
    let check = |now: &[(&str, &str)], expect: &[&str]| {
        let found: Vec<String> = stale(&lock, &chain(now)).iter().map(ToString::to_string).collect();
        assert_eq!(found, expect, "{now:?}");
    };
    check(&[("001_a", "a"), ("002_b", "b"), ("003_c", "c")], &[]);
    check(&[("001_a", "a"), ("002_b", "b"), ("003_c", "x")], &["003_c was changed since it was rehearsed"]);
    check(&[("001_a", "a"), ("002_b", "b")], &["003_c was rehearsed, and its file is gone"]);
    check(
        &[("001_a", "a"), ("0015_x", "x"), ("002_b", "b"), ("003_c", "c")],
        &["0015_x was never rehearsed", "002_b was rehearsed on top of other migrations"],
    );
    let mut other_down = chain(&[("001_a", "a"), ("002_b", "b"), ("003_c", "c")]);
    other_down[1].down = None;
    let found = stale(&lock, &other_down);
    assert_eq!(found, [Stale::Reverse(id("002_b"))]);
}

#[test]
fn what_is_proven_excused_or_broken() {
    use Reapply as A;
    use Rollback as R;
    let check = |rollback: R, reapply: A, excuse: bool, expect: &str| {
        let rehearsal = Rehearsal {
            apply: Apply::Ok,
            rollback,
            reapply,
            error: None,
            excuse: excuse.then(|| "on purpose".to_owned()),
            ..Rehearsal::failed(id("001_a"), crate::run::failure::Failure::default())
        };
        let told = match (rehearsal.proven(), rehearsal.excused(), rehearsal.broken()) {
            (true, false, false) => "proven",
            (false, true, false) => "excused",
            (false, false, true) => "broken",
            other => panic!("{other:?}"),
        };
        assert_eq!(told, expect, "{rollback:?} {reapply:?} {excuse}");
        let back = Rehearsal::from_json(&rehearsal.to_json()).unwrap();
        assert_eq!(back, rehearsal, "it survives JSON");
    };
    check(R::Exact, A::Exact, false, "proven");
    check(R::Order, A::Order, false, "proven");
    check(R::Exact, A::Differs, false, "broken");
    check(R::Exact, A::Failed, true, "broken");
    check(R::Differs, A::Exact, false, "broken");
    check(R::Differs, A::Exact, true, "excused");
    check(R::Differs, A::Failed, true, "broken");
    check(R::Failed, A::Skipped, true, "broken");
    check(R::Missing, A::Skipped, false, "broken");
    check(R::Irreversible, A::Skipped, true, "excused");
    assert!(Rehearsal::failed(id("001_a"), crate::run::failure::Failure::default()).broken());
}

#[test]
fn a_difference_points_at_the_statement_that_names_the_object() {
    let script = |name: &str, text: &str| parse_script(name, text.as_bytes()).0.unwrap();
    let up = script("m/001_a.sql", "CREATE TABLE users (id int);\nCREATE INDEX users_email ON users (id);\n");
    let down = script("m/001_a_rollback.sql", "-- Rolls back: 001_a\n\nDROP TABLE\n  users;\n");
    let check = |object: &str, expect: (&str, u32)| {
        let change = Change { object: object.to_owned(), change: "is missing".to_owned() };
        let (file, line) = blame(&change, &[&down, &up]).unwrap();
        assert_eq!((file.as_str(), line), expect, "{object}");
    };
    check("table users", ("m/001_a_rollback.sql", 3));
    check("index users_email", ("m/001_a.sql", 2));
    check("column users.id", ("m/001_a.sql", 2));
    check("type nothing_like_it", ("m/001_a_rollback.sql", 3));
}

#[test]
fn extensions_are_found_with_their_place_and_package() {
    let text = "create extension if not exists \"uuid-ossp\";\nCREATE EXTENSION PostGIS;\n\
                -- CREATE EXTENSION no;\nSELECT 'CREATE EXTENSION no';";
    let script = parse_script("m/001_a.sql", text.as_bytes()).0.unwrap();
    let found = created_extensions([&script]);
    let lines: Vec<(&str, u32)> = found.iter().map(|(name, (_, line))| (name.as_str(), *line)).collect();
    assert_eq!(lines, [("postgis", 2), ("uuid-ossp", 1)]);
    assert_eq!(package_of("postgis", 15), "postgresql-15-postgis-3");
    assert_eq!(package_of("vector", 17), "postgresql-17-pgvector");
    assert_eq!(package_of("plpython3u", 16), "postgresql-plpython3-16");
    assert_eq!(package_of("some_thing", 16), "postgresql-16-some-thing");
}

#[test]
fn the_name_of_the_owner_is_not_part_of_a_portable_schema() {
    let with_owner = |owner: &str| {
        let key = ObjectKey { kind: Kind::Table, parent: None, name: "public.t".to_owned() };
        let mut object = Object::default();
        object.attributes.insert("owner".to_owned(), owner.to_owned());
        object.attributes.insert("privileges".to_owned(), format!("bob: SELECT; {owner}: ALL"));
        Schema { objects: [(key, object)].into() }
    };
    let (here, there) = (with_owner("postgres"), with_owner("app"));
    assert_eq!(portable(&here, "postgres").digest(), portable(&there, "app").digest());
    assert_ne!(portable(&here, "app").digest(), portable(&there, "app").digest(), "another owner stays");
}

#[test]
fn roles_that_scripts_make_are_found_also_inside_do() {
    let text = "CREATE ROLE App;\nDO $$ BEGIN CREATE USER \"Odd\" LOGIN; END $$;\nGRANT SELECT ON t TO other;";
    let script = parse_script("m/001_a.sql", text.as_bytes()).0.unwrap();
    let found: Vec<String> = created_roles([&script]).into_iter().collect();
    assert_eq!(found, ["Odd", "app"]);
}

#[test]
fn another_legal_order_keeps_what_is_required() {
    let check = |list: &[(&str, &[&str])], expect: Option<&[usize]>| {
        let list: Vec<_> =
            list.iter().map(|(name, requires)| (id(name), requires.iter().map(|one| id(one)).collect())).collect();
        assert_eq!(other_order(&list).as_deref(), expect, "{list:?}");
    };
    check(&[("1_a", &[]), ("2_b", &["1_a"]), ("3_c", &["2_b"])], None);
    check(&[("1_a", &[]), ("2_b", &["1_a"]), ("3_c", &["1_a"])], Some(&[0, 2, 1]));
    check(&[("1_a", &[]), ("2_b", &[]), ("3_c", &["1_a", "2_b"])], Some(&[1, 0, 2]));
    check(&[("1_a", &["0_gone"])], None);
}
