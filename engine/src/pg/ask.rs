//! Statements that are the same throughout a session.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row, Statement};

/// A statement with the types of its parameters. What a session will ask for again and again is prepared; for what it asks
/// once or twice, if at all, that takes the server longer than reading the statement each time.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    sql: String,
    types: Vec<Type>,
    prepared: Option<Statement>,
}

impl Ask {
    pub(super) fn new(sql: String, types: Vec<Type>) -> Self {
        Self { sql, types, prepared: None }
    }

    pub(super) async fn prepare(&mut self, client: &Client) -> Result<(), Error> {
        self.prepared = Some(client.prepare_typed(&self.sql, &self.types).await?);
        Ok(())
    }

    fn typed<'p>(&self, parameters: &[&'p (dyn ToSql + Sync)]) -> Vec<(&'p (dyn ToSql + Sync), Type)> {
        parameters.iter().copied().zip(self.types.iter().cloned()).collect()
    }

    /// Returns the number of rows that were written.
    pub(super) async fn execute(&self, client: &Client, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        match &self.prepared {
            Some(statement) => client.execute(statement, parameters).await,
            None => client.execute_typed(&self.sql, &self.typed(parameters)).await,
        }
    }

    /// Returns the rows.
    pub(super) async fn query(&self, client: &Client, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        match &self.prepared {
            Some(statement) => client.query(statement, parameters).await,
            None => client.query_typed(&self.sql, &self.typed(parameters)).await,
        }
    }
}
