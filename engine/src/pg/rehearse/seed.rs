//! Reads from the catalogs what rows of a table have to look like, and makes some up.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::SimpleQueryMessage;

use crate::pg::failure::{Fault, fault};
use crate::pg::session::Session;
use crate::rehearse::{Contents, Oid, Reference, SeedColumn, SeedTable, Shape};

/// All tables that take rows, with what they reference.
pub(super) struct Nursery {
    tables: BTreeMap<Oid, SeedTable>,
    /// By the short name that people read.
    names: BTreeMap<String, Oid>,
    parents: BTreeMap<Oid, Vec<Oid>>,
    /// A partitioned table's partitions, as far down as they hold rows.
    leaves: BTreeMap<Oid, Vec<Oid>>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Seeded {
    pub(super) rows: Vec<(String, u64)>,
    pub(super) refused: Vec<(String, String)>,
}

const USER_TABLES: &str = "c.oid >= 16384 AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";
const SHORT: &str =
    "CASE n.nspname WHEN 'public' THEN '' ELSE quote_ident(n.nspname) || '.' END || quote_ident(c.relname)";
const LONG: &str = "quote_ident(n.nspname) || '.' || quote_ident(c.relname)";
const CLASS: &str = "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace";

type Row = Vec<Option<String>>;

impl Nursery {
    /// Reads the catalogs. Nothing where the server would not answer.
    pub(super) async fn read(session: &Session) -> Option<Self> {
        let types = Types::read(session).await?;
        let sql = format!(
            "SELECT c.oid, {SHORT}, {LONG}, c.relkind, \
            CASE WHEN c.relispartition THEN pg_get_partition_constraintdef(c.oid) END \
            FROM {CLASS} WHERE c.relkind IN ('r', 'p') AND {USER_TABLES} AND n.nspname <> '{}'",
            session.schema.raw()
        );
        let mut nursery =
            Self { tables: BTreeMap::new(), names: BTreeMap::new(), parents: BTreeMap::new(), leaves: BTreeMap::new() };
        for row in rows(session, &sql).await? {
            let (Some(oid), Some(short), Some(long), Some(kind)) =
                (number(&row, 0), text(&row, 1), text(&row, 2), text(&row, 3))
            else {
                continue;
            };
            nursery.names.insert(short, oid);
            if kind == "r" {
                let checks = text(&row, 4).into_iter().collect();
                let table = SeedTable { name: long, columns: Vec::new(), checks, references: Vec::new() };
                nursery.tables.insert(oid, table);
            }
        }
        nursery.columns(session, &types).await?;
        nursery.constraints(session).await?;
        let sql =
            "SELECT p.oid, l.relid::oid FROM pg_class p, pg_partition_tree(p.oid) l WHERE p.relkind = 'p' AND l.isleaf";
        for row in rows(session, sql).await? {
            if let (Some(parent), Some(leaf)) = (number(&row, 0), number(&row, 1)) {
                nursery.leaves.entry(parent).or_default().push(leaf);
            }
        }
        Some(nursery)
    }

    async fn columns(&mut self, session: &Session, types: &Types) -> Option<()> {
        let sql = "SELECT a.attrelid, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), a.atttypid, \
             a.atttypmod, a.attnotnull, a.atthasdef, pg_get_expr(d.adbin, d.adrelid) ~ 'nextval\\(' \
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
             LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
             WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity = '' \
             AND c.relkind = 'r' AND c.oid >= 16384 ORDER BY a.attrelid, a.attnum";
        for row in rows(session, sql).await? {
            let (Some(oid), Some(name), Some(type_name), Some(kind)) =
                (number(&row, 0), text(&row, 1), text(&row, 2), number(&row, 3))
            else {
                continue;
            };
            let modifier = text(&row, 4).and_then(|text| text.parse().ok()).unwrap_or(-1);
            let is = |at: usize| row.get(at).is_some_and(|value| value.as_deref() == Some("t"));
            let shape = types.shape(kind, modifier, 0);
            let column = SeedColumn { name, type_name, shape, nullable: !is(5), filled: is(6), counted: is(7) };
            if let Some(table) = self.tables.get_mut(&oid) {
                table.columns.push(column);
            }
        }
        Some(())
    }

    async fn constraints(&mut self, session: &Session) -> Option<()> {
        let sql = "SELECT k.conrelid, k.contype, pg_get_expr(k.conbin, k.conrelid) FROM pg_constraint k \
                   WHERE k.contype = 'c' AND k.conrelid >= 16384";
        for row in rows(session, sql).await? {
            if let (Some(table), Some(check)) =
                (number(&row, 0).and_then(|oid| self.tables.get_mut(&oid)), text(&row, 2))
            {
                table.checks.push(check);
            }
        }
        let sql = format!(
            "SELECT k.conrelid, k.confrelid, {LONG}, \
             (SELECT string_agg(quote_ident(a.attname), E'\\n' ORDER BY u.n) FROM unnest(k.conkey) WITH ORDINALITY u(at, n) \
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.at), \
             (SELECT string_agg(quote_ident(a.attname), E'\\n' ORDER BY u.n) FROM unnest(k.confkey) WITH ORDINALITY u(at, n) \
             JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.at) \
             FROM pg_constraint k JOIN pg_class c ON c.oid = k.confrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE k.contype = 'f' ORDER BY k.oid"
        );
        for row in rows(session, &sql).await? {
            let (Some(here), Some(there), Some(name)) = (number(&row, 0), number(&row, 1), text(&row, 2)) else {
                continue;
            };
            let lines =
                |at: usize| -> Vec<String> { text(&row, at).unwrap_or_default().lines().map(str::to_owned).collect() };
            let columns = lines(3).into_iter().zip(lines(4)).collect();
            if let Some(table) = self.tables.get_mut(&here) {
                table.references.push(Reference { table: name, columns, own: here == there });
                self.parents.entry(here).or_default().push(there);
            }
        }
        Some(())
    }

    /// The tables named, or all, with everything they reference: what is referenced comes first.
    fn order(&self, wanted: Option<&BTreeSet<String>>) -> Vec<Oid> {
        let named = self.names.iter().filter(|(name, _)| wanted.is_none_or(|wanted| wanted.contains(*name)));
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for (_, oid) in named {
            self.visit(*oid, &mut seen, &mut order);
        }
        order
    }

    fn visit(&self, oid: Oid, seen: &mut BTreeSet<Oid>, order: &mut Vec<Oid>) {
        if !seen.insert(oid) {
            return;
        }
        for next in self.parents.get(&oid).into_iter().chain(self.leaves.get(&oid)).flatten() {
            self.visit(*next, seen, order);
        }
        if self.tables.contains_key(&oid) {
            order.push(oid);
        }
    }

    /// Makes rows up inside the open transaction, from a row number on. A table that refuses them stays as it is.
    pub(super) async fn seed(
        &self,
        session: &Session,
        wanted: Option<&BTreeSet<String>>,
        (first, count): (u32, u32),
    ) -> Seeded {
        let mut seeded = Seeded::default();
        for table in self.order(wanted).iter().filter_map(|oid| self.tables.get(oid)) {
            let name = table.name.strip_prefix("public.").unwrap_or(&table.name).to_owned();
            let plain = format!("SAVEPOINT migengine_seed; {}", table.insert(first, count));
            // Triggers of the user's may want what made-up rows have not.
            let quiet = format!(
                "ROLLBACK TO SAVEPOINT migengine_seed; SET LOCAL session_replication_role = replica; {}; \
                 SET LOCAL session_replication_role = origin",
                table.insert(first, count)
            );
            let mut answer = session.client.simple_query(&plain).await;
            if let Err(error) = &answer {
                let reason = words(error);
                answer = session.client.simple_query(&quiet).await;
                if answer.is_err() {
                    let _ignored = session.client.batch_execute("ROLLBACK TO SAVEPOINT migengine_seed").await;
                    seeded.refused.push((name.clone(), reason));
                }
            }
            if let Ok(messages) = answer {
                let made = messages.iter().filter_map(|message| match message {
                    SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
                    _ => None,
                });
                match made.max().unwrap_or_default() {
                    0 => seeded.refused.push((name, "no row that was made up meets its constraints".to_owned())),
                    rows => seeded.rows.push((name, rows)),
                }
            }
            let _ignored = session.client.batch_execute("RELEASE SAVEPOINT migengine_seed").await;
        }
        seeded
    }

    /// Counts rows and values of tables, by short name.
    pub(super) async fn contents(session: &Session, wanted: &BTreeSet<String>) -> Contents {
        let sql = format!(
            "SELECT {SHORT}, {LONG}, string_agg(quote_ident(a.attname), E'\\n' ORDER BY a.attnum) FROM {CLASS} \
             JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relkind = 'r' AND {USER_TABLES} AND a.attnum > 0 \
             AND NOT a.attisdropped GROUP BY 1, 2"
        );
        let mut contents = Contents::default();
        for row in rows(session, &sql).await.unwrap_or_default() {
            let (Some(short), Some(long), Some(columns)) = (text(&row, 0), text(&row, 1), text(&row, 2)) else {
                continue;
            };
            if !wanted.contains(&short) {
                continue;
            }
            let counts: Vec<String> = columns.lines().map(|column| format!(", count({column})")).collect();
            let sql = format!("SELECT count(*){} FROM ONLY {long}", counts.concat());
            let Some(found) = rows(session, &sql).await.and_then(|rows| rows.into_iter().next()) else { continue };
            let mut counts = found.iter().map(|value| value.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0));
            let all = counts.next().unwrap_or(0);
            contents.tables.insert(short, (all, columns.lines().map(str::to_owned).zip(counts).collect()));
        }
        contents
    }

    /// The short names of all tables with rows of their own.
    pub(super) fn table_names(&self) -> BTreeSet<String> {
        self.names.iter().filter(|(_, oid)| self.tables.contains_key(oid)).map(|(name, _)| name.clone()).collect()
    }
}

/// The types of the database.
struct Types {
    /// Name, kind, category, element, base type, modifier of the base, name as SQL writes it, subtype, range, relation.
    types: BTreeMap<Oid, Row>,
    labels: BTreeMap<Oid, Vec<String>>,
    checks: BTreeMap<Oid, Vec<String>>,
    fields: BTreeMap<Oid, Vec<(Oid, i32, String)>>,
}

impl Types {
    async fn read(session: &Session) -> Option<Self> {
        let sql = "SELECT t.oid, t.typname, t.typtype, t.typcategory, t.typelem, t.typbasetype, t.typtypmod, \
             format_type(t.oid, NULL), r.rngsubtype, m.rngtypid, t.typrelid FROM pg_type t \
             LEFT JOIN pg_range r ON r.rngtypid = t.oid LEFT JOIN pg_range m ON m.rngmultitypid = t.oid";
        let types = rows(session, sql).await?.into_iter().filter_map(|row| Some((number(&row, 0)?, row)));
        let types = types.collect();
        let mut labels: BTreeMap<Oid, Vec<String>> = BTreeMap::new();
        for row in rows(session, "SELECT enumtypid, enumlabel FROM pg_enum ORDER BY enumtypid, enumsortorder").await? {
            if let (Some(oid), Some(label)) = (number(&row, 0), text(&row, 1)) {
                labels.entry(oid).or_default().push(label);
            }
        }
        let mut checks: BTreeMap<Oid, Vec<String>> = BTreeMap::new();
        let sql = "SELECT contypid, pg_get_expr(conbin, 0) FROM pg_constraint WHERE contypid <> 0 AND contype = 'c'";
        for row in rows(session, sql).await? {
            if let (Some(oid), Some(check)) = (number(&row, 0), text(&row, 1)) {
                checks.entry(oid).or_default().push(check);
            }
        }
        let mut fields: BTreeMap<Oid, Vec<(Oid, i32, String)>> = BTreeMap::new();
        let sql = "SELECT c.oid, a.atttypid, a.atttypmod, format_type(a.atttypid, a.atttypmod) FROM pg_class c \
             JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.oid >= 16384 AND c.relkind IN ('c', 'r') \
             AND a.attnum > 0 AND NOT a.attisdropped ORDER BY c.oid, a.attnum";
        for row in rows(session, sql).await? {
            if let (Some(oid), Some(kind), Some(name)) = (number(&row, 0), number(&row, 1), text(&row, 3)) {
                let modifier = text(&row, 2).and_then(|text| text.parse().ok()).unwrap_or(-1);
                fields.entry(oid).or_default().push((kind, modifier, name));
            }
        }
        Some(Self { types, labels, checks, fields })
    }

    /// How values of a type look. Types that contain themselves end at some depth.
    fn shape(&self, oid: Oid, modifier: i32, depth: usize) -> Shape {
        let unknown = || Shape::Plain { name: String::new(), modifiers: Vec::new() };
        let Some(row) = self.types.get(&oid).filter(|_| depth < 6) else { return unknown() };
        let name_of = |oid: Oid| self.types.get(&oid).and_then(|row| text(row, 7)).unwrap_or_default();
        let part = |at: usize| number(row, at).filter(|oid| *oid != 0);
        let inner = |oid: Oid, modifier: i32| Box::new(self.shape(oid, modifier, depth + 1));
        match (text(row, 2).as_deref(), text(row, 3).as_deref()) {
            (Some("e"), _) => Shape::Enum(self.labels.get(&oid).cloned().unwrap_or_default()),
            (Some("d"), _) => {
                let Some(base) = part(5) else { return unknown() };
                let modifier = text(row, 6).and_then(|text| text.parse().ok()).unwrap_or(-1);
                Shape::Domain(inner(base, modifier), name_of(base), self.checks.get(&oid).cloned().unwrap_or_default())
            }
            (Some("r"), _) => match part(8) {
                Some(subtype) => Shape::Range(inner(subtype, -1), name_of(oid)),
                None => unknown(),
            },
            (Some("m"), _) => match part(9) {
                Some(range) => Shape::Multirange(inner(range, -1), name_of(oid)),
                None => unknown(),
            },
            (Some("c"), _) => {
                let fields = part(10).and_then(|relation| self.fields.get(&relation)).into_iter().flatten();
                Shape::Composite(fields.map(|(oid, modifier, name)| (*inner(*oid, *modifier), name.clone())).collect())
            }
            (_, Some("A")) => match part(4) {
                Some(element) => Shape::Array(inner(element, modifier), name_of(element)),
                None => unknown(),
            },
            _ => {
                let name = text(row, 1).unwrap_or_default();
                Shape::Plain { modifiers: modifiers(&name, modifier), name }
            }
        }
    }
}

/// What a type modifier says: lengths count four bytes of their own, `numeric` packs two numbers.
fn modifiers(name: &str, modifier: i32) -> Vec<u32> {
    let Ok(packed) = u32::try_from(modifier) else { return Vec::new() };
    match name {
        "varchar" | "bpchar" => vec![packed.saturating_sub(4)],
        "numeric" => {
            let packed = packed.saturating_sub(4);
            let scale = packed & 0x7ff;
            vec![packed >> 16, if scale > 1000 { 0 } else { scale }]
        }
        "bit" | "varbit" | "vector" => vec![packed],
        _ => Vec::new(),
    }
}

async fn rows(session: &Session, sql: &str) -> Option<Vec<Row>> {
    let messages = session.client.simple_query(sql).await.ok()?;
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()),
        _ => None,
    };
    Some(messages.iter().filter_map(row).collect())
}

fn text(row: &Row, at: usize) -> Option<String> {
    row.get(at).cloned().flatten()
}

fn number(row: &Row, at: usize) -> Option<Oid> {
    row.get(at)?.as_deref()?.parse().ok()
}

fn words(error: &tokio_postgres::Error) -> String {
    match fault(error, None) {
        Fault::Refused(failure) => failure.message,
        Fault::Lost(message) => message,
    }
}
