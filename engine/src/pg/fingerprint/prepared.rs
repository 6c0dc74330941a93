//! Reading the same database again and again: planning takes longer than running, so the statements are prepared once
//! in each session, under the settings they run with.

use std::fmt::Write as _;

use tokio_postgres::{Client, SimpleQueryMessage};

use super::{Dialect, FingerprintError, assemble, sql, statements};
use crate::schema::Schema;

const PREFIX: &str = "migengine_fingerprint_";

/// As [`super::read`], or inside the caller's transaction as [`super::read_in_transaction`].
pub(in crate::pg) async fn read_again(
    client: &Client,
    exclude_schemas: &[&str],
    in_transaction: bool,
) -> Result<Schema, FingerprintError> {
    // A script may have thrown all prepared statements away.
    let state = format!(
        "SELECT current_setting('server_version_num'), count(*) FROM pg_catalog.pg_prepared_statements \
         WHERE name LIKE '{PREFIX}%'"
    );
    let (number, prepared) = facts(&client.simple_query(&state).await?)?;
    let version = number / 10_000;
    if version < 14 {
        return Err(FingerprintError::TooOld(version));
    }
    let all = statements(&Dialect { version, exclude: exclude_schemas });
    let all: Vec<&str> = all.iter().flat_map(|list| list.split(";\n")).collect();
    if prepared < all.len() {
        prepare(client, &all, in_transaction).await?;
    }
    let mut batch = match in_transaction {
        true => "SAVEPOINT migengine_fingerprint;\n".to_owned(),
        false => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n".to_owned(),
    };
    batch.push_str(sql::PINNED_SETTINGS);
    for index in 0..all.len() {
        // Writing to a string cannot go wrong.
        let _ignored = writeln!(batch, "EXECUTE {PREFIX}{index};");
    }
    batch.push_str(match in_transaction {
        true => "ROLLBACK TO SAVEPOINT migengine_fingerprint; RELEASE SAVEPOINT migengine_fingerprint;",
        false => "COMMIT;",
    });
    match client.simple_query(&batch).await {
        Ok(messages) => assemble(&messages),
        Err(error) => {
            if !in_transaction {
                let _ignored = client.simple_query("ROLLBACK").await;
            }
            Err(error.into())
        }
    }
}

/// Each in a message of its own: the server keeps the text of the whole message with a prepared statement. It plans
/// anew under another search path, so the settings are those of the reading.
async fn prepare(client: &Client, all: &[&str], in_transaction: bool) -> Result<(), FingerprintError> {
    let begin = if in_transaction { "SAVEPOINT migengine_prepare;\n" } else { "BEGIN;\n" };
    client.simple_query(&format!("{begin}{}", sql::PINNED_SETTINGS)).await?;
    for (index, statement) in all.iter().enumerate() {
        client.simple_query(&format!("PREPARE {PREFIX}{index} AS {statement}")).await?;
    }
    let end = if in_transaction { "ROLLBACK TO SAVEPOINT migengine_prepare" } else { "COMMIT" };
    client.simple_query(end).await?;
    Ok(())
}

fn facts(messages: &[SimpleQueryMessage]) -> Result<(u32, usize), FingerprintError> {
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((row.get(0)?.parse().ok()?, row.get(1)?.parse().ok()?)),
        _ => None,
    });
    row.ok_or_else(|| FingerprintError::Row("no version".to_owned()))
}
