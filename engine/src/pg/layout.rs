//! The engine's own schema in the target database: its name, its version, its creation.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

/// Version of the tables in `layout.sql`.
pub const LAYOUT: i32 = 1;

/// The name of the engine's schema, `migengine` unless configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaName {
    raw: String,
    quoted: String,
}

impl SchemaName {
    /// Any name PostgreSQL accepts; it is always quoted.
    ///
    /// # Errors
    /// Empty, longer than 63 bytes, with a NUL byte, or beginning with `pg_`, which the server reserves.
    pub fn new(raw: &str) -> Result<Self, String> {
        if raw.is_empty() || raw.len() > 63 || raw.contains('\0') || raw.starts_with("pg_") {
            return Err(format!("`{raw}` cannot name a schema (1 to 63 bytes, not beginning with pg_)"));
        }
        Ok(Self { raw: raw.to_owned(), quoted: quote_identifier(raw) })
    }

    /// As configured.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// Quoted for SQL.
    #[must_use]
    pub fn quoted(&self) -> &str {
        &self.quoted
    }

    /// Fills `{schema}` in a statement of the engine's own.
    #[must_use]
    pub fn fill(&self, sql: &str) -> String {
        sql.replace("{schema}", &self.quoted)
    }

    /// The pair of keys of the runner lock: the engine, and this schema.
    #[must_use]
    pub fn lock_keys(&self) -> (i32, i32) {
        let digest = crate::id::Digest::of(self.raw.as_bytes());
        let [a, b, c, d, ..] = *digest.as_bytes();
        (i32::from_be_bytes(*b"mige"), i32::from_be_bytes([a, b, c, d]))
    }
}

/// Quotes an identifier.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a string for SQL so that it means the same whatever `standard_conforming_strings` is.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Why the engine's tables could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The role may not create the schema.
    #[error(
        "[ME335] the role `{role}` may not create the schema {schema} in the database `{database}`: {reason}. \
         Nothing was changed. A superuser or the owner of the database can allow it: GRANT CREATE ON DATABASE {database_quoted} TO {role_quoted}"
    )]
    Denied {
        /// Who tried.
        role: String,
        /// Quoted.
        role_quoted: String,
        /// Where.
        database: String,
        /// Quoted.
        database_quoted: String,
        /// What was to be made.
        schema: String,
        /// The server's words.
        reason: String,
    },
    /// Anything else the server or the line said.
    #[error(transparent)]
    Server(#[from] tokio_postgres::Error),
}

/// How much of the layout is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Not even the schema.
    Nothing,
    /// The schema, which somebody may have made for us, without our tables.
    Schema,
    /// Our tables.
    Tables,
}

/// Looks for the layout.
///
/// # Errors
/// The server or the line failed.
pub async fn find(client: &Client, schema: &SchemaName) -> Result<Found, tokio_postgres::Error> {
    let sql = "SELECT to_regclass($1) IS NOT NULL, to_regnamespace($2) IS NOT NULL";
    let identity = format!("{}.identity", schema.quoted());
    let rows = client.query_typed(sql, &[(&identity, Type::TEXT), (&schema.quoted(), Type::TEXT)]).await?;
    Ok(match rows.first().map(|row| (row.get(0), row.get(1))) {
        Some((true, _)) => Found::Tables,
        Some((false, true)) => Found::Schema,
        _ => Found::Nothing,
    })
}

/// Creates the schema and its tables unless they are there. The runner lock is held, so nobody else does the same.
///
/// # Errors
/// The role lacks the right, or the server refused; nothing is left behind then.
pub async fn ensure(client: &Client, schema: &SchemaName, engine: &str, found: Found) -> Result<(), LayoutError> {
    let create = match found {
        Found::Tables => return Ok(()),
        Found::Schema => String::new(),
        Found::Nothing => format!("CREATE SCHEMA {};\n", schema.quoted()),
    };
    let tables = schema.fill(include_str!("layout.sql")).replace("{engine}", &quote_literal(engine));
    match client.batch_execute(&format!("BEGIN;\n{create}{tables}\nCOMMIT")).await {
        Ok(()) => Ok(()),
        Err(error) => {
            // The session is kept; an aborted transaction would poison it. A failure here is followed by the real one.
            drop(client.batch_execute("ROLLBACK").await);
            Err(explain(client, schema, error).await)
        }
    }
}

async fn explain(client: &Client, schema: &SchemaName, error: tokio_postgres::Error) -> LayoutError {
    if error.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return error.into();
    }
    match client.query_one("SELECT current_user::text, current_database()::text", &[]).await {
        Ok(row) => {
            let (role, database): (String, String) = (row.get(0), row.get(1));
            LayoutError::Denied {
                role_quoted: quote_identifier(&role),
                role,
                database_quoted: quote_identifier(&database),
                database,
                schema: schema.quoted().to_owned(),
                reason: error.as_db_error().map_or_else(|| error.to_string(), |db| db.message().to_owned()),
            }
        }
        Err(_) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_always_quoted() {
        let name = SchemaName::new("We\"ird").unwrap();
        assert_eq!(name.fill("SELECT * FROM {schema}.run"), "SELECT * FROM \"We\"\"ird\".run");
        assert!(SchemaName::new("pg_mine").is_err());
        assert!(SchemaName::new("").is_err());
    }

    #[test]
    fn literals_mean_the_same_with_either_string_setting() {
        assert_eq!(quote_literal(r"a'b\c"), r"E'a''b\\c'");
    }
}
