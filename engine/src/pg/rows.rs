//! History rows of several steps of one transaction, written by one statement behind them: what each statement costs the server
//! to begin is paid once. How long each step took is told by the moments that the server noted in front of their scripts.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::ask::Ask;
use super::failure::{Fault, fault};
use super::flight::unwitnessed;
use super::layout::SchemaName;
use super::send::{Sent, Started, send, start};
use super::session::Session;
use super::witness::{Mark, Prior, Testimony, stood_in_the_way};
use crate::id::{Epoch, RunId};
use crate::sql::INSIDE;

/// The setting that holds the moments, in microseconds, with blanks between them. It ends with the transaction.
const MOMENTS: &str = "migengine.began";

/// Longest texts of a step whose row is written together with others, in bytes: all of them stand in one message.
const TEXTS: usize = 64 << 10;

/// The statement in front of a script whose row comes later, as `PREPARE` wants it: notes the moment, and fails outside of the
/// transaction that the script is meant for.
pub(super) fn noting() -> String {
    format!(
        "SELECT pg_catalog.set_config('{MOMENTS}', pg_catalog.concat_ws(' ', \
           nullif(pg_catalog.current_setting('{MOMENTS}', true), ''), \
           (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000000)::bigint), true), \
         1 OPERATOR(pg_catalog./) CASE WHEN {INSIDE} THEN 1 ELSE 0 END"
    )
}

const TYPES: [Type; 11] = [
    Type::TEXT,
    Type::INT8,
    Type::TEXT_ARRAY,
    Type::INT4_ARRAY,
    Type::BYTEA_ARRAY,
    Type::BYTEA_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
];

/// The statement that writes the rows. A step has taken its time when the next one begins. The moments are read from their text
/// once: as a part of the query they would be read for each row, which took a fifth of what a row costs.
pub(super) fn ask(schema: &SchemaName) -> Ask {
    let sql = schema.fill(&format!(
        "WITH m AS MATERIALIZED (SELECT string_to_array(current_setting('{MOMENTS}', true), ' ')::bigint[] AS moments) \
         INSERT INTO {{schema}}.history (id, state, run_id, attempt, epoch, content, tokens, requires, header, up_sql, down_sql, \
           verify_sql, duration_us) \
         SELECT CASE WHEN {INSIDE} THEN t.id END, 'applied', $1, t.attempt, $2, t.content, t.tokens, t.requires::text[], t.header, \
           t.up_sql, t.down_sql, t.verify_sql, \
           coalesce(m.moments[t.n + 1], (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) - m.moments[t.n] \
         FROM m, unnest($3::text[], $4::int[], $5::bytea[], $6::bytea[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[]) \
           WITH ORDINALITY AS t(id, attempt, content, tokens, requires, header, up_sql, down_sql, verify_sql, n)"
    ));
    Ask::new(sql, TYPES.to_vec())
}

/// Whether a step's row may be written later: nothing is known of it so far, and its texts are short.
pub(crate) fn may_wait(mark: &Mark) -> bool {
    let Mark::Applied {
        testimony: Testimony { up_sql, down_sql, verify_sql, .. }, prior: Prior::Nothing { .. }, ..
    } = mark
    else {
        return false;
    };
    let others = [down_sql, verify_sql].into_iter().flatten();
    let texts = std::iter::once(up_sql).chain(others);
    texts.clone().all(|text| text.source().is_none()) && texts.map(|text| text.len()).sum::<usize>() <= TEXTS
}

/// What is needed to write such rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clerk<'a> {
    pub(super) ask: &'a Ask,
    pub(super) run: RunId,
    pub(super) epoch: Epoch,
}

/// Rows on their way.
pub(crate) struct Rows<'a> {
    ids: Vec<&'a str>,
    reset: Sent,
    written: Started<'a, u64>,
    cleared: Sent,
}

/// What kept rows from being written.
pub(crate) struct Unwritten {
    pub(crate) fault: Fault,
    /// Which of them, where the server tells.
    pub(crate) row: Option<usize>,
}

impl<'a> Clerk<'a> {
    /// Sends the rows of steps that were sent since the last ones, under the session's own name and limits: they are not those of
    /// a single step. Marks that may not wait are left out.
    pub(super) async fn send(self, session: &'a Session, marks: Vec<&'a Mark>) -> Result<Rows<'a>, Error> {
        let client = &session.client;
        let reset = send(client, &session.settings_sql()).await?;
        let ids = marks
            .iter()
            .filter_map(|mark| match mark {
                Mark::Applied { testimony, .. } => Some(testimony.id.as_str()),
                _ => None,
            })
            .collect();
        let written = start(self.write(client, marks)).await;
        let cleared = send(client, &format!("SET LOCAL {MOMENTS} = ''")).await?;
        Ok(Rows { ids, reset, written, cleared })
    }

    async fn write(self, client: &Client, marks: Vec<&Mark>) -> Result<u64, Error> {
        let told: Vec<(&Testimony, i32)> = marks
            .into_iter()
            .filter_map(|mark| match mark {
                Mark::Applied { testimony, attempt, .. } => {
                    Some((testimony, i32::try_from(*attempt).unwrap_or(i32::MAX)))
                }
                _ => None,
            })
            .collect();
        let ids: Vec<&str> = told.iter().map(|(t, _)| t.id.as_str()).collect();
        let attempts: Vec<i32> = told.iter().map(|(_, attempt)| *attempt).collect();
        let contents: Vec<&[u8]> = told.iter().map(|(t, _)| t.content.as_slice()).collect();
        let tokens: Vec<&[u8]> = told.iter().map(|(t, _)| t.tokens.as_slice()).collect();
        let requires: Vec<String> = told.iter().map(|(t, _)| array_literal(&t.requires)).collect();
        let headers: Vec<&str> = told.iter().map(|(t, _)| t.header.as_str()).collect();
        let ups: Vec<&str> = told.iter().map(|(t, _)| &*t.up_sql).collect();
        let downs: Vec<Option<&str>> = told.iter().map(|(t, _)| t.down_sql.as_deref()).collect();
        let verifies: Vec<Option<&str>> = told.iter().map(|(t, _)| t.verify_sql.as_deref()).collect();
        let epoch = i64::try_from(self.epoch.0).unwrap_or(i64::MAX);
        self.ask
            .execute(
                client,
                &[
                    &self.run.to_string(),
                    &epoch,
                    &ids,
                    &attempts,
                    &contents,
                    &tokens,
                    &requires,
                    &headers,
                    &ups,
                    &downs,
                    &verifies,
                ],
            )
            .await
    }
}

impl Rows<'_> {
    /// Awaits all of it.
    pub(crate) async fn arrive(self) -> Result<(), Unwritten> {
        let reset = self.reset.answer().await;
        let written = self.written.answer().await;
        let cleared = self.cleared.answer().await;
        let any = |fault: Fault| Unwritten { fault, row: None };
        reset.map_err(|(_, error)| any(fault(&error, None)))?;
        match written {
            Ok(rows) if rows == self.ids.len() as u64 => {}
            Ok(_) => return Err(any(Fault::Refused(Box::new(unwitnessed())))),
            Err(error) if stood_in_the_way(&error) => {
                let detail = error.as_db_error().and_then(|error| error.detail()).unwrap_or_default();
                let row = self.ids.iter().position(|id| detail.contains(&format!("(id)=({id})")));
                return Err(Unwritten { fault: Fault::Refused(Box::new(unwitnessed())), row });
            }
            Err(error) => return Err(any(fault(&error, None))),
        }
        cleared.map(drop).map_err(|(_, error)| any(fault(&error, None)))
    }
}

/// An array of texts as the server reads it from a text.
fn array_literal(texts: &[String]) -> String {
    let quoted: Vec<String> =
        texts.iter().map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))).collect();
    format!("{{{}}}", quoted.join(","))
}

#[cfg(test)]
mod tests {
    use super::array_literal;

    #[test]
    fn an_array_is_written_as_the_server_reads_it() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(array_literal(&[]), "{}");
        assert_eq!(array_literal(&texts(&["1_a", "2 b", "NULL", r#"q"\"#])), r#"{"1_a","2 b","NULL","q\"\\"}"#);
    }
}
