//! The history's copy of a script that is not in memory: read from its file in pieces, which wait in a table of their own
//! and are put together by the server. Appending each of them to the row would write the row anew each time.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::again::{Again, changed};
use super::failure::Fault;
use super::layout::SchemaName;
use super::witness::Mark;
use crate::migration::Source;

/// Longest piece, in bytes.
const PIECE: usize = 1 << 20;

/// The statements for it.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    piece: String,
    gather: String,
}

impl Keeper {
    pub(crate) fn new(schema: &SchemaName) -> Self {
        Self {
            piece: schema.fill("INSERT INTO {schema}.piece (id, number, text) VALUES ($1, $2, $3)"),
            gather: schema.fill(
                "WITH pieces AS (DELETE FROM {schema}.piece WHERE id = $1 RETURNING number, text) \
                 UPDATE {schema}.history SET up_sql = up_sql || \
                   (SELECT string_agg(text, '' ORDER BY number) FROM pieces) WHERE id = $1",
            ),
        }
    }

    /// Adds to the row that a mark has just written what is not in memory of its script. In the same transaction, which
    /// has to be taken back where this fails: the file is not the one that was planned.
    pub(crate) async fn keep(&self, client: &Client, mark: &Mark) -> Result<(), Fault> {
        let Mark::Applied { testimony, .. } = mark else { return Ok(()) };
        let Some(source) = testimony.up_sql.source() else { return Ok(()) };
        self.pieces(client, &testimony.id, source, testimony.up_sql.beginning().len()).await?;
        client.execute_typed(&self.gather, &[(&testimony.id, Type::TEXT)]).await?;
        Ok(())
    }

    /// The first `known` bytes stand in the row.
    async fn pieces(&self, client: &Client, id: &str, source: &Source, mut known: usize) -> Result<(), Fault> {
        let mut file = Again::whole(source).await?;
        let (mut number, mut torn) = (0_i32, Vec::new());
        while let Some(bytes) = file.next(PIECE).await? {
            let fresh = bytes.get(known.min(bytes.len())..).unwrap_or_default();
            known = known.saturating_sub(bytes.len());
            torn.extend_from_slice(fresh);
            let (text, rest) = characters(torn).ok_or_else(|| changed(source))?;
            torn = rest;
            let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
                [(&id, Type::TEXT), (&number, Type::INT4), (&text, Type::TEXT)];
            client.execute_typed(&self.piece, &values).await?;
            number = number.saturating_add(1);
        }
        Ok(())
    }
}

/// The text that bytes begin with, and the first bytes of a character whose others are to come. Nothing where they are no
/// UTF-8.
pub(super) fn characters(bytes: Vec<u8>) -> Option<(String, Vec<u8>)> {
    match String::from_utf8(bytes) {
        Ok(text) => Some((text, Vec::new())),
        Err(error) => {
            let whole = error.utf8_error();
            let mut bytes = error.into_bytes();
            let rest = bytes.split_off(whole.valid_up_to());
            if whole.error_len().is_some() {
                return None;
            }
            Some((String::from_utf8(bytes).ok()?, rest))
        }
    }
}
