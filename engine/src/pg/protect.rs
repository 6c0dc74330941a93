//! The mark of a protected database: set and taken off. It is read with the rest of the engine's tables.

use tokio_postgres::types::Type;

use super::session::Session;

/// Writes down that the database is marked from now on, or not any more.
///
/// # Errors
/// The server or the line failed.
pub async fn mark(session: &Session, marked: bool, actor: &str) -> Result<(), tokio_postgres::Error> {
    let sql = session.schema.fill("INSERT INTO {schema}.protection (marked, actor) VALUES ($1, $2)");
    session.client.query_typed(&sql, &[(&marked, Type::BOOL), (&actor, Type::TEXT)]).await.map(drop)
}
