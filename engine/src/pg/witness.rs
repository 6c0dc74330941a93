//! The witness: the history row, and the run's mirror, written in the same transaction as what they bear witness to.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

use super::ask::Ask;
use super::kept::Keeper;
use super::layout::SchemaName;
use super::rows::{self, Clerk, Rows};
use super::session::Session;
use crate::id::{Digest, Epoch, MigrationId, RunId, Timestamp};
use crate::migration::Text;
use crate::run::event::Recorded;
use crate::run::journal::Sealed;
use crate::run::state::{Rest, RunState};
use crate::sql::INSIDE;

/// Everything the history keeps of a migration that takes effect.
#[derive(Debug, Clone, Default)]
pub struct Testimony {
    /// The migration.
    pub id: String,
    /// Checksum over bytes.
    pub content: Vec<u8>,
    /// Checksum over tokens.
    pub tokens: Vec<u8>,
    /// What it requires.
    pub requires: Vec<String>,
    /// Its header, as JSON.
    pub header: String,
    /// Forward SQL.
    pub up_sql: Text,
    /// Reverse SQL.
    pub down_sql: Option<Text>,
    /// Verify SQL.
    pub verify_sql: Option<Text>,
}

/// Journal records that the database does not have yet, in columns.
#[derive(Debug, Clone, Default)]
pub struct Mirror {
    seqs: Vec<i64>,
    kinds: Vec<String>,
    steps: Vec<Option<String>>,
    ats: Vec<i64>,
    bytes: Vec<Vec<u8>>,
    head: Option<Vec<u8>>,
}

impl Mirror {
    /// Adds a record. Records come in order.
    pub fn push(&mut self, record: &Recorded, step: Option<&str>, sealed: &Sealed) {
        self.seqs.push(i64::try_from(sealed.seq).unwrap_or(i64::MAX));
        self.kinds.push(record.event.kind().name().to_owned());
        self.steps.push(step.map(str::to_owned));
        self.ats.push(record.at.0);
        self.bytes.push(sealed.bytes.clone());
        self.head = Some(sealed.hash.as_bytes().to_vec());
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seqs.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seqs.is_empty()
    }
}

/// What the history row of a step becomes.
#[derive(Debug, Clone)]
pub enum Mark {
    /// In effect.
    Applied {
        /// What to keep.
        testimony: Testimony,
        /// Which attempt.
        attempt: u32,
        /// What the history says of it before.
        prior: Prior,
    },
    /// A script by parts is under way, in either direction.
    Parts {
        /// What to keep.
        testimony: Testimony,
        /// Whether it is the reverse script.
        undoing: bool,
        /// Which attempt.
        attempt: u32,
        /// Parts done.
        done: u32,
        /// Their token checksums.
        tokens: Vec<Vec<u8>>,
        /// Catalog state before the next part, when it is about to run outside a transaction.
        before: Option<String>,
    },
    /// Not in effect any more, or never was: the row goes to the archive.
    Gone {
        /// The migration.
        id: String,
    },
}

/// What the history says of a migration before the mark that says "in effect".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prior {
    /// Nothing.
    Nothing {
        /// The step before in the same transaction, from whose end the time counts; without one, from the beginning of
        /// the transaction.
        since: Option<String>,
    },
    /// Perhaps that it has begun: a script by parts.
    Begun {
        /// How long that took, in microseconds.
        duration_us: i64,
    },
}

/// What came of writing a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Rows that were written.
    pub rows: u64,
    /// What the row says of how long the step took, in microseconds: from the beginning of its transaction to here.
    pub took_us: Option<u64>,
}

impl Written {
    fn of(rows: u64) -> Self {
        Self { rows, took_us: None }
    }
}

/// Programs of the user's that any statement on the schema may start, and that may leave other settings in the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventTriggers {
    /// There is none.
    None,
    /// There are some.
    Some,
}

/// What a session is for, which says what it will ask for most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// Steps forward, so many.
    Apply(usize),
    /// Steps back.
    Reverse,
    /// A word or two about a run that is over.
    Tell,
}

/// The statements of one session, with the names of its run.
#[derive(Debug, Clone)]
pub struct Scribe {
    /// As it was when the session took the lock. One that is made later is not seen by it; what its program sets in the session
    /// stays there until a script is followed by a reset.
    pub triggers: EventTriggers,
    run: RunId,
    epoch: Epoch,
    applied: Ask,
    /// The same for a new row that no records go with, which is what most steps need, and the least that the server can be
    /// asked for it.
    fresh: Ask,
    /// The same behind another step in one transaction.
    fresh_within: Ask,
    /// The same for several of them at once.
    rows: Ask,
    parts: Ask,
    gone: Ask,
    mirror: Ask,
    state: Ask,
    /// Name of the statement that asks for the fence: by name, so that it can stand in a message among others.
    pub(crate) fence: String,
    /// The statement in front of a script's own: it fails outside of the transaction that the script is meant for, and with it
    /// the whole message. See [`INSIDE`].
    pub(crate) inside: String,
    /// The same in front of a script whose history row is written later, with others ([`Scribe::rows`]).
    pub(crate) noting: String,
    append: String,
    pub(crate) keeper: Keeper,
    touch: String,
}

/// Tells the statements of scribes on the same session apart.
static SCRIBES: AtomicU64 = AtomicU64::new(0);

/// Statements that were prepared before it was known under which epoch the session works.
pub struct Prepared(Scribe);

impl Prepared {
    /// The scribe of a session under an epoch.
    #[must_use]
    pub fn under(self, epoch: Epoch) -> Scribe {
        Scribe { epoch, ..self.0 }
    }
}

/// Longest piece of a script that travels in one message, in bytes. A message is held in memory about twice.
const PIECE: usize = 16 << 20;

/// Steps from which on records go along with a history row often enough for that statement to be prepared, too: once a train,
/// and the server plans a prepared statement anew five times before it keeps a plan.
const LONG: usize = 128;

/// The mirror rides along: `$1` to `$7` are the same in every statement.
const MIRROR: &str = "mirrored AS (INSERT INTO {schema}.record (run_id, seq, kind, step, at, bytes) \
      SELECT $1, seq, kind, step, to_timestamp(at / 1000000.0), bytes \
      FROM unnest($2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bytea[]) AS r(seq, kind, step, at, bytes) \
      ON CONFLICT DO NOTHING), \
    ran AS (UPDATE {schema}.run SET records = greatest(records, (SELECT coalesce(max(s), 0) FROM unnest($2::bigint[]) AS s)), \
      head = coalesce($7, head), updated_at = clock_timestamp() WHERE run_id = $1 AND cardinality($2::bigint[]) > 0)";

/// Where [`MIRROR`] takes its records from; a condition may stand behind it.
const UNNESTED: &str = "AS r(seq, kind, step, at, bytes)";

const MIRROR_TYPES: [Type; 7] = [
    Type::TEXT,
    Type::INT8_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT8_ARRAY,
    Type::BYTEA_ARRAY,
    Type::BYTEA,
];

impl Scribe {
    /// Prepares the statements that the errand takes many times; they travel together.
    ///
    /// # Errors
    /// The server or the line failed.
    pub async fn prepare(client: &Client, schema: &SchemaName, run: RunId, errand: Errand) -> Result<Prepared, Error> {
        let with_mirror = |sql: &str| schema.fill(&format!("WITH {MIRROR}{sql}")).replace("{inside}", INSIDE);
        let types = |more: &[Type]| [&MIRROR_TYPES[..], more].concat();
        // In the first column: the one behind it takes a number from a sequence, which may give the transaction one, too.
        // No row means that it was not in a state that allows this, and is an error: the COMMIT may be on its way already.
        let applied = with_mirror(
            ", witness AS (INSERT INTO {schema}.history (id, state, run_id, attempt, epoch, content, tokens, requires, header, up_sql, \
              down_sql, verify_sql, duration_us, part_tokens) \
             VALUES (CASE WHEN {inside} THEN $8 END, 'applied', $1, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
               (extract(epoch FROM clock_timestamp() - coalesce((SELECT applied_at FROM {schema}.history WHERE id = $19), \
                 transaction_timestamp())) * 1000000)::bigint + $18, '{}') \
             ON CONFLICT (id) DO UPDATE SET state = 'applied', run_id = $1, attempt = $9, epoch = $10, content = $11, \
               tokens = $12, requires = $13, header = $14, up_sql = $15, down_sql = $16, verify_sql = $17, \
               applied_at = clock_timestamp(), duration_us = $18, parts_done = 0, part_tokens = '{}', part_before = NULL \
             WHERE {schema}.history.state = 'begun' RETURNING duration_us) SELECT max(duration_us), 1 / count(*) FROM witness",
        );
        let new_row = |since: &str| {
            schema.fill(&format!(
                "INSERT INTO {{schema}}.history (id, state, run_id, attempt, epoch, content, tokens, requires, header, up_sql, \
                  down_sql, verify_sql, duration_us) \
                 VALUES (CASE WHEN {INSIDE} THEN $2 END, 'applied', $1, $3, $4, $5, $6, $7, $8, $9, $10, $11, \
                   (extract(epoch FROM clock_timestamp() - {since}) * 1000000)::bigint) RETURNING duration_us"
            ))
        };
        let fresh = new_row("transaction_timestamp()");
        let fresh_within = new_row("(SELECT applied_at FROM {schema}.history WHERE id = $12)");
        let parts = with_mirror(
            " INSERT INTO {schema}.history (id, state, run_id, attempt, epoch, content, tokens, requires, header, up_sql, \
              down_sql, verify_sql, parts_done, part_tokens, part_before) \
             VALUES (CASE WHEN {inside} THEN $8 END, 'begun', $1, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) \
             ON CONFLICT (id) DO UPDATE SET state = $21, attempt = $9, epoch = $10, parts_done = $18, \
               part_tokens = $19, part_before = $20, \
               content = CASE WHEN $21 = 'begun' THEN $11 ELSE {schema}.history.content END, \
               tokens = CASE WHEN $21 = 'begun' THEN $12 ELSE {schema}.history.tokens END \
             WHERE $21 = 'undoing' OR {schema}.history.state = 'begun'",
        );
        let gone = with_mirror(
            ", taken AS (DELETE FROM {schema}.history WHERE id = $8 AND {inside} RETURNING *) \
             INSERT INTO {schema}.reversed SELECT taken.*, $1, clock_timestamp() FROM taken",
        );
        // What fails outside of the transaction takes the mirror along; these two only find nothing to do there.
        let mirror_inside = |sql: String| {
            sql.replace(UNNESTED, &format!("{UNNESTED} WHERE {INSIDE}"))
                .replace("WHERE run_id = $1 AND", &format!("WHERE {INSIDE} AND run_id = $1 AND"))
        };
        let gone = mirror_inside(gone);
        let current = schema.fill("EXISTS (SELECT 1 FROM {schema}.lease WHERE epoch = $12)");
        let state = with_mirror(
            " UPDATE {schema}.run SET state = $8, rest = $9, rest_step = $10, rest_message = $11, epoch = $12, \
               records = greatest(records, (SELECT coalesce(max(s), 0) FROM unnest($2::bigint[]) AS s)), \
               head = coalesce($7, head), updated_at = clock_timestamp(), finished_at = to_timestamp($13 / 1000000.0) \
             WHERE run_id = $1",
        )
        .replace(&schema.fill(RAN_ALONE), "")
        // A runner that was superseded leaves the run to its successor.
        .replace(UNNESTED, &format!("{UNNESTED} WHERE {current}"))
            + &format!(" AND {current}");
        let mirror = mirror_inside(with_mirror(" SELECT 1"));
        let append = schema.fill("UPDATE {schema}.history SET up_sql = up_sql || $2 WHERE id = $1");
        let touch = schema.fill("UPDATE {schema}.run SET updated_at = clock_timestamp() WHERE run_id = $1");
        let number = SCRIBES.fetch_add(1, Ordering::Relaxed);
        let fence = format!("migengine_fence_{number}");
        let named = schema.fill(&format!(
            "PREPARE {fence}(bigint, text[], text[]) AS SELECT pg_catalog.pg_current_wal_insert_lsn(), {{schema}}.fence($1, $2, $3); \
             PREPARE migengine_inside_{number} AS SELECT 1 OPERATOR(pg_catalog./) CASE WHEN {INSIDE} THEN 1 ELSE 0 END; \
             PREPARE migengine_noting_{number} AS {}",
            rows::noting()
        ));
        let testimony = [
            Type::TEXT,
            Type::INT4,
            Type::INT8,
            Type::BYTEA,
            Type::BYTEA,
            Type::TEXT_ARRAY,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
        ];
        let applied_types = types(&[&testimony[..], &[Type::INT8, Type::TEXT]].concat());
        let fresh_types = [&[Type::TEXT], &testimony[..]].concat();
        let within_types = [&fresh_types[..], &[Type::TEXT]].concat();
        let parts_types = types(&[&testimony[..], &[Type::INT4, Type::BYTEA_ARRAY, Type::TEXT, Type::TEXT]].concat());
        let state_types = types(&[Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT, Type::INT8, Type::INT8]);
        let mut applied = Ask::new(applied, applied_types);
        let mut fresh = Ask::new(fresh, fresh_types);
        let mut gone = Ask::new(gone, types(&[Type::TEXT]));
        let often = async {
            match errand {
                Errand::Apply(LONG..) => tokio::try_join!(fresh.prepare(client), applied.prepare(client)).map(|_| ()),
                Errand::Apply(_) => fresh.prepare(client).await,
                Errand::Reverse => gone.prepare(client).await,
                Errand::Tell => Ok(()),
            }
        };
        let ((), triggers, ()) = tokio::try_join!(
            client.batch_execute(&named),
            client.query_typed("SELECT EXISTS (SELECT FROM pg_catalog.pg_event_trigger)", &[]),
            often,
        )?;
        let triggers = match triggers.first().is_some_and(|row| row.get(0)) {
            true => EventTriggers::Some,
            false => EventTriggers::None,
        };
        let keeper = Keeper::new(schema);
        Ok(Prepared(Self {
            triggers,
            run,
            epoch: Epoch::default(),
            applied,
            fresh,
            fresh_within: Ask::new(fresh_within, within_types),
            rows: rows::ask(schema),
            parts: Ask::new(parts, parts_types),
            gone,
            mirror: Ask::new(mirror, MIRROR_TYPES.to_vec()),
            state: Ask::new(state, state_types),
            fence,
            inside: format!("EXECUTE migengine_inside_{number}; "),
            noting: format!("EXECUTE migengine_noting_{number}; "),
            append,
            keeper,
            touch,
        }))
    }

    /// Sends the history rows of steps that were sent with [`Scribe::noting`] in front, in the transaction that is open.
    ///
    /// # Errors
    /// The line failed.
    pub(crate) async fn rows<'a>(&'a self, session: &'a Session, marks: Vec<&'a Mark>) -> Result<Rows<'a>, Error> {
        Clerk { ask: &self.rows, run: self.run, epoch: self.epoch }.send(session, marks).await
    }

    /// Writes a mark and the mirror in the transaction that is open. Zero rows means that the row was not in a state
    /// that allows it.
    ///
    /// # Errors
    /// The server or the line failed.
    pub async fn mark(&self, client: &Client, mark: &Mark, mirror: &Mirror) -> Result<Written, Error> {
        let run = self.run.to_string();
        let epoch = i64::try_from(self.epoch.0).unwrap_or(i64::MAX);
        let m = mirror;
        match mark {
            Mark::Applied { testimony: t, attempt, prior } => {
                let attempt = i32::try_from(*attempt).unwrap_or(i32::MAX);
                let (up_sql, rest) = pieces(t.up_sql.beginning());
                let (down_sql, verify_sql) = (t.down_sql.as_deref(), t.verify_sql.as_deref());
                let told: [&(dyn ToSql + Sync); 10] = [
                    &t.id,
                    &attempt,
                    &epoch,
                    &t.content,
                    &t.tokens,
                    &t.requires,
                    &t.header,
                    &up_sql,
                    &down_sql,
                    &verify_sql,
                ];
                let written = match prior {
                    Prior::Nothing { since: None } if m.is_empty() => {
                        self.fresh.query(client, &[&[&run as &(dyn ToSql + Sync)], &told[..]].concat()).await
                    }
                    Prior::Nothing { since } if m.is_empty() => {
                        self.fresh_within
                            .query(client, &[&[&run as &(dyn ToSql + Sync)], &told[..], &[since]].concat())
                            .await
                    }
                    prior => {
                        let (since, duration_us) = match prior {
                            Prior::Nothing { since } => (since.as_deref(), 0),
                            Prior::Begun { duration_us } => (None, *duration_us),
                        };
                        let carried: [&(dyn ToSql + Sync); 7] =
                            [&run, &m.seqs, &m.kinds, &m.steps, &m.ats, &m.bytes, &m.head];
                        self.applied.query(client, &[&carried[..], &told[..], &[&duration_us, &since]].concat()).await
                    }
                };
                let written = match written {
                    Err(error) if stood_in_the_way(&error) => return Ok(Written::of(0)),
                    written => written?,
                };
                let took_us = written.first().and_then(|row| row.get::<_, Option<i64>>(0));
                self.append(client, &t.id, rest).await?;
                Ok(Written { rows: 1, took_us: took_us.and_then(|us| u64::try_from(us).ok()) })
            }
            Mark::Parts { testimony: t, undoing, attempt, done, tokens, before } => {
                let attempt = i32::try_from(*attempt).unwrap_or(i32::MAX);
                let done = i32::try_from(*done).unwrap_or(i32::MAX);
                let state = if *undoing { "undoing" } else { "begun" };
                // The whole text comes with the row that says applied; until then only its beginning is kept.
                let (up_sql, _) = pieces(t.up_sql.beginning());
                self.parts
                    .execute(
                        client,
                        &[
                            &run,
                            &m.seqs,
                            &m.kinds,
                            &m.steps,
                            &m.ats,
                            &m.bytes,
                            &m.head,
                            &t.id,
                            &attempt,
                            &epoch,
                            &t.content,
                            &t.tokens,
                            &t.requires,
                            &t.header,
                            &up_sql,
                            &t.down_sql.as_deref(),
                            &t.verify_sql.as_deref(),
                            &done,
                            tokens,
                            before,
                            &state,
                        ],
                    )
                    .await
                    .map(Written::of)
            }
            Mark::Gone { id } => self
                .gone
                .execute(client, &[&run, &m.seqs, &m.kinds, &m.steps, &m.ats, &m.bytes, &m.head, id])
                .await
                .map(Written::of),
        }
    }

    /// The rest of a script that is too long for one message. In the transaction that wrote the row.
    async fn append(&self, client: &Client, id: &str, mut rest: &str) -> Result<(), Error> {
        while !rest.is_empty() {
            let (piece, behind) = pieces(rest);
            client.execute_typed(&self.append, &[(&id, Type::TEXT), (&piece, Type::TEXT)]).await?;
            rest = behind;
        }
        Ok(())
    }

    /// Writes the mirror alone, in a transaction of its own.
    ///
    /// # Errors
    /// The server or the line failed.
    pub async fn mirror(&self, client: &Client, mirror: &Mirror) -> Result<(), Error> {
        let m = mirror;
        let run = self.run.to_string();
        self.mirror.execute(client, &[&run, &m.seqs, &m.kinds, &m.steps, &m.ats, &m.bytes, &m.head]).await.map(|_| ())
    }

    /// Returns when everything that this session committed is durable: the WAL is written in order, and this waits for a
    /// row of its own. Nothing else may be open.
    ///
    /// # Errors
    /// The server or the line failed, or the row is not there any more.
    pub async fn settle(&self, client: &Client, fence: &str) -> Result<u64, Error> {
        client.batch_execute(&format!("BEGIN; {fence}")).await?;
        let moved = client.execute_typed(&self.touch, &[(&self.run.to_string(), Type::TEXT)]).await?;
        client.batch_execute("COMMIT").await?;
        Ok(moved)
    }

    /// Writes the run's state with the mirror.
    ///
    /// # Errors
    /// The server or the line failed.
    pub async fn state(&self, client: &Client, line: &RunLine<'_>, mirror: &Mirror) -> Result<(), Error> {
        let m = mirror;
        let run = self.run.to_string();
        let epoch = i64::try_from(self.epoch.0).unwrap_or(i64::MAX);
        let (state, rest) = (line.state.name(), line.rest.map(|rest| rest.reason.name()));
        let message = line.rest.map(|rest| rest.message.as_str());
        let finished = line.finished_at.map(|at| at.0);
        self.state
            .execute(
                client,
                &[
                    &run,
                    &m.seqs,
                    &m.kinds,
                    &m.steps,
                    &m.ats,
                    &m.bytes,
                    &m.head,
                    &state,
                    &rest,
                    &line.rest_step,
                    &message,
                    &epoch,
                    &finished,
                ],
            )
            .await
            .map(|_| ())
    }
}

/// Whether the history had a row of the migration already, in a state that does not allow a new one.
pub(super) fn stood_in_the_way(error: &Error) -> bool {
    error.as_db_error().is_some_and(|error| match *error.code() {
        SqlState::DIVISION_BY_ZERO => true,
        SqlState::UNIQUE_VIOLATION => error.constraint() == Some("history_pkey"),
        _ => false,
    })
}

/// The part of [`MIRROR`] that moves the run row; left out where the statement itself does.
const RAN_ALONE: &str = ", ran AS (UPDATE {schema}.run SET records = greatest(records, (SELECT coalesce(max(s), 0) FROM unnest($2::bigint[]) AS s)), \
      head = coalesce($7, head), updated_at = clock_timestamp() WHERE run_id = $1 AND cardinality($2::bigint[]) > 0)";

/// The run's line in the run table.
#[derive(Debug, Clone, Copy)]
pub struct RunLine<'a> {
    /// State.
    pub state: RunState,
    /// Rest, if it stands still.
    pub rest: Option<&'a Rest>,
    /// The migration the rest is about.
    pub rest_step: Option<&'a str>,
    /// When it became final.
    pub finished_at: Option<Timestamp>,
}

/// Digests as the columns want them.
#[must_use]
pub fn columns(digests: &[Digest]) -> Vec<Vec<u8>> {
    digests.iter().map(|digest| digest.as_bytes().to_vec()).collect()
}

/// Ids as the columns want them.
#[must_use]
pub fn texts(ids: &[MigrationId]) -> Vec<String> {
    ids.iter().map(|id| id.as_str().to_owned()).collect()
}

/// The beginning of a text that fits into one message, and what is behind it.
fn pieces(text: &str) -> (&str, &str) {
    let mut at = PIECE.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    text.split_at(at)
}
