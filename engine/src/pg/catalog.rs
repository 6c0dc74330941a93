//! Looks at the catalogs for what a statement outside a transaction is about, and sweeps up what one left.
//! What it means is decided in `run::evidence`.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::run::evidence::{Attachment, IndexFact, Observed, Remedy};
use crate::sql::{Effect, QualifiedName, ReindexTarget};

const INDEXES_OF_TABLE: &str = "SELECT i.indexrelid, n.nspname::text, c.relname::text, i.indisvalid AND i.indisready AND i.indislive \
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE i.indrelid = to_regclass($1) ORDER BY 1";

const INDEXES_BESIDE_INDEX: &str = "SELECT i.indexrelid, n.nspname::text, c.relname::text, i.indisvalid AND i.indisready AND i.indislive \
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE i.indrelid = (SELECT indrelid FROM pg_index WHERE indexrelid = to_regclass($1)) ORDER BY 1";

const UNUSABLE_INDEXES: &str = "SELECT i.indexrelid, n.nspname::text, c.relname::text, false \
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE NOT (i.indisvalid AND i.indisready AND i.indislive) AND c.relname ~ '_cc(new|old)[0-9]*$' ORDER BY 1";

const ATTACHMENT: &str = "SELECT coalesce((SELECT CASE WHEN inhdetachpending THEN 'pending' ELSE 'attached' END FROM pg_inherits \
    WHERE inhrelid = to_regclass($1) AND inhparent = to_regclass($2)), 'detached')";

/// Looks. `author` is the statement's own `-- verify:` query, if it has one.
///
/// # Errors
/// The server or the line failed.
pub async fn observe(client: &Client, effect: &Effect, author: Option<&str>) -> Result<Observed, Error> {
    let mut observed = Observed::default();
    match effect {
        Effect::IndexBuilt { table, .. } => observed.indexes = indexes(client, INDEXES_OF_TABLE, Some(table)).await?,
        Effect::IndexDropped { names, .. } => observed.named = relations(client, names).await?,
        Effect::Reindexed { target: ReindexTarget::Index(name), .. } => {
            observed.named = relations(client, std::slice::from_ref(name)).await?;
            observed.indexes = indexes(client, INDEXES_BESIDE_INDEX, Some(name)).await?;
        }
        Effect::Reindexed { target: ReindexTarget::Table(name), .. } => {
            observed.indexes = indexes(client, INDEXES_OF_TABLE, Some(name)).await?;
        }
        Effect::Reindexed { .. } => observed.indexes = indexes(client, UNUSABLE_INDEXES, None).await?,
        Effect::PartitionDetached { parent, child, .. } => {
            let (child, parent) = (child.to_string(), parent.to_string());
            let rows = client.query_typed(ATTACHMENT, &[(&child, Type::TEXT), (&parent, Type::TEXT)]).await?;
            observed.attachment = rows.first().map(|row| match row.get::<_, &str>(0) {
                "attached" => Attachment::Attached,
                "pending" => Attachment::Pending,
                _ => Attachment::Detached,
            });
        }
        Effect::DatabaseCreated { name } | Effect::DatabaseDropped { name } => {
            // An interrupted DROP DATABASE leaves a row with datconnlimit -2, which no session can use.
            let sql = "SELECT oid FROM pg_database WHERE datname = $1 AND datconnlimit <> -2";
            let half_dropped = "SELECT oid FROM pg_database WHERE datname = $1";
            let created = matches!(effect, Effect::DatabaseCreated { .. });
            observed.named = vec![shared(client, if created { sql } else { half_dropped }, name).await?];
        }
        Effect::TablespaceCreated { name } | Effect::TablespaceDropped { name } => {
            observed.named = vec![shared(client, "SELECT oid FROM pg_tablespace WHERE spcname = $1", name).await?];
        }
        Effect::SubscriptionCreated { name } | Effect::SubscriptionDropped { name } => {
            let sql = "SELECT oid FROM pg_subscription WHERE subname = $1 \
                       AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
            observed.named = vec![shared(client, sql, name).await?];
        }
        Effect::Repeatable | Effect::Unknown => {}
    }
    if let Some(query) = author {
        let rows = client.query(query, &[]).await?;
        observed.author = Some(rows.first().is_some_and(|row| row.try_get::<_, bool>(0).unwrap_or(false)));
    }
    Ok(observed)
}

async fn indexes(client: &Client, sql: &str, of: Option<&QualifiedName>) -> Result<Vec<IndexFact>, Error> {
    let rows = match of {
        Some(name) => client.query_typed(sql, &[(&name.to_string(), Type::TEXT)]).await?,
        None => client.query_typed(sql, &[]).await?,
    };
    rows.iter()
        .map(|row| {
            Ok(IndexFact {
                oid: row.try_get(0)?,
                schema: row.try_get(1)?,
                name: row.try_get(2)?,
                usable: row.try_get(3)?,
            })
        })
        .collect()
}

async fn relations(client: &Client, names: &[QualifiedName]) -> Result<Vec<u32>, Error> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let sql = "SELECT coalesce(to_regclass(name)::oid, 0::oid) FROM unnest($1::text[]) WITH ORDINALITY AS n(name, place) ORDER BY place";
    let rows = client.query_typed(sql, &[(&names, Type::TEXT_ARRAY)]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

async fn shared(client: &Client, sql: &str, name: &str) -> Result<u32, Error> {
    let rows = client.query_typed(sql, &[(&name, Type::TEXT)]).await?;
    rows.first().map_or(Ok(0), |row| row.try_get(0))
}

/// The SQL of a remedy.
#[must_use]
pub fn remedy_sql(remedy: &Remedy) -> String {
    match remedy {
        Remedy::DropIndex(name) => format!("DROP INDEX CONCURRENTLY IF EXISTS {name}"),
        Remedy::FinalizeDetach { parent, child } => format!("ALTER TABLE {parent} DETACH PARTITION {child} FINALIZE"),
    }
}
