//! Reads a schema from the catalogs.
//!
//! Our own reading instead of `pg_dump`: it needs no client program of the server's version, takes milliseconds, and
//! gives the same on versions 14 to 18. What it covers is what `pg_dump --schema-only` knows. Beside that it sees what
//! a dump hides: invalid indexes and whether publications of other schemas reach into ours.
//!
//! All catalogs are read by one message of many statements in one read-only snapshot: one round trip, nothing to
//! prepare. Each statement names its columns; the first seven say which object a row is about (see `sql.rs`), every
//! other column is an attribute under that name. NULL means: as by default, left out.

mod acl;
mod foreign;
mod operators;
mod prepared;
mod relations;
mod replication;
mod routines;
mod schemas;
mod sql;
mod table_parts;
mod text_search;
mod types;

use std::collections::BTreeMap;

use tokio_postgres::{Client, SimpleColumn, SimpleQueryMessage, SimpleQueryRow};

use crate::schema::{Kind, Object, ObjectKey, Schema};
pub(super) use prepared::read_again;
use sql::Dialect;

/// Why a schema could not be read. Reading changes nothing, so the database is as it was.
#[derive(Debug, thiserror::Error)]
pub enum FingerprintError {
    /// The server answered with an error, or the connection broke.
    #[error("could not read the schema from the catalogs; the database was not changed")]
    Server(#[from] tokio_postgres::Error),
    /// A server older than version 14.
    #[error("the server is version {0}; reading a schema needs PostgreSQL 14 or later")]
    TooOld(u32),
    /// A row that does not have the form it was asked for.
    #[error("the catalogs gave a row that is not understood ({0}); the database was not changed")]
    Row(String),
}

/// Reads everything but the named schemas (the engine's own) in a read-only, repeatable-read transaction of its own.
/// The session must not be inside a transaction; there, use [`read_in_transaction`].
///
/// # Errors
/// See [`FingerprintError`]. The session is outside a transaction afterwards in any case.
pub async fn read(client: &Client, exclude_schemas: &[&str]) -> Result<Schema, FingerprintError> {
    let dialect = Dialect { version: server_version(client).await?, exclude: exclude_schemas };
    let batch = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n{}{}COMMIT;",
        sql::PINNED_SETTINGS,
        statements(&dialect).join(";\n") + ";\n"
    );
    match client.simple_query(&batch).await {
        Ok(messages) => assemble(&messages),
        Err(error) => {
            // The first error is the one to tell; without a connection the server rolls back by itself.
            let _ignored = client.simple_query("ROLLBACK").await;
            Err(error.into())
        }
    }
}

/// The same inside the caller's open transaction, seeing its uncommitted changes. Settings are put back.
///
/// # Errors
/// See [`FingerprintError`]. After an error the caller's transaction is aborted.
pub async fn read_in_transaction(client: &Client, exclude_schemas: &[&str]) -> Result<Schema, FingerprintError> {
    let dialect = Dialect { version: server_version(client).await?, exclude: exclude_schemas };
    let batch = format!(
        "SAVEPOINT migengine_fingerprint;\n{}{}ROLLBACK TO SAVEPOINT migengine_fingerprint;\n\
         RELEASE SAVEPOINT migengine_fingerprint;",
        sql::PINNED_SETTINGS,
        statements(&dialect).join(";\n") + ";\n"
    );
    assemble(&client.simple_query(&batch).await?)
}

async fn server_version(client: &Client) -> Result<u32, FingerprintError> {
    let messages = client.simple_query("SHOW server_version_num").await?;
    let text = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let number: u32 = text
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| FingerprintError::Row(format!("server_version_num {text:?}")))?;
    let major = number / 10_000;
    if major < 14 { Err(FingerprintError::TooOld(major)) } else { Ok(major) }
}

fn statements(dialect: &Dialect<'_>) -> Vec<String> {
    let mut all = schemas::statements(dialect);
    all.extend(types::statements(dialect));
    all.extend(routines::statements(dialect));
    all.extend(operators::statements(dialect));
    all.extend(text_search::statements(dialect));
    all.extend(relations::statements(dialect));
    all.extend(table_parts::statements(dialect));
    all.extend(foreign::statements(dialect));
    all.extend(replication::statements(dialect));
    // Last, because their rows are about objects that must be known by then.
    all.extend(schemas::notes());
    all
}

/// Where a row of the catalogs lives: class, object, sub-object, as comments and labels refer to it.
type Address = (u32, u32, i32);

/// Where the columns of a statement's rows are. Looking them up by name for every row would take longer than the server
/// does.
#[derive(Default)]
struct Places {
    kind: Option<usize>,
    parent: Option<usize>,
    name: Option<usize>,
    position: Option<usize>,
    address: [Option<usize>; 3],
    attribute: Option<usize>,
    others: Vec<usize>,
}

impl Places {
    fn of(columns: &[SimpleColumn]) -> Self {
        let place = |name: &str| columns.iter().position(|column| column.name() == name);
        let own = |column: &SimpleColumn| sql::ROW_COLUMNS.contains(&column.name());
        Self {
            kind: place("kind"),
            parent: place("parent"),
            name: place("name"),
            position: place("position"),
            address: ["class", "oid", "sub"].map(place),
            attribute: place("attribute"),
            others: (0..columns.len()).filter(|at| columns.get(*at).is_some_and(|column| !own(column))).collect(),
        }
    }
}

fn cell(row: &SimpleQueryRow, place: Option<usize>) -> Option<&str> {
    place.and_then(|at| row.get(at))
}

fn assemble(messages: &[SimpleQueryMessage]) -> Result<Schema, FingerprintError> {
    let mut schema = Schema::default();
    let mut addresses: BTreeMap<Address, ObjectKey> = BTreeMap::new();
    let mut places = Places::default();
    for message in messages {
        let row = match message {
            SimpleQueryMessage::RowDescription(columns) => {
                places = Places::of(columns);
                continue;
            }
            SimpleQueryMessage::Row(row) => row,
            _ => continue,
        };
        let Some(kind) = cell(row, places.kind) else { continue };
        let address = address(row, &places)?;
        let attributes = attributes(row, &places)?;
        if kind == "note" {
            let object = address.and_then(|address| addresses.get(&address));
            if let Some(object) = object.and_then(|key| schema.objects.get_mut(key)) {
                object.attributes.extend(attributes);
            }
            continue;
        }
        let kind = Kind::from_word(kind).ok_or_else(|| FingerprintError::Row(format!("kind {kind}")))?;
        if kind == Kind::Privileges && attributes.is_empty() {
            continue; // Written out, but the same as where there is nothing.
        }
        let name = cell(row, places.name).ok_or_else(|| FingerprintError::Row(format!("a {kind} without a name")))?;
        let key = ObjectKey { kind, parent: cell(row, places.parent).map(str::to_owned), name: name.to_owned() };
        let position = cell(row, places.position).and_then(|position| position.parse().ok());
        if let Some(address) = address {
            addresses.insert(address, key.clone());
        }
        if schema.objects.insert(key.clone(), Object { position, attributes }).is_some() {
            return Err(FingerprintError::Row(format!("{key} came twice")));
        }
    }
    close_ranks(&mut schema);
    Ok(schema)
}

/// Dropped columns leave their numbers behind; a place counts those that are there.
fn close_ranks(schema: &mut Schema) {
    let mut placed: Vec<_> = schema.objects.iter_mut().filter(|(_, object)| object.position.is_some()).collect();
    placed.sort_by(|(a, one), (b, other)| (a.kind, &a.parent, one.position).cmp(&(b.kind, &b.parent, other.position)));
    for relation in placed.chunk_by_mut(|(a, _), (b, _)| (a.kind, &a.parent) == (b.kind, &b.parent)) {
        for ((_, object), place) in relation.iter_mut().zip(1..) {
            object.position = Some(place);
        }
    }
}

fn address(row: &SimpleQueryRow, places: &Places) -> Result<Option<Address>, FingerprintError> {
    let [Some(class), Some(oid), Some(sub)] = places.address.map(|place| cell(row, place)) else {
        return Ok(None);
    };
    match (class.parse(), oid.parse(), sub.parse()) {
        (Ok(class), Ok(oid), Ok(sub)) => Ok(Some((class, oid, sub))),
        _ => Err(FingerprintError::Row(format!("address {class} {oid} {sub}"))),
    }
}

fn attributes(row: &SimpleQueryRow, places: &Places) -> Result<BTreeMap<String, String>, FingerprintError> {
    let mut attributes = BTreeMap::new();
    for index in &places.others {
        let Some(value) = row.get(*index) else { continue };
        let name = row.columns().get(*index).map_or("", SimpleColumn::name);
        let value = match name {
            "privileges" => acl::render(value).ok_or_else(|| FingerprintError::Row(format!("privileges {value}")))?,
            _ => Some(value.to_owned()),
        };
        // A label carries the name of its provider as an attribute of its own.
        let name = cell(row, places.attribute).unwrap_or(name).to_owned();
        attributes.extend(value.map(|value| (name, value)));
    }
    Ok(attributes)
}
