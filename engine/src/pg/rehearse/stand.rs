//! The server on which rehearsals take place: scratch databases, stub roles, and order afterwards.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_postgres::SimpleQueryMessage;

use super::RehearseError;
use super::watch::Opener;
use crate::pg::fingerprint;
use crate::pg::layout::{SchemaName, quote_identifier, quote_literal};
use crate::pg::session::Session;
use crate::pg::target::Target;
use crate::schema::Kind;

/// Where and how.
#[derive(Debug, Clone)]
pub struct StandOptions {
    /// The server belongs to rehearsals alone: what an earlier one left behind is removed. Otherwise its database must
    /// be empty and serves as the template of the scratch databases.
    pub private: bool,
    /// The longest a statement may take.
    pub statement_limit: Duration,
    /// Made-up rows for each table that a migration touches; none: tables stay empty.
    pub seed_rows: Option<u32>,
    /// How long to wait for another rehearsal on the same server.
    pub patience: Duration,
}

/// A server in use for rehearsals. Call [`Stand::close`] at the end; what a killed process leaves behind on a private
/// server is removed by the next one.
pub struct Stand {
    target: Target,
    schema: SchemaName,
    admin: Session,
    options: StandOptions,
    roles_before: BTreeSet<String>,
    databases: BTreeSet<String>,
    made: u32,
    prefix: String,
    /// Roles that scripts may create. On somebody's server no other role is ever removed.
    expected_roles: BTreeSet<String>,
    /// Major version of the server.
    pub major: u32,
    /// Roles that scripts name and that were not there; they were made for the time of the rehearsal.
    pub stubs: Vec<String>,
}

const PREFIX: &str = "migengine_rehearsal_";
/// `mige`, and a number of its own, so that it never meets a runner's lock.
const LOCK: &str = "pg_try_advisory_lock(1835624293, 1919248488)";

impl Stand {
    /// Takes the server.
    ///
    /// # Errors
    /// No connection; another rehearsal is under way; the database of a server that is not private is not empty.
    pub async fn open(target: Target, schema: SchemaName, options: StandOptions) -> Result<Self, RehearseError> {
        let settings = settings(options.statement_limit);
        let admin = Session::open(&target, &schema, "migengine:rehearse", &settings).await?;
        take_lock(&admin, options.patience).await?;
        let facts =
            column(&admin, "SELECT current_setting('server_version_num')::int / 10000, pg_backend_pid()").await?;
        let major = facts.first().and_then(|text| text.parse().ok()).unwrap_or_default();
        let prefix = if options.private { PREFIX.to_owned() } else { format!("{PREFIX}{}_", std::process::id()) };
        let mut stand = Self {
            target,
            schema,
            admin,
            options,
            roles_before: BTreeSet::new(),
            databases: BTreeSet::new(),
            made: 0,
            prefix,
            expected_roles: BTreeSet::new(),
            major,
            stubs: Vec::new(),
        };
        if stand.options.private {
            stand.sweep().await?;
        } else {
            stand.refuse_unless_empty().await?;
        }
        stand.roles_before = stand.roles().await?;
        Ok(stand)
    }

    /// Removes what a killed rehearsal left on a private server.
    async fn sweep(&self) -> Result<(), RehearseError> {
        let like = format!("SELECT datname FROM pg_database WHERE starts_with(datname, {})", quote_literal(PREFIX));
        for name in column(&self.admin, &like).await? {
            let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quote_identifier(&name));
            self.admin.client.batch_execute(&drop).await.map_err(RehearseError::server("remove old databases"))?;
        }
        let strangers = "SELECT rolname FROM pg_roles WHERE oid >= 16384";
        for name in column(&self.admin, strangers).await? {
            self.drop_role(&name).await;
        }
        Ok(())
    }

    async fn refuse_unless_empty(&self) -> Result<(), RehearseError> {
        let schema = fingerprint::read(&self.admin.client, &[]).await?;
        let mut found = schema.objects.keys().filter(|key| {
            let public = key.kind == Kind::Schema && key.name == "public";
            !public && !matches!(key.kind, Kind::Extension | Kind::Language | Kind::Privileges)
        });
        let Some(first) = found.next() else { return Ok(()) };
        Err(RehearseError::NotEmpty {
            database: self.target.dbname.clone(),
            first: first.to_string(),
            more: found.count(),
        })
    }

    /// Which of these extensions the server cannot create.
    ///
    /// # Errors
    /// The server could not be asked.
    pub async fn missing_extensions(&self, wanted: &BTreeSet<String>) -> Result<Vec<String>, RehearseError> {
        let there: BTreeSet<String> =
            column(&self.admin, "SELECT name FROM pg_available_extensions").await?.into_iter().collect();
        Ok(wanted.difference(&there).cloned().collect())
    }

    /// A fresh database, with what the server's own one holds (nothing but extensions).
    ///
    /// # Errors
    /// The server refused, for want of rights for instance.
    pub async fn create(&mut self) -> Result<String, RehearseError> {
        let template =
            if self.options.private { "template0".to_owned() } else { quote_identifier(&self.target.dbname) };
        let name = self.next_name();
        let sql = format!("CREATE DATABASE {name} TEMPLATE {template}");
        self.admin.client.batch_execute(&sql).await.map_err(RehearseError::server("create a scratch database"))?;
        Ok(name)
    }

    /// A copy of a scratch database, made from its only session.
    ///
    /// # Errors
    /// The server refused.
    pub async fn copy(&mut self, session: &Session, original: &str) -> Result<String, RehearseError> {
        let name = self.next_name();
        let sql = format!("CREATE DATABASE {name} TEMPLATE {original}");
        session.client.batch_execute(&sql).await.map_err(RehearseError::server("copy the scratch database"))?;
        Ok(name)
    }

    fn next_name(&mut self) -> String {
        self.made += 1;
        let name = format!("{}{}", self.prefix, self.made);
        self.databases.insert(name.clone());
        name
    }

    /// Removes a scratch database; whatever still uses it is thrown out.
    pub async fn discard(&mut self, name: &str) {
        let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        if self.admin.client.batch_execute(&sql).await.is_ok() {
            self.databases.remove(name);
        }
    }

    /// A session in a scratch database.
    ///
    /// # Errors
    /// No connection.
    pub async fn session(&self, database: &str) -> Result<Session, RehearseError> {
        Ok(self.opener(database).open().await?)
    }

    /// How to open a session in a scratch database at any later time.
    pub(super) fn opener(&self, database: &str) -> Opener {
        let target = Target { dbname: database.to_owned(), ..self.target.clone() };
        Opener { target, schema: self.schema.clone(), settings: settings(self.options.statement_limit) }
    }

    /// The longest a statement may take.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.options.statement_limit
    }

    pub(super) fn seed_rows(&self) -> Option<u32> {
        self.options.seed_rows
    }

    /// The role that owns what scripts create, as SQL writes it.
    ///
    /// # Errors
    /// The server could not be asked.
    pub async fn owner(&self) -> Result<String, RehearseError> {
        Ok(column(&self.admin, "SELECT quote_ident(current_user)").await?.pop().unwrap_or_default())
    }

    /// The engine's schema, which is not part of any fingerprint.
    #[must_use]
    pub fn engine_schema(&self) -> &str {
        self.schema.raw()
    }

    /// Makes a role that a script names. `false` where that did not work.
    pub async fn stub(&mut self, role: &str) -> bool {
        let made = self.admin.client.batch_execute(&format!("CREATE ROLE {}", quote_identifier(role))).await.is_ok();
        if made {
            self.stubs.push(role.to_owned());
        }
        made
    }

    /// Says which roles the scripts may create, so that they can be removed afterwards.
    pub fn expect_roles(&mut self, names: BTreeSet<String>) {
        self.expected_roles = names;
    }

    async fn roles(&self) -> Result<BTreeSet<String>, RehearseError> {
        Ok(column(&self.admin, "SELECT rolname FROM pg_roles").await?.into_iter().collect())
    }

    async fn drop_role(&self, name: &str) {
        let name = quote_identifier(name);
        // Grants on shared objects and default privileges in this database hold it back.
        let _ignored = self.admin.client.batch_execute(&format!("DROP OWNED BY {name}")).await;
        let _ignored = self.admin.client.batch_execute(&format!("DROP ROLE {name}")).await;
    }

    /// Removes every scratch database, and the roles that the scripts or their stubs brought.
    pub async fn close(mut self) {
        for name in self.databases.clone() {
            self.discard(&name).await;
        }
        let after = self.roles().await.unwrap_or_default();
        for name in after.difference(&self.roles_before) {
            // On a server with other users a role may have appeared for other reasons.
            if self.options.private || self.stubs.contains(name) || self.expected_roles.contains(name) {
                self.drop_role(name).await;
            }
        }
    }
}

/// Settings of every session. Waiting without end for anything would be the script's own doing.
fn settings(limit: Duration) -> Vec<(String, String)> {
    [
        ("statement_timeout", format!("{}ms", limit.as_millis())),
        ("lock_timeout", "10s".to_owned()),
        ("idle_in_transaction_session_timeout", "0".to_owned()),
        // Roles that are missing are known by the server's words.
        ("lc_messages", "C".to_owned()),
        ("client_min_messages", "warning".to_owned()),
        // Compiling takes longer than anything on empty tables.
        ("jit", "off".to_owned()),
        // What a parallel worker reads or builds is not counted for the session that asked for it.
        ("max_parallel_maintenance_workers", "0".to_owned()),
        ("max_parallel_workers_per_gather", "0".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

async fn take_lock(admin: &Session, patience: Duration) -> Result<(), RehearseError> {
    let began = tokio::time::Instant::now();
    loop {
        let got = column(admin, &format!("SELECT {LOCK}")).await?;
        if got.first().is_some_and(|answer| answer == "t") {
            return Ok(());
        }
        if began.elapsed() >= patience {
            return Err(RehearseError::Busy { seconds: patience.as_secs() });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The first column of a query's rows.
async fn column(session: &Session, sql: &str) -> Result<Vec<String>, RehearseError> {
    let messages = session.client.simple_query(sql).await.map_err(RehearseError::server("ask the server"))?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(rows.collect())
}
