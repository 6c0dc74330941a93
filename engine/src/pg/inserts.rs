//! `INSERT`s that stayed in their file: read again, held against the one that was looked at, and sent.

use tokio_postgres::{Client, Error};

use super::again::{Again, changed};
use super::failure::{Fault, Site, excerpt, fault_placed};
use super::kept::characters;
use super::send::{Answer, send};
use crate::diag::Position;
use crate::migration::{Block, Script, Source};
use crate::sql::{InsertFrame, Span, Statement, Strings, insert_frame, settle, split_between};

/// Read at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// Runs the statements of a block, whose like stands in front of it. Returns how many rows they made. Nothing but such
/// statements is sent, whatever has become of the file: that it is the one that was planned shows only at its end, where the
/// transaction fails if it is not.
pub(crate) async fn pour_inserts(
    client: &Client,
    script: &Script,
    like: &Statement,
    (source, block): (&Source, &Block),
) -> Result<u64, Fault> {
    let site = Site::of(script, like);
    let placed = |fault: Fault| fault.placed(site);
    let Some(frame) = insert_frame(&script.text, like) else { return Err(placed(changed(source))) };
    let mut file = Again::block(source, block).await.map_err(placed)?;
    let (mut torn, mut sql, mut rows) = (Vec::new(), String::new(), 0_u64);
    let mut here = script.text.position(block.at.saturating_sub(1));
    here.column = here.column.saturating_add(1);
    // Twice as much where a statement is not complete: looking at it again and again must not take time beyond all proportion.
    while let Some(bytes) = file.next(CHUNK.max(sql.len())).await.map_err(placed)? {
        torn.extend_from_slice(&bytes);
        let (text, rest) = characters(torn).ok_or_else(|| placed(changed(source)))?;
        torn = rest;
        sql.push_str(&text);
        let Some(statements) = alike(&sql, like, &frame) else { return Err(placed(changed(source))) };
        let Some(end) = statements.last().map(|last| last.piece.range().end) else { continue };
        let rest = sql.split_off(end);
        let sent = send(client, &sql).await?;
        let wrong = |(answer, error): (Answer, Error)| {
            let place = |statement: &Statement| (behind(here, statement.position), statement.sql(&sql));
            blamed(&error, site, statements.get(answer.completed).map(place))
        };
        rows = rows.saturating_add(sent.answer().await.map_err(wrong)?.rows);
        here = behind(here, Position::of(&sql, sql.len()));
        sql = rest;
    }
    if torn.is_empty() && sql.is_empty() { Ok(rows) } else { Err(placed(changed(source))) }
}

/// The statements that are complete, if all of them are like the one.
fn alike(sql: &str, like: &Statement, frame: &InsertFrame) -> Option<Vec<Statement>> {
    let strings = Strings::of(like);
    let upto = settle(sql, strings, usize::MAX).upto;
    let found = split_between(sql, Span::new(0, upto), strings);
    let same = |(statement, _): &(Statement, Strings)| insert_frame(sql, statement).as_ref() == Some(frame);
    found.iter().all(same).then(|| found.into_iter().map(|(statement, _)| statement).collect())
}

/// A place that is told from another one.
fn behind(from: Position, place: Position) -> Position {
    let line = from.line.saturating_add(place.line).saturating_sub(1);
    let column =
        if place.line == 1 { from.column.saturating_add(place.column).saturating_sub(1) } else { place.column };
    Position { line, column }
}

/// The failure of one of them.
fn blamed(error: &Error, site: Site<'_>, statement: Option<(Position, &str)>) -> Fault {
    match fault_placed(error, site, |_| None) {
        Fault::Refused(mut failure) => {
            if let Some((position, sql)) = statement {
                failure.line = Some(position.line);
                failure.column = Some(position.column);
                failure.statement = Some(excerpt(sql));
            }
            Fault::Refused(failure)
        }
        lost @ Fault::Lost(_) => lost,
    }
}
